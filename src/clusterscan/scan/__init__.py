"""Scanning: a trained network or a plain filter slides over the tiles and leaves a map of each.

Read in this order: `stage` (a block's tiles, one after the other), `scanners` (what slides over
them), `tile_scan` (one tile, one network), `windowed_scan` (one crop per position: the reference)
and `dense_scan` (the features of a tile, shared by all windows). `validity` says which map pixels
get a value; `fusion_scan` joins several surveys; `plain_filter` is the yardstick (`matched_filter`,
`multiscale_filter`, `significance`). What is there only for speed and memory lies in `fast`.
"""
