"""Reach: which ways lead to a node, who may be asked to open one, and whether we can be reached.

Floor 2. No I/O, no clock, no tasks; `node/reach.py` joins it to the sockets.
"""
