"""Read sky masks, which are images or HEALPix maps, and look up positions in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.config.searched_sky import MaskFile
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.formats.fits_images import celestial_wcs, column_period
from clusterscan.formats.healpix_map import HealpixMap

REACH_ORDER = 3
_GRID = 65  # points at most 5.5 degrees apart, less than the cells' 7.3 degrees

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Function of (ra_deg, dec_deg), ICRS, shape (n,): True for each position inside the mask."""


def open_mask(mask: MaskFile, path: Path) -> tuple[Inside, np.ndarray]:
    """Return a mask's lookup, and the cells of `REACH_ORDER` that contain all of it.

    Raises
    ------
    SourceError
        If the file is not such a mask.
    """
    if _is_healpix(path, mask.extension):
        return _healpix_mask(mask, path), np.arange(12 * 4**REACH_ORDER)
    return _image_mask(mask, path)


def _is_healpix(path: Path, extension: str | int | None) -> bool:
    try:
        with fits.open(path) as hdus:
            chosen = [hdus[extension]] if extension is not None else hdus
            return any(hdu.header.get("NSIDE") is not None for hdu in chosen)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise SourceError(f"{path}: not a mask ({error}); correct sky.footprint") from error


def _healpix_mask(mask: MaskFile, path: Path) -> Inside:
    healpix = HealpixMap(path, mask.extension, mask.column, mask.frame)

    def inside(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """Return True where the pixel at a position is above the threshold; False for NaN."""
        # The pixel itself: interpolation would widen or erode a mask by part of a pixel.
        values, _ = healpix.at(SkyCoord(ra_deg, dec_deg, unit="deg"), nearest=True)
        with np.errstate(invalid="ignore"):
            return values > mask.above

    return inside


def _image_mask(mask: MaskFile, path: Path) -> tuple[Inside, np.ndarray]:
    with fits.open(path) as hdus:
        hdu = (
            hdus[mask.extension]
            if mask.extension is not None
            else next((h for h in hdus if h.is_image and len(h.shape) == 2), None)
        )
        if hdu is None or not hdu.is_image or len(hdu.shape) != 2:
            raise SourceError(f"{path}: no image of two axes; correct sky.footprint.extension")
        wcs = celestial_wcs(hdu.header, str(path), "correct sky.footprint").celestial
        good = np.asarray(hdu.data) > mask.above
    ny, nx = good.shape
    period = column_period(wcs)

    def inside(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """Return True where the pixel at a position is above the threshold; False off the image."""
        x, y = wcs.world_to_pixel(SkyCoord(ra_deg, dec_deg, unit="deg"))
        if period is not None:
            # The columns close around the sky: bring positions that lie a turn off back to the
            # image.
            x = (x + 0.5) % period - 0.5
        found = np.zeros(np.shape(x), dtype=bool)
        seen = np.isfinite(x) & np.isfinite(y)
        # Pixel centres are at integers, so rounding gives the pixel that holds a position.
        i, j = (np.round(v[seen]).astype(np.int64) for v in (x, y))
        on = (i >= 0) & (i < nx) & (j >= 0) & (j < ny)
        found[np.flatnonzero(seen)[on]] = good[j[on], i[on]]
        return found

    return inside, _reach(wcs, good.shape)


def _reach(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return the cells that an image may overlap: those of its grid points, and all around them."""
    # A grid is enough: every point of the image is within one cell of one of its points.
    y, x = np.meshgrid(*(np.linspace(-0.5, side - 0.5, _GRID) for side in shape), indexing="ij")
    there = wcs.pixel_to_world(x.ravel(), y.ravel()).icrs
    ra, dec = there.ra.deg, there.dec.deg
    seen = np.isfinite(ra) & np.isfinite(dec)
    cells = np.unique(sky.owning_cell(ra[seen], dec[seen], REACH_ORDER))
    around = [sky.neighbours(int(cell), REACH_ORDER) for cell in cells]
    return np.unique(np.concatenate([cells, *around]))
