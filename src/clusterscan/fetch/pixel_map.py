"""Where the pixels of a frame lie on an image: exact on a grid, interpolated between its nodes.

An exact position goes over the sky and costs 0.3 us a pixel, far more than all else that is done
with it. Positions are smooth, so a cubic spline through every 32nd is off by 1e-10 px between two
tangent planes. It is compared with exact positions in the middle of every cell of the grid; where
one differs by more than `TOLERANCE_PX` (a seam, a pole, pixels of degrees), all are exact.
"""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_pixel
from scipy.interpolate import BSpline, make_interp_spline

TOLERANCE_PX = 1e-5
_STEP_PX = 32
_MOST_ASTRAY_PX = 1.0  # as reproject has it
_FEWEST_NODES = 5

Box = tuple[slice, slice]
"""Rows and columns of a frame."""


class PixelMap:
    """Where the pixels of a frame lie on an image.

    Parameters
    ----------
    frame, image : WCS
        Celestial.
    shape, image_shape : (ny, nx)
        Their sizes.

    Attributes
    ----------
    box : (slice, slice)
        Rows and columns of the frame; no pixel beyond lies on the image.
    """

    def __init__(
        self, frame: WCS, shape: tuple[int, int], image: WCS, image_shape: tuple[int, int]
    ):
        self._frame, self._image = frame, image
        self.box: Box = (slice(0, shape[0]), slice(0, shape[1]))
        self._spline: BSpline | None = None
        nodes = [_nodes(side) for side in shape]
        there = self._exact(*nodes)
        if self._smooth(nodes, there):
            self.box = _box(nodes, there, image_shape)
            self._spline = spread(nodes, there, self._columns)

    @property
    def interpolated(self) -> bool:
        """Whether positions are interpolated."""
        return self._spline is not None

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Return x and y on the image of rows [start, stop) of the frame, in the box' columns.

        Returns
        -------
        float ndarray, shape (2, stop - start, columns)
            NaN behind the image's sky, and where they lead back to another pixel.
        """
        rows = np.arange(start, stop)
        if self._spline is not None:
            return self._spline(rows)
        return self._exact(rows, self._columns)

    def _exact(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        pixels = np.stack(np.meshgrid(x, y)).astype(float)
        there = np.stack(pixel_to_pixel(self._frame, self._image, *pixels))
        # Far off the image a distortion may fold back onto it; such a place leads elsewhere.
        back = np.stack(pixel_to_pixel(self._image, self._frame, *there))
        there[:, (np.abs(back - pixels) > _MOST_ASTRAY_PX).any(axis=0)] = np.nan
        return there

    @property
    def _columns(self) -> np.ndarray:
        return np.arange(self.box[1].start, self.box[1].stop)

    def _smooth(self, nodes: list[np.ndarray], there: np.ndarray) -> bool:
        if not np.isfinite(there).all():
            return False
        y, x = ((n[1:] + n[:-1]) / 2 for n in nodes)
        off = np.abs(spread(nodes, there, x)(y) - self._exact(y, x))
        return bool((off < TOLERANCE_PX).all())  # NaN is not


def spread(nodes: list[np.ndarray], values: np.ndarray, x: np.ndarray, degree: int = 3) -> BSpline:
    """Return the spline of rows y through values on a grid, at columns x.

    Parameters
    ----------
    nodes : [float ndarray, shape (ky,), float ndarray, shape (kx,)]
        Rows and columns of the grid.
    values : float ndarray, shape (..., ky, kx)
        On it.
    x : ndarray, shape (nx,)
        Columns.
    degree : int
        Of the spline.

    Returns
    -------
    BSpline
        Of rows, shape (n,), to values, shape (..., n, nx).
    """
    columns = make_interp_spline(nodes[1], values, k=degree, axis=-1)(x)
    return make_interp_spline(nodes[0], columns, k=degree, axis=-2)


def _nodes(side: int) -> np.ndarray:
    return np.linspace(0, side - 1, max(_FEWEST_NODES, -(-side // _STEP_PX) + 1))


def _box(nodes: list[np.ndarray], there: np.ndarray, image_shape: tuple[int, int]) -> Box:
    """Return the box of all cells of the grid that may hold a pixel on the image."""
    near = np.ones([len(n) - 1 for n in nodes], dtype=bool)
    for values, side in zip(there, image_shape[::-1], strict=True):
        corners = np.stack([values[:-1, :-1], values[:-1, 1:], values[1:, :-1], values[1:, 1:]])
        low, high = corners.min(axis=0), corners.max(axis=0)
        bulge = 1 + (high - low).max() / 4  # far more than smooth positions leave their corners by
        near &= (high + bulge > -0.5) & (low - bulge < side - 0.5)
    if not near.any():
        return slice(0, 0), slice(0, 0)
    rows, columns = (np.flatnonzero(near.any(axis=axis)) for axis in (1, 0))
    y, x = nodes
    return (
        slice(int(y[rows[0]]), int(np.ceil(y[rows[-1] + 1])) + 1),
        slice(int(x[columns[0]]), int(np.ceil(x[columns[-1] + 1])) + 1),
    )
