"""Images on their own pixels to one image on a tile's frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from scipy.ndimage import map_coordinates

from clusterscan.fetch.inverse_variance import area_ratio
from clusterscan.fetch.pixel_map import Box, PixelMap

Resampling = Literal["bilinear", "nearest", "adaptive"]
_BLOCK_PX = 1 << 17  # a block's arrays take some 10 MB
_ORDERS = {"nearest": 0, "bilinear": 1}


@dataclass(frozen=True)
class Cut:
    """An image, or the part of one under a tile.

    Attributes
    ----------
    values : float32 ndarray, shape (ny, nx)
        Surface brightness; NaN where there are no data.
    weight : float32 ndarray, shape (ny, nx)
        For the mean of overlapping images; 0 where there are no data.
    wcs : WCS
        Celestial.
    unit : str
        As the file says; empty where it does not.
    """

    values: np.ndarray
    weight: np.ndarray
    wcs: WCS
    unit: str = ""


def coadd(
    cuts: Iterable[Cut],
    wcs: WCS,
    shape: tuple[int, int],
    resampling: Resampling,
    *,
    sums: bool = False,
) -> np.ndarray:
    """Return the weighted mean of images on a frame.

    Parameters
    ----------
    cuts : iterable of Cut
        The images, of which one is looked at after the other.
    wcs, shape : WCS, (ny, nx)
        The frame.
    resampling : {"bilinear", "nearest", "adaptive"}
        How images are brought to the frame. A pixel has no data where one that it needs has none.
    sums : bool
        Values belong to a pixel, and pixels of the frame get the sum of theirs; adaptive alone.

    Returns
    -------
    float64 ndarray, shape (ny, nx)
        NaN where no image has data.
    """
    total, seen = np.zeros(shape), np.zeros(shape)
    for cut in cuts:
        for box, values, weight in _resampled(cut, wcs, shape, resampling, sums):
            total[box] += values * weight
            seen[box] += weight
    return _mean(total, seen)


def coadd_with_ivar(
    cuts: Iterable[Cut],
    wcs: WCS,
    shape: tuple[int, int],
    resampling: Resampling,
    *,
    per_arcmin2: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean of images, and its inverse variance (see `inverse_variance`).

    Parameters
    ----------
    cuts : iterable of Cut
        The images; ``weight`` is the inverse variance of a pixel of the file. Overlapping images
        are taken as independent.
    wcs, shape, resampling
        As for `coadd`.
    per_arcmin2 : bool
        The cuts' values are those of the file divided by its pixels' area [arcmin²].

    Returns
    -------
    mean : float64 ndarray, shape (ny, nx)
        NaN where no image has data.
    ivar : float32 ndarray, shape (ny, nx)
        In 1 / (unit of the values)²; 0 there.
    """
    total, seen = np.zeros(shape), np.zeros(shape)
    ivar = np.zeros(shape, np.float32)
    for cut in cuts:
        area = proj_plane_pixel_area(cut.wcs) * 3600.0 if per_arcmin2 else 1.0
        ratio = area_ratio(wcs, shape, cut.wcs)
        for box, values, weight in _resampled(cut, wcs, shape, resampling):
            total[box] += values * weight
            seen[box] += weight
            worth = area**2 * ratio(np.arange(box[0].start, box[0].stop))[:, box[1]]
            ivar[box] += np.where(weight > 0, weight * worth, 0.0)
    return _mean(total, seen), ivar


def _mean(total: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return a weighted mean, in the place of its numerator."""
    with np.errstate(invalid="ignore"):
        total /= seen
    total[seen == 0] = np.nan
    return total


def _resampled(
    cut: Cut, wcs: WCS, shape: tuple[int, int], resampling: Resampling, sums: bool = False
) -> Iterator[tuple[Box, np.ndarray, np.ndarray]]:
    """Yield boxes of a frame with a cut's values and weights there, both 0 without data."""
    places = PixelMap(wcs, shape, cut.wcs, cut.values.shape)
    rows, columns = places.box
    width = columns.stop - columns.start
    step = shape[0] if resampling == "adaptive" else 1 + _BLOCK_PX // max(width, 1)
    for start in range(rows.start, rows.stop, step):
        box = slice(start, min(start + step, rows.stop)), columns
        if resampling == "adaptive":
            values, weight = _adaptive(cut, wcs[box], (box[0].stop - start, width), sums)
        else:
            values, weight = _interpolated(cut, places(start, box[0].stop), _ORDERS[resampling])
        good = np.isfinite(values) & (weight > 0)
        yield box, np.where(good, values, 0.0), np.where(good, weight, 0.0)


def _interpolated(cut: Cut, there: np.ndarray, order: int) -> list[np.ndarray]:
    """Return values and weights at positions, as `reproject_interp` would: NaN off the image.

    The outer half of a border pixel has the pixel's own value.
    """
    on = np.ones(there.shape[1:], dtype=bool)
    for values, side in zip(there, cut.values.shape[::-1], strict=True):
        on &= (values >= -0.5) & (values < side - 0.5)  # NaN is off
    x, y = (
        np.where(on, np.clip(values, 0, side - 1), 0)
        for values, side in zip(there, cut.values.shape[::-1], strict=True)
    )
    found = []
    for plane in (cut.values, cut.weight):
        values = map_coordinates(plane, [y, x], np.float64, order, mode="constant", cval=np.nan)
        values[~on] = np.nan
        found.append(values)
    return found


def _adaptive(cut: Cut, wcs: WCS, shape: tuple[int, int], sums: bool) -> list[np.ndarray]:
    from reproject import reproject_adaptive

    return [
        reproject_adaptive(
            (plane, cut.wcs), wcs, shape_out=shape, return_footprint=False, conserve_flux=conserved
        )
        for plane, conserved in ((cut.values, sums), (cut.weight, False))
    ]
