"""Kademlia: who is near an id, who provides a blob, what a name means. No I/O, no clock.

`machine.py` states the rules; `table.py` is what is left of the kademlia package.
"""
