"""Every decision made while generating: what to draft, how much of it, for whom, and where.

The same objects run in the simulator and in the live engine. Nothing here imports SimPy, torch or
vLLM.
"""
