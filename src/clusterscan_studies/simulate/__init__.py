"""Simulated X-ray and optical skies, and the volunteers who judge them."""
