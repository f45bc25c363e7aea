"""Long fuzzing, apart from the default tests: `python -m tests.fuzz.long` or `just fuzz`."""
