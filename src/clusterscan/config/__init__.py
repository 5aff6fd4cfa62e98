"""The settings of a run, as pydantic models."""
