"""Square cut-outs at the nearest pixel, as the windowed scan cuts them."""

from __future__ import annotations

import numpy as np

from clusterscan.formats.mask_planes import BAD_PLANES
from clusterscan.formats.tile_image import TileImage

HALF_MAX = float(np.finfo(np.float16).max)


def crop_start(position: np.ndarray, size_px: int) -> np.ndarray:
    """Return the first pixel, along one axis, of the crop centred nearest to a position.

    A crop's centre lies at ``start + (size_px - 1) / 2``; ties go up.
    """
    return np.floor(np.asarray(position) - (size_px - 1) / 2 + 0.5).astype(np.int64)


def cut_crops(
    tile: TileImage,
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    size_px: int,
    min_valid_fraction: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut crops around positions.

    Parameters
    ----------
    tile : TileImage
        The image.
    ra_deg, dec_deg : float ndarray, shape (n,)
        ICRS positions [deg].
    size_px : int
        Side of a crop.
    min_valid_fraction : float
        Crops with a smaller fraction of good pixels are refused.

    Returns
    -------
    crops : float16 ndarray, shape (k, bands, size_px, size_px)
        The crops that could be cut, in the order of the positions; NaN where there is no coverage
        or the image is saturated, which is what the scan leaves out too.
    taken : bool ndarray, shape (n,)
        Which positions they belong to: wholly in the image and good enough.
    """
    x, y = tile.to_pixel(ra_deg, dec_deg)
    ny, nx = tile.mask.shape
    ahead = np.isfinite(x) & np.isfinite(y)
    x0 = crop_start(np.where(ahead, x, -size_px), size_px)
    y0 = crop_start(np.where(ahead, y, -size_px), size_px)
    taken = ahead & (x0 >= 0) & (y0 >= 0) & (x0 + size_px <= nx) & (y0 + size_px <= ny)
    bad = (tile.mask & BAD_PLANES) != 0
    crops = []
    for index in np.flatnonzero(taken):
        here = (
            slice(y0[index], y0[index] + size_px),
            slice(x0[index], x0[index] + size_px),
        )
        if bad[here].mean() > 1.0 - min_valid_fraction:
            taken[index] = False
        else:
            crops.append(to_half(np.where(bad[here], np.nan, tile.image[:, *here])))
    shape = (0, tile.image.shape[0], size_px, size_px)
    return (np.stack(crops) if crops else np.empty(shape, np.float16)), taken


def to_half(image: np.ndarray) -> np.ndarray:
    """Return an image at half precision; what is out of its range is clipped, never infinite."""
    return np.clip(image, -HALF_MAX, HALF_MAX).astype(np.float16)
