"""Stamps (small images, one per object) in a zip file or a folder, read as untrusted data.

Names in a zip are never used as paths, nothing is unpacked to disk, sizes are read from headers and
checked before pixels are decoded, and only the format that the name's ending states is tried.
"""

from __future__ import annotations

import gzip
import io
import threading
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clusterscan.config.image_sources import StampsSource
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.fingerprint import file_sha256, fingerprint

if TYPE_CHECKING:
    from astropy.io import fits


_MAX_RATIO = 200  # a zip bomb of zeros reaches 1000; pictures are already compressed


@dataclass(frozen=True)
class StampFiles:
    """The files of a set of stamps, by name.

    Attributes
    ----------
    path : Path
        A zip file or folder.
    max_member_bytes, max_members : int
        Larger files and sets are refused.
    strict : bool
        Refuse the whole zip if one member is too large, not only that member.
    """

    path: Path
    max_member_bytes: int = 8_000_000
    max_members: int = 1_000_000
    strict: bool = True

    def token(self) -> str:
        """Return a hash that changes if any stamp changes."""
        if self.path.is_file():
            return file_sha256(self.path)
        return fingerprint({name: file_sha256(self.path / name) for name in self.members()})

    def members(self) -> list[str]:
        """Return the sorted names of all images.

        Raises
        ------
        SourceError
            If the path is neither a folder nor a zip file, or is damaged, hostile or too large.
        """
        return sorted(self._sizes)

    def read_bytes(self, member: str) -> bytes:
        """Return the bytes of a file.

        Raises
        ------
        SourceError
            If there is no such stamp, it is too large, or cannot be decompressed.
        """
        if member not in self._sizes:
            raise SourceError(
                f"{self.path}: holds no stamp {member!r} (it has {len(self._sizes)}, the first is "
                f"{next(iter(self.members()), None)!r}); check the labels' member column"
            )
        limit = self.max_member_bytes
        if self._sizes[member] > limit:
            raise SourceError(f"{self.path}: {member} is larger than max_member_bytes: {limit}")
        if self.path.is_dir():
            data = self._from_folder(member, limit)
        else:
            data = self._from_zip(member, limit)
        if len(data) > limit:
            raise SourceError(f"{self.path}: {member} is larger than max_member_bytes: {limit}")
        return data

    def _from_folder(self, member: str, limit: int) -> bytes:
        try:
            with (self.path / member).open("rb") as handle:
                return handle.read(limit + 1)
        except OSError as error:
            raise SourceError(f"{self.path}: {member} cannot be read ({error})") from error

    def _from_zip(self, member: str, limit: int) -> bytes:
        try:
            with self._archive.open(member) as handle:
                # The size in the zip's directory may be a lie, so never read beyond the limit.
                return handle.read(limit + 1)
        # RuntimeError: encrypted, or compressed by a method that Python does not support.
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
            raise SourceError(
                f"{self.path}: {member} cannot be unpacked ({error}); restore the archive"
            ) from error

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        sizes = self._zip_sizes() if self.path.is_file() else self._folder_sizes()
        if len(sizes) > self.max_members:
            raise SourceError(
                f"{self.path}: {len(sizes)} images, more than max_members: "
                f"{self.max_members}; raise it if that is right"
            )
        return sizes

    def _folder_sizes(self) -> dict[str, int]:
        root = self.path.resolve()
        found = {}
        for file in sorted(root.rglob("*")):
            # A link may lead out of the folder; such files are ignored.
            name = file.relative_to(root).as_posix()
            inside = file.is_file() and file.resolve().is_relative_to(root)
            if inside and is_stamp(name) and not _is_shadow(name):
                found[name] = file.stat().st_size
        return found

    def _zip_sizes(self) -> dict[str, int]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                infos = archive.infolist()
        except (OSError, zipfile.BadZipFile) as error:
            raise SourceError(f"{self.path}: neither a folder nor a zip file ({error})") from error
        found = {}
        for info in infos:
            if not info.is_dir() and is_stamp(info.filename) and not _is_shadow(info.filename):
                _check_member_name(info.filename, self.path)
                if self.strict:
                    self._check_size(info)
                found[info.filename] = info.file_size
        return found

    def _check_size(self, info: zipfile.ZipInfo) -> None:
        if info.file_size > self.max_member_bytes:
            raise SourceError(
                f"{self.path}: {info.filename} unpacks to {info.file_size} bytes, more than "
                f"max_member_bytes: {self.max_member_bytes}; raise it if that is right"
            )
        # Only pictures are tested: a valid FITS image may be all zeros.
        if is_picture(info.filename) and info.file_size > _MAX_RATIO * max(info.compress_size, 100):
            times = info.file_size // max(info.compress_size, 1)
            raise SourceError(
                f"{self.path}: {info.filename} unpacks to {times} times its size, which "
                "no image does; the archive is damaged or hostile"
            )


@dataclass(frozen=True)
class Stamps:
    """A set of stamps with its settings."""

    settings: StampsSource

    @cached_property
    def files(self) -> StampFiles:
        """The files."""
        settings = self.settings
        return StampFiles(
            expand_path(settings.path), settings.max_member_bytes, settings.max_members
        )

    @property
    def path(self) -> Path:
        """The zip file or folder."""
        return self.files.path

    def token(self) -> str:
        """Return a hash that changes if any stamp changes."""
        return self.files.token()

    def members(self) -> list[str]:
        """Return the sorted names of all images."""
        return self.files.members()

    def read(self, member: str) -> np.ndarray:
        """Read one stamp.

        Returns
        -------
        float32 ndarray, shape (bands, ny, nx)
            Pixel values (0 to 255 of a JPEG or PNG); rows run from south to north, as in a FITS
            image with north up; NaN where a FITS stamp has no value.

        Raises
        ------
        SourceError
            If there is no such stamp, or it is not an image of the right size and scale.
        """
        return self.image(member, self.files.read_bytes(member)).planes

    def image(self, member: str, data: bytes) -> StampImage:
        """Decode the bytes of a stamp and check it against the settings.

        Raises
        ------
        SourceError
            As in `read`.
        """
        settings = self.settings
        extensions = settings.extensions
        image = decode(
            data,
            f"{self.path}: {member}",
            bands=len(settings.bands),
            side_px=settings.size_px,
            row_0=settings.row_0,
            extensions=None if extensions is None else [extensions[b] for b in settings.bands],
            max_bytes=settings.max_member_bytes,
        )
        said, wanted = image.pixel_scale_arcsec, settings.pixel_scale_arcsec
        if said is not None and abs(said / wanted - 1) > 1e-3:
            raise SourceError(
                f"{self.path}: {member} has pixels of {said} arcsec by its WCS, but "
                f"pixel_scale_arcsec is {wanted}; correct it"
            )
        return image


def _is_shadow(name: str) -> bool:
    """Return True for a file that macOS packs beside each file to hold its attributes."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or parts[-1].startswith("._")


def _check_member_name(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise SourceError(
            f"{archive}: member {name!r} points outside the archive; it is damaged or hostile"
        )


PICTURES = (".jpg", ".jpeg", ".png")
FITS = (".fits", ".fit", ".fits.gz", ".fits.fz")
MAX_SIDE_PX = 4096
_FORMATS = ("JPEG", "PNG")
_MAX_BANDS = 64
_MAX_PIXELS = 100_000_000  # in all bands; the size of a compressed file does not bound it
_SQUARE = 1e-3  # relative difference of a pixel's sides

_REMEDY = "restore the file, or exclude it"
_WARNINGS = threading.Lock()  # warning filters are shared by all threads


@dataclass(frozen=True)
class StampImage:
    """A stamp.

    Attributes
    ----------
    planes : float32 ndarray, shape (bands, ny, nx)
        Rows from south to north, as in a FITS image with north up; NaN where a FITS stamp has no
        value.
    pixel_scale_arcsec : float or None
        Size of its square pixels [arcsec]; None if the stamp does not state it.
    ra_deg, dec_deg : float
        ICRS position of its centre [deg]; NaN if the stamp does not state it.
    """

    planes: np.ndarray
    pixel_scale_arcsec: float | None = None
    ra_deg: float = np.nan
    dec_deg: float = np.nan


def is_stamp(name: str) -> bool:
    """Return True if a file has the ending of a stamp."""
    return PurePosixPath(name).name.lower().endswith(PICTURES + FITS)


def is_picture(name: str) -> bool:
    """Return True if a file has the ending of a JPEG or PNG."""
    return PurePosixPath(name).name.lower().endswith(PICTURES)


def stem(name: str) -> str:
    """Return a stamp's name without folder and ending."""
    base = PurePosixPath(name).name
    ending = max((e for e in PICTURES + FITS if base.lower().endswith(e)), key=len, default="")
    return base[: len(base) - len(ending)]


def decode(
    data: bytes,
    where: str,
    *,
    bands: int | None = None,
    side_px: int | None = None,
    row_0: Literal["north", "south"] = "north",
    extensions: Sequence[str] | None = None,
    max_bytes: int = 64_000_000,
) -> StampImage:
    """Decode a stamp.

    Parameters
    ----------
    data : bytes
        The file.
    where : str
        Its name, with the archive or folder, for messages; the ending determines the format.
    bands : int, optional
        Required number of bands; a picture is converted to grey for 1. None: any number.
    side_px : int, optional
        Required side [px].
    row_0 : {"north", "south"}
        Side of the sky that a picture's first row shows.
    extensions : sequence of str, optional
        FITS image extensions, one per band; None: the first image, a plane or a cube.
    max_bytes : int
        Limit for the decompressed size of a FITS file.

    Raises
    ------
    SourceError
        If it is not such an image, or has another size or number of bands.
    """
    if where.lower().endswith(FITS):
        return _decode_fits(data, where, bands, side_px, extensions, max_bytes)
    planes = _decode_picture(data, where, bands, side_px)
    return StampImage(planes[:, ::-1] if row_0 == "north" else planes)


def _decode_picture(data: bytes, where: str, bands: int | None, side: int | None) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image.size[0], image.size[1], side, where)  # before decoding
            pixels = np.asarray(_in_channels(image, bands))
    except SourceError:
        raise
    except UnidentifiedImageError as error:  # its text contains a memory address, so is not quoted
        raise SourceError(f"{where} is not a JPEG or PNG image; {_REMEDY}") from error
    except Exception as error:  # decoders raise anything on damaged data
        raise SourceError(f"{where} is not a JPEG or PNG image ({error}); {_REMEDY}") from error
    planes = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1).astype(np.float32)
    _check_bands(planes.shape[0], bands, where)
    return planes


def _in_channels(image: Any, bands: int | None) -> Any:
    """Convert a picture to grey or colour as required; 16-bit pictures keep their depth."""
    if image.mode.startswith("I") or image.mode == "F":
        return image
    grey = image.mode in ("1", "L", "LA") if bands is None else bands != 3
    return image.convert("L" if grey else "RGB")


def _decode_fits(
    data: bytes,
    where: str,
    bands: int | None,
    side: int | None,
    extensions: Sequence[str] | None,
    max_bytes: int,
) -> StampImage:
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    if where.lower().endswith(".gz"):
        data = _unzipped(data, where, max_bytes)
    try:
        with _WARNINGS, warnings.catch_warnings():
            # astropy only warns of a truncated file, and warns of many harmless old headers.
            warnings.simplefilter("ignore", AstropyWarning)
            warnings.filterwarnings("error", message=".*truncated")
            with fits.open(io.BytesIO(data), memmap=False, lazy_load_hdus=False) as hdus:
                images = _images(hdus, extensions, where)
                for hdu in images:
                    _check_size(hdu.shape[-1], hdu.shape[-2], side, where)
                planes = _planes(images)
                headers = [images[0].header.copy(), hdus[0].header.copy()]
    except SourceError:
        raise
    except Exception as error:  # decoders raise anything on damaged data
        raise SourceError(f"{where} is not a complete FITS image ({error}); {_REMEDY}") from error
    _check_bands(planes.shape[0], bands, where)
    scale, ra, dec = _on_the_sky(headers, planes.shape[-2:], where)
    return StampImage(planes, scale, ra, dec)


def _unzipped(data: bytes, where: str, max_bytes: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as handle:
            unpacked = handle.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{where} cannot be unpacked ({error}); {_REMEDY}") from error
    if len(unpacked) > max_bytes:
        raise SourceError(f"{where} unpacks to more than max_member_bytes: {max_bytes}")
    return unpacked


def _images(hdus: fits.HDUList, extensions: Sequence[str] | None, where: str) -> list:
    """Return the HDUs that hold the bands; their shapes are checked, nothing is decoded."""
    found = [hdu for hdu in hdus if hdu.is_image and len(hdu.shape) in (2, 3)]
    if extensions is not None:
        by_name = {hdu.name.upper(): hdu for hdu in found}
        missing = [name for name in extensions if name.upper() not in by_name]
        if missing:
            raise SourceError(
                f"{where} has no image extension {', '.join(missing)} (it has "
                f"{', '.join(by_name) or 'none'}); correct the source's extensions"
            )
        found = [by_name[name.upper()] for name in extensions]
    if not found:
        raise SourceError(f"{where} holds no image of two or three axes; {_REMEDY}")
    for hdu in found:
        if np.prod(hdu.shape) > _MAX_PIXELS:
            raise SourceError(f"{where} has {hdu.shape} pixels; at most {_MAX_PIXELS} are read")
        if len(hdu.shape) == 3 and (extensions is not None or hdu.shape[0] > _MAX_BANDS):
            raise SourceError(
                f"{where}: extension {hdu.name or 0} has {hdu.shape[0]} planes; `extensions` need "
                f"one plane per band, and a cube may have at most {_MAX_BANDS}"
            )
    return found if extensions is not None else found[:1]


def _planes(images: list) -> np.ndarray:
    shapes = {hdu.shape[-2:] for hdu in images}
    if len(shapes) > 1:
        raise ValueError(f"its bands have different sizes {sorted(shapes)}")
    planes = np.concatenate([np.asarray(h.data).reshape(-1, *h.shape[-2:]) for h in images])
    if planes.dtype.kind not in "iuf":
        raise ValueError(f"its pixels are of type {planes.dtype}")
    with np.errstate(over="ignore"):  # values beyond float32 become NaN below
        planes = planes.astype(np.float32)
    planes[~np.isfinite(planes)] = np.nan
    return planes


def _on_the_sky(
    headers: Sequence[fits.Header], shape: tuple[int, int], where: str
) -> tuple[float | None, float, float]:
    """Return the pixel size [arcsec] (None: no WCS) and the centre (ICRS, deg; NaN: unknown)."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import pixel_to_skycoord, proj_plane_pixel_scales

    from clusterscan.formats.fits_images import celestial_wcs

    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(headers[0])
            if not wcs.has_celestial:
                return None, *_said_position(headers)
            wcs = celestial_wcs(headers[0], where, "correct its WCS, or exclude it").celestial
            sides = proj_plane_pixel_scales(wcs) * 3600.0
            centre = pixel_to_skycoord((shape[1] - 1) / 2, (shape[0] - 1) / 2, wcs).icrs
    except SourceError:
        raise
    except Exception as error:  # wcslib raises anything on invalid headers
        raise SourceError(f"{where} has a WCS that cannot be used ({error}); correct it") from error
    if abs(sides[0] / sides[1] - 1) > _SQUARE:
        raise SourceError(
            f"{where} has pixels of {sides[0]:.6g} × {sides[1]:.6g} arcsec; resample it to "
            "square pixels"
        )
    # Rounded as for tiles: a CD matrix states 0.4 arcsec with errors in the last bits.
    scale = round(float(np.sqrt(sides[0] * sides[1])), 6)
    return scale, float(centre.ra.deg), float(centre.dec.deg)


def _said_position(headers: Sequence[fits.Header]) -> tuple[float, float]:
    """Return the keywords RA and DEC if they are in degrees, else NaN."""
    for header in headers:
        ra, dec = header.get("RA"), header.get("DEC")
        numbers = isinstance(ra, int | float) and isinstance(dec, int | float)
        if numbers and abs(ra) <= 360 and abs(dec) <= 90:
            return float(ra) % 360.0, float(dec)
    return np.nan, np.nan


def _check_size(width: int, height: int, side: int | None, where: str) -> None:
    if side is not None and (width, height) != (side, side):
        raise SourceError(f"{where} has {width} × {height} px, but size_px is {side}")
    if not 0 < max(width, height) <= MAX_SIDE_PX:
        raise SourceError(f"{where} has {width} × {height} px; at most {MAX_SIDE_PX} are read")


def _check_bands(found: int, wanted: int | None, where: str) -> None:
    if wanted is not None and found != wanted:
        raise SourceError(f"{where} has {found} channels, but `bands` names {wanted}")
