"""One stamp's bytes as an image: JPEG, PNG or FITS, decoded as data from strangers.

Sizes are read from headers and checked before pixels are decoded; no other format is tried,
whatever the name says.
"""

from __future__ import annotations

import gzip
import io
import threading
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clusterscan.core.errors import SourceError

if TYPE_CHECKING:
    from astropy.io import fits

PICTURES = (".jpg", ".jpeg", ".png")
FITS = (".fits", ".fit", ".fits.gz", ".fits.fz")
MAX_SIDE_PX = 4096
_FORMATS = ("JPEG", "PNG")
_MAX_BANDS = 64
_MAX_PIXELS = 100_000_000  # in all bands: a packed file says little about its size
_SQUARE = 1e-3  # relative difference of a pixel's sides

_MENDING = "restore the file, or leave it out"
_WARNINGS = threading.Lock()  # which warnings are errors is one setting for all threads


@dataclass(frozen=True)
class StampImage:
    """A stamp.

    Attributes
    ----------
    planes : float32 ndarray, shape (bands, ny, nx)
        Rows from south to north, as in a FITS image with north up; NaN where a FITS stamp has
        no value.
    pixel_scale_arcsec : float or None
        Size of its square pixels [arcsec], where the stamp says it.
    ra_deg, dec_deg : float
        ICRS position of its centre [deg]; NaN if the stamp does not say it.
    """

    planes: np.ndarray
    pixel_scale_arcsec: float | None = None
    ra_deg: float = np.nan
    dec_deg: float = np.nan


def is_stamp(name: str) -> bool:
    """Return whether a file's name ends like a stamp's."""
    return PurePosixPath(name).name.lower().endswith(PICTURES + FITS)


def is_picture(name: str) -> bool:
    """Return whether a file's name ends like a JPEG's or PNG's."""
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
        Its name, with the archive or folder, for messages; the ending says the format.
    bands : int, optional
        How many bands it must have; a picture is made grey for 1. None: as many as there are.
    side_px : int, optional
        Side that it must have [px].
    row_0 : {"north", "south"}
        Which side of the sky a picture's first row shows.
    extensions : sequence of str, optional
        FITS image extensions, one a band; None: the first image, a plane or a cube.
    max_bytes : int
        A packed FITS file must not unpack to more.

    Raises
    ------
    SourceError
        If it is no such image, or of another size or number of bands.
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
    except UnidentifiedImageError as error:  # its words hold an address in memory, never the same
        raise SourceError(f"{where} is no JPEG or PNG image; {_MENDING}") from error
    except Exception as error:  # decoders raise what they like on damaged data
        raise SourceError(f"{where} is no JPEG or PNG image ({error}); {_MENDING}") from error
    planes = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1).astype(np.float32)
    _check_bands(planes.shape[0], bands, where)
    return planes


def _in_channels(image: Any, bands: int | None) -> Any:
    """Return a picture in grey or in colour, as wanted; 16-bit pictures keep their depth."""
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
            # A file cut short only warns; old headers warn of much that does no harm.
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
    except Exception as error:  # decoders raise what they like on damaged data
        raise SourceError(f"{where} is no whole FITS image ({error}); {_MENDING}") from error
    _check_bands(planes.shape[0], bands, where)
    scale, ra, dec = _on_the_sky(headers, planes.shape[-2:], where)
    return StampImage(planes, scale, ra, dec)


def _unzipped(data: bytes, where: str, max_bytes: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as handle:
            unpacked = handle.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{where} cannot be unpacked ({error}); {_MENDING}") from error
    if len(unpacked) > max_bytes:
        raise SourceError(f"{where} unpacks to more than max_member_bytes: {max_bytes}")
    return unpacked


def _images(hdus: fits.HDUList, extensions: Sequence[str] | None, where: str) -> list:
    """Return the HDUs that hold the bands, with their shapes checked and nothing decoded."""
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
        raise SourceError(f"{where} holds no image of two or three axes; {_MENDING}")
    for hdu in found:
        if np.prod(hdu.shape) > _MAX_PIXELS:
            raise SourceError(f"{where} has {hdu.shape} pixels; at most {_MAX_PIXELS} are read")
        if len(hdu.shape) == 3 and (extensions is not None or hdu.shape[0] > _MAX_BANDS):
            raise SourceError(
                f"{where}: extension {hdu.name or 0} has {hdu.shape[0]} planes; one a band of "
                f"`extensions`, or at most {_MAX_BANDS}, is right"
            )
    return found if extensions is not None else found[:1]


def _planes(images: list) -> np.ndarray:
    shapes = {hdu.shape[-2:] for hdu in images}
    if len(shapes) > 1:
        raise ValueError(f"its bands have different sizes {sorted(shapes)}")
    planes = np.concatenate([np.asarray(h.data).reshape(-1, *h.shape[-2:]) for h in images])
    if planes.dtype.kind not in "iuf":
        raise ValueError(f"its pixels are of type {planes.dtype}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes missing below
        planes = planes.astype(np.float32)
    planes[~np.isfinite(planes)] = np.nan
    return planes


def _on_the_sky(
    headers: Sequence[fits.Header], shape: tuple[int, int], where: str
) -> tuple[float | None, float, float]:
    """Return pixel size [arcsec] (None without a WCS) and centre (ICRS, deg; NaN: not known)."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import pixel_to_skycoord, proj_plane_pixel_scales

    from clusterscan.formats.celestial_wcs import celestial_wcs

    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(headers[0])
            if not wcs.has_celestial:
                return None, *_said_position(headers)
            wcs = celestial_wcs(headers[0], where, "mend its WCS, or leave it out").celestial
            sides = proj_plane_pixel_scales(wcs) * 3600.0
            centre = pixel_to_skycoord((shape[1] - 1) / 2, (shape[0] - 1) / 2, wcs).icrs
    except SourceError:
        raise
    except Exception as error:  # wcslib raises what it likes on odd headers
        raise SourceError(f"{where} has a WCS that cannot be used ({error}); mend it") from error
    if abs(sides[0] / sides[1] - 1) > _SQUARE:
        raise SourceError(
            f"{where} has pixels of {sides[0]:.6g} × {sides[1]:.6g} arcsec; resample it to "
            "square pixels"
        )
    # Rounded like a tile's: a CD matrix says 0.4 arcsec with errors in the last bits.
    scale = round(float(np.sqrt(sides[0] * sides[1])), 6)
    return scale, float(centre.ra.deg), float(centre.dec.deg)


def _said_position(headers: Sequence[fits.Header]) -> tuple[float, float]:
    """Return the keywords RA and DEC where they are degrees."""
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
        raise SourceError(f"{where} has {found} channels, bands names {wanted}")
