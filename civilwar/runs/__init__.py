"""A run on disk: what it holds, how it is written, read, collected and recorded. Needs no torch."""
