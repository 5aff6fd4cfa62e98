"""Read archive images on a tile's frame: values with their weight, unit and mask bits.

An image may come with a weight, an exposure and a background. All lie on the image's own grid, so
one window cuts them all, and they are combined on that grid, before anything is resampled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from clusterscan.config.image_sources import ArchiveBand
from clusterscan.core.errors import SourceError
from clusterscan.fetch.coadd import Cut, coadd
from clusterscan.fetch.image_files import open_whole
from clusterscan.formats.fits_images import (
    Window,
    celestial_wcs,
    read_window,
    window_of,
    window_wcs,
)
from clusterscan.formats.mask_planes import MASK_DTYPE, PLANES

Frame = tuple[WCS, tuple[int, int]]


def read_cut(
    files: Mapping[str, Path],
    band: ArchiveBand,
    frame: Frame,
    *,
    no_data: float | None = None,
    per_arcmin2: bool = False,
) -> Cut | None:
    """Read the part of an image under a frame; None if they do not overlap.

    Parameters
    ----------
    files : mapping of str to Path
        ``image`` and, if the band has them, ``weight``, ``exposure``, ``background``.
    band : ArchiveBand
        Extension and plane.
    frame : (WCS, (ny, nx))
        Frame of the tile's raw image.
    no_data : float, optional
        Value of the image that means no data.
    per_arcmin2 : bool
        Divide by the pixels' area, for values that are flux or counts per pixel.

    Raises
    ------
    SourceError
        If a file is damaged, has no such image, or is on another grid than the image.
    """
    with OpenImage(files["image"], band) as image:
        window = window_of(image.wcs, image.shape, *frame)
        if window is None:
            return None
        values, wcs = image.read(window), window_wcs(image.wcs, window)
        shape, unit = image.shape, image.unit
    # Some surveys write infinity, or a number such as 0 or -999, where they have no data.
    values[~np.isfinite(values)] = np.nan
    if no_data is not None:
        values[values == np.float32(no_data)] = np.nan
    others = {
        part: _on_grid(path, band, window, shape) for part, path in files.items() if part != "image"
    }
    values, weight = calibrated(values, **others)
    # Interpolation keeps surface brightness, not flux, so flux is divided by the pixels' area here
    # and multiplied by the frame's after resampling.
    if per_arcmin2:
        values = values / np.float32(proj_plane_pixel_area(wcs) * 3600.0)
    return Cut(values, weight, wcs, unit)


def calibrated(
    values: np.ndarray,
    weight: np.ndarray | None = None,
    exposure: np.ndarray | None = None,
    background: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (values - background) / exposure and its weight.

    Parameters
    ----------
    values, weight, exposure, background : float32 ndarray, shape (ny, nx)
        On one grid; NaN where there are no data.

    Returns
    -------
    values : float32 ndarray, shape (ny, nx)
        NaN where there are no data, or the weight or the exposure is not positive.
    weight : float32 ndarray, shape (ny, nx)
        ``weight`` if given, else the exposure (so that the counts of overlapping images add up),
        else 1; 0 where there are no data.
    """
    if background is not None:
        values = values - background
    # Surveys write 0, NaN or a negative number as the weight of a bad pixel.
    seen = np.isfinite(values)
    for part in (weight, exposure):
        if part is not None:
            with np.errstate(invalid="ignore"):
                seen &= np.isfinite(part) & (part > 0)
    if exposure is not None:
        values = np.divide(values, exposure, out=np.full_like(values, np.nan), where=seen)
    if weight is None:
        weight = exposure if exposure is not None else np.ones_like(values)
    nothing = np.float32(np.nan)
    return np.where(seen, values, nothing), np.where(seen, weight, np.float32(0.0))


def _on_grid(path: Path, band: ArchiveBand, window: Window, shape: tuple[int, int]) -> np.ndarray:
    with OpenImage(path, band) as image:
        if image.shape != shape:
            raise SourceError(
                f"{path}: {image.shape} pixels, but the image it belongs to has {shape}; both must "
                "have the same grid"
            )
        return image.read(window)


class OpenImage:
    """An image extension of an open file; only the requested windows are read."""

    def __init__(self, path: Path, band: ArchiveBand):
        self._path, self._band = path, band

    def __enter__(self) -> OpenImage:
        self._hdus = open_whole(self._path)
        try:
            self._hdu = self._find()
            if len(self._hdu.shape) > 2 and self._band.plane >= self._hdu.shape[-3]:
                raise SourceError(
                    f"{self._path}: plane {self._band.plane} of a cube of {self._hdu.shape[-3]}; "
                    "correct the band's `plane`"
                )
        except BaseException:
            self._hdus.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._hdus.close()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns (ny, nx); for a cube, those of a plane."""
        return self._hdu.shape[-2:]

    @property
    def section(self):
        """The pixels, of which only the requested ones are read."""
        return self._hdu.section

    @property
    def dtype(self) -> str:
        """Type of the pixels."""
        return fits.BITPIX2DTYPE[self._hdu.header["BITPIX"]]

    @property
    def unit(self) -> str:
        """BUNIT of the header; empty if it has none."""
        return str(self._hdu.header.get("BUNIT", "") or "").strip()

    @property
    def wcs(self) -> WCS:
        """The celestial WCS.

        Raises
        ------
        SourceError
            If the header has none.
        """
        remedy = "correct the band's `extension`, or the file"
        return celestial_wcs(self._hdu.header, str(self._path), remedy).celestial

    def read(self, window: Window) -> np.ndarray:
        """Return the pixels of a window (of a cube, in the band's plane).

        Raises
        ------
        SourceError
            If they cannot be read.
        """
        try:
            return read_window(self._hdu.section, window, self.shape[1], self._band.plane)
        except (OSError, ValueError, TypeError) as error:
            raise SourceError(f"{self._path}: cannot be read ({error}); restore it") from error

    def _find(self):
        extension = self._band.extension
        try:
            if extension is not None:
                hdu = self._hdus[extension]
                if not hdu.is_image or len(hdu.shape) < 2:
                    raise KeyError(extension)
                return hdu
            return next(h for h in self._hdus if h.is_image and len(h.shape) >= 2)
        except (KeyError, IndexError, StopIteration) as error:
            names = ", ".join(hdu.name or str(i) for i, hdu in enumerate(self._hdus))
            raise SourceError(
                f"{self._path}: no image {'' if extension is None else extension} (it holds "
                f"{names}); correct the band's `extension`"
            ) from error


def mask_planes(path: Path, band: ArchiveBand, frame: Frame) -> np.ndarray:
    """Return the bit planes that a survey's mask file sets on a frame.

    Each pixel of the frame takes the bits of the mask pixel under its centre, so mask pixels should
    not be much smaller than the frame's.

    Parameters
    ----------
    path : Path
        An image of integers, with its own WCS.
    band : ArchiveBand
        Meaning of the bits, and the extension.
    frame : (WCS, (ny, nx))
        Frame of the tile's raw image.

    Returns
    -------
    MASK_DTYPE ndarray, shape (ny, nx)
        `clusterscan.formats.mask_planes.PLANES`; 0 outside the file.

    Raises
    ------
    SourceError
        If the file is damaged, or its pixels are not integers.
    """
    wcs, shape = frame
    planes = np.zeros(shape, MASK_DTYPE)
    asked = band.model_copy(update={"extension": band.mask_extension, "plane": 0})
    with OpenImage(path, asked) as image:
        window = window_of(image.wcs, image.shape, *frame)
        if window is None:
            return planes
        if not str(image.dtype).startswith(("int", "uint")):
            raise SourceError(
                f"{path}: pixels of type {image.dtype}, but a bit mask has integers; "
                "correct mask_extension"
            )
        bits = read_window(image.section, window, image.shape[1], dtype=np.int64, fill=0)
        here = window_wcs(image.wcs, window)
    for plane, numbers in band.mask_bits.items():
        wanted = np.bitwise_or.reduce(np.left_shift(np.int64(1), np.array(numbers, np.int64)))
        found = ((bits & wanted) != 0).astype(np.float32)
        if found.any():
            # The nearest bit is looked up by the same code that resamples images.
            cut = Cut(found, np.ones_like(found), here)
            planes |= np.where(coadd([cut], wcs, shape, "nearest") > 0.5, PLANES[plane], 0).astype(
                MASK_DTYPE
            )
    return planes


# Planck's own conversion between K_CMB and MJy/sr, integrated over the measured bandpasses
# (Planck 2013 results IX, A&A 571, A9, table 6).
MJY_SR_PER_K_CMB = {
    "HFI100": 244.1,
    "HFI143": 371.74,
    "HFI217": 483.690,
    "HFI353": 287.450,
    "HFI545": 58.04,
    "HFI857": 2.27,
}

_KELVIN = re.compile(r"^(?P<prefix>[munμµ]?)K(?:elvin)?(?:[_ ]?\(?(?:CMB|cmb|thermo)\w*\)?)?$")
_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "μ": 1e-6, "µ": 1e-6, "n": 1e-9}


def conversion_factor(have: str, want: str, channel: str | None = None) -> float:
    """Return the factor that converts values from one unit to another.

    A unit that cannot be converted is an error: a map in K that is read as if it were in uK looks
    like a map, too.

    Parameters
    ----------
    have, want : str
        Thermodynamic (CMB) temperature as files write it (``K_CMB``, ``uK``, ``mK,thermodynamic``),
        or any unit that astropy reads.
    channel : str, optional
        Planck channel, to convert between temperature and MJy/sr.

    Raises
    ------
    SourceError
        If there is no conversion.
    """
    if have == want:
        return 1.0
    # Temperatures are parsed here: astropy does not know "K_CMB" or "mK,thermodynamic".
    kelvins = [_kelvin(have), _kelvin(want)]
    if None not in kelvins:
        return kelvins[0] / kelvins[1]  # type: ignore[operator]
    try:
        if channel is not None and kelvins[0] is not None:
            return kelvins[0] * MJY_SR_PER_K_CMB[channel] * _plain("MJy / sr", want)
        if channel is not None and kelvins[1] is not None:
            return _plain(have, "MJy / sr") / MJY_SR_PER_K_CMB[channel] / kelvins[1]
        return _plain(have, want)
    except ValueError as error:  # includes astropy's UnitConversionError
        raise SourceError(
            f"no conversion from {have!r} to {want!r}"
            + ("" if channel else " without a Planck `channel`")
            + "; correct the band's or the survey's `unit`, or give `scale_by`"
        ) from error


def _kelvin(unit: str) -> float | None:
    match = _KELVIN.match(unit.replace(",", " ").strip())
    return None if match is None else _PREFIXES[match["prefix"]]


def _plain(have: str, want: str) -> float:
    if have == want:
        return 1.0
    return float(u.Unit(have).to(u.Unit(want)))
