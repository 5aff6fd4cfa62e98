"""One image of an archive with its weight, exposure and background, cut to a tile's frame.

All four lie on the image's grid, so they are cut by the same window; what they are worth together
is worked out on that grid, before anything is resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from clusterscan.config.image_sources import ArchiveBand
from clusterscan.core.errors import SourceError
from clusterscan.fetch.archive.places import open_whole
from clusterscan.fetch.coadd import Cut
from clusterscan.formats.celestial_wcs import celestial_wcs
from clusterscan.formats.fits_window import Window, read_window, window_of, window_wcs

Frame = tuple[WCS, tuple[int, int]]


def read_cut(
    files: Mapping[str, Path],
    band: ArchiveBand,
    frame: Frame,
    *,
    no_data: float | None = None,
    per_arcmin2: bool = False,
) -> Cut | None:
    """Return what an image shows of a frame; None where it does not reach in.

    Parameters
    ----------
    files : mapping of str to Path
        ``image`` and, where the band has them, ``weight``, ``exposure``, ``background``.
    band : ArchiveBand
        Extension and plane.
    frame : (WCS, (ny, nx))
        Of the tile's raw image.
    no_data : float, optional
        A value of the image that means no data.
    per_arcmin2 : bool
        Divide by the pixels' area: values are flux or counts in a pixel.

    Raises
    ------
    SourceError
        If a file is damaged, has no such image, or is on another grid than the image.
    """
    with _Image(files["image"], band) as image:
        window = window_of(image.wcs, image.shape, *frame)
        if window is None:
            return None
        values, wcs = image.read(window), window_wcs(image.wcs, window)
        shape, unit = image.shape, image.unit
    values[~np.isfinite(values)] = np.nan
    if no_data is not None:
        values[values == np.float32(no_data)] = np.nan
    others = {
        part: _on_grid(path, band, window, shape) for part, path in files.items() if part != "image"
    }
    values, weight = calibrated(values, **others)
    if per_arcmin2:
        values = values / np.float32(proj_plane_pixel_area(wcs) * 3600.0)
    return Cut(values, weight, wcs, unit)


def calibrated(
    values: np.ndarray,
    weight: np.ndarray | None = None,
    exposure: np.ndarray | None = None,
    background: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (values − background) / exposure and its weight.

    Parameters
    ----------
    values, weight, exposure, background : float32 ndarray, shape (ny, nx)
        On one grid; NaN where there are no data. The weight is ``weight``, else the exposure
        (counts of images then add up), else 1.

    Returns
    -------
    values : float32 ndarray, shape (ny, nx)
        NaN where there are no data: also where weight or exposure is not above 0.
    weight : float32 ndarray, shape (ny, nx)
        0 there.
    """
    if background is not None:
        values = values - background
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
    with _Image(path, band) as image:
        if image.shape != shape:
            raise SourceError(
                f"{path}: {image.shape} pixels, but the image it belongs to has {shape}; it must "
                "lie on the same grid"
            )
        return image.read(window)


class _Image:
    """An image extension of an open file, of which windows are read."""

    def __init__(self, path: Path, band: ArchiveBand):
        self._path, self._band = path, band

    def __enter__(self) -> _Image:
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
        """Rows and columns (ny, nx), of a cube those of a plane."""
        return self._hdu.shape[-2:]

    @property
    def section(self):
        """The pixels, of which only those asked for are read."""
        return self._hdu.section

    @property
    def dtype(self) -> str:
        """Type of the pixels."""
        return fits.BITPIX2DTYPE[self._hdu.header["BITPIX"]]

    @property
    def unit(self) -> str:
        """BUNIT of the header; empty where it names none."""
        return str(self._hdu.header.get("BUNIT", "") or "").strip()

    @property
    def wcs(self) -> WCS:
        """The two celestial axes.

        Raises
        ------
        SourceError
            If the header has no such WCS.
        """
        mending = "correct the band's `extension`, or the file"
        return celestial_wcs(self._hdu.header, str(self._path), mending).celestial

    def read(self, window: Window) -> np.ndarray:
        """Return the pixels of a window, of a cube in the band's plane.

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
