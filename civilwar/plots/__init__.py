"""Frames in, axes out. A file or two per phase, one visual language (`style`); no torch, no statistics."""
