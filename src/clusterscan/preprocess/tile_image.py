"""A tile's image: what sampling trains on and scanning slides over, and its FITS form."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.errors import ImageError
from clusterscan.fetch.raw import NO_COVERAGE, wcs_header
from clusterscan.provenance.atomic import atomic_path


@dataclass(frozen=True)
class TileImage:
    """A tile's image of one survey.

    Attributes
    ----------
    image : float32 ndarray, shape (bands, ny, nx)
        Finite everywhere; pixels without coverage hold the band's median.
    mask : uint8 ndarray, shape (ny, nx)
        Bit planes: 1 no coverage, 2 saturated, 4 bright star.
    wcs : astropy.wcs.WCS
        Celestial, ICRS; pixel centres at integers.
    unit : str
        Unit of the pixel values.
    bands : tuple of str
        Bands, in the order of the planes.
    """

    image: np.ndarray
    mask: np.ndarray
    wcs: WCS
    unit: str
    bands: tuple[str, ...]

    @property
    def covered(self) -> np.ndarray:
        """Pixels with data, bool, shape (ny, nx)."""
        return (self.mask & NO_COVERAGE) == 0

    @property
    def pixel_scale_arcsec(self) -> float:
        """Pixel size at the reference point [arcsec]; rounded, so that all tiles say the same."""
        area_deg2 = np.abs(np.linalg.det(self.wcs.pixel_scale_matrix))
        return round(float(np.sqrt(area_deg2)) * 3600.0, 6)

    def to_pixel(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel positions (x, y), 0-based; NaN behind the tangent plane."""
        x, y = self.wcs.world_to_pixel_values(np.asarray(ra_deg), np.asarray(dec_deg))
        return np.atleast_1d(x), np.atleast_1d(y)


def write_tile(path: Path, tile: TileImage) -> None:
    """Write a tile's image atomically; the same image always gives the same bytes."""
    header = wcs_header(tile.wcs)
    cube = fits.ImageHDU(tile.image.astype(np.float32, copy=False), header, name="IMAGE")
    cube.header["BUNIT"] = tile.unit
    for index, band in enumerate(tile.bands, start=1):
        cube.header[f"BAND{index}"] = (band, f"band of plane {index}")
    mask = fits.ImageHDU(tile.mask.astype(np.uint8, copy=False), header, name="MASK")
    mask.header["COMMENT"] = "bits: 1 no coverage, 2 saturated, 4 bright star"
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), cube, mask]).writeto(temporary)


def read_tile(path: Path) -> TileImage:
    """Read a tile's image.

    Raises
    ------
    ImageError
        If the file is missing, damaged, or not written by `write_tile`.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="File may have been truncated")
            with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
                cube, mask = hdus["IMAGE"], hdus["MASK"]
                image = np.asarray(cube.data, dtype=np.float32)
                planes = np.asarray(mask.data, dtype=np.uint8)
                header = cube.header
                bands = tuple(str(header[f"BAND{i + 1}"]) for i in range(image.shape[0]))
                wcs = WCS(mask.header)
    except (OSError, ValueError, TypeError, KeyError, UserWarning) as error:
        raise ImageError(
            f"{path}: not a whole tile image ({type(error).__name__}: {error}); "
            "delete it and run again, it is made anew"
        ) from error
    if image.ndim != 3 or image.shape[1:] != planes.shape:
        raise ImageError(
            f"{path}: image {image.shape} and mask {planes.shape} do not fit; "
            "delete it and run again"
        )
    return TileImage(image, planes, wcs, str(header.get("BUNIT", "")), bands)
