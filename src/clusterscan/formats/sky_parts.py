"""Names of the parts of the sky (and of data sets) that networks are trained and judged on."""

PARTS = ("train", "validation", "test")
