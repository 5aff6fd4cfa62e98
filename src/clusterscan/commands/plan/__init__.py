"""Estimate the cost of a run before it starts, and show the measured cost beside it."""
