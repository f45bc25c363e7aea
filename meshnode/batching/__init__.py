"""Greedy batching for one module: what is queued when the lane is free runs together. Floor 2."""
