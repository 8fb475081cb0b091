"""Fuzzing with coverage guidance; see `fuzz.buffer`."""
