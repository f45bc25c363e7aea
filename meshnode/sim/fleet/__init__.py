"""A fleet on the virtual clock: the shipped placement and batching, beside an oracle and others.

Every gateway dispatches its own cameras' frames and serves what it is given. `Fleet` is time, the
servers and the ways between them; a policy says where each request goes: `mesh.py` is the shipped
one, `oracle.py` knows everything, `usual.py`, `cached.py` and `probing.py` are what others do.
The model is that of docs/placement.md.
"""
