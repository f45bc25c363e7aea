"""Measures what meshnode adds to onnxruntime on this machine, always beside it. Floor 6."""
