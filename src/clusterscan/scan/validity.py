"""Which map pixels get a value in a scan, and the reason why the others do not."""

from __future__ import annotations

import numpy as np

from clusterscan.formats import mask_planes
from clusterscan.formats.mask_planes import EXCLUDED, FLAGGED, MASK_DTYPE, MASKABLE

VALID, NO_COVERAGE, MASKED, TOO_FEW_PIXELS = 0, 1, 2, 3
NO_COVERAGE_PLANE = int(mask_planes.NO_COVERAGE)  # an int, so that ~ gives all other planes
_MASKABLE_BITS = np.bitwise_or.reduce([plane.bit for plane in MASKABLE])


def reasons(
    bad: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    window_px: int,
    min_valid_fraction: float,
    bad_planes: int,
) -> np.ndarray:
    """Return the reason why each map pixel is left out, or 0.

    Parameters
    ----------
    bad : bool ndarray, shape (ny, nx)
        Pixels without a usable value.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes, `clusterscan.formats.mask_planes.PLANES`.
    x, y : float ndarray, shape (n,)
        Positions of the map pixels [px].
    window_px : int
        Side of the window whose pixels are counted.
    min_valid_fraction : float
        Least share of good pixels in the window.
    bad_planes : int
        Bits that make a pixel bad.

    Returns
    -------
    uint8 ndarray, shape (n,)
        0 valid; 1 the window leaves the image or its centre is not covered; 2 its centre is
        masked; 3 too few of its pixels are good; from 4 on its centre is excluded
        (`reason` of `clusterscan.formats.mask_planes.TABLE`).
    """
    ny, nx = bad.shape
    column, row = first_pixel(x, window_px), first_pixel(y, window_px)
    inside = (column >= 0) & (row >= 0) & (column + window_px <= nx) & (row + window_px <= ny)
    reason = np.full(len(x), NO_COVERAGE, dtype=np.uint8)
    if not inside.any():
        return reason
    column, row = column[inside], row[inside]
    centre = mask[first_pixel(y[inside], 1), first_pixel(x[inside], 1)].astype(np.int64)
    fraction = 1.0 - _box_sum(bad, column, row, window_px) / window_px**2
    found = np.where(fraction < min_valid_fraction, TOO_FEW_PIXELS, VALID)
    masked = (centre & bad_planes & ~NO_COVERAGE_PLANE) != 0
    found[masked] = masked_because(centre[masked])
    found[(centre & NO_COVERAGE_PLANE) != 0] = NO_COVERAGE
    reason[inside] = found
    return reason


def masked_because(mask: np.ndarray) -> np.ndarray:
    """Return the reason of masked pixels: that of the plane where masks exclude them, else 2.

    If several planes are set, the first one counts. A pixel has one EXCLUDED bit for all masks, so
    where one mask excludes and another only flags, the reason may name the latter.
    """
    found = np.full(mask.shape, MASKED, dtype=np.uint8)
    excluded = (mask & EXCLUDED) != 0
    for plane in reversed(MASKABLE):
        found[excluded & ((mask & plane.bit) != 0)] = plane.reason
    return found


def flags_at(mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Return the planes that flag candidates at positions; None if nothing in the image does.

    Parameters
    ----------
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes.
    x, y : float ndarray, shape (n,)
        Positions [px].

    Returns
    -------
    uint8 ndarray, shape (n,), or None
        Bits of the planes `MASKABLE` of the pixel at each position.
    """
    if not (mask & FLAGGED).any():
        return None
    ny, nx = mask.shape
    column, row = first_pixel(x, 1), first_pixel(y, 1)
    inside = (column >= 0) & (row >= 0) & (column < nx) & (row < ny)
    there = np.zeros(len(x), dtype=MASK_DTYPE)
    there[inside] = mask[row[inside], column[inside]]
    return np.where(there & FLAGGED, there & _MASKABLE_BITS, MASK_DTYPE(0))


def first_pixel(position: np.ndarray, size_px: int) -> np.ndarray:
    """Return the first pixel of boxes of a size, centred as near to positions as pixels allow.

    NaN gives a pixel far outside any image.
    """
    first = np.floor(np.asarray(position, dtype=np.float64) - (size_px - 1) / 2 + 0.5)
    return np.where(np.isfinite(first), first, -(2.0**40)).astype(np.int64)


def _box_sum(bad: np.ndarray, column: np.ndarray, row: np.ndarray, size: int) -> np.ndarray:
    """Return the number of bad pixels in boxes, from sums over all pixels below and left of each.

    Four look-ups give a box of any size, where summing each box would read size**2 pixels.
    """
    total = np.zeros((bad.shape[0] + 1, bad.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(bad, axis=0, dtype=np.int64), axis=1, out=total[1:, 1:])
    low_x, low_y, high_x, high_y = column, row, column + size, row + size
    return total[high_y, high_x] - total[low_y, high_x] - total[high_y, low_x] + total[low_y, low_x]
