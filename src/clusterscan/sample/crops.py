"""Square cut-outs of images, and stamps fitted to the pixels of a survey.

`cut_crops` cuts at the nearest pixel, like the windowed scan. `fit_stamp` brings a stamp of other
pixels to an example's pixel size and side.
"""

from __future__ import annotations

import numpy as np

from clusterscan.core.errors import ImageError
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
        Crops with a smaller fraction of good pixels are left out.

    Returns
    -------
    crops : float16 ndarray, shape (k, bands, size_px, size_px)
        The crops in the order of the positions; NaN where there is no coverage or the image is
        saturated, as in the scan.
    taken : bool ndarray, shape (n,)
        True for the positions of the crops, which lie wholly in the image and are good enough.
    """
    x, y = tile.to_pixel(ra_deg, dec_deg)
    ny, nx = tile.mask.shape
    ahead = np.isfinite(x) & np.isfinite(y)
    # Positions behind the tangent plane get a start off the image, which drops them below.
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
    """Convert an image to half precision; values out of its range are clipped, not infinite."""
    return np.clip(image, -HALF_MAX, HALF_MAX).astype(np.float16)


class StampTooSmallError(ImageError):
    """A stamp shows less sky than an example needs."""


_SAME = 1e-3  # relative difference of pixel sizes that are the same
_LEAST_COVERED = 0.5  # of a pixel's area


def fit_stamp(
    planes: np.ndarray,
    scale_arcsec: float,
    size_px: int,
    wanted_arcsec: float,
    *,
    resample: bool = False,
) -> np.ndarray:
    """Return the central square of a stamp at another pixel size.

    Pixels of the same size are copied; pixels of a whole multiple are means of whole pixels. Both
    are exact. The centre stays that of the stamp, or lies half a stamp pixel beside it if one of
    the numbers of pixels is even and the other odd.

    Parameters
    ----------
    planes : float ndarray, shape (bands, ny, nx)
        The stamp; missing pixels NaN.
    scale_arcsec, wanted_arcsec : float
        Pixel sizes [arcsec].
    size_px : int
        Side of the result.
    resample : bool
        Allow any ratio of the pixel sizes: a pixel is then the mean over the area that it covers.

    Returns
    -------
    float32 ndarray, shape (bands, size_px, size_px)
        NaN where more than half of a pixel is missing.

    Raises
    ------
    StampTooSmallError
        If the stamp shows too little sky.
    ImageError
        If the ratio is not whole and ``resample`` is not set.
    """
    ratio = wanted_arcsec / scale_arcsec
    factor = round(ratio)
    exact = factor >= 1 and abs(factor / ratio - 1) <= _SAME
    if not exact and not resample:
        raise ImageError(
            f"has pixels of {scale_arcsec:g} arcsec, and no whole number of them makes one of "
            f"{wanted_arcsec:g} arcsec; allow resampling, or give another pixel size"
        )
    ny, nx = planes.shape[-2:]
    need = size_px * (factor if exact else ratio)
    if min(ny, nx) < need * (1 - _SAME):
        raise StampTooSmallError(
            f"has {nx} × {ny} px of {scale_arcsec:g} arcsec, but {need:.4g} are needed for "
            f"{size_px} px of {wanted_arcsec:g} arcsec"
        )
    if not exact:
        return _area_means(planes, ratio, size_px)
    square = _centre(planes, size_px * factor)
    return square.astype(np.float32, copy=False) if factor == 1 else _block_means(square, factor)


def _centre(planes: np.ndarray, side: int) -> np.ndarray:
    y0, x0 = ((n - side) // 2 for n in planes.shape[-2:])  # as training centres its crops
    return planes[..., y0 : y0 + side, x0 : x0 + side]


def _block_means(planes: np.ndarray, factor: int) -> np.ndarray:
    valid = np.isfinite(planes)
    if valid.all():
        return (_block_sums(planes, factor) / factor**2).astype(np.float32)
    # Missing pixels count as 0 in the sum and not at all in the area that it is divided by.
    covered = _block_sums(valid, factor) / factor**2
    return _mean(_block_sums(np.where(valid, planes, 0.0), factor), covered, factor**2)


def _block_sums(planes: np.ndarray, factor: int) -> np.ndarray:
    n = planes.shape[-1] // factor
    # Whole rows first: numpy adds long rows ten times as fast as short pieces of them.
    rows = planes.reshape(-1, n, factor, n * factor).sum(axis=2, dtype=np.float64)
    return rows.reshape(-1, n, n, factor).sum(axis=3)


def _area_means(planes: np.ndarray, ratio: float, size_px: int) -> np.ndarray:
    """Return means over areas of ``ratio`` × ``ratio`` pixels, with fractions of pixels.

    The overlaps along rows and columns are independent, so two matrix products give all areas.
    """
    rows, columns = (_overlap(n, ratio, size_px) for n in planes.shape[-2:])
    valid = np.isfinite(planes)
    filled = np.where(valid, planes, 0.0).astype(np.float64)
    total = rows @ filled @ columns.T
    area = ratio**2
    return _mean(total, (rows @ valid.astype(np.float64) @ columns.T) / area, area)


def _overlap(n: int, ratio: float, size_px: int) -> np.ndarray:
    """Return the overlap of each new pixel with each of n old ones along an axis, (size_px, n)."""
    # Edges of the new pixels in units of old ones, laid out from the common centre.
    edges = n / 2 + ratio * (np.arange(size_px + 1) - size_px / 2)
    pixel = np.arange(n)
    low = np.maximum(edges[:-1, None], pixel)
    high = np.minimum(edges[1:, None], pixel + 1)
    return np.clip(high - low, 0.0, None)


def _mean(total: np.ndarray, covered: np.ndarray, area: float) -> np.ndarray:
    # A mean over little of a pixel's area would look like a measurement of all of it.
    enough = covered >= _LEAST_COVERED
    mean = np.divide(total, covered * area, out=np.full(total.shape, np.nan), where=enough)
    return mean.astype(np.float32)


def mean_of_bands(planes: np.ndarray) -> np.ndarray:
    """Return one grey plane: the mean of the bands that have a value, NaN where none has."""
    valid = np.isfinite(planes)
    number = valid.sum(axis=0, keepdims=True)
    total = np.where(valid, planes, 0.0).sum(axis=0, keepdims=True, dtype=np.float64)
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return mean.astype(np.float32)
