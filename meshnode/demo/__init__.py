"""`meshnode demo`: a real mesh of processes on this machine that checks itself. Floor 6.

Nothing here is simulated but what is labelled so: the nodes are started by the same command a
user types, spoken to through the same doors, and killed with the same signals.
"""
