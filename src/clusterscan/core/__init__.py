"""What every room stands on: sky geometry, errors, atomic writes, fingerprints, records."""
