"""Signal over local noise of a filtered image, measured in boxes by median and MAD."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

# 1 / the normal quantile of 3/4. astropy's mad_std rounds it differently in the last digit, which
# would change the bytes of every filter map.
MAD_TO_SIGMA = 1.4826022185056018
FEWEST_PIXELS = 50  # a median absolute deviation of fewer pixels is noise itself


def robust_centre_and_sigma(values: np.ndarray) -> tuple[float, float]:
    """Return the median and the Gaussian-equivalent MAD of values (NaN, NaN if too few)."""
    if values.size < FEWEST_PIXELS:
        return np.nan, np.nan
    centre = float(np.median(values))
    return centre, MAD_TO_SIGMA * float(np.median(np.abs(values - centre)))


def local_significance(image: np.ndarray, valid: np.ndarray, radius_px: float) -> np.ndarray:
    """Return (image - local median) / local robust sigma.

    Both are measured in boxes of half side ``radius_px``, on a grid of half that spacing, and
    interpolated in between. Medians ignore the clusters and sources, which fill few pixels.

    Parameters
    ----------
    image : float ndarray, shape (ny, nx)
        A filtered image.
    valid : bool ndarray, shape (ny, nx)
        Pixels that may measure the noise.
    radius_px : float
        Half side of a box [pixels].

    Returns
    -------
    snr : float64 ndarray, shape (ny, nx)
        Zero where no noise could be measured.
    """
    nodes = [_nodes(size, radius_px / 2) for size in image.shape]
    centre = np.full((nodes[0].size, nodes[1].size), np.nan)
    sigma = centre.copy()
    half = max(round(radius_px), 1)
    for i, y in enumerate(nodes[0]):
        rows = slice(max(int(y) - half, 0), int(y) + half + 1)
        for j, x in enumerate(nodes[1]):
            columns = slice(max(int(x) - half, 0), int(x) + half + 1)
            box = image[rows, columns][valid[rows, columns]]
            centre[i, j], sigma[i, j] = robust_centre_and_sigma(box)
    everywhere = robust_centre_and_sigma(image[valid])
    if not everywhere[1] > 0:
        return np.zeros(image.shape)
    # Boxes with too few good pixels, as at the tile's edge, take the values of the whole tile.
    unknown = ~(sigma > 0)
    centre[unknown], sigma[unknown] = everywhere
    return (image - _spread(centre, nodes, image.shape)) / _spread(sigma, nodes, image.shape)


def _nodes(size: int, spacing: float) -> np.ndarray:
    count = max(int(np.ceil((size - 1) / max(spacing, 1.0))) + 1, 2)
    return np.linspace(0, size - 1, count)


def _spread(grid: np.ndarray, nodes: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    steps = [np.arange(n) * (len(k) - 1) / max(n - 1, 1) for n, k in zip(shape, nodes, strict=True)]
    return map_coordinates(grid, np.meshgrid(*steps, indexing="ij"), order=1, mode="nearest")
