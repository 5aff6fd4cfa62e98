"""The pixels of a HEALPix mask around a position: only their rows of the file are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits

from clusterscan.config.preprocess import MapMask
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.formats.healpix_map import UNSEEN, of_logical

_FRAMES = {"G": "galactic", "C": "icrs", "Q": "icrs"}


@dataclass(frozen=True)
class HealpixPart:
    """Some pixels of a HEALPix map: sorted indices, their values (NaN: none), and its system."""

    pixels: np.ndarray
    values: np.ndarray
    nside: int
    frame: str
    nested: bool


def read_part(
    mask: MapMask, path: Path, ra_deg: float, dec_deg: float, radius_deg: float
) -> HealpixPart:
    """Return the pixels of a map of the whole sky that touch a cone (ICRS).

    Raises
    ------
    SourceError
        If the file is no such map, or does not say its frame or ordering.
    """
    try:
        with fits.open(path, memmap=True) as hdus:
            hdu = _table(hdus, mask.extension, path)
            nside, frame, nested = _system(mask, hdu.header, path)
            there = SkyCoord(ra_deg, dec_deg, unit="deg").transform_to(frame).spherical
            pixels = sky.pixels_in_cone(
                there.lon.deg, there.lat.deg, radius_deg, nside, nested=nested
            )
            values = _values(hdu, mask.column, nside, pixels, path)
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(f"{path}: no HEALPix map ({error}); restore the file") from error
    values[(values < 0.99 * UNSEEN) & (values > 1.01 * UNSEEN)] = np.nan
    return HealpixPart(pixels, values, nside, frame, nested)


def _table(hdus: fits.HDUList, extension: str | int | None, path: Path) -> fits.BinTableHDU:
    try:
        if extension is not None:
            return hdus[extension]
        return next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU))
    except (KeyError, IndexError, StopIteration) as error:
        raise SourceError(
            f"{path}: no table {'' if extension is None else extension}; correct `extension`"
        ) from error


def _system(mask: MapMask, header: fits.Header, path: Path) -> tuple[int, str, bool]:
    nside = header.get("NSIDE")
    if not isinstance(nside, int) or nside < 1 or nside & (nside - 1):
        raise SourceError(f"{path}: NSIDE = {nside!r}; this is no HEALPix map")
    if str(header.get("INDXSCHM", "IMPLICIT")).strip() != "IMPLICIT":
        raise SourceError(
            f"{path}: a map of part of the sky; give one of all of it, or the part as a MOC"
        )
    frame = mask.frame or _FRAMES.get(str(header.get("COORDSYS", "")).strip()[:1].upper())
    if frame is None:
        raise SourceError(f"{path}: does not say its frame; give the mask's `frame`")
    said = mask.ordering or str(header.get("ORDERING", "")).strip().lower()
    if said not in ("nested", "nest", "ring"):
        raise SourceError(f"{path}: does not say its ordering; give the mask's `ordering`")
    return nside, frame, said != "ring"


def _values(
    hdu: fits.BinTableHDU, column: str | None, nside: int, pixels: np.ndarray, path: Path
) -> np.ndarray:
    names = hdu.columns.names
    if column is not None and column not in names:
        raise SourceError(f"{path}: no column {column!r}; it holds {', '.join(names)}")
    name = column or names[0]
    info = hdu.columns[name]
    if info.bscale not in (None, "", 1) or info.bzero not in (None, "", 0):
        raise SourceError(f"{path}: column {name} is scaled (TSCAL, TZERO), which is not read")
    # The plain array: astropy's own view would convert (and so read) whole columns.
    raw = hdu.data.view(np.ndarray)[name]
    wide = int(np.prod(raw.shape[1:], dtype=int))
    if raw.shape[0] * wide != 12 * nside**2:
        raise SourceError(
            f"{path}: {raw.shape[0] * wide} pixels, and NSIDE = {nside} asks for {12 * nside**2}"
        )
    rows, offsets = np.divmod(pixels, wide)
    found = raw[rows] if raw.ndim == 1 else raw.reshape(raw.shape[0], wide)[rows, offsets]
    return of_logical(found.astype(np.float64), info.format)
