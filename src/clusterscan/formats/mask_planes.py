"""The bit planes of image masks. Imported where no FITS is read, such as on GPU nodes."""

from __future__ import annotations

import numpy as np

NO_COVERAGE = np.uint8(1)
SATURATED = np.uint8(2)
BRIGHT_STAR = np.uint8(4)
LARGE_GALAXY = np.uint8(8)
POINT_SOURCE = np.uint8(16)
SURVEY_MASK = np.uint8(32)
FLAGGED = np.uint8(64)
"""Set beside the plane's bit by masks with ``use: flag``: candidates here get a flag."""
EXCLUDED = np.uint8(128)
"""Set beside the plane's bit by masks with ``use: exclude``: this is no valid sky."""
PLANES = {
    "no_coverage": NO_COVERAGE,
    "saturated": SATURATED,
    "bright_star": BRIGHT_STAR,
    "large_galaxy": LARGE_GALAXY,
    "point_source": POINT_SOURCE,
    "survey_mask": SURVEY_MASK,
}
BAD_PLANES = NO_COVERAGE | SATURATED | EXCLUDED
"""Pixels that networks do not see: missing in examples, 0 in the scan's normalised image."""
