"""A probe's maps searched as the real ones are: peaks, objects, and the run's own probability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.config.merge import MergeSettings
from clusterscan.config.scan import DetectSettings
from clusterscan.core import sky
from clusterscan.detect.peaks import find_peaks
from clusterscan.merge.calibrate import ProbabilityModel, calibrated
from clusterscan.merge.forced import forced
from clusterscan.merge.objects import Model, features_of, merge_candidates, model_tag

TileMap = Callable[[int], np.ndarray | None]


def candidates_of(
    maps: Mapping[int, np.ndarray], tile_order: int, map_order: int, settings: DetectSettings
) -> pd.DataFrame:
    """Return the peaks of one network's maps, each tile seeing those of its neighbours.

    Parameters
    ----------
    maps : mapping of tile to float ndarray
        Probabilities in nested order, NaN where invalid.
    tile_order, map_order : int
    settings : DetectSettings
        The run's own.
    """
    tables = []
    for tile in sorted(maps):
        around = sorted({tile, *(int(t) for t in sky.neighbours(tile, tile_order))} & set(maps))
        places = [sky.map_pixels(t, tile_order, map_order) for t in around]
        ipix = np.concatenate([sky.descendants(t, tile_order, map_order) for t in around])
        tables.append(
            find_peaks(
                np.concatenate([maps[t] for t in around]),
                np.concatenate([ra for ra, _ in places]),
                np.concatenate([dec for _, dec in places]),
                ipix,
                sky.ancestor(ipix, map_order, tile_order) == tile,
                map_order=map_order,
                settings=settings,
            )
        )
    filled = [t for t in tables if len(t)] or tables[:1]
    return pd.concat(filled, ignore_index=True)


def objects_of(
    candidates: Mapping[Model, pd.DataFrame],
    map_of: Mapping[Model, TileMap],
    record: Mapping[str, Any],
    tile_order: int,
    map_order: int,
    settings: MergeSettings,
) -> pd.DataFrame:
    """Return the objects of a probe with the probability that the run would give them.

    Parameters
    ----------
    candidates : mapping of (survey, model) to DataFrame
        Of all the networks that the run's combination joins.
    map_of : mapping of (survey, model) to callable
        Each network's map of a tile, or None.
    record : mapping
        How the run made its probability; nothing is fitted here.
    tile_order, map_order : int
    settings : MergeSettings
    """
    objects = merge_candidates(candidates, radius_arcmin=settings.radius_arcmin)
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    values = [
        forced(
            map_of[m], ra, dec, tile_order, map_order, radius_arcmin=settings.forced_radius_arcmin
        )
        for m in sorted(candidates)
    ]
    features = features_of(np.stack(values, axis=1), "probability")
    return objects.assign(prob=ProbabilityModel.from_dict(record).probability(features))


def alone(candidates: pd.DataFrame, model: Model, record: Mapping[str, Any]) -> np.ndarray:
    """Return the calibrated probability of a network's own peaks; NaN without a calibration."""
    how = (record.get("singles") or {}).get(model_tag(model))
    if how is None:
        return np.full(len(candidates), np.nan)
    peak = candidates["value"].to_numpy(dtype=np.float64)
    return calibrated(how, features_of(peak, "probability"))
