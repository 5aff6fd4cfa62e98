"""Images in FITS files: their celestial WCS, and the part of them that lies under a tile.

Only the rows and columns under the tile are read. Full-sky maps in cylindrical projections close on
themselves: a cut across their seam is assembled from both ends, and its WCS is moved along the
equator so that the cut lies in the middle of it, which changes no position. Pixels are 0-based with
centres at integers; a *window* is a range of columns [x0, x1) and rows [y0, y1) that may reach
beyond the image's border.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Real

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, FITSFixedWarning, Sip, WcsError

from clusterscan.core.errors import SourceError

_CYLINDRICAL = frozenset({"CAR", "CEA", "MER", "CYP"})
_STEP_PX = 16
_WHOLE_ROWS = 4  # read whole rows if they are less than this many times the window's width


@dataclass(frozen=True)
class Window:
    """Columns [x0, x1) and rows [y0, y1) of an image; ``period``: columns around the whole sky."""

    x0: int
    x1: int
    y0: int
    y1: int
    period: int | None = None


def window_of(
    image: WCS, shape: tuple[int, int], frame: WCS, frame_shape: tuple[int, int]
) -> Window | None:
    """Return the window of an image that covers a tangent-plane frame; None if they do not overlap.

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
        # Unwrap the columns around one of them, so that a frame across the seam is one range.
        middle = x[seen][0]
        x = middle + (x - middle + period / 2) % period - period / 2
    x0, x1 = _span(x, seen)
    y0, y1 = _span(y, seen)
    if period is not None:
        if x1 - x0 > 0.5 * period:  # the frame holds a pole: take all columns
            x0, x1 = -2, period + 2
        # Ranges a whole turn apart are the same sky: start the window in the first turn.
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
        ``hdu.section`` of an image or a cube; reads only what is requested.
    window : Window
        The window.
    nx : int
        Columns of the image.
    plane : int
        Plane of a cube.
    dtype, fill : type, float
        Type of the result, and its value where the image has no pixels.

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
            # astropy reads a range of columns row by row, which is much slower than whole rows.
            whole = nx < _WHOLE_ROWS * (last - first)
            part = section[(*lead, slice(window.y0, window.y1), slice(0, nx) if whole else here)]
            out[:, first - window.x0 : last - window.x0] = part[:, here] if whole else part
    return out


def window_wcs(image: WCS, window: Window) -> WCS:
    """Return the WCS of a window; for a closed map, centred on the window."""
    wcs = image.deepcopy()
    x_ref, y_ref = wcs.wcs.crpix
    # world_to_pixel returns columns within 180 degrees of the reference. With the reference in the
    # middle of the cut it returns columns of the cut, also across the seam. On the equator the
    # reference can be moved by whole columns without changing any position.
    if window.period is not None:
        moved = round((window.x0 + window.x1) / 2 - (x_ref - 1))
        wcs.wcs.crval = [wcs.wcs.crval[0] + moved * _column_step_deg(wcs), wcs.wcs.crval[1]]
        x_ref += moved
    wcs.wcs.crpix = [x_ref - window.x0, y_ref - window.y0]
    if (sip := wcs.sip) is not None:  # the distortion has its own reference pixel
        origin = sip.crpix - np.array([window.x0, window.y0])
        wcs.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, origin)
    wcs.wcs.set()
    wcs.pixel_shape = (window.x1 - window.x0, window.y1 - window.y0)
    return wcs


def column_period(wcs: WCS) -> int | None:
    """Return the number of columns around the sky; None if the columns do not close."""
    # Only then does a step of one column turn the sky about its poles by the same angle everywhere.
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
    """Return positions on a grid over a frame that reaches one pixel beyond its border."""
    rows, columns = (np.append(np.arange(-1.0, side + 1.0, _STEP_PX), side * 1.0) for side in shape)
    x, y = np.meshgrid(columns, rows)
    return frame.pixel_to_world(x, y)


def _span(values: np.ndarray, seen: np.ndarray) -> tuple[int, int]:
    """Return a range that contains all values, and those that may lie between neighbours."""
    # Positions are known on a coarse grid. Between two grid points they can lie outside of both by
    # no more than about the largest step, so the range is widened by that.
    steps = [np.abs(np.diff(np.where(seen, values, np.nan), axis=axis)) for axis in (0, 1)]
    jump = max((float(np.nanmax(s)) for s in steps if np.isfinite(s).any()), default=0.0)
    reach = int(np.ceil(jump)) + 2
    found = values[seen]
    return int(np.floor(found.min())) - reach, int(np.ceil(found.max())) + 1 + reach


def celestial_wcs(header: fits.Header, where: str, remedy: str) -> WCS:
    """Return the celestial WCS of an image's header.

    The FITS defaults are refused: a header without CRVAL would be at RA 0, Dec 0, and one without a
    step would have pixels of one degree. Such an image would silently show its sky elsewhere.

    Parameters
    ----------
    header : astropy.io.fits.Header
        The header.
    where, remedy : str
        For messages: the file, and what to do about it.

    Raises
    ------
    SourceError
        If there is no celestial WCS, or the header lacks numbers that it needs.
    """
    try:
        with warnings.catch_warnings():  # wcslib repairs many harmless old headers, and says so
            warnings.simplefilter("ignore", FITSFixedWarning)
            warnings.simplefilter("ignore", AstropyUserWarning)
            wcs = WCS(header)
    except (WcsError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise SourceError(f"{where}: a damaged celestial WCS ({reason}); {remedy}") from error
    if not wcs.has_celestial:
        raise SourceError(f"{where}: no celestial WCS; {remedy}")
    axes = [wcs.wcs.lng + 1, wcs.wcs.lat + 1]
    # The header itself is asked, because WCS fills missing keywords with the FITS defaults.
    missing = [f"{key}{axis}" for key in ("CRVAL", "CRPIX") for axis in axes
               if not _is_number(header.get(f"{key}{axis}"))]  # fmt: skip
    for axis in axes:
        steps = [f"CDELT{axis}", *(f"CD{axis}_{other}" for other in axes)]
        if not any(_is_number(header.get(key)) for key in steps):
            missing.append(steps[0])
    if missing:
        raise SourceError(
            f"{where}: its celestial WCS lacks a number for {', '.join(missing)}; {remedy}"
        )
    return wcs


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
