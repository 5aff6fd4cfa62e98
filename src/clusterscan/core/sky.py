"""The sky's geometry: HEALPix cells, the owner of a position, and each tile's image frame.

NESTED ordering and ICRS degrees throughout; pixel coordinates are 0-based with centres at
integers. A *tile* is the cell at ``tile_order``, a *block* its ancestor at ``block_order``, a
*map pixel* its descendant at ``map_order``. This module alone knows the HEALPix library.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import healpy as hp
import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS

MAX_ORDER = 29


def owning_cell(ra_deg: np.ndarray, dec_deg: np.ndarray, order: int) -> np.ndarray:
    """Return the cell that owns each position.

    Tiles' images overlap, so an object at a border is seen in several; its owner reports it.

    Parameters
    ----------
    ra_deg, dec_deg : float ndarray, shape (n,)
        ICRS position [deg]; RA may lie outside [0, 360).
    order : int
        HEALPix order; nside = 2**order.

    Returns
    -------
    ipix : int64 ndarray, shape (n,)
        NESTED index, 0 <= ipix < 12 * 4**order.

    Raises
    ------
    ValueError
        If a declination is NaN or outside [-90, 90] deg, or an RA is not finite.

    References
    ----------
    Gorski et al. 2005, ApJ 622, 759.
    """
    ra = np.asarray(ra_deg, dtype=np.float64)
    dec = np.asarray(dec_deg, dtype=np.float64)
    bad = ~(np.abs(dec) <= 90) | ~np.isfinite(ra)  # negated so that NaN counts as bad
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise ValueError(
            f"{bad.sum()} of {bad.size} positions are not on the sky, the first at row {row}: "
            f"ra_deg = {ra.flat[row]}, dec_deg = {dec.flat[row]}; are ra and dec swapped, "
            "or in radians?"
        )
    return hp.ang2pix(2**order, ra % 360.0, dec, nest=True, lonlat=True).astype(np.int64)


def cell_centres(ipix: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (ra_deg, dec_deg) of cells, RA in [0, 360)."""
    ra, dec = hp.pix2ang(2**order, np.asarray(ipix), nest=True, lonlat=True)
    return ra, dec


def ancestor(ipix: np.ndarray | int, order: int, coarser: int):
    """Return the cell at ``coarser`` order that holds each cell of ``order``."""
    if coarser > order:
        raise ValueError(f"order {coarser} is finer than {order}, so it holds no ancestor")
    # A NESTED index has two bits per order, the coarsest first: dropping bits goes up the tree,
    return ipix >> (2 * (order - coarser))


def descendants(ipix: int, order: int, finer: int) -> np.ndarray:
    """Return the cells at ``finer`` order inside one cell, in nested order."""
    # and appending bits goes down it, so all descendants of a cell form one contiguous range.
    count = 4 ** (finer - order)
    return np.arange(ipix * count, (ipix + 1) * count, dtype=np.int64)


def neighbours(ipix: int, order: int) -> np.ndarray:
    """Return the sorted cells that touch a cell (8, or 7 at a few corners), without itself."""
    around = hp.get_all_neighbours(2**order, ipix, nest=True)
    return np.unique(around[around >= 0]).astype(np.int64)


def neighbours_around(ipix: np.ndarray, order: int) -> np.ndarray:
    """Return the neighbours of n cells, int64 ndarray, shape (8, n); -1: there is none.

    Their order is SW, W, NW, N, NE, E, SE, S.
    """
    return hp.get_all_neighbours(2**order, np.asarray(ipix), nest=True).astype(np.int64)


def cells_in_cone(
    ra_deg: float, dec_deg: float, radius_deg: float, order: int, *, touching: bool = True
) -> np.ndarray:
    """Return the sorted cells in a cone: all that touch it, or those centred inside."""
    vector = unit_vectors(np.array([ra_deg]), np.array([dec_deg]))[0]
    found = hp.query_disc(
        2**order, vector, np.radians(radius_deg), inclusive=touching, fact=16, nest=True
    )
    return np.sort(found).astype(np.int64)


def pixels_in_cone(
    lon_deg: float, lat_deg: float, radius_deg: float, nside: int, *, nested: bool
) -> np.ndarray:
    """Return the sorted pixels of a HEALPix map that touch a cone, in the map's own ordering."""
    vector = unit_vectors(np.array([lon_deg]), np.array([lat_deg]))[0]
    found = hp.query_disc(nside, vector, np.radians(radius_deg), inclusive=True, fact=16, nest=True)
    return np.sort(found if nested else hp.nest2ring(nside, found)).astype(np.int64)


def pixels_of_vectors(vectors: np.ndarray, nside: int, *, nested: bool) -> np.ndarray:
    """Return the pixel of a HEALPix map in each direction.

    Parameters
    ----------
    vectors : float ndarray, shape (3, ...)
        Directions in the map's own frame, of any length above 0.
    """
    return hp.vec2pix(nside, *vectors, nest=nested).astype(np.int64)


def vectors_of_pixels(pixels: np.ndarray, nside: int, *, nested: bool) -> np.ndarray:
    """Return unit vectors, shape (n, 3), of a HEALPix map's pixels, in the map's own frame."""
    return np.stack(hp.pix2vec(nside, pixels, nest=nested), axis=-1)


def cell_radius_deg(order: int) -> float:
    """Return the largest distance of a cell's corner from its centre, of all cells [deg]."""
    return float(np.degrees(hp.max_pixrad(2**order)))


def healpix_weights(
    lon_deg: np.ndarray, lat_deg: np.ndarray, nside: int, *, nested: bool, nearest: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of a HEALPix map that each position is read from, and their weights.

    Parameters
    ----------
    lon_deg, lat_deg : float ndarray, shape (n,)
        Positions in the map's own frame [deg].
    nside : int
        The map's nside.
    nested : bool
        Its ordering: NESTED, else RING.
    nearest : bool
        One pixel a position; else the four of HEALPix' bilinear interpolation.

    Returns
    -------
    pixels : int64 ndarray, shape (1 or 4, n)
        Indices in the map's ordering.
    weights : float64 ndarray, of the same shape
        They sum to 1.
    """
    if nearest:
        pixels = hp.ang2pix(nside, lon_deg, lat_deg, nest=nested, lonlat=True)[None, :]
        return pixels.astype(np.int64), np.ones(pixels.shape)
    # Two pixels on the ring north of each position and two on the ring south of it.
    pixels, weights = hp.get_interp_weights(nside, lon_deg, lat_deg, nest=nested, lonlat=True)
    return pixels.astype(np.int64), weights


def cell_area_deg2(order: int) -> float:
    """Return the area of every cell of an order [deg2]."""
    return hp.nside2pixarea(2**order, degrees=True)


def unit_vectors(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Return unit vectors, shape (n, 3)."""
    return hp.ang2vec(np.asarray(ra_deg) % 360.0, np.asarray(dec_deg), lonlat=True)


def chord(angle_deg: float) -> float:
    """Return the straight distance between unit vectors an angle apart."""
    return 2.0 * np.sin(np.radians(angle_deg) / 2.0)


def separation_deg(ra1, dec1, ra2, dec2) -> np.ndarray:
    """Return great-circle separations [deg] (Vincenty's formula, exact at all distances)."""
    lon1, lat1, lon2, lat2 = (
        np.radians(np.asarray(x, dtype=float)) for x in (ra1, dec1, ra2, dec2)
    )
    dlon = lon2 - lon1
    # arccos(c) alone would lose half of the digits for separations of arcseconds.
    a = np.cos(lat2) * np.sin(dlon)
    b = np.cos(lat1) * np.sin(lat2) - np.sin(lat1) * np.cos(lat2) * np.cos(dlon)
    c = np.sin(lat1) * np.sin(lat2) + np.cos(lat1) * np.cos(lat2) * np.cos(dlon)
    return np.degrees(np.arctan2(np.hypot(a, b), c))


# ICRS to Galactic, Hipparcos catalogue vol. 1, sect. 1.5.3: the direction of the Galactic pole.
_GALACTIC_POLE = (192.85948, 27.12825)


def galactic_latitude_deg(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Return Galactic latitudes [deg] (good to 0.0001 deg; needs no astropy)."""
    return 90.0 - separation_deg(ra_deg, dec_deg, *_GALACTIC_POLE)


def shard_path(ipix: int, order: int, suffix: str) -> PurePosixPath:
    """Return a tile's path below a stage's folder (the numbering of HiPS and HATS)."""
    return PurePosixPath(f"Norder{order}/Dir{ipix // 10000 * 10000}/Npix{ipix}{suffix}")


# --- a tile's map: a HiPS tile -----------------------------------------------------------------


@lru_cache(maxsize=8)
def _hips_rows_and_columns(width: int) -> tuple[np.ndarray, np.ndarray]:
    # A nested offset interleaves the bits of the pixel's x (even bits) and y (odd bits) within the
    # cell. A HiPS FITS tile has y along its columns, and x along its rows from the last to the
    # first.
    offset = np.arange(width * width)
    x = np.zeros_like(offset)
    y = np.zeros_like(offset)
    for bit in range(width.bit_length() - 1):
        x |= ((offset >> (2 * bit)) & 1) << bit
        y |= ((offset >> (2 * bit + 1)) & 1) << bit
    return width - 1 - x, y


def to_hips_array(values: np.ndarray) -> np.ndarray:
    """Lay a tile's values, in nested order, out as the (W, W) array of a HiPS FITS tile."""
    width = int(np.sqrt(values.size))
    rows, columns = _hips_rows_and_columns(width)
    array = np.empty((width, width), dtype=values.dtype)
    array[rows, columns] = values
    return array


def from_hips_array(array: np.ndarray) -> np.ndarray:
    """Return a HiPS FITS tile's values in nested order (undoes `to_hips_array`)."""
    return array[_hips_rows_and_columns(array.shape[0])]


def map_pixels(ipix: int, tile_order: int, map_order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (ra_deg, dec_deg) of a tile's map pixels, in nested order."""
    return cell_centres(descendants(ipix, tile_order, map_order), map_order)


# --- a tile's image ----------------------------------------------------------------------------


def outline_vectors(ipix: int, order: int, step: int = 16) -> np.ndarray:
    """Return unit vectors along a cell's border, shape (4 * step, 3)."""
    return hp.boundaries(2**order, int(ipix), step=step, nest=True).T


def cells_touching_polygon(vectors: np.ndarray, order: int) -> np.ndarray:
    """Return the sorted cells that a convex polygon (unit vectors of its corners) touches."""
    found = hp.query_polygon(2**order, vectors, inclusive=True, fact=16, nest=True)
    return np.sort(found).astype(np.int64)


def tile_frame(
    ipix: int, order: int, pixel_scale_arcsec: float, halo_arcmin: float, multiple: int = 1
) -> tuple[WCS, tuple[int, int]]:
    """Return the tangent-plane frame of a tile's image.

    The frame is centred on the tile, turned so that the tile fills it best (a HEALPix cell
    stands on its corner: turning saves up to half of the pixels), and wide enough for the
    tile's outline plus the halo on every side.

    Parameters
    ----------
    ipix, order : int
        The tile.
    pixel_scale_arcsec : float
        Pixel size [arcsec].
    halo_arcmin : float
        Sky kept around the outline [arcmin].
    multiple : int
        Each side is rounded up to a multiple of this many pixels (for binning).

    Returns
    -------
    wcs : astropy.wcs.WCS
        TAN, ICRS.
    shape : (ny, nx)
        Image shape [pixels].
    """
    ra, dec = (float(x) for x in cell_centres(np.array(ipix), order))
    east, north = _tangent_plane(outline_vectors(ipix, order), ra, dec)
    angle = _best_angle(east, north)
    x, y = _rotate(east, north, angle)
    # Centre the frame on the box, not on the tile's centre: cells near the poles are lopsided.
    margin = 2 * halo_arcmin / 60.0
    scale = pixel_scale_arcsec / 3600.0
    sizes = [int(np.ceil((np.ptp(side) + margin) / scale / multiple)) * multiple for side in (x, y)]
    middle = [(side.max() + side.min()) / 2 for side in (x, y)]
    wcs = _rotated_tan(ra, dec, scale, angle)
    # FITS axis 1 runs against x (east to the left), axis 2 along y.
    wcs.wcs.crpix = [(sizes[0] + 1) / 2 + middle[0] / scale, (sizes[1] + 1) / 2 - middle[1] / scale]
    return wcs, (sizes[1], sizes[0])


def _tangent_plane(vectors: np.ndarray, ra_deg: float, dec_deg: float):
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    # Gnomonic projection by dot products: unlike formulas in RA it is exact at the poles.
    depth = vectors @ centre
    return np.degrees(vectors @ east / depth), np.degrees(vectors @ north / depth)


def _rotate(east: np.ndarray, north: np.ndarray, angle: float):
    c, s = np.cos(angle), np.sin(angle)
    return east * c + north * s, -east * s + north * c


def _best_angle(east: np.ndarray, north: np.ndarray) -> float:
    # The side of a box changes slowly with its angle, so whole degrees are enough. Areas are
    # rounded so that symmetric cells, whose minimum occurs twice, get the same angle on all
    # machines.
    areas = []
    angles = np.radians(np.arange(90))
    for angle in angles:
        x, y = _rotate(east, north, angle)
        areas.append(np.ptp(x) * np.ptp(y))
    return float(angles[int(np.argmin(np.round(areas, 9)))])


def _rotated_tan(ra_deg: float, dec_deg: float, scale_deg: float, angle: float) -> WCS:
    from astropy.wcs import WCS

    c, s = np.cos(angle), np.sin(angle)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [ra_deg, dec_deg]
    wcs.wcs.cdelt = [-scale_deg, scale_deg]
    # x' (turned east) = e c + n s = -scale * (i - crpix1), y' = -e s + n c = scale * (j - crpix2)
    wcs.wcs.pc = [[c, s], [-s, c]]
    return wcs
