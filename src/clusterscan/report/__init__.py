"""Figures, galleries and page sections that runs and studies share."""
