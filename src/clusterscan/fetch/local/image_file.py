"""One FITS image of a folder: where it lies on the sky, and its values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.download.checks import ContentError, check_fits
from clusterscan.formats.celestial_wcs import celestial_wcs

_SMALL_DEG = 20.0
_EDGE_POINTS = 17


@dataclass(frozen=True)
class ImageFile:
    """An image's frame on the sky."""

    path: Path
    extension: str | int | None

    def frame(self) -> tuple[WCS, tuple[int, int]]:
        """Return its celestial WCS and shape (ny, nx).

        Raises
        ------
        SourceError
            If the file is damaged or has no image with a place on the sky.
        """
        with self._open() as hdus:
            hdu = self._hdu(hdus)
            return self._wcs(hdu), hdu.shape[-2:]

    def read(self, no_data: float | None) -> tuple[np.ndarray, WCS]:
        """Return its values (float32, NaN where there are no data) and its WCS."""
        try:
            check_fits(self.path)
        except ContentError as error:
            raise SourceError(f"{self.path}: {error}; restore the file") from error
        with self._open() as hdus:
            hdu = self._hdu(hdus)
            values = np.array(np.squeeze(hdu.data), dtype=np.float32)
            wcs = self._wcs(hdu)
        if values.ndim != 2:
            raise SourceError(f"{self.path}: an image of shape {values.shape}; two axes are needed")
        values[~np.isfinite(values)] = np.nan
        if no_data is not None:
            values[values == np.float32(no_data)] = np.nan
        return values, wcs

    def _open(self) -> fits.HDUList:
        try:
            return fits.open(self.path, memmap=True)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.path}: no FITS file ({error}); restore it") from error

    def _hdu(self, hdus: fits.HDUList):
        try:
            if self.extension is not None:
                return hdus[self.extension]
            return next(h for h in hdus if h.is_image and len(h.shape) >= 2)
        except (KeyError, IndexError, StopIteration) as error:
            names = ", ".join(hdu.name or str(i) for i, hdu in enumerate(hdus))
            raise SourceError(
                f"{self.path}: no image {self.extension or ''} (it holds {names}); "
                "correct source.extension or source.files"
            ) from error

    def _wcs(self, hdu) -> WCS:
        mending = "leave it out of source.files"
        return celestial_wcs(hdu.header, str(self.path), mending).celestial


def outline(wcs: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (ra_deg, dec_deg, ICRS) over an image: a grid with its border."""
    ny, nx = shape
    y, x = np.meshgrid(
        np.linspace(-0.5, ny - 0.5, _EDGE_POINTS), np.linspace(-0.5, nx - 0.5, _EDGE_POINTS)
    )
    there = wcs.pixel_to_world(x.ravel(), y.ravel()).icrs
    ra, dec = there.ra.deg, there.dec.deg
    fine = np.isfinite(ra) & np.isfinite(dec)
    return ra[fine], dec[fine]


def reaches(positions: tuple[np.ndarray, np.ndarray], wcs: WCS, shape: tuple[int, int]) -> bool:
    """Whether an image, given by `outline`, may reach into a tangent-plane image.

    May say yes for an image that passes by within a fraction of its size, never no for one that
    reaches in.
    """
    ra, dec = positions
    if ra.size == 0:
        return False
    middle = sky.unit_vectors(ra, dec).mean(axis=0)
    ny, nx = shape
    centre = wcs.pixel_to_world_values((nx - 1) / 2, (ny - 1) / 2)
    own = np.sqrt(proj_plane_pixel_area(wcs)) * np.hypot(nx, ny) / 2
    if np.linalg.norm(middle) < np.cos(np.radians(60.0)):
        return True  # an image of most of the sky
    lon = np.degrees(np.arctan2(middle[1], middle[0]))
    lat = np.degrees(np.arcsin(middle[2] / np.linalg.norm(middle)))
    radius = sky.separation_deg(ra, dec, lon, lat).max()
    if sky.separation_deg(lon, lat, *centre) > 1.1 * (radius + own):
        return False
    if radius + own > _SMALL_DEG:
        return True
    x, y = wcs.world_to_pixel_values(ra, dec)
    return bool(x.max() >= -1.5 and x.min() <= nx + 0.5 and y.max() >= -1.5 and y.min() <= ny + 0.5)
