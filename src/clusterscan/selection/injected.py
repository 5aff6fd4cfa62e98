"""The clusters that are injected: one in each HEALPix cell of a tile, over a grid of mass and z.

Every cluster depends on the seed and its own cell alone, so tiles that share a border agree on it
and any tiling gives the same list. Clusters keep a quarter of a cell's side from the cell's border:
none lies near another or near a tile's border.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from clusterscan.config.simulation import HaloSettings
from clusterscan.config.validation import InjectionGrid
from clusterscan.core import sky
from clusterscan.simulate.halos import Halos, make_halos

_KEY = 23  # keeps these draws apart from all others of a seed
_INNER = 8  # positions are centres of cells this many orders finer: 3 arcsec for order 8


def injected_in(
    tiles: Iterable[int], tile_order: int, grid: InjectionGrid, seed: int
) -> pd.DataFrame:
    """Return the clusters injected into tiles.

    Parameters
    ----------
    tiles : iterable of int
        NESTED indices.
    tile_order : int
    grid : InjectionGrid
        Edges of the bins, and the order of the cells.
    seed : int

    Returns
    -------
    DataFrame
        One row a cell, sorted by cell: cell, tile, ra_deg, dec_deg, m500c_msun, z, mass_bin,
        z_bin, gas and galaxies (standard normal scatters).
    """
    order = max(grid.cell_order, tile_order)
    rows = []
    for tile in sorted({int(t) for t in tiles}):
        cells = np.sort(sky.descendants(tile, tile_order, order))
        # Within a tile every node of the grid comes equally often, in a drawn order.
        place = np.random.default_rng([seed, _KEY, tile_order, tile]).permutation(cells.size)
        rows += [
            _cluster(int(cell), int(turn), tile, order, grid, seed)
            for cell, turn in zip(cells, place, strict=True)
        ]
    columns = ["cell", "tile", "ra_deg", "dec_deg", "m500c_msun", "z", "mass_bin", "z_bin",
               "gas", "galaxies"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).sort_values("cell", ignore_index=True)


def _cluster(cell: int, turn: int, tile: int, order: int, grid: InjectionGrid, seed: int) -> tuple:
    rng = np.random.default_rng([seed, _KEY, order, cell])
    n_mass, n_z = len(grid.m500c_edges_msun) - 1, len(grid.z_edges) - 1
    mass_bin, z_bin = divmod((turn + tile) % (n_mass * n_z), n_z)
    low, high = np.log(grid.m500c_edges_msun[mass_bin : mass_bin + 2])
    z_low, z_high = grid.z_edges[z_bin : z_bin + 2]
    mass, z = np.exp(rng.uniform(low, high)), rng.uniform(z_low, z_high)
    side = 1 << _INNER
    x, y = (rng.integers(side // 4, 3 * side // 4, size=1) for _ in range(2))
    place = (cell << (2 * _INNER)) + _nested_offsets(x, y)
    ra, dec = sky.cell_centres(place, order + _INNER)
    gas, galaxies = rng.standard_normal(2)
    return cell, tile, ra[0], dec[0], mass, z, mass_bin, z_bin, gas, galaxies


def _nested_offsets(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the nested offsets of columns and rows in a cell: even bits x, odd bits y."""
    offset = np.zeros(x.size, dtype=np.int64)
    for bit in range(_INNER):
        offset |= ((x >> bit) & 1) << (2 * bit) | ((y >> bit) & 1) << (2 * bit + 1)
    return offset


def as_halos(clusters: pd.DataFrame, settings: HaloSettings) -> Halos:
    """Return the injected clusters with gas and galaxies as halos of the simulated sky have."""
    return make_halos(
        cell=clusters["cell"].to_numpy(dtype=np.int64),
        index=np.zeros(len(clusters), dtype=np.int64),
        ra_deg=clusters["ra_deg"].to_numpy(),
        dec_deg=clusters["dec_deg"].to_numpy(),
        z=clusters["z"].to_numpy(),
        m500c_msun=clusters["m500c_msun"].to_numpy(),
        gas=clusters["gas"].to_numpy(),
        galaxies=clusters["galaxies"].to_numpy(),
        settings=settings,
    )
