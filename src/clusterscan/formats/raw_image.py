"""Raw tile images on disk: one FITS image extension per band, and a mask of bit planes.

If the source has inverse variances and the survey asks for them, one extension ``IVAR_<band>`` per
band follows: 1 / unit² for each pixel, 0 where there are no data.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ImageError
from clusterscan.formats.mask_planes import MASK_DTYPE, NO_COVERAGE


@dataclass(frozen=True)
class RawImage:
    """A raw image.

    Attributes
    ----------
    image : float32 ndarray, shape (bands, ny, nx)
        Pixel values; may be NaN where masked.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes, `clusterscan.formats.mask_planes.PLANES`. Sources set only NO_COVERAGE,
        SATURATED, BRIGHT_STAR and SURVEY_MASK.
    wcs : astropy.wcs.WCS
        Celestial, ICRS.
    unit : str
        Unit of the pixel values.
    ivar : float32 ndarray, shape (bands, ny, nx), optional
        Inverse variance of each pixel [1 / unit²], 0 where there are no data.
    """

    image: np.ndarray
    mask: np.ndarray
    wcs: WCS
    unit: str
    ivar: np.ndarray | None = None


def covered_raw(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes with 0 where any band has no data, and the mask of these pixels.

    Parameters
    ----------
    planes : float32 ndarray, shape (bands, ny, nx)
        NaN where there are no data.
    """
    # Networks read all bands of a pixel, so a pixel that one band lacks is not covered.
    covered = np.isfinite(planes).all(axis=0)
    image = np.where(covered, planes, np.float32(0.0))
    return image, np.where(covered, MASK_DTYPE(0), NO_COVERAGE)


def write_raw(path: Path, raw: RawImage, bands: tuple[str, ...], tile: int) -> None:
    """Write a raw image atomically; the same image always gives the same bytes."""
    header = wcs_header(raw.wcs)
    primary = fits.PrimaryHDU()
    primary.header["TILE"] = (tile, "HEALPix NESTED index")
    hdus = fits.HDUList([primary])
    for band, plane in zip(bands, raw.image, strict=True):
        hdu = fits.ImageHDU(plane.astype(np.float32, copy=False), header, name=band)
        hdu.header["BUNIT"] = raw.unit
        hdus.append(hdu)
    for band, plane in [] if raw.ivar is None else zip(bands, raw.ivar, strict=True):
        hdu = fits.ImageHDU(plane.astype(np.float32, copy=False), header, name=f"IVAR_{band}")
        hdu.header["BUNIT"] = f"1/({raw.unit})2"
        hdus.append(hdu)
    if raw.mask.any():
        hdus.append(fits.ImageHDU(raw.mask, header, name="MASK"))
    with atomic_path(path) as temporary:
        hdus.writeto(temporary)


def read_raw(path: Path, bands: tuple[str, ...]) -> RawImage:
    """Read and check a raw image.

    Raises
    ------
    ImageError
        If the file is not FITS, is cut short, lacks a band, holds planes of different shapes or
        has no celestial WCS.
    """
    try:
        with warnings.catch_warnings():
            # astropy only warns about a truncated file, and lazy loading would not even look at its
            # end.
            warnings.simplefilter("error", fits.verify.VerifyWarning)
            warnings.filterwarnings("error", message="File may have been truncated")
            with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
                return _from_hdus(hdus, bands, path)
    except (OSError, ValueError, TypeError, KeyError, Warning) as error:
        raise ImageError(
            f"{path}: not a whole FITS image ({type(error).__name__}: {error}); "
            "delete the file and run again, it is fetched again"
        ) from error


def _from_hdus(hdus: fits.HDUList, bands: tuple[str, ...], path: Path) -> RawImage:
    names = [hdu.name for hdu in hdus]
    missing = [band for band in bands if band.upper() not in names]
    if missing:
        raise ImageError(
            f"{path}: lacks band {', '.join(missing)} (it holds {', '.join(names[1:]) or 'none'}); "
            "correct the survey's bands, or delete the file so that it is fetched again"
        )
    planes = [hdus[band].data for band in bands]
    if any(plane is None or plane.ndim != 2 for plane in planes):
        raise ImageError(
            f"{path}: a band is not a two-dimensional image; delete the file and run again"
        )
    shapes = {plane.shape for plane in planes}
    mask = hdus["MASK"].data if "MASK" in names else np.zeros(planes[0].shape, MASK_DTYPE)
    if len(shapes | {mask.shape}) > 1:
        raise ImageError(
            f"{path}: bands and mask have different shapes {sorted(shapes | {mask.shape})}; "
            "delete the file and run again, it is fetched again"
        )
    header = hdus[bands[0]].header
    wcs = WCS(header)
    if not wcs.has_celestial:
        raise ImageError(
            f"{path}: no celestial WCS in band {bands[0]}; delete the file and run again"
        )
    image = np.stack([np.asarray(plane, dtype=np.float32) for plane in planes])
    mask = np.asarray(mask, MASK_DTYPE)
    return RawImage(image, mask, wcs, str(header.get("BUNIT", "")), _ivar(hdus, bands, mask, path))


def _ivar(
    hdus: fits.HDUList, bands: tuple[str, ...], mask: np.ndarray, path: Path
) -> np.ndarray | None:
    names = [f"IVAR_{band}".upper() for band in bands]
    there = [name for name in names if name in hdus]
    if not there:
        return None
    planes = [hdus[name].data for name in there]
    if len(there) < len(bands) or any(np.shape(plane) != mask.shape for plane in planes):
        raise ImageError(
            f"{path}: inverse variances of {', '.join(there)} do not fit bands {', '.join(bands)}; "
            "delete the file and run again, it is fetched again"
        )
    return np.stack([np.asarray(plane, dtype=np.float32) for plane in planes])


def wcs_header(wcs: WCS) -> fits.Header:
    """Return the header of a WCS without its dates, which would change the bytes."""
    header = wcs.to_header()
    for key in ("DATE", "DATE-OBS", "MJD-OBS", "MJDREF", "MJDREFI", "MJDREFF"):
        header.remove(key, ignore_missing=True)
    return header
