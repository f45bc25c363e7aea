"""Which requests of one module run together: as many as wait and were measured to pay. Floor 2."""
