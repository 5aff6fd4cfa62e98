"""Catalogues of the simulated sky, over a footprint and the tiles around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from clusterscan.core import sky
from clusterscan.simulate.plugins import simulator

if TYPE_CHECKING:
    from clusterscan.config.simulation import SimulationSettings


def simulated_table(
    selection: Literal["truth", "sz", "richness", "candidates"],
    tiles: Sequence[int],
    tile_order: int,
    *,
    seed: int,
    settings: SimulationSettings,
) -> pd.DataFrame:
    """Return the simulated catalogue of a footprint and a margin of one tile around it.

    The margin is needed because an object just outside may match a candidate just inside, and
    because random negatives must keep away from it. X-ray candidates are the positions of examples,
    so they are those of the footprint alone.
    """
    if selection == "candidates":
        judged_candidates = simulator("catalogue", "candidates")
        return judged_candidates(tiles, tile_order, seed=seed, settings=settings)
    from clusterscan.simulate.simulated_catalogues import known_of_cell, truth_of_cell

    parts = []
    for cell in with_margin(tiles, tile_order):
        if selection == "truth":
            part = truth_of_cell(cell, tile_order, seed=seed, settings=settings)
        else:
            part = known_of_cell(
                cell, tile_order, seed=seed, settings=settings, selection=selection
            )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def with_margin(tiles: Sequence[int], tile_order: int) -> list[int]:
    """Return the sorted tiles and all that touch them."""
    around = [sky.neighbours(int(tile), tile_order) for tile in tiles]
    return np.unique(np.concatenate([np.asarray(tiles, np.int64), *around])).tolist()
