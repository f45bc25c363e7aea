"""The Python client and what the command line shares with it: one local node, spoken to. Floor 5.

Standard library only, except `arrays`, which needs numpy and is imported when arrays are.
"""
