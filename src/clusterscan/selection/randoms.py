"""Random positions that follow the mask and, if it is known, the selection function.

Within a tile they are uniform over the searched map pixels. The number in a tile is proportional
to its searched area times the density of found clusters expected there. Then each position has a
mass and a redshift too, drawn from the mass function times the completeness of its tile.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import chi2

from clusterscan.core import sky
from clusterscan.selection.completeness import Expected

_KEY = 37
_FINEST = 29  # HEALPix order: 0.4 milliarcsec
_FEWEST = 5.0  # expected number in a cell of the chi-squared test


def random_positions(
    searched: Mapping[int, np.ndarray],
    count: int,
    tile_order: int,
    map_order: int,
    seed: int,
    expected: Expected | None = None,
) -> pd.DataFrame:
    """Draw positions on the searched sky that follow the selection function.

    HEALPix cells have equal areas, so a uniform draw takes a searched pixel of the tile, then a
    cell of order 29 in it.

    Parameters
    ----------
    searched : mapping of tile to bool ndarray, shape (4 ** (map_order - tile_order),)
        True for pixels, in nested order, that some network searched.
    count : int
        Number of positions.
    tile_order, map_order : int
    seed : int
    expected : Expected, optional
        The clusters expected to be found on each tile; without it positions are uniform.

    Returns
    -------
    DataFrame
        ra_deg, dec_deg, tile, healpix29, z, m500c_msun (NaN where nothing is ``expected``);
        sorted by healpix29. Empty without searched sky.
    """
    rng = np.random.default_rng([seed, _KEY, count])
    weight = tile_weights(searched, expected)
    total = sum(weight.values())
    cell, z, mass = [np.empty(0, dtype=np.int64)], [np.empty(0)], [np.empty(0)]
    if total > 0:
        # First how many positions each tile gets, then where: the total is exact, and no position
        # is drawn and rejected, however patchy the searched sky is.
        numbers = rng.multinomial(count, [w / total for w in weight.values()])
        for tile, number in zip(weight, numbers.tolist(), strict=True):
            cell.append(_cells_in(tile, searched[tile], number, tile_order, map_order, rng))
            ln_mass, redshift = (
                expected.draw(tile, number, rng) if expected else (np.full(number, np.nan),) * 2
            )
            mass.append(np.exp(ln_mass))
            z.append(redshift)
    cells = np.concatenate(cell)
    order = np.argsort(cells, kind="stable")
    cells = cells[order]
    ra, dec = sky.cell_centres(cells, _FINEST) if cells.size else (np.empty(0), np.empty(0))
    return pd.DataFrame(
        {
            "ra_deg": ra,
            "dec_deg": dec,
            "tile": sky.ancestor(cells, _FINEST, tile_order),
            "healpix29": cells,
            "z": np.concatenate(z)[order],
            "m500c_msun": np.concatenate(mass)[order],
        }
    )


def tile_weights(
    searched: Mapping[int, np.ndarray], expected: Expected | None = None
) -> dict[int, float]:
    """Return each tile's share of the random positions, up to a common factor."""
    return {
        tile: float(searched[tile].sum()) * (expected.per_deg2(tile) if expected else 1.0)
        for tile in sorted(searched)
    }


def _cells_in(
    tile: int,
    searched: np.ndarray,
    count: int,
    tile_order: int,
    map_order: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw cells of order 29, uniform over a tile's searched pixels, int64 (count,)."""
    pixels = (np.int64(tile) << 2 * (map_order - tile_order)) + np.flatnonzero(searched)
    if not pixels.size:
        return np.empty(0, dtype=np.int64)
    depth = 2 * (_FINEST - map_order)
    # In nested order the descendants of a pixel are consecutive numbers.
    return (rng.choice(pixels, count) << depth) + rng.integers(0, 1 << depth, count)


def follows_coverage(
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    searched: Mapping[int, np.ndarray],
    tile_order: int,
    map_order: int,
    cell_order: int,
    expected: Expected | None = None,
) -> dict[str, float | int]:
    """Compare the density of positions with the searched sky by a chi-squared test.

    The expected number in a cell is proportional to its searched area, times the density of found
    clusters expected on its tile if that is given. Cells that expect fewer than five are joined.

    Returns
    -------
    dict
        cells, chi2, p_value (small: they do not follow), outside (positions off the searched sky).
    """
    share = _weight_by_cell(searched, tile_order, map_order, cell_order, expected)
    cells = np.array(sorted(share), dtype=np.int64)
    weight = np.array([share[int(c)] for c in cells], dtype=np.float64)
    own = sky.owning_cell(ra_deg, dec_deg, cell_order) if len(ra_deg) else np.empty(0, np.int64)
    known = np.isin(own, cells)
    counts = np.bincount(np.searchsorted(cells, own[known]), minlength=cells.size)
    mean = known.sum() * weight / weight.sum() if weight.sum() > 0 else weight
    # Chi-squared needs about five expected counts in each cell (Cochran's rule).
    few = mean < _FEWEST
    observed = np.append(counts[~few], counts[few].sum())
    mean = np.append(mean[~few], mean[few].sum())
    used = mean >= _FEWEST
    value = float(((observed - mean)[used] ** 2 / mean[used]).sum())
    # One degree of freedom is lost because the expected total is set to the observed one.
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
    """Return True for positions on searched map pixels, shape (n,)."""
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


def _weight_by_cell(
    searched: Mapping[int, np.ndarray],
    tile_order: int,
    map_order: int,
    cell_order: int,
    expected: Expected | None,
) -> dict[int, float]:
    """Return each cell's number of searched pixels times the expected density of their tile."""
    weight: dict[int, float] = {}
    for tile in sorted(searched):
        first = np.int64(tile) << (2 * (map_order - tile_order))
        pixel = first + np.flatnonzero(searched[tile])
        density = expected.per_deg2(tile) if expected else 1.0
        cells, count = np.unique(sky.ancestor(pixel, map_order, cell_order), return_counts=True)
        for cell, n in zip(cells.tolist(), count.tolist(), strict=True):
            weight[cell] = weight.get(cell, 0.0) + n * density
    return weight
