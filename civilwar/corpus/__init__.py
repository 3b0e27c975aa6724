"""Text to tokens: sources, tokenizer, cache, seeded batches."""
