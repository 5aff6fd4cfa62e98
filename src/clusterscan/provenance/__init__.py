"""Where every file comes from: atomic writes, fingerprints, per-tile records, block manifests."""
