"""How a run is laid out: paths, stage settings, versions, the loop over a block's tiles."""
