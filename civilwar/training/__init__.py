"""The loop, its checkpoints, the machine it runs on, and the sweep."""
