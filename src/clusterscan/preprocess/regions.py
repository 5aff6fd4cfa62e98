"""Circles and ellipses on the sky, and the pixels that they cover.

A region is centred on a position; a pixel belongs to it where its centre, projected on the tangent
plane *at the region's own centre*, lies in an ellipse of half-axes tan(a) and tan(b). For circles
that is the exact spherical cap, at the poles and across RA 0 as anywhere.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from clusterscan.core import sky
from clusterscan.preprocess.directions import Box, Directions

COLUMNS = {
    "bits": "uint8",  # what is set in the mask
    "ra_deg": "float64",
    "dec_deg": "float64",
    "a_deg": "float64",  # half-axes
    "b_deg": "float64",
    "pa_deg": "float64",  # of the long axis, east of north
}
"""Columns of a table of regions."""

_AROUND = np.radians(np.arange(16) * 22.5)
LARGEST_DEG = 60.0
"""Largest half-axis; well beyond, a tangent plane at the centre holds no region."""


def empty_regions() -> pd.DataFrame:
    """Return a table of no regions."""
    return pd.DataFrame({name: np.empty(0, dtype) for name, dtype in COLUMNS.items()})


def draw(mask: np.ndarray, directions: Directions, regions: pd.DataFrame) -> None:
    """Set each region's bits in a mask, in place.

    Parameters
    ----------
    mask : uint8 ndarray, shape (ny, nx)
        Bit planes.
    directions : Directions
        Of the mask's pixels.
    regions : DataFrame
        `COLUMNS`.
    """
    if regions.empty:
        return
    axes = _axes(regions)
    a, b = (np.tan(np.radians(regions[c].to_numpy())) for c in ("a_deg", "b_deg"))
    bits = regions["bits"].to_numpy()
    for index, box in enumerate(_boxes(directions, axes[:, 2], regions["a_deg"].to_numpy())):
        if box is None:
            continue
        along, across, depth = directions.products(axes[index], box)
        with np.errstate(invalid="ignore"):  # NaN where a pixel is on no sky: not inside
            inside = (along / a[index]) ** 2 + (across / b[index]) ** 2 <= depth**2
            inside &= depth > 0
        mask[box.slices] |= np.where(inside, bits[index], np.uint8(0))


def touching(directions: Directions, regions: pd.DataFrame) -> np.ndarray:
    """Return which regions may reach into an image, bool, shape (n,): never a no too many."""
    if regions.empty:
        return np.zeros(0, bool)
    centres = sky.unit_vectors(regions["ra_deg"].to_numpy(), regions["dec_deg"].to_numpy())
    boxes = _boxes(directions, centres, regions["a_deg"].to_numpy())
    return np.array([box is not None for box in boxes])


def _axes(regions: pd.DataFrame) -> np.ndarray:
    """Return each region's unit vectors along, across, and to its centre, shape (n, 3, 3)."""
    ra, dec, angle = (np.radians(regions[c].to_numpy()) for c in ("ra_deg", "dec_deg", "pa_deg"))
    zero = np.zeros_like(ra)
    centre = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    east = np.stack([-np.sin(ra), np.cos(ra), zero], axis=1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=1)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([cos * north + sin * east, cos * east - sin * north, centre], axis=1)


def _boxes(directions: Directions, centres: np.ndarray, radius_deg: np.ndarray) -> list[Box | None]:
    """Return the box of pixels around each circle; None where it does not reach into the image."""
    # Any two vectors across the centre: the circle is the same.
    helper = np.where(np.abs(centres[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(centres, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(centres, first)
    # The polygon of 16 corners holds the circle where its corners lie 1 / cos(11.25 deg) out.
    radius = np.radians(np.minimum(radius_deg, LARGEST_DEG)) / np.cos(np.pi / 16)
    turn = np.cos(_AROUND)[:, None] * first[:, None] + np.sin(_AROUND)[:, None] * second[:, None]
    rim = np.cos(radius)[:, None, None] * centres[:, None] + np.sin(radius)[:, None, None] * turn
    x, y = directions.places(rim)
    ny, nx = directions.shape
    lost = ~(np.isfinite(x) & np.isfinite(y)).all(axis=1)
    near = np.linalg.norm(centres - _middle(directions), axis=1) < sky.chord(90.0)
    low_x, low_y = (np.floor(v.min(axis=1, initial=np.inf, where=np.isfinite(v))) for v in (x, y))
    high_x, high_y = (np.ceil(v.max(axis=1, initial=-np.inf, where=np.isfinite(v))) for v in (x, y))
    boxes: list[Box | None] = []
    for i in range(len(centres)):
        if lost[i]:  # it reaches over the horizon of the image's plane
            boxes.append(directions.whole if near[i] else None)
            continue
        x0, x1 = max(int(low_x[i]), 0), min(int(high_x[i]) + 1, nx)
        y0, y1 = max(int(low_y[i]), 0), min(int(high_y[i]) + 1, ny)
        boxes.append(Box(x0, x1, y0, y1) if x0 < x1 and y0 < y1 else None)
    return boxes


def _middle(directions: Directions) -> np.ndarray:
    ny, nx = directions.shape
    box = Box(nx // 2, nx // 2 + 1, ny // 2, ny // 2 + 1)
    vector = directions.vectors(box)[:, 0, 0]
    return vector / np.linalg.norm(vector)
