"""Where HiPS tiles lie: which ones an image needs, and the exact WCS of a HEALPix face.

The twelve faces (base cells) of HEALPix are squares on the plane of the HPX projection, turned
by 45 degrees. Within a face, pixel (ix, iy) of a HiPS order counts along the face's north-east
and north-west sides; a HiPS FITS tile is laid out as ``array[W - 1 - ix, iy]``, and so is
the array of a whole face: tiles of a face join without resampling.

References
----------
Calabretta & Roukema 2007, MNRAS 381, 865 (the HPX projection).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from astropy.coordinates import ICRS, Galactic, SkyCoord
from astropy.wcs import WCS

from clusterscan.core import sky

Frame = Literal["icrs", "galactic"]


def to_frame(
    ra_deg: np.ndarray, dec_deg: np.ndarray, frame: Frame
) -> tuple[np.ndarray, np.ndarray]:
    """Return ICRS positions as (longitude, latitude) of a tree's frame [deg]."""
    if frame == "icrs":
        return ra_deg, dec_deg
    there = SkyCoord(ra_deg, dec_deg, unit="deg", frame=ICRS).transform_to(Galactic())
    return there.l.deg, there.b.deg


def cells_of_image(
    wcs: WCS, shape: tuple[int, int], frame: Frame, order: int, margin_px: float
) -> np.ndarray:
    """Return the sorted cells of an order that a tangent-plane image touches.

    Parameters
    ----------
    wcs, shape : WCS, (ny, nx)
        The image; its sides are great circles, as those of every tangent-plane image.
    frame : {"icrs", "galactic"}
        The frame of the cells.
    order : int
        Their order.
    margin_px : float
        How much wider than the image to look [image pixels].
    """
    ny, nx = shape
    low, right, top = -0.5 - margin_px, nx - 0.5 + margin_px, ny - 0.5 + margin_px
    ra, dec = wcs.pixel_to_world_values([low, right, right, low], [low, low, top, top])
    return sky.cells_touching_polygon(sky.unit_vectors(*to_frame(ra, dec, frame)), order)


def split_cell(ipix: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (face, x, y) of NESTED cells: x and y count from the face's southern corner."""
    ipix = np.asarray(ipix, dtype=np.int64)
    face, offset = ipix >> (2 * order), ipix & (4**order - 1)
    x, y = np.zeros_like(offset), np.zeros_like(offset)
    for bit in range(order):
        x |= ((offset >> (2 * bit)) & 1) << bit
        y |= ((offset >> (2 * bit + 1)) & 1) << bit
    return face, x, y


def join_cell(face: int, x: np.ndarray, y: np.ndarray, order: int) -> np.ndarray:
    """Return the NESTED cells at (face, x, y): undoes `split_cell`."""
    offset = np.zeros(np.broadcast(x, y).shape, np.int64)
    for bit in range(order):
        offset |= ((np.asarray(x, np.int64) >> bit) & 1) << (2 * bit)
        offset |= ((np.asarray(y, np.int64) >> bit) & 1) << (2 * bit + 1)
    return (np.int64(face) << (2 * order)) + offset


def face_wcs(face: int, side_px: int, frame: Frame) -> WCS:
    """Return the WCS of a face's array, shape (side_px, side_px), HiPS layout.

    The reference longitude moves with the face, so that no face is cut by the edge of the
    projection.
    """
    polar = face < 4 or face >= 8
    middle = 45.0 if polar else 0.0  # the face's centre from the reference longitude
    south = {0: 0.0, 1: -45.0, 2: -90.0}[face // 4]  # its southern corner on the plane
    step = 45.0 / side_px
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---HPX", "DEC--HPX"] if frame == "icrs" else ["GLON-HPX", "GLAT-HPX"]
    wcs.wcs.cunit = ["deg", "deg"]
    if frame == "icrs":
        wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [90.0 * (face % 4), 0.0]
    # x = -step (p1 - c1) - step (p2 - c2) and y = step (p1 - c1) - step (p2 - c2), where
    # iy = p1 - 1 and side - 1 - ix = p2 - 1; solved for the reference pixel (c1, c2).
    wcs.wcs.cd = [[-step, -step], [step, -step]]
    wcs.wcs.crpix = [
        (1.0 + (middle - south) / step) / 2.0,
        (2.0 * side_px + 1.0 + (middle + south) / step) / 2.0,
    ]
    wcs.wcs.set()
    return wcs
