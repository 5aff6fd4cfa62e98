"""Turn raw images into calibrated tile images: binning, masks, background."""
