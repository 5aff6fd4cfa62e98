"""Cut pieces out of an image, with zeros where they leave it."""

from __future__ import annotations

import numpy as np


def cut(image: np.ndarray, x0: int, y0: int, nx: int, ny: int) -> np.ndarray:
    """Return image[..., y0:y0+ny, x0:x0+nx], zero outside of the image.

    Parameters
    ----------
    image : ndarray, shape (..., y, x)
        Normalised, so that zero is the background.
    x0, y0 : int
        First pixel, also negative.
    nx, ny : int
        Size.
    """
    height, width = image.shape[-2:]
    left, right = max(x0, 0), min(x0 + nx, width)
    low, high = max(y0, 0), min(y0 + ny, height)
    if (left, right, low, high) == (x0, x0 + nx, y0, y0 + ny):
        return image[..., low:high, left:right]
    out = np.zeros((*image.shape[:-2], ny, nx), dtype=image.dtype)
    if left < right and low < high:
        out[..., low - y0 : high - y0, left - x0 : right - x0] = image[..., low:high, left:right]
    return out
