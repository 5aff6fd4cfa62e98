"""Foundations of all packages: sky geometry, errors, atomic writes, fingerprints, records."""
