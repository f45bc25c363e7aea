"""The simulator: a node's machines on a virtual clock, over a network that misbehaves from a seed.

`World` is time, `Network` and `Streams` are what lies between nodes, `SimNode` is a whole node
without its hands, `Scenario` is a mesh with faults and invariants made from one seed. See
`docs/simulation.md`; `python -m meshnode.sim` runs it.
"""
