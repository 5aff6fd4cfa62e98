"""FITS images on this disk: completeness, version tokens, and their place on the sky."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from clusterscan.core import sky
from clusterscan.core.atomic import write_json_if_changed
from clusterscan.core.errors import SourceError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.fetch.download.checks import ContentError, check_fits
from clusterscan.formats.fits_images import celestial_wcs

_SMALL_DEG = 20.0
_EDGE_POINTS = 17


@dataclass(frozen=True)
class ImageFile:
    """One FITS image of a folder."""

    path: Path
    extension: str | int | None

    def frame(self) -> tuple[WCS, tuple[int, int]]:
        """Return its celestial WCS and shape (ny, nx).

        Raises
        ------
        SourceError
            If the file is damaged or has no image with a celestial WCS.
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
            raise SourceError(
                f"{self.path}: an image of shape {values.shape}; it must have two axes"
            )
        values[~np.isfinite(values)] = np.nan
        if no_data is not None:
            values[values == np.float32(no_data)] = np.nan
        return values, wcs

    def _open(self) -> fits.HDUList:
        try:
            return fits.open(self.path, memmap=True)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.path}: not a FITS file ({error}); restore it") from error

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
        remedy = "exclude it from source.files"
        return celestial_wcs(hdu.header, str(self.path), remedy).celestial


def outline(wcs: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return ICRS positions (ra_deg, dec_deg) on a grid over an image, border included."""
    ny, nx = shape
    y, x = np.meshgrid(
        np.linspace(-0.5, ny - 0.5, _EDGE_POINTS), np.linspace(-0.5, nx - 0.5, _EDGE_POINTS)
    )
    there = wcs.pixel_to_world(x.ravel(), y.ravel()).icrs
    ra, dec = there.ra.deg, there.dec.deg
    fine = np.isfinite(ra) & np.isfinite(dec)
    return ra[fine], dec[fine]


def reaches(positions: tuple[np.ndarray, np.ndarray], wcs: WCS, shape: tuple[int, int]) -> bool:
    """Return True if an image, given by its `outline`, may overlap a tangent-plane image.

    Errs on the safe side: the answer may be True for an image that passes by within a fraction of
    its size, but it is never False for one that overlaps.
    """
    ra, dec = positions
    if ra.size == 0:
        return False
    # First by circles around both images, which is cheap and safe at any distance.
    middle = sky.unit_vectors(ra, dec).mean(axis=0)
    ny, nx = shape
    centre = wcs.pixel_to_world_values((nx - 1) / 2, (ny - 1) / 2)
    own = np.sqrt(proj_plane_pixel_area(wcs)) * np.hypot(nx, ny) / 2
    if np.linalg.norm(middle) < np.cos(np.radians(60.0)):
        return True  # the image covers most of the sky
    lon = np.degrees(np.arctan2(middle[1], middle[0]))
    lat = np.degrees(np.arcsin(middle[2] / np.linalg.norm(middle)))
    radius = sky.separation_deg(ra, dec, lon, lat).max()
    if sky.separation_deg(lon, lat, *centre) > 1.1 * (radius + own):
        return False
    # Only nearby is the outline projected to the frame: a tangent plane has no far side.
    if radius + own > _SMALL_DEG:
        return True
    x, y = wcs.world_to_pixel_values(ra, dec)
    return bool(x.max() >= -1.5 and x.min() <= nx + 0.5 and y.max() >= -1.5 and y.min() <= ny + 0.5)


class FileTokens:
    """Version tokens of the files below one folder.

    A file's checksum is kept in a ledger and computed again only if its size or time has changed.
    A file that was merely touched therefore keeps its token.
    """

    def __init__(self, folder: Path, root: Path):
        self._folder = folder
        self._ledger = root / "hashes" / f"{fingerprint(str(folder.resolve()))[:32]}.json"
        self._known: dict[str, Any] = self._read()

    def sha256(self, path: Path) -> str:
        """Return ``sha256 <hex>`` of a file (a strong token)."""
        state = path.stat()
        key = path.relative_to(self._folder).as_posix()
        stamp = [state.st_size, state.st_mtime_ns]  # a changed file nearly always differs in these
        known = self._known.get(key)
        if known is None or known["stamp"] != stamp:
            known = {"stamp": stamp, "sha256": file_sha256(path)}
            self._known[key] = known
        return f"sha256 {known['sha256']}"

    @staticmethod
    def mtime(path: Path) -> str:
        """Return the size and time of a file (a weak token: some ways of copying keep neither)."""
        state = path.stat()
        return f"weak {state.st_size} bytes, {state.st_mtime_ns} ns"

    def save(self) -> None:
        """Write the ledger."""
        write_json_if_changed(self._ledger, self._known)

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._ledger.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}


_CHUNK = 1 << 20
_MOST_UNPACKED_BYTES = 1 << 27


def check_archive_file(path: Path) -> None:
    """Check that a file is complete: FITS, or FITS in gzip, whose checksum is then verified.

    Raises
    ------
    ContentError
        If it is not.
    """
    with path.open("rb") as handle:
        compressed = handle.read(2) == b"\x1f\x8b"
    if not compressed:
        check_fits(path)
        return
    try:
        with gzip.open(path) as handle:
            first = handle.read(9)
            while handle.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise ContentError(f"damaged gzip file: {error}") from error
    if first != b"SIMPLE  =":
        raise ContentError("the gzip file does not contain FITS")


def whole_path(path: Path) -> Path:
    """Return the path of a file on this disk after a quick check that it is complete.

    Raises
    ------
    SourceError
        If it is not complete.
    """
    try:
        check_archive_file(path)
    except (ContentError, OSError) as error:
        raise SourceError(f"{path}: {error}; restore the file") from error
    return path


def open_whole(path: Path) -> fits.HDUList:
    """Open a FITS file after a quick check that it is complete.

    A small gzip file is decompressed once, in memory. Checking it and then reading it would
    decompress it twice, which takes longer than everything else done with an atlas image.

    Raises
    ------
    SourceError
        If it is not complete.
    """
    content = _unpacked(path)
    try:
        if content is not None:
            return fits.open(io.BytesIO(content))
        return fits.open(whole_path(path), memmap=True)
    except OSError as error:  # the content of a gzip file may end within its header
        raise SourceError(f"{path}: cannot be read ({error}); restore the file") from error


def _unpacked(path: Path) -> bytes | None:
    """Return the content of a small gzip file, with its checksum verified; else None."""
    if not path.is_file() or path.stat().st_size > _MOST_UNPACKED_BYTES:
        return None
    with path.open("rb") as handle:
        if handle.read(2) != b"\x1f\x8b":
            return None
        handle.seek(0)
        unpack = zlib.decompressobj(wbits=31)  # gzip
        try:
            content = unpack.decompress(handle.read(), _MOST_UNPACKED_BYTES)
        except zlib.error:
            return None  # `whole_path` will raise with the reason
    whole = unpack.eof and not unpack.unused_data
    return content if whole and content.startswith(b"SIMPLE  =") else None
