"""Watching anybody's training: every head of any model at every step, recorded as a run like any other."""
