"""One HiPS FITS tile: is it the right one, and its values."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning

from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.download.checks import ContentError, Head, check_fits
from clusterscan.fetch.hips.geometry import Frame, to_frame
from clusterscan.formats.celestial_wcs import celestial_wcs

_BLOCK = 2880


def check_tile(path: Path, *, frame: Frame, order: int, ipix: int, width: int) -> None:
    """Check a tile's structure, size and, where its header tells it, its place on the sky.

    Raises
    ------
    ContentError
        If it is not the tile that it should be.
    """
    images = [head for head in check_fits(path) if head.axes != (0, 0)]
    if not images:
        raise ContentError("holds no image")
    header, (nx, ny) = images[0].header, images[0].axes
    if (nx, ny) != (width, width):
        raise ContentError(f"{nx} × {ny} px, but the tree's tiles have {width} × {width}")
    for key, wanted in (("ORDER", order), ("NPIX", ipix)):
        if key in images[0].keywords and header[key] != wanted:
            raise ContentError(f"another tile: {key} is {header[key]} instead of {wanted}")
    if "CTYPE1" in images[0].keywords:
        _check_place(images[0], frame, order, ipix)


def read_tile(data: bytes, where: str, no_data: float | None = None) -> np.ndarray:
    """Return a tile's values.

    Parameters
    ----------
    data : bytes
        The FITS file; its last block may lack the padding.
    where : str
        The file's name, for messages.
    no_data : float, optional
        A value that means no data.

    Returns
    -------
    float32 ndarray, shape (width, width)
        As the file lays it out; NaN where there are no data.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    padded = io.BytesIO(data + bytes(-len(data) % _BLOCK))
    try:
        # Scaled here: real tiles write BLANK as 'BLANK = -32768.0', which astropy ignores.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VerifyWarning)
            with fits.open(padded, memmap=False, do_not_scale_image_data=True) as hdus:
                hdu = next(h for h in hdus if h.is_image and h.header.get("NAXIS", 0) >= 2)
                raw, header = np.squeeze(hdu.data), hdu.header
    except (OSError, ValueError, TypeError, StopIteration, fits.VerifyError) as error:
        raise SourceError(
            f"{where}: not a readable HiPS tile ({error}); delete it and run again"
        ) from error
    values = raw.astype(np.float32)
    bad = ~np.isfinite(values)
    if raw.dtype.kind in "iu" and "BLANK" in header:
        bad |= raw == int(float(header["BLANK"]))
    scale, zero = float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0))
    if (scale, zero) != (1.0, 0.0):
        values = (raw * scale + zero).astype(np.float32)
    if no_data is not None:
        bad |= values == np.float32(no_data)
    values[bad] = np.nan
    return values


def _check_place(head: Head, frame: Frame, order: int, ipix: int) -> None:
    try:
        wcs = celestial_wcs(head.header, "the tile", "its server sends it so").celestial
        nx, ny = head.axes
        centre = wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2).icrs
        lon, lat = to_frame(centre.ra.deg, centre.dec.deg, frame)
        found = int(sky.owning_cell(np.array([lon]), np.array([lat]), order)[0])
    except (SourceError, ValueError, AttributeError, TypeError) as error:
        raise ContentError(f"its WCS is damaged: {error}") from error
    if found != ipix:
        raise ContentError(f"another tile: by its WCS it lies in cell {found} instead of {ipix}")
