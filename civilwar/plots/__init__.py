"""Frames in, axes out. One file per phase, one visual language (`style`); no torch, no statistics."""
