"""From raw images to calibrated tile images: binning, masks, background."""
