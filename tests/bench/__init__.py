"""Timings of a running meshnode, each beside a baseline of the same minute. Never part of check."""
