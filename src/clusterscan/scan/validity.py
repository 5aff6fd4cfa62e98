"""Which map pixels get a value in a scan, and the reason why the others do not."""

from __future__ import annotations

import numpy as np

from clusterscan.formats.mask_planes import (
    BRIGHT_STAR,
    EXCLUDED,
    FLAGGED,
    LARGE_GALAXY,
    POINT_SOURCE,
    SURVEY_MASK,
)

VALID, NO_COVERAGE, MASKED, TOO_FEW_PIXELS = 0, 1, 2, 3
EXCLUDED_FOR = {4: BRIGHT_STAR, 5: LARGE_GALAXY, 6: POINT_SOURCE, 7: SURVEY_MASK}
"""Reasons for sky that masks with ``use: exclude`` leave out, and their bit planes."""
NO_COVERAGE_PLANE = 1


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
    mask : uint8 ndarray, shape (ny, nx)
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
        masked; 3 too few of its pixels are good; 4 to 7 its centre is excluded (`EXCLUDED_FOR`).
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
    """Return the reason of masked pixels: 4 to 7 where masks exclude them, else 2 (masked).

    If several planes are set, the first one counts. A pixel has one EXCLUDED bit for all masks, so
    where one mask excludes and another only flags, the reason may name the latter.
    """
    found = np.full(mask.shape, MASKED, dtype=np.uint8)
    excluded = (mask & EXCLUDED) != 0
    for reason, plane in reversed(EXCLUDED_FOR.items()):
        found[excluded & ((mask & plane) != 0)] = reason
    return found


def flags_at(mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Return the planes that flag candidates at positions; None if nothing in the image does.

    Parameters
    ----------
    mask : uint8 ndarray, shape (ny, nx)
        Bit planes.
    x, y : float ndarray, shape (n,)
        Positions [px].

    Returns
    -------
    uint8 ndarray, shape (n,), or None
        Bits BRIGHT_STAR, LARGE_GALAXY, POINT_SOURCE, SURVEY_MASK of the pixel at each position.
    """
    if not (mask & FLAGGED).any():
        return None
    ny, nx = mask.shape
    column, row = first_pixel(x, 1), first_pixel(y, 1)
    inside = (column >= 0) & (row >= 0) & (column < nx) & (row < ny)
    there = np.zeros(len(x), dtype=np.uint8)
    there[inside] = mask[row[inside], column[inside]]
    planes = np.bitwise_or.reduce([np.uint8(p) for p in EXCLUDED_FOR.values()])
    return np.where(there & FLAGGED, there & planes, np.uint8(0)).astype(np.uint8)


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
