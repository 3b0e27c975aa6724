"""A run, or a model, as linked views of its heads."""
