"""Training: examples in, one model with its measures out."""
