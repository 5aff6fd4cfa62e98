"""The direction on the sky of every pixel of an image, as scalar products with given vectors.

In a tangent plane the unnormalised direction is linear in the pixel's coordinates, so a product is
an outer sum and costs no trigonometry; images in other projections are asked pixel by pixel.
Vectors are ICRS; pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.coordinates import ICRS
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from clusterscan.core import sky

_TOLERANCE_RAD = 1e-9


@dataclass(frozen=True)
class Box:
    """Columns [x0, x1) and rows [y0, y1) of an image."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True)
class Directions:
    """The directions of an image's pixels.

    Attributes
    ----------
    wcs : WCS
        Celestial.
    shape : (ny, nx)
        The image's size.
    """

    wcs: WCS
    shape: tuple[int, int]

    @property
    def whole(self) -> Box:
        """All pixels."""
        return Box(0, self.shape[1], 0, self.shape[0])

    def products(self, vectors: np.ndarray, box: Box) -> np.ndarray:
        """Return scalar products of vectors with each pixel's direction, times one factor a pixel.

        Parameters
        ----------
        vectors : float ndarray, shape (n, 3)
            ICRS.
        box : Box
            The pixels.

        Returns
        -------
        float64 ndarray, shape (n, y1 - y0, x1 - x0)
            NaN where a pixel lies on no sky. The factor is positive and the same for all vectors.
        """
        x = np.arange(box.x0, box.x1, dtype=np.float64)
        y = np.arange(box.y0, box.y1, dtype=np.float64)
        if self._linear is not None:
            origin, along_x, along_y = self._linear
            rows = (vectors @ origin)[:, None] + np.outer(vectors @ along_y, y)
            return rows[:, :, None] + np.outer(vectors @ along_x, x)[:, None, :]
        return np.einsum("nk,yxk->nyx", vectors, self._asked(*np.meshgrid(x, y)))

    def vectors(self, box: Box) -> np.ndarray:
        """Return the pixels' directions, shape (3, ny, nx), not normalised."""
        return self.products(np.eye(3), box)

    def places(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel positions (x, y) of unit vectors, shape (..., 3); NaN where off the image.

        What lies behind a tangent plane is NaN.
        """
        lon = np.degrees(np.arctan2(vectors[..., 1], vectors[..., 0])) % 360.0
        lat = np.degrees(np.arctan2(vectors[..., 2], np.hypot(vectors[..., 0], vectors[..., 1])))
        x, y = _to_pixel(self.wcs, lon, lat)
        if self._linear is not None:
            # WCS libraries differ in what they say of the far side: here it is nowhere.
            behind = vectors @ self._centre <= 0.0
            x, y = np.where(behind, np.nan, x), np.where(behind, np.nan, y)
        return x, y

    @cached_property
    def _centre(self) -> np.ndarray:
        return sky.unit_vectors(*(np.array([v]) for v in self.wcs.wcs.crval))[0]

    @cached_property
    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return the direction of pixel (0, 0) and its steps along x and y, in a tangent plane."""
        wcs = self.wcs
        plain = [text[5:] for text in wcs.wcs.ctype] == ["TAN", "TAN"] and not wcs.has_distortion
        if not plain or not isinstance(wcs_to_celestial_frame(wcs), ICRS) or wcs.wcs.lng != 0:
            return None
        ra, dec = np.radians(wcs.wcs.crval)
        centre = self._centre
        east = np.array([-np.sin(ra), np.cos(ra), 0.0])
        north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
        matrix = np.radians(wcs.pixel_scale_matrix)
        along_x = matrix[0, 0] * east + matrix[1, 0] * north
        along_y = matrix[0, 1] * east + matrix[1, 1] * north
        x_ref, y_ref = np.asarray(wcs.wcs.crpix) - 1.0
        origin = centre - x_ref * along_x - y_ref * along_y
        # A turned native pole (LONPOLE) would turn all: then the general way is taken.
        ny, nx = self.shape
        corners = np.array([[0, 0], [nx - 1, 0], [0, ny - 1], [nx - 1, ny - 1]], dtype=np.float64)
        ours = origin + corners[:, :1] * along_x + corners[:, 1:] * along_y
        ours /= np.linalg.norm(ours, axis=1, keepdims=True)
        theirs = self._asked(corners[:, 0], corners[:, 1])
        same = np.abs(ours - theirs).max() < _TOLERANCE_RAD
        return (origin, along_x, along_y) if same else None

    def _asked(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        where = self.wcs.pixel_to_world(x, y).icrs.cartesian
        return np.stack([where.x.value, where.y.value, where.z.value], axis=-1)


def _to_pixel(wcs: WCS, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frame = wcs_to_celestial_frame(wcs)
    if not isinstance(frame, ICRS):
        from astropy import units as u
        from astropy.coordinates import SkyCoord

        there = SkyCoord(lon * u.deg, lat * u.deg, frame="icrs").transform_to(frame).spherical
        lon, lat = there.lon.deg, there.lat.deg
    pair = (lon, lat) if wcs.wcs.lng == 0 else (lat, lon)
    x, y = wcs.world_to_pixel_values(*pair)
    return np.asarray(x), np.asarray(y)
