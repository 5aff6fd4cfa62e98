"""The part of an image file under a tile: only these rows and columns are read.

Full-sky maps in cylindrical projections close on themselves: a cut over their seam is put together
from both ends, and its WCS is moved along the equator so that the cut lies in the middle of it,
which changes no position. Pixels are 0-based with centres at integers; a *window* is a range of
columns [x0, x1) and rows [y0, y1) that may reach over the image's border.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, Sip

_CYLINDRICAL = frozenset({"CAR", "CEA", "MER", "CYP"})
_STEP_PX = 16
_WHOLE_ROWS = 4  # rows are read whole where they are less than so many times the window's


@dataclass(frozen=True)
class Window:
    """Columns [x0, x1) and rows [y0, y1) of an image; ``period`` columns go around the sky."""

    x0: int
    x1: int
    y0: int
    y1: int
    period: int | None = None


def window_of(
    image: WCS, shape: tuple[int, int], frame: WCS, frame_shape: tuple[int, int]
) -> Window | None:
    """Return the window of an image that a tangent-plane frame needs; None where it has none.

    Parameters
    ----------
    image, frame : WCS
        Celestial, of the file's image and of the tile.
    shape, frame_shape : (ny, nx)
        Their sizes.
    """
    x, y = image.world_to_pixel(_positions(frame, frame_shape))
    seen = np.isfinite(x) & np.isfinite(y)
    if not seen.any():
        return None
    period = column_period(image)
    if period is not None:
        middle = x[seen][0]
        x = middle + (x - middle + period / 2) % period - period / 2
    x0, x1 = _span(x, seen)
    y0, y1 = _span(y, seen)
    if period is not None:
        if x1 - x0 > 0.5 * period:  # around a pole
            x0, x1 = -2, period + 2
        shift = period * int(np.floor((x0 + 2) / period))
        x0, x1 = x0 - shift, x1 - shift
        laps = (-period, 0, period)
        outside = all(max(x0, lap) >= min(x1, lap + shape[1]) for lap in laps)
    else:
        x0, x1 = max(x0, 0), min(x1, shape[1])
        outside = x0 >= x1
    y0, y1 = max(y0, 0), min(y1, shape[0])
    return None if outside or y0 >= y1 else Window(x0, x1, y0, y1, period)


def read_window(
    section,
    window: Window,
    nx: int,
    plane: int = 0,
    *,
    dtype: type[np.generic] = np.float32,
    fill: float = np.nan,
) -> np.ndarray:
    """Read a window of an image.

    Parameters
    ----------
    section : astropy.io.fits section
        ``hdu.section`` of an image or a cube; only what is asked for is read.
    window : Window
        What to read.
    nx : int
        Columns of the image.
    plane : int
        Plane of a cube.
    dtype, fill : type, float
        Of the result, and what it holds where there are no pixels.

    Returns
    -------
    ndarray, shape (y1 - y0, x1 - x0)
        ``fill`` beyond the image's border.
    """
    out = np.full((window.y1 - window.y0, window.x1 - window.x0), fill, dtype)
    lead = (0,) * (len(section.shape) - 3) + ((plane,) if len(section.shape) > 2 else ())
    period = window.period
    laps = [0] if period is None else [-period, 0, period]
    for lap in laps:
        first, last = max(window.x0, lap), min(window.x1, lap + nx)
        if first < last:
            here = slice(first - lap, last - lap)
            # Some columns are read row by row, which takes far longer than whole rows do.
            whole = nx < _WHOLE_ROWS * (last - first)
            part = section[(*lead, slice(window.y0, window.y1), slice(0, nx) if whole else here)]
            out[:, first - window.x0 : last - window.x0] = part[:, here] if whole else part
    return out


def window_wcs(image: WCS, window: Window) -> WCS:
    """Return the WCS of a window; of a closed map it is moved to the window's middle."""
    wcs = image.deepcopy()
    x_ref, y_ref = wcs.wcs.crpix
    if window.period is not None:
        moved = round((window.x0 + window.x1) / 2 - (x_ref - 1))
        wcs.wcs.crval = [wcs.wcs.crval[0] + moved * _column_step_deg(wcs), wcs.wcs.crval[1]]
        x_ref += moved
    wcs.wcs.crpix = [x_ref - window.x0, y_ref - window.y0]
    if (sip := wcs.sip) is not None:  # a distortion has a reference pixel of its own
        origin = sip.crpix - np.array([window.x0, window.y0])
        wcs.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, origin)
    wcs.wcs.set()
    wcs.pixel_shape = (window.x1 - window.x0, window.y1 - window.y0)
    return wcs


def column_period(wcs: WCS) -> int | None:
    """Return how many columns go around the sky; None where columns do not close."""
    if wcs.wcs.ctype[0][-3:] not in _CYLINDRICAL or wcs.wcs.crval[1] != 0:
        return None
    matrix = wcs.pixel_scale_matrix
    if matrix[0, 1] != 0 or matrix[1, 0] != 0 or matrix[0, 0] == 0:
        return None
    columns = 360.0 / abs(_column_step_deg(wcs))
    whole = round(columns)
    return whole if abs(columns - whole) < 1e-3 else None


def _column_step_deg(wcs: WCS) -> float:
    return float(wcs.pixel_scale_matrix[0, 0])


def _positions(frame: WCS, shape: tuple[int, int]) -> SkyCoord:
    """Return positions over a frame, its border and a pixel beyond, row by row."""
    rows, columns = (np.append(np.arange(-1.0, side + 1.0, _STEP_PX), side * 1.0) for side in shape)
    x, y = np.meshgrid(columns, rows)
    return frame.pixel_to_world(x, y)


def _span(values: np.ndarray, seen: np.ndarray) -> tuple[int, int]:
    """Return a range that holds all values, and what may lie between neighbouring ones."""
    steps = [np.abs(np.diff(np.where(seen, values, np.nan), axis=axis)) for axis in (0, 1)]
    jump = max((float(np.nanmax(s)) for s in steps if np.isfinite(s).any()), default=0.0)
    reach = int(np.ceil(jump)) + 2
    found = values[seen]
    return int(np.floor(found.min())) - reach, int(np.ceil(found.max())) + 1 + reach
