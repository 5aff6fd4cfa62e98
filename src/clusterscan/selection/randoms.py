"""Random positions that follow the mask: uniform over the sky that the networks searched."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import chi2

from clusterscan import sky

_KEY = 37
_FINEST = 29  # HEALPix order: 0.4 milliarcsec
_FEWEST = 5.0  # expected in a cell that counts


def random_positions(
    searched: Mapping[int, np.ndarray], count: int, tile_order: int, map_order: int, seed: int
) -> pd.DataFrame:
    """Return positions drawn uniformly over map pixels that have a value.

    HEALPix cells have equal areas, so a pixel is drawn among all, and a cell of order 29 in it.

    Parameters
    ----------
    searched : mapping of tile to bool ndarray, shape (4 ** (map_order - tile_order),)
        Pixels in nested order that some network searched.
    count : int
        Positions wanted.
    tile_order, map_order : int
    seed : int

    Returns
    -------
    DataFrame
        ra_deg, dec_deg, tile, healpix29; sorted by healpix29. Empty without searched sky.
    """
    per_tile = 2 * (map_order - tile_order)
    pixels = [
        (np.int64(tile) << per_tile) + np.flatnonzero(searched[tile]) for tile in sorted(searched)
    ]
    pixel = np.concatenate([np.empty(0, dtype=np.int64), *pixels])
    if not pixel.size:
        nothing = np.empty(0)
        whole = np.empty(0, dtype=np.int64)
        return pd.DataFrame(
            {"ra_deg": nothing, "dec_deg": nothing, "tile": whole, "healpix29": whole}
        )
    rng = np.random.default_rng([seed, _KEY, count])
    drawn = rng.choice(pixel, count)
    depth = 2 * (_FINEST - map_order)
    cell = np.sort((drawn << depth) + rng.integers(0, 1 << depth, count))
    ra, dec = sky.cell_centres(cell, _FINEST)
    tile = sky.ancestor(cell, _FINEST, tile_order)
    return pd.DataFrame({"ra_deg": ra, "dec_deg": dec, "tile": tile, "healpix29": cell})


def follows_coverage(
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    searched: Mapping[int, np.ndarray],
    tile_order: int,
    map_order: int,
    cell_order: int,
) -> dict[str, float | int]:
    """Return whether positions lie on the sky as the searched area does: a chi-squared test.

    Cells whose expected number is below five are joined.

    Returns
    -------
    dict
        cells, chi2, p_value (small: they do not), outside (positions off the searched sky).
    """
    area = _area_by_cell(searched, tile_order, map_order, cell_order)
    cells = np.array(sorted(area), dtype=np.int64)
    weight = np.array([area[int(c)] for c in cells], dtype=np.float64)
    own = sky.owning_cell(ra_deg, dec_deg, cell_order) if len(ra_deg) else np.empty(0, np.int64)
    known = np.isin(own, cells)
    counts = np.bincount(np.searchsorted(cells, own[known]), minlength=cells.size)
    expected = known.sum() * weight / max(weight.sum(), 1.0)
    few = expected < _FEWEST
    observed = np.append(counts[~few], counts[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    used = expected >= _FEWEST
    value = float(((observed - expected)[used] ** 2 / expected[used]).sum())
    freedom = int(used.sum()) - 1
    return {
        "cells": int(used.sum()),
        "chi2": value,
        "p_value": float(chi2.sf(value, freedom)) if freedom > 0 else float("nan"),
        "outside": int((~on_searched(ra_deg, dec_deg, searched, tile_order, map_order)).sum()),
    }


def on_searched(
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    searched: Mapping[int, np.ndarray],
    tile_order: int,
    map_order: int,
) -> np.ndarray:
    """Return which positions lie on searched map pixels, bool (n,)."""
    found = np.zeros(len(ra_deg), dtype=bool)
    if not len(ra_deg):
        return found
    pixel = sky.owning_cell(ra_deg, dec_deg, map_order)
    tile = sky.ancestor(pixel, map_order, tile_order)
    for number in np.unique(tile):
        if int(number) in searched:
            members = tile == number
            offset = pixel[members] - (np.int64(number) << (2 * (map_order - tile_order)))
            found[members] = searched[int(number)][offset]
    return found


def _area_by_cell(
    searched: Mapping[int, np.ndarray], tile_order: int, map_order: int, cell_order: int
) -> dict[int, int]:
    """Return the number of searched pixels in each cell that has any."""
    area: dict[int, int] = {}
    for tile in sorted(searched):
        first = np.int64(tile) << (2 * (map_order - tile_order))
        pixel = first + np.flatnonzero(searched[tile])
        cells, count = np.unique(sky.ancestor(pixel, map_order, cell_order), return_counts=True)
        for cell, n in zip(cells.tolist(), count.tolist(), strict=True):
            area[cell] = area.get(cell, 0) + n
    return area
