"""Hearing the attention of any PyTorch model: one call of one layer at a time, as the model itself makes it."""
