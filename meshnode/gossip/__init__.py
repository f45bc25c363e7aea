"""SWIM membership with load records riding along. Floor 2: no I/O, no clock."""
