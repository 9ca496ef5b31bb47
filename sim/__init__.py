"""The modelled world: replicas as SimPy processes around a compiled decode loop, and its clock."""
