"""Source `archive`: the files that surveys publish, cut to tiles without reading more."""
