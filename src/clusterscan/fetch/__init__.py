"""Bring images here: each source writes a tile's raw image."""
