"""Read HEALPix maps in FITS tables; only the required pixels are read.

Maps of the whole sky list the value of every pixel in order (``INDXSCHM = IMPLICIT``). Maps of a
part of the sky (``EXPLICIT``) list each pixel's number beside its value, in any order.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
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
"""Value of pixels without data in HEALPix maps."""

_PART_ROWS = 1 << 18
_KNOWN_SPANS: dict[tuple[str, int, int, int], tuple[np.ndarray, np.ndarray]] = {}
_NUMBER_NAMES = frozenset({"PIXEL", "PIX", "HPXINDEX", "HEALPIX", "IPIX"})
_LOGICAL = re.compile(r"\d*L")
_FRAMES = {"G": "galactic", "C": "icrs", "Q": "icrs"}


@dataclass(frozen=True)
class HealpixPart:
    """Some pixels of a HEALPix map: sorted indices, their values (NaN: none), and its system."""

    pixels: np.ndarray
    values: np.ndarray
    nside: int
    frame: str
    nested: bool


@dataclass(frozen=True)
class HealpixMap:
    """One column of a HEALPix map in a file.

    Attributes
    ----------
    path : Path
        The file.
    extension : str, int or None
        The table; None: the first one.
    column : str, optional
        The column; None: the first one.
    frame : {"icrs", "galactic"}, optional
        None: from the header's COORDSYS.
    nested : bool, optional
        None: from the header's ORDERING.
    """

    path: Path
    extension: str | int | None = None
    column: str | None = None
    frame: str | None = None
    nested: bool | None = None

    def read(
        self, wcs: WCS, shape: tuple[int, int], *, nearest: bool, no_data: float | None = None
    ) -> tuple[np.ndarray, str]:
        """Read the map on a frame.

        Parameters
        ----------
        wcs, shape : WCS, (ny, nx)
            The frame.
        nearest : bool
            Take the pixel under each position; else interpolate between four (bilinear).
        no_data : float, optional
            Value that means no data, besides NaN and `UNSEEN`.

        Returns
        -------
        values : float32 ndarray, shape (ny, nx)
            NaN where one of the required pixels has no data.
        unit : str
            Unit from the header; empty if there is none.

        Raises
        ------
        SourceError
            If the file is not such a map, or does not state its frame or ordering.
        """
        y, x = np.indices(shape)
        where = wcs.pixel_to_world(x.ravel(), y.ravel())
        values, unit = self.at(where, nearest=nearest, no_data=no_data)
        return values.reshape(shape), unit

    def at(
        self, where: SkyCoord, *, nearest: bool, no_data: float | None = None
    ) -> tuple[np.ndarray, str]:
        """Read the map at positions: float32 values, NaN where there are no data, and the unit.

        Raises
        ------
        SourceError
            As in `read`.
        """
        with self._opened() as hdu:
            nside, explicit = self._layout(hdu.header)
            numbers = _numbers_column(hdu, self.path) if explicit else None
            column = self._column(hdu, numbers)
            frame, nested = self._system(hdu.header)
            there = where.transform_to(frame).spherical
            pixels, weights = sky.healpix_weights(
                there.lon.deg, there.lat.deg, nside, nested=nested, nearest=nearest
            )
            values_of = _raw_column(hdu, column, self.path)
            if numbers is None:
                values = _gather(values_of, pixels, self.path)
            else:
                listed = _raw_column(hdu, numbers, self.path)
                values = _gather_listed(listed, values_of, pixels, self.path)
            values = of_logical(values, hdu.columns[column].format)
            unit = str(hdu.columns[column].unit or "")
        _drop_unseen(values)
        if no_data is not None:
            values[values == np.float32(no_data)] = np.nan
        # One of the four pixels without data makes the sum NaN: no value is made up from the
        # others.
        return (values * weights).sum(axis=0).astype(np.float32), unit

    def around(self, ra_deg: float, dec_deg: float, radius_deg: float) -> HealpixPart:
        """Read the pixels of a map of the whole sky that touch a cone (ICRS).

        Raises
        ------
        SourceError
            As in `read`; also if the map covers a part of the sky only.
        """
        with self._opened() as hdu:
            nside, explicit = self._layout(hdu.header)
            if explicit:
                raise SourceError(
                    f"{self.path}: a map of part of the sky; give one of the whole sky, or give "
                    "the part as a MOC"
                )
            frame, nested = self._system(hdu.header)
            column = self._column(hdu, None)
            there = SkyCoord(ra_deg, dec_deg, unit="deg").transform_to(frame).spherical
            pixels = sky.pixels_in_cone(
                there.lon.deg, there.lat.deg, radius_deg, nside, nested=nested
            )
            # Pixels are found by their place in the file, so every one of the whole sky has to be
            # there.
            raw = _raw_column(hdu, column, self.path)
            if raw.size != 12 * nside**2:
                raise SourceError(
                    f"{self.path}: {raw.size} pixels, but NSIDE = {nside} requires {12 * nside**2}"
                )
            values = _gather(raw, pixels, self.path)
            values = of_logical(values, hdu.columns[column].format)
        _drop_unseen(values)
        return HealpixPart(pixels, values, nside, frame, nested)

    @contextmanager
    def _opened(self) -> Iterator[fits.BinTableHDU]:
        """Open the table; whatever astropy raises about the file becomes a SourceError."""
        try:
            with fits.open(self.path, memmap=True) as hdus:
                yield self._table(hdus)
        except (OSError, ValueError, TypeError) as error:
            raise SourceError(
                f"{self.path}: not a HEALPix map ({error}); restore the file"
            ) from error

    def _table(self, hdus: fits.HDUList) -> fits.BinTableHDU:
        try:
            if self.extension is not None:
                hdu = hdus[self.extension]
                if not isinstance(hdu, fits.BinTableHDU):
                    raise KeyError(self.extension)
                return hdu
            return next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU))
        except (KeyError, IndexError, StopIteration) as error:
            name = "" if self.extension is None else self.extension
            raise SourceError(f"{self.path}: no table {name}; correct extension") from error

    def _column(self, hdu: fits.BinTableHDU, numbers: str | None) -> str:
        names = [name for name in hdu.columns.names if name != numbers]
        if self.column is None:
            if not names:
                raise SourceError(f"{self.path}: no column of values beside {numbers}")
            return names[0]
        if self.column not in names:
            raise SourceError(f"{self.path}: no column {self.column!r}; it has {', '.join(names)}")
        return self.column

    def _layout(self, header: fits.Header) -> tuple[int, bool]:
        """Return nside, and True if pixels are listed by number."""
        nside = header.get("NSIDE")
        if not isinstance(nside, int) or nside < 1 or nside & (nside - 1):
            raise SourceError(
                f"{self.path}: NSIDE = {nside!r} is not a power of two; only such HEALPix maps "
                "can be read"
            )
        scheme = str(header.get("INDXSCHM", "IMPLICIT")).strip().upper()
        if scheme not in ("IMPLICIT", "EXPLICIT"):
            raise SourceError(
                f"{self.path}: INDXSCHM = {scheme!r} is neither IMPLICIT nor EXPLICIT"
            )
        return nside, scheme == "EXPLICIT"

    def _system(self, header: fits.Header) -> tuple[str, bool]:
        """Return the frame, and True for NESTED ordering."""
        # COORDSYS is written as "G", "GALACTIC", "C", "celestial", ...: its first letter counts.
        frame = self.frame or _FRAMES.get(str(header.get("COORDSYS", "")).strip()[:1].upper())
        if frame is None:
            raise SourceError(f"{self.path}: does not state its frame; give the setting frame")
        nested = self.nested
        if nested is None:
            ordering = str(header.get("ORDERING", "")).strip().upper()
            if ordering not in ("NESTED", "NEST", "RING"):
                raise SourceError(
                    f"{self.path}: does not state its ordering (ORDERING = {ordering!r}); give the "
                    "setting ordering, or write NESTED or RING into the header"
                )
            nested = ordering != "RING"
        return frame, nested


def _drop_unseen(values: np.ndarray) -> None:
    # Compared with a tolerance: float32 and float64 maps round UNSEEN differently.
    values[(values < 0.99 * UNSEEN) & (values > 1.01 * UNSEEN)] = np.nan


def of_logical(values: np.ndarray, form: str) -> np.ndarray:
    """Convert the letters T and F of a logical column to 1 and 0, others to NaN.

    healpy writes boolean masks like this. Values of columns in other formats are returned
    unchanged. ``form`` is the column's TFORM.
    """
    if not _LOGICAL.fullmatch(form.strip()):
        return values
    return np.where(values == ord("T"), 1.0, np.where(values == ord("F"), 0.0, np.nan))


def _gather(raw: np.ndarray, pixels: np.ndarray, path: Path) -> np.ndarray:
    """Return the values of pixels, float64, with the shape of ``pixels``; each is read once."""
    wide = int(np.prod(raw.shape[1:], dtype=int))
    if pixels.max() >= raw.shape[0] * wide:
        raise SourceError(f"{path}: only {raw.shape[0] * wide} pixels, fewer than NSIDE requires")
    # Sorted pixels read the file forwards; neighbouring positions share most of their pixels.
    needed, place = np.unique(pixels, return_inverse=True)
    # healpy writes 1024 pixels per row, others one: a pixel's number gives its row and its place.
    rows, offsets = np.divmod(needed, wide)
    values = raw[rows] if raw.ndim == 1 else raw.reshape(raw.shape[0], wide)[rows, offsets]
    return values.astype(np.float64)[place].reshape(pixels.shape)


def _gather_listed(
    listed: np.ndarray, raw: np.ndarray, pixels: np.ndarray, path: Path
) -> np.ndarray:
    """Return the values of pixels, like `_gather`, for a table that lists pixel numbers.

    Pixels that are not listed are NaN. The table is read in parts. The range of numbers in each
    part is remembered per file, so that later tiles read only the parts that can contain their
    pixels.
    """
    if listed.ndim != 1 or raw.ndim != 1:
        raise SourceError(f"{path}: several pixels per row, but an EXPLICIT map must have one")
    needed, place = np.unique(pixels, return_inverse=True)
    values = np.full(needed.size, np.nan)
    first, last = _spans(path, listed)
    # Read a part only if a required number lies within its range.
    holds = np.searchsorted(needed, last, "right") > np.searchsorted(needed, first, "left")
    for part in np.flatnonzero(holds):
        rows = slice(part * _PART_ROWS, (part + 1) * _PART_ROWS)
        here = np.asarray(listed[rows]).astype(np.int64)
        # Look up each listed number among the few required ones, not the other way round: a part is
        # read once, whatever its order.
        at = np.minimum(np.searchsorted(needed, here), needed.size - 1)
        found = needed[at] == here
        values[at[found]] = np.asarray(raw[rows])[found]
    return values[place].reshape(pixels.shape)


def _spans(path: Path, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest pixel number of each part of a file's rows."""
    state = path.stat()  # size and time in the key: a replaced file is read again
    key = (str(path), state.st_mtime_ns, state.st_size, listed.size)
    if key not in _KNOWN_SPANS:
        # One pass over all numbers per file. Maps are mostly sorted, so a tile then needs few
        # parts.
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
        f"{', '.join(sorted(_NUMBER_NAMES))}); it has {', '.join(hdu.columns.names)}"
    )


def _raw_column(hdu: fits.BinTableHDU, column: str, path: Path) -> np.ndarray:
    """Return a column as it is in the file, without reading it."""
    info = hdu.columns[column]
    if info.bscale not in (None, "", 1) or info.bzero not in (None, "", 0):
        raise SourceError(
            f"{path}: column {column} is scaled (TSCAL, TZERO), which is not supported"
        )
    # `hdu.data` is avoided because astropy copies all columns into memory when the file is closed.
    # FITS is big-endian, whatever the machine.
    kind = hdu.columns.dtype.newbyteorder(">")
    start, count = hdu.fileinfo()["datLoc"], hdu.header["NAXIS2"]
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    # A gzip file cannot be mapped into memory.
    if packed:
        data = _unpacked(path, path.stat().st_mtime_ns, start, count * kind.itemsize)
        return np.frombuffer(data, kind)[column]
    return np.memmap(path, dtype=kind, mode="r", offset=start, shape=(count,))[column]


@lru_cache(maxsize=1)
def _unpacked(path: Path, mtime_ns: int, start: int, size: int) -> bytes:
    """Return a part of a gzip file; cached, because decompressing it for every tile is slow."""
    with gzip.open(path) as handle:
        handle.seek(start)
        return handle.read(size)
