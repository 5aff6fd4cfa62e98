"""Whether what a service sent is the image that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.core.errors import SourceError
from clusterscan.fetch.download.checks import ContentError, check_fits
from clusterscan.formats.celestial_wcs import celestial_wcs

_TOLERANCE_PX = 0.1


def check_image(
    path: Path, wcs: WCS, shape: tuple[int, int], bands: tuple[str, ...] | None = None
) -> None:
    """Check an image: whole, of the size, the place on the sky and the bands asked for.

    Parameters
    ----------
    path : Path
        The file.
    wcs, shape : WCS, (ny, nx)
        What was asked for.
    bands : tuple of str, optional
        Names that must stand in ``BAND0``, ``BAND1``, ...; None: the image has one plane.

    Raises
    ------
    ContentError
        If it is anything else.
    """
    heads = check_fits(path)
    if is_empty(heads[0].header):
        return
    with fits.open(path, memmap=True) as hdus:
        header = hdus[0].header
        got = hdus[0].shape
    planes = () if bands is None or len(bands) == 1 else (len(bands),)
    if got != (*planes, *shape):
        raise ContentError(f"an image of {got} pixels instead of {(*planes, *shape)}")
    for number, band in enumerate(bands or ()):
        said = str(header.get(f"BAND{number}", "")).strip()
        if said != band:
            raise ContentError(f"band {said!r} instead of {band!r}")
    distance = _offset_px(header, wcs, shape)
    if not distance <= _TOLERANCE_PX:
        raise ContentError(f"another place on the sky: up to {distance:.3g} pixels off")


def is_empty(header: fits.Header) -> bool:
    """Whether an answer says that the survey has nothing here (the viewer's OVERLAP)."""
    return header.get("NAXIS") == 0 and header.get("OVERLAP") is False


def read_planes(path: Path, no_data: float | None) -> np.ndarray | None:
    """Return an answer's planes, float32, shape (planes, ny, nx), NaN where there are no data.

    None where it says that the survey has nothing here.

    Raises
    ------
    SourceError
        If the file was damaged after it arrived.
    """
    try:
        check_fits(path)
        with fits.open(path, memmap=False) as hdus:
            if is_empty(hdus[0].header):
                return None
            values = np.array(hdus[0].data, dtype=np.float32)
    except (ContentError, OSError, TypeError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise SourceError(
            f"{path}: damaged on this disk after it arrived ({error}), and now removed; run "
            "again, it is fetched anew"
        ) from error
    values[~np.isfinite(values)] = np.nan
    if no_data is not None:
        values[values == np.float32(no_data)] = np.nan
    return values if values.ndim == 3 else values[None]


def _offset_px(header: fits.Header, wcs: WCS, shape: tuple[int, int]) -> float:
    ny, nx = shape
    x, y = np.array([0.0, nx - 1.0, 0.0, nx - 1.0]), np.array([0.0, 0.0, ny - 1.0, ny - 1.0])
    try:
        got = celestial_wcs(header, "the image", "its server sends it so").celestial
    except SourceError as error:
        raise ContentError(str(error)) from error
    there = got.world_to_pixel(wcs.pixel_to_world(x, y))
    return float(np.hypot(there[0] - x, there[1] - y).max())
