"""The plain filter of a survey, run on one tile: the yardstick for the networks.

Pixel coordinates are 0-based with centres at integers; images are (bands, y, x).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from clusterscan.config.scan import MatchedFilterSettings, MultiscaleFilterSettings
from clusterscan.core.errors import ImageError
from clusterscan.formats.mask_planes import BRIGHT_STAR, EXCLUDED, SATURATED
from clusterscan.scan.matched_filter import matched_filter
from clusterscan.scan.multiscale_filter import multiscale_filter
from clusterscan.scan.validity import (
    NO_COVERAGE,
    NO_COVERAGE_PLANE,
    TOO_FEW_PIXELS,
    VALID,
    masked_because,
)

_BAD_PLANES = SATURATED | BRIGHT_STAR | EXCLUDED


def filter_tile(
    image: np.ndarray,
    mask: np.ndarray,
    pixel_scale_arcsec: float,
    x: np.ndarray,
    y: np.ndarray,
    settings: MatchedFilterSettings | MultiscaleFilterSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the filter's S/N at the map pixels of a tile.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        The tile's image; NaN counts as no coverage.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes (`clusterscan.formats.mask_planes.PLANES`); bright stars are left out, since a
        filter takes their wings for a cluster.
    pixel_scale_arcsec : float
        Pixel size [arcsec].
    x, y : float ndarray, shape (n,)
        Positions of the map pixels, in image pixels.
    settings : MatchedFilterSettings or MultiscaleFilterSettings
        The filter.

    Returns
    -------
    snr : float32 ndarray, shape (n,)
        S/N by bilinear interpolation; NaN where invalid.
    reason : uint8 ndarray, shape (n,)
        0 valid, 1 no coverage, 2 masked, 3 too few valid pixels, 4 to 7 excluded (`validity`).

    Raises
    ------
    ImageError
        If shapes do not fit each other or the settings' number of bands.
    """
    if image.ndim != 3 or image.shape[1:] != mask.shape:
        raise ImageError(
            f"image {image.shape} and mask {mask.shape} do not fit; expected (bands, ny, nx) and "
            "(ny, nx): run preprocess again for this tile"
        )
    if np.shape(x) != np.shape(y) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ImageError("positions x and y must be finite and of one shape; check the tile's WCS")
    covered = ((mask & NO_COVERAGE_PLANE) == 0) & np.isfinite(image).all(axis=0)
    usable = covered & ((mask & _BAD_PLANES) == 0)
    reason = _reason_of_pixel(covered, usable, mask, x, y)
    snr = np.full(np.shape(x), np.nan, dtype=np.float32)
    if not (reason == VALID).any():
        return snr, reason
    filled = np.where(usable, image, 0.0).astype(np.float64)
    if isinstance(settings, MatchedFilterSettings):
        result = matched_filter(filled, usable, pixel_scale_arcsec / 60.0, settings)
    else:
        result = multiscale_filter(filled, usable, pixel_scale_arcsec, settings)
    significance, fraction, factor = result
    # The filter may have averaged blocks of pixels: positions in pixels of those blocks.
    where = [(np.asarray(axis) + 0.5) / factor - 0.5 for axis in (y, x)]
    seen = map_coordinates(fraction, where, order=1, mode="nearest")
    reason[(reason == VALID) & (seen < settings.min_valid_fraction)] = TOO_FEW_PIXELS
    good = reason == VALID
    at = [axis[good] for axis in where]
    snr[good] = map_coordinates(significance, at, order=1, mode="nearest")
    return snr, reason


def _reason_of_pixel(
    covered: np.ndarray, usable: np.ndarray, mask: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Return the reason code for leaving out each position's own pixel; 0 if it is kept."""
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (column >= 0) & (row >= 0) & (row < covered.shape[0]) & (column < covered.shape[1])
    reason = np.full(np.shape(x), NO_COVERAGE, dtype=np.uint8)
    at = (row[inside], column[inside])
    left_out = np.where(usable[at], VALID, masked_because(mask[at]))
    reason[inside] = np.where(covered[at], left_out, NO_COVERAGE)
    return reason
