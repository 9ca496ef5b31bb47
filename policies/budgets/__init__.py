"""How many draft tokens each request gets in this forward. One file a policy.

A budget is a frozen dataclass with a `name`, a compiled `rule` (see policies/batch.py) and
`plan(view) -> Plan`, called once at the start of each RL step with what is known then
(policies/view.py). `past_steps` is how many earlier RL steps that may take in; None is all.
"""
