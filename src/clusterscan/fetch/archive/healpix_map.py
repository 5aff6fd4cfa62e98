"""A HEALPix map of the whole sky in a FITS table, of which only the pixels needed are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan import sky
from clusterscan.errors import SourceError

UNSEEN = -1.6375e30
"""The value by which HEALPix maps mark pixels without data."""

_FRAMES = {"G": "galactic", "C": "icrs", "Q": "icrs"}


@dataclass(frozen=True)
class HealpixMap:
    """One column of a HEALPix map in a file.

    Attributes
    ----------
    path : Path
        The file.
    extension : str, int or None
        The table; None: the first.
    column : str, optional
        The column; None: the first.
    frame : {"icrs", "galactic"}, optional
        None: as the header's COORDSYS says.
    nested : bool, optional
        None: as the header's ORDERING says.
    """

    path: Path
    extension: str | int | None = None
    column: str | None = None
    frame: str | None = None
    nested: bool | None = None

    def read(
        self, wcs: WCS, shape: tuple[int, int], *, nearest: bool, no_data: float | None = None
    ) -> tuple[np.ndarray, str]:
        """Return the map on a frame, and its unit.

        Parameters
        ----------
        wcs, shape : WCS, (ny, nx)
            The frame.
        nearest : bool
            The pixel under each position; else HEALPix' bilinear interpolation of four.
        no_data : float, optional
            A value that means no data, besides NaN and `UNSEEN`.

        Returns
        -------
        values : float32 ndarray, shape (ny, nx)
            NaN where one of the pixels needed has no data.
        unit : str
            Of the header; empty where there is none.

        Raises
        ------
        SourceError
            If the file is no such map, or does not say its frame or ordering.
        """
        y, x = np.indices(shape)
        where = wcs.pixel_to_world(x.ravel(), y.ravel())
        try:
            with fits.open(self.path, memmap=True) as hdus:
                hdu = self._table(hdus)
                column = self._column(hdu)
                nside = self._nside(hdu.header)
                pixels, weights = self._pixels(where, hdu.header, nside, nearest=nearest)
                values = _gather(hdu.data, column, pixels, self.path)
                unit = str(hdu.columns[column].unit or "")
        except (OSError, ValueError, TypeError) as error:
            raise SourceError(f"{self.path}: no HEALPix map ({error}); restore the file") from error
        values[(values < 0.99 * UNSEEN) & (values > 1.01 * UNSEEN)] = np.nan
        if no_data is not None:
            values[values == np.float32(no_data)] = np.nan
        return (values * weights).sum(axis=0).reshape(shape).astype(np.float32), unit

    def _table(self, hdus: fits.HDUList):
        try:
            if self.extension is not None:
                hdu = hdus[self.extension]
                if not isinstance(hdu, fits.BinTableHDU):
                    raise KeyError(self.extension)
                return hdu
            return next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU))
        except (KeyError, IndexError, StopIteration) as error:
            said = "" if self.extension is None else self.extension
            raise SourceError(f"{self.path}: no table {said}; correct extension") \
                from error  # fmt: skip

    def _column(self, hdu: fits.BinTableHDU) -> str:
        names = hdu.columns.names
        if self.column is None:
            return names[0]
        if self.column not in names:
            raise SourceError(
                f"{self.path}: no column {self.column!r}; it holds {', '.join(names)}"
            )
        return self.column

    def _nside(self, header: fits.Header) -> int:
        nside = header.get("NSIDE")
        if not isinstance(nside, int) or nside < 1 or nside & (nside - 1):
            raise SourceError(f"{self.path}: NSIDE = {nside!r}; this is no HEALPix map")
        if str(header.get("INDXSCHM", "IMPLICIT")).strip() != "IMPLICIT":
            raise SourceError(f"{self.path}: a map of part of the sky; one of all of it is needed")
        return nside

    def _pixels(
        self, where: SkyCoord, header: fits.Header, nside: int, *, nearest: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        frame = self.frame or _FRAMES.get(str(header.get("COORDSYS", "")).strip()[:1].upper())
        if frame is None:
            raise SourceError(f"{self.path}: does not say its frame; give source.frame")
        nested = self.nested
        if nested is None:
            said = str(header.get("ORDERING", "")).strip().upper()
            if said not in ("NESTED", "NEST", "RING"):
                raise SourceError(f"{self.path}: does not say its ordering; give source.ordering")
            nested = said != "RING"
        there = where.transform_to(frame).spherical
        lon, lat = there.lon.deg, there.lat.deg
        return sky.healpix_weights(lon, lat, nside, nested=nested, nearest=nearest)


def _gather(data: Any, column: str, pixels: np.ndarray, path: Path) -> np.ndarray:
    """Return values of pixels, float64, of the shape of ``pixels``; each is read once."""
    # The plain array: astropy's own view would convert (and so read) whole columns.
    raw = data.view(np.ndarray)[column]
    info = data.columns[column]
    if info.bscale not in (None, "", 1) or info.bzero not in (None, "", 0):
        raise SourceError(f"{path}: column {column} is scaled (TSCAL, TZERO), which is not read")
    wide = int(np.prod(raw.shape[1:], dtype=int))
    if pixels.max() >= raw.shape[0] * wide:
        raise SourceError(f"{path}: only {raw.shape[0] * wide} pixels, fewer than NSIDE asks for")
    needed, place = np.unique(pixels, return_inverse=True)
    rows, offsets = np.divmod(needed, wide)
    values = raw[rows] if raw.ndim == 1 else raw.reshape(raw.shape[0], wide)[rows, offsets]
    return values.astype(np.float64)[place].reshape(pixels.shape)
