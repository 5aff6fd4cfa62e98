"""Flags and masked fraction of each object, from the masks of the tile images and from MOCs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.core import sky
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import ConfigError, ImageError, SourceError
from clusterscan.formats.catalogue_columns import FLAGS, MASK_PLANES
from clusterscan.formats.mask_planes import BAD_PLANES, BRIGHT_STAR, MASK_DTYPE
from clusterscan.formats.moc import read_moc

NO_COVERAGE = MASK_PLANES["incomplete"]
UNUSABLE = BAD_PLANES | BRIGHT_STAR
"""Planes that count as masked; planes of masks that only flag do not."""

#: A tile's mask planes (shape (ny, nx)) and WCS, or None without an image.
MaskOf = Callable[[int], tuple[np.ndarray, WCS] | None]


def read_mask(path: Path) -> tuple[np.ndarray, WCS]:
    """Return the mask planes and WCS of a tile's image, without reading the image.

    Raises
    ------
    ImageError
        If the file is missing or damaged.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            return np.asarray(hdus["MASK"].data, dtype=MASK_DTYPE), WCS(hdus["MASK"].header)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ImageError(
            f"{path}: the mask cannot be read ({error}); delete it and run again to rebuild it"
        ) from error


def image_quality(
    masks: Iterable[MaskOf],
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    tile_order: int,
    radius_arcmin: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return flags and masked fractions from the image pixels around positions.

    Parameters
    ----------
    masks : iterable of callable
        A function for each survey that returns the mask of a tile.
    ra_deg, dec_deg : float ndarray, shape (n,)
        Positions (ICRS) [deg].
    tile_order : int
        HEALPix order of the tiles (NESTED). Only the tile of the position is read; its image
        extends beyond the edge of the tile.
    radius_arcmin : float
        Pixels with centres within this radius are used [arcmin].

    Returns
    -------
    flags : int32 ndarray, shape (n,)
        Bits of `clusterscan.formats.catalogue_columns.FLAGS`, of all surveys combined.
    masked_fraction : float64 ndarray, shape (n,)
        Largest share of pixels over the surveys that are masked or not covered: 1 if a survey
        has no image.
    """
    count = len(ra_deg)
    planes, worst = np.zeros(count, dtype=np.int32), np.zeros(count)
    if not count:
        return planes, worst
    # The image of the owning tile has a halo of half a crop, which normally holds the search
    # radius, so one image per survey is enough.
    owner = sky.owning_cell(ra_deg, dec_deg, tile_order)
    for mask_of in masks:
        for tile in np.unique(owner):
            rows = np.flatnonzero(owner == tile)
            found = mask_of(int(tile))
            if found is None:
                # A survey without an image here counts as fully masked: the object was judged by
                # fewer surveys than others, and users may want to exclude it.
                planes[rows] |= NO_COVERAGE
                worst[rows] = 1.0
                continue
            seen, fraction = _around(*found, ra_deg[rows], dec_deg[rows], radius_arcmin)
            planes[rows] |= seen
            worst[rows] = np.maximum(worst[rows], fraction)
    return _flags(planes), worst


def moc_flags(mocs: Mapping[str, str], ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Return the flags of positions from the MOC of each flag.

    Parameters
    ----------
    mocs : mapping of str to str
        FITS file of the MOC (ICRS) of each flag, as in the configuration.
    ra_deg, dec_deg : float ndarray, shape (n,)
        Positions (ICRS) [deg].

    Raises
    ------
    ConfigError
        If a file is missing or holds no MOC.
    """
    from astropy.coordinates import Latitude, Longitude

    flags = np.zeros(len(ra_deg), dtype=np.int32)
    for name, path in sorted(mocs.items()):
        try:
            moc = read_moc(expand_path(path))
        except SourceError as error:
            raise ConfigError(
                f"publish.flag_mocs.{name}: {error}; give a FITS file of a sky MOC"
            ) from error
        if len(ra_deg):
            place = Longitude(ra_deg, "deg"), Latitude(dec_deg, "deg")
            flags |= np.where(moc.contains_lonlat(*place), FLAGS[name][0], 0).astype(np.int32)
    return flags


def _flags(planes: np.ndarray) -> np.ndarray:
    """Return the catalogue's flags for mask planes."""
    flags = np.zeros(planes.size, dtype=np.int32)
    for name, bits in MASK_PLANES.items():
        flags |= np.where(planes & bits, FLAGS[name][0], 0).astype(np.int32)
    return flags


def _around(
    mask: np.ndarray, wcs: WCS, ra_deg: np.ndarray, dec_deg: np.ndarray, radius_arcmin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask planes around positions on one image, and the share of masked pixels."""
    scale_arcmin = 60 * np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix)))
    radius = radius_arcmin / scale_arcmin
    reach = int(np.ceil(radius))
    step = np.arange(-reach, reach + 1)
    x, y = (np.atleast_1d(v) for v in wcs.world_to_pixel_values(ra_deg, dec_deg))
    planes, fraction = np.zeros(x.size, dtype=np.int32), np.zeros(x.size)
    for k in range(x.size):
        column, row = (int(np.rint(v)) + step for v in (x[k], y[k]))
        # At least 0.71 pixel, half the diagonal: the nearest pixel is always inside.
        inside = np.hypot(column[None] - x[k], row[:, None] - y[k]) <= max(radius, 0.71)
        values = np.full(inside.shape, NO_COVERAGE, dtype=MASK_DTYPE)  # beyond the image's edge
        good_y = (row >= 0) & (row < mask.shape[0])
        good_x = (column >= 0) & (column < mask.shape[1])
        values[np.ix_(good_y, good_x)] = mask[np.ix_(row[good_y], column[good_x])]
        planes[k] = np.bitwise_or.reduce(values[inside])
        fraction[k] = ((values[inside] & UNUSABLE) != 0).mean()
    return planes, fraction
