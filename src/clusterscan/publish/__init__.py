"""Publish the catalogue, the maps and the report: the last stage."""
