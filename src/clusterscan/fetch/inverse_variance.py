"""What the inverse variances of images on their own pixels are worth on a tile's frame.

Interpolated noise is shared by neighbouring pixels, which a plane of variances cannot say. What is
written is the variance of *white noise of the same power*: the original's in a pixel, times the
ratio of the pixels' areas on the sky. Added up over pixels much larger than the original's it is
right; of one small pixel it is larger than the scatter that is seen.
"""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from scipy.interpolate import BSpline

from clusterscan.fetch.pixel_map import spread

_GRID = 33


def area_ratio(wcs: WCS, shape: tuple[int, int], other: WCS) -> BSpline:
    """Return how many pixels of another image each pixel of a frame is worth.

    The determinant of the mapping's derivatives on a coarse grid, interpolated; so pixels of a
    cylindrical map shrink towards the poles, as they do on the sky.

    Returns
    -------
    BSpline
        Of rows, shape (n,), to ratios, shape (n, nx); 0 off the other image's sky.
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
    return spread([y, x], np.nan_to_num(ratio), np.arange(nx), degree=1)
