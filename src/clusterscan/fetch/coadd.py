"""Resample images of any projection to a tile's frame and average them.

Where the pixels of the frame lie on an image is computed exactly on a grid and interpolated in
between (`PixelMap`). An exact position goes over the sky and costs 0.3 us a pixel, far more than
everything else that is done with the pixel. Positions are smooth, so a cubic spline through every
32nd is accurate to 1e-10 px between two tangent planes. The spline is compared with an exact
position in the middle of every cell of the grid; if one differs by more than `TOLERANCE_PX` (a
seam, a pole, pixels of degrees), all positions are computed exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_pixel, proj_plane_pixel_area
from scipy.interpolate import BSpline, make_interp_spline
from scipy.ndimage import map_coordinates

TOLERANCE_PX = 1e-5
_STEP_PX = 32
_MOST_ASTRAY_PX = 1.0  # the same limit as in reproject
_FEWEST_NODES = 5

Box = tuple[slice, slice]
"""Rows and columns of a frame."""


class PixelMap:
    """Positions of the pixels of a frame on an image.

    Parameters
    ----------
    frame, image : WCS
        Celestial.
    shape, image_shape : (ny, nx)
        Their sizes.

    Attributes
    ----------
    box : (slice, slice)
        Rows and columns of the frame outside of which no pixel lies on the image.
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
        """True if positions are interpolated."""
        return self._spline is not None

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Return the positions (x, y) on the image of rows [start, stop) of the box.

        Returns
        -------
        float ndarray, shape (2, stop - start, columns)
            NaN where the pixel is not on the image's sky, or the position does not lead back to it.
        """
        rows = np.arange(start, stop)
        if self._spline is not None:
            return self._spline(rows)
        return self._exact(rows, self._columns)

    def _exact(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        pixels = np.stack(np.meshgrid(x, y)).astype(float)
        there = np.stack(pixel_to_pixel(self._frame, self._image, *pixels))
        # Far outside the image a distortion polynomial may fold back onto it. Such a position does
        # not lead back to the pixel it came from, so it is dropped.
        back = np.stack(pixel_to_pixel(self._image, self._frame, *there))
        there[:, (np.abs(back - pixels) > _MOST_ASTRAY_PX).any(axis=0)] = np.nan
        return there

    @property
    def _columns(self) -> np.ndarray:
        return np.arange(self.box[1].start, self.box[1].stop)

    def _smooth(self, nodes: list[np.ndarray], there: np.ndarray) -> bool:
        """Return True if the spline agrees with exact positions in every cell of the grid."""
        if not np.isfinite(there).all():
            return False
        y, x = ((n[1:] + n[:-1]) / 2 for n in nodes)
        off = np.abs(spread(nodes, there, x)(y) - self._exact(y, x))
        return bool((off < TOLERANCE_PX).all())  # False for NaN


def spread(nodes: list[np.ndarray], values: np.ndarray, x: np.ndarray, degree: int = 3) -> BSpline:
    """Return the spline of rows y through values on a grid, at columns x.

    Parameters
    ----------
    nodes : [float ndarray, shape (ky,), float ndarray, shape (kx,)]
        Rows and columns of the grid.
    values : float ndarray, shape (..., ky, kx)
        Values at the nodes.
    x : ndarray, shape (nx,)
        Columns.
    degree : int
        Degree of the spline.

    Returns
    -------
    BSpline
        Maps rows, shape (n,), to values, shape (..., n, nx).
    """
    columns = make_interp_spline(nodes[1], values, k=degree, axis=-1)(x)
    return make_interp_spline(nodes[0], columns, k=degree, axis=-2)


def _nodes(side: int) -> np.ndarray:
    return np.linspace(0, side - 1, max(_FEWEST_NODES, -(-side // _STEP_PX) + 1))


def _box(nodes: list[np.ndarray], there: np.ndarray, image_shape: tuple[int, int]) -> Box:
    """Return the box of all grid cells that may hold a pixel on the image."""
    near = np.ones([len(n) - 1 for n in nodes], dtype=bool)
    for values, side in zip(there, image_shape[::-1], strict=True):
        corners = np.stack([values[:-1, :-1], values[:-1, 1:], values[1:, :-1], values[1:, 1:]])
        low, high = corners.min(axis=0), corners.max(axis=0)
        bulge = 1 + (high - low).max() / 4  # much more than smooth positions can bulge
        near &= (high + bulge > -0.5) & (low - bulge < side - 0.5)
    if not near.any():
        return slice(0, 0), slice(0, 0)
    rows, columns = (np.flatnonzero(near.any(axis=axis)) for axis in (1, 0))
    y, x = nodes
    return (
        slice(int(y[rows[0]]), int(np.ceil(y[rows[-1] + 1])) + 1),
        slice(int(x[columns[0]]), int(np.ceil(x[columns[-1] + 1])) + 1),
    )


_AREA_GRID = 33


def area_ratio(wcs: WCS, shape: tuple[int, int], other: WCS) -> BSpline:
    """Return the number of pixels of another image under each pixel of a frame.

    This is the determinant of the mapping's derivatives, computed on a coarse grid and
    interpolated. Pixels of a cylindrical map, for example, shrink towards the poles as they do on
    the sky.

    Interpolation correlates the noise of neighbouring pixels, which one plane of variances cannot
    express. We therefore write the variance of *white noise of the same power*: the variance of an
    original pixel times the ratio of the areas. It is right for sums over areas much larger than an
    original pixel, and larger than the scatter of single small pixels.

    Returns
    -------
    BSpline
        Maps rows, shape (n,), to ratios, shape (n, nx); 0 where the other image has no sky.
    """
    ny, nx = shape
    y, x = np.linspace(0, ny - 1, _AREA_GRID), np.linspace(0, nx - 1, _AREA_GRID)
    i, j = np.meshgrid(x, y)
    half = 0.5

    def there(dx: float, dy: float) -> np.ndarray:
        return np.stack(other.world_to_pixel(wcs.pixel_to_world(i + dx, j + dy)))

    along_x = there(half, 0.0) - there(-half, 0.0)
    along_y = there(0.0, half) - there(0.0, -half)
    ratio = np.abs(along_x[0] * along_y[1] - along_x[1] * along_y[0])
    return spread([y, x], np.nan_to_num(ratio), np.arange(nx), degree=1)


Resampling = Literal["bilinear", "nearest", "adaptive"]
_BLOCK_PX = 1 << 17  # rows are resampled in blocks of this size, to use about 10 MB
_ORDERS = {"nearest": 0, "bilinear": 1}


@dataclass(frozen=True)
class Cut:
    """An image, or the part of one that lies under a tile.

    Attributes
    ----------
    values : float32 ndarray, shape (ny, nx)
        Surface brightness; NaN where there are no data.
    weight : float32 ndarray, shape (ny, nx)
        Weight in the mean of overlapping images; 0 where there are no data.
    wcs : WCS
        Celestial.
    unit : str
        Unit from the header; empty if it states none.
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
        The images; only one is held in memory at a time.
    wcs, shape : WCS, (ny, nx)
        The frame.
    resampling : {"bilinear", "nearest", "adaptive"}
        Method of resampling. A pixel has no data if any pixel that it needs has none.
    sums : bool
        Conserve flux: values are per pixel, and each pixel of the frame gets the sum of the
        pixels under it ("adaptive" only).

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
    """Return the weighted mean of images on a frame, and its inverse variance.

    Parameters
    ----------
    cuts : iterable of Cut
        The images; ``weight`` is the inverse variance of a pixel of the file. Overlapping images
        are treated as independent.
    wcs, shape, resampling
        As in `coadd`.
    per_arcmin2 : bool
        True if the values are those of the file divided by the area of its pixels [arcmin²].

    Returns
    -------
    mean : float64 ndarray, shape (ny, nx)
        NaN where no image has data.
    ivar : float32 ndarray, shape (ny, nx)
        [1 / (unit of the values)²], see `area_ratio`; 0 where no image has data.
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
    """Divide the weighted sum by the weights, in place."""
    with np.errstate(invalid="ignore"):
        total /= seen
    total[seen == 0] = np.nan
    return total


def _resampled(
    cut: Cut, wcs: WCS, shape: tuple[int, int], resampling: Resampling, sums: bool = False
) -> Iterator[tuple[Box, np.ndarray, np.ndarray]]:
    """Yield boxes of a frame with the cut's values and weights there, both 0 without data."""
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
    """Interpolate values and weights at positions, as `reproject_interp` does; NaN off the image.

    In the outer half of a border pixel, its own value is used.
    """
    on = np.ones(there.shape[1:], dtype=bool)
    for values, side in zip(there, cut.values.shape[::-1], strict=True):
        on &= (values >= -0.5) & (values < side - 0.5)  # False for NaN
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
