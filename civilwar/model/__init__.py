"""The decoder and what trains it."""
