"""Scanning: a trained network or a plain filter slides over the tiles."""
