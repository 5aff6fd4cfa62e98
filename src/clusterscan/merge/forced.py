"""Forced measurement: a model's map at given positions, whether or not it has a peak there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clusterscan.catalogs.pairs import checked_vectors
from clusterscan.core import sky


def forced(
    values_of_tile: Callable[[int], np.ndarray | None],
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    tile_order: int,
    map_order: int,
    *,
    radius_arcmin: float = 0.0,
) -> np.ndarray:
    """Return a map's value at positions.

    Parameters
    ----------
    values_of_tile : callable
        Gives a tile's map in nested order, shape (4 ** (map_order - tile_order),), NaN where
        invalid, or None where the tile has no map. Called once for each tile, in rising order.
    ra_deg, dec_deg : float ndarray, shape (n,)
        Positions [deg].
    tile_order, map_order : int
        HEALPix orders.
    radius_arcmin : float
        The largest valid value of pixels centred within this radius and of the position's own
        pixel is taken, as models disagree on positions; 0: the position's own pixel.

    Returns
    -------
    values : float64 ndarray, shape (n,)
        NaN where no pixel is valid.

    Raises
    ------
    CatalogueError
        If a position is not on the sky.
    """
    checked_vectors(ra_deg, dec_deg, "positions to measure")
    count = len(ra_deg)
    if not count:
        return np.empty(0)
    own = sky.owning_cell(ra_deg, dec_deg, map_order)
    pixels, rows = [own], [np.arange(count)]
    if radius_arcmin > 0:
        for row, (ra, dec) in enumerate(zip(ra_deg, dec_deg, strict=True)):
            around = sky.cells_in_cone(ra, dec, radius_arcmin / 60.0, map_order, touching=False)
            pixels.append(around)
            rows.append(np.full(around.size, row))
    pixel, row_of = np.concatenate(pixels), np.concatenate(rows)
    tile = sky.ancestor(pixel, map_order, tile_order)
    value = np.full(pixel.size, np.nan)
    order = np.argsort(tile, kind="stable")
    tiles, first = np.unique(tile[order], return_index=True)
    for number, members in zip(tiles, np.split(order, first[1:]), strict=True):
        tile_map = values_of_tile(int(number))
        if tile_map is not None:
            offset = pixel[members] - (int(number) << (2 * (map_order - tile_order)))
            value[members] = np.asarray(tile_map, dtype=np.float64)[offset]
    result = np.full(count, np.nan)
    np.fmax.at(result, row_of, value)
    return result
