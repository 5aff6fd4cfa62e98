"""Settings of the studies."""
