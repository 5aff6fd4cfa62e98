"""A HEALPix map in a FITS table, of which only the pixels needed are kept in memory.

Maps of the whole sky list the value of every pixel in order (``INDXSCHM = IMPLICIT``), those of a
part of it (``EXPLICIT``) each pixel's number beside its value, in any order.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.core import sky
from clusterscan.core.errors import SourceError

UNSEEN = -1.6375e30
"""The value by which HEALPix maps mark pixels without data."""

_PART_ROWS = 1 << 18
_KNOWN_SPANS: dict[tuple[str, int, int, int], tuple[np.ndarray, np.ndarray]] = {}
_NUMBER_NAMES = frozenset({"PIXEL", "PIX", "HPXINDEX", "HEALPIX", "IPIX"})
_LOGICAL = re.compile(r"\d*L")
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
        values, unit = self.at(where, nearest=nearest, no_data=no_data)
        return values.reshape(shape), unit

    def at(
        self, where: SkyCoord, *, nearest: bool, no_data: float | None = None
    ) -> tuple[np.ndarray, str]:
        """Return the map at positions, float32, NaN where there are no data, and its unit.

        Raises
        ------
        SourceError
            As `read`.
        """
        try:
            with fits.open(self.path, memmap=True) as hdus:
                hdu = self._table(hdus)
                nside, explicit = self._layout(hdu.header)
                numbers = _numbers_column(hdu, self.path) if explicit else None
                column = self._column(hdu, numbers)
                pixels, weights = self._pixels(where, hdu.header, nside, nearest=nearest)
                values_of = _raw_column(hdu, column, self.path)
                if numbers is None:
                    values = _gather(values_of, pixels, self.path)
                else:
                    listed = _raw_column(hdu, numbers, self.path)
                    values = _gather_listed(listed, values_of, pixels, self.path)
                values = of_logical(values, hdu.columns[column].format)
                unit = str(hdu.columns[column].unit or "")
        except (OSError, ValueError, TypeError) as error:
            raise SourceError(f"{self.path}: no HEALPix map ({error}); restore the file") from error
        values[(values < 0.99 * UNSEEN) & (values > 1.01 * UNSEEN)] = np.nan
        if no_data is not None:
            values[values == np.float32(no_data)] = np.nan
        return (values * weights).sum(axis=0).astype(np.float32), unit

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

    def _column(self, hdu: fits.BinTableHDU, numbers: str | None) -> str:
        names = [name for name in hdu.columns.names if name != numbers]
        if self.column is None:
            if not names:
                raise SourceError(f"{self.path}: no column of values beside {numbers}")
            return names[0]
        if self.column not in names:
            raise SourceError(
                f"{self.path}: no column {self.column!r}; it holds {', '.join(names)}"
            )
        return self.column

    def _layout(self, header: fits.Header) -> tuple[int, bool]:
        """Return nside, and whether pixels are listed by number."""
        nside = header.get("NSIDE")
        if not isinstance(nside, int) or nside < 1 or nside & (nside - 1):
            raise SourceError(
                f"{self.path}: NSIDE = {nside!r} is no power of two, as HEALPix maps read here "
                "have; write the map anew at one that is"
            )
        scheme = str(header.get("INDXSCHM", "IMPLICIT")).strip().upper()
        if scheme not in ("IMPLICIT", "EXPLICIT"):
            raise SourceError(
                f"{self.path}: INDXSCHM = {scheme!r} is neither IMPLICIT nor EXPLICIT"
            )
        return nside, scheme == "EXPLICIT"

    def _pixels(
        self, where: SkyCoord, header: fits.Header, nside: int, *, nearest: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        frame = self.frame or _FRAMES.get(str(header.get("COORDSYS", "")).strip()[:1].upper())
        if frame is None:
            raise SourceError(f"{self.path}: does not say its frame; give the setting frame")
        nested = self.nested
        if nested is None:
            said = str(header.get("ORDERING", "")).strip().upper()
            if said not in ("NESTED", "NEST", "RING"):
                raise SourceError(
                    f"{self.path}: does not say its ordering (ORDERING = {said!r}); give "
                    "source.ordering, or write NESTED or RING into the header of a mask"
                )
            nested = said != "RING"
        there = where.transform_to(frame).spherical
        lon, lat = there.lon.deg, there.lat.deg
        return sky.healpix_weights(lon, lat, nside, nested=nested, nearest=nearest)


def of_logical(values: np.ndarray, form: str) -> np.ndarray:
    """Return 1 and 0 for the letters T and F of a logical column, NaN for others.

    healpy writes a mask of bool so. Values of columns in any other format are returned as they are.

    Parameters
    ----------
    values : float ndarray
        As they lie in the file.
    form : str
        The column's TFORM.
    """
    if not _LOGICAL.fullmatch(form.strip()):
        return values
    return np.where(values == ord("T"), 1.0, np.where(values == ord("F"), 0.0, np.nan))


def _gather(raw: np.ndarray, pixels: np.ndarray, path: Path) -> np.ndarray:
    """Return values of pixels, float64, of the shape of ``pixels``; each is read once."""
    wide = int(np.prod(raw.shape[1:], dtype=int))
    if pixels.max() >= raw.shape[0] * wide:
        raise SourceError(f"{path}: only {raw.shape[0] * wide} pixels, fewer than NSIDE asks for")
    needed, place = np.unique(pixels, return_inverse=True)
    rows, offsets = np.divmod(needed, wide)
    values = raw[rows] if raw.ndim == 1 else raw.reshape(raw.shape[0], wide)[rows, offsets]
    return values.astype(np.float64)[place].reshape(pixels.shape)


def _gather_listed(
    listed: np.ndarray, raw: np.ndarray, pixels: np.ndarray, path: Path
) -> np.ndarray:
    """Return values of pixels as `_gather` does, of a table that lists its pixels' numbers.

    Pixels that are not listed are NaN. The table is read in parts; of each file it is kept which
    numbers its parts hold, so that later tiles read only those that can hold theirs.
    """
    if listed.ndim != 1 or raw.ndim != 1:
        raise SourceError(f"{path}: several pixels a row, though each should be listed by itself")
    needed, place = np.unique(pixels, return_inverse=True)
    values = np.full(needed.size, np.nan)
    first, last = _spans(path, listed)
    # A part is read where a needed number lies between its least and its greatest.
    holds = np.searchsorted(needed, last, "right") > np.searchsorted(needed, first, "left")
    for part in np.flatnonzero(holds):
        rows = slice(part * _PART_ROWS, (part + 1) * _PART_ROWS)
        here = np.asarray(listed[rows]).astype(np.int64)
        at = np.minimum(np.searchsorted(needed, here), needed.size - 1)
        found = needed[at] == here
        values[at[found]] = np.asarray(raw[rows])[found]
    return values[place].reshape(pixels.shape)


def _spans(path: Path, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest pixel number of each part of a file's rows."""
    state = path.stat()
    key = (str(path), state.st_mtime_ns, state.st_size, listed.size)
    if key not in _KNOWN_SPANS:
        starts = range(0, len(listed), _PART_ROWS)
        parts = (listed[start : start + _PART_ROWS] for start in starts)
        found = [(int(part.min()), int(part.max())) for part in parts]
        first, last = np.array(found, dtype=np.int64).reshape(-1, 2).T
        _KNOWN_SPANS[key] = (first, last)
    return _KNOWN_SPANS[key]


def _numbers_column(hdu: fits.BinTableHDU, path: Path) -> str:
    for name in hdu.columns.names:
        if name.strip().upper() in _NUMBER_NAMES:
            return name
    raise SourceError(
        f"{path}: INDXSCHM = EXPLICIT, but no column of pixel numbers (one of "
        f"{', '.join(sorted(_NUMBER_NAMES))}); it holds {', '.join(hdu.columns.names)}"
    )


def _raw_column(hdu: fits.BinTableHDU, column: str, path: Path) -> np.ndarray:
    """Return a column as it lies in the file, unread."""
    info = hdu.columns[column]
    if info.bscale not in (None, "", 1) or info.bzero not in (None, "", 0):
        raise SourceError(f"{path}: column {column} is scaled (TSCAL, TZERO), which is not read")
    # Not `hdu.data`: when its file is closed, astropy copies all columns into memory.
    kind = hdu.columns.dtype.newbyteorder(">")
    start, count = hdu.fileinfo()["datLoc"], hdu.header["NAXIS2"]
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    if packed:
        data = _unpacked(path, path.stat().st_mtime_ns, start, count * kind.itemsize)
        return np.frombuffer(data, kind)[column]
    return np.memmap(path, dtype=kind, mode="r", offset=start, shape=(count,))[column]


@lru_cache(maxsize=1)
def _unpacked(path: Path, mtime_ns: int, start: int, size: int) -> bytes:
    """Return a part of a gzip file: unpacking it again for every tile would take far longer."""
    with gzip.open(path) as handle:
        handle.seek(start)
        return handle.read(size)
