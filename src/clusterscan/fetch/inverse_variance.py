"""Inverse variances of images on their own pixels, on a tile's frame.

Interpolated noise is shared by neighbouring pixels, which a plane of variances cannot say. What is
written is the variance of *white noise of the same power*: the original's in a pixel, times the
ratio of the pixels' areas on the sky. Added up over pixels much larger than the original's it is
right; of one small pixel it is larger than the scatter that is seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from scipy.interpolate import RegularGridInterpolator

from clusterscan.fetch.coadd import Cut, Resampling, coadd

_GRID = 33


def coadd_ivar(
    cuts: Sequence[Cut],
    wcs: WCS,
    shape: tuple[int, int],
    resampling: Resampling,
    *,
    per_arcmin2: bool = False,
) -> np.ndarray:
    """Return the inverse variance of the mean that `coadd` makes, weighted by inverse variance.

    Parameters
    ----------
    cuts : sequence of Cut
        The images; ``weight`` is the inverse variance of a pixel of the file. Overlapping images
        are taken as independent.
    wcs, shape : WCS, (ny, nx)
        The frame.
    resampling : {"bilinear", "nearest", "adaptive"}
        As of the images.
    per_arcmin2 : bool
        The cuts' values are those of the file divided by its pixels' area [arcmin²].

    Returns
    -------
    float32 ndarray, shape (ny, nx)
        In 1 / (unit of the values)²; 0 where no image has data.
    """
    total = np.zeros(shape, np.float32)
    for cut in cuts:
        area = proj_plane_pixel_area(cut.wcs) * 3600.0 if per_arcmin2 else 1.0
        known = np.where(cut.weight > 0, cut.weight * np.float32(area**2), np.float32(np.nan))
        plane = coadd([Cut(known, cut.weight, cut.wcs)], wcs, shape, resampling)
        plane = plane * area_ratio(wcs, shape, cut.wcs)
        total += np.where(np.isfinite(plane), plane, 0.0).astype(np.float32)
    return total


def area_ratio(wcs: WCS, shape: tuple[int, int], other: WCS) -> np.ndarray:
    """Return how many pixels of another image each pixel of a frame is worth, shape (ny, nx).

    The determinant of the mapping's derivatives on a coarse grid, interpolated; so pixels of a
    cylindrical map shrink towards the poles, as they do on the sky. NaN off the other image's sky.
    """
    ny, nx = shape
    y, x = np.linspace(0, ny - 1, _GRID), np.linspace(0, nx - 1, _GRID)
    i, j = np.meshgrid(x, y)
    half = 0.5

    def there(dx: float, dy: float) -> np.ndarray:
        return np.stack(other.world_to_pixel(wcs.pixel_to_world(i + dx, j + dy)))

    along_x = there(half, 0.0) - there(-half, 0.0)
    along_y = there(0.0, half) - there(0.0, -half)
    ratio = np.abs(along_x[0] * along_y[1] - along_x[1] * along_y[0])
    rows, columns = np.meshgrid(np.arange(ny), np.arange(nx), indexing="ij")
    return RegularGridInterpolator((y, x), ratio)((rows, columns)).astype(np.float32)
