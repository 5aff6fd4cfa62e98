"""Labelled examples for the networks, split by whole areas of sky."""
