"""Forced measurement: read a model's map at given positions, with or without a peak there.

All objects and all known clusters are measured in the maps of all models. A model that has no
candidate at a position still has a value there, and a low value is evidence too. Values from
peaks alone would be missing exactly where a model disagrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.matching import match_known, names_of, numbers_of
from clusterscan.catalogs.pairs import checked_vectors
from clusterscan.core import sky
from clusterscan.merge.calibrate import ProbabilityModel, calibrated
from clusterscan.merge.objects import Model, features_of, model_tag


def forced(
    values_of_tile: Callable[[int], np.ndarray | None],
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    tile_order: int,
    map_order: int,
    *,
    radius_arcmin: float = 0.0,
) -> np.ndarray:
    """Read a map's values at positions.

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
        Take the largest valid value of all pixels centred within this radius, because models
        disagree on positions; 0: the value of the position's own pixel.

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
    # The position's own pixel is always included: the centre of its pixel may lie beyond a radius
    # smaller than half a pixel, and the position would have no value at all.
    pixels, rows = [own], [np.arange(count)]
    if radius_arcmin > 0:
        for row, (ra, dec) in enumerate(zip(ra_deg, dec_deg, strict=True)):
            around = sky.cells_in_cone(ra, dec, radius_arcmin / 60.0, map_order, touching=False)
            pixels.append(around)
            rows.append(np.full(around.size, row))
    pixel, row_of = np.concatenate(pixels), np.concatenate(rows)
    tile = sky.ancestor(pixel, map_order, tile_order)
    value = np.full(pixel.size, np.nan)
    # Tile by tile, so that each map is read once however the positions are ordered.
    order = np.argsort(tile, kind="stable")
    tiles, first = np.unique(tile[order], return_index=True)
    for number, members in zip(tiles, np.split(order, first[1:]), strict=True):
        tile_map = values_of_tile(int(number))
        if tile_map is not None:
            offset = pixel[members] - (int(number) << (2 * (map_order - tile_order)))
            value[members] = np.asarray(tile_map, dtype=np.float64)[offset]
    result = np.full(count, np.nan)
    np.fmax.at(result, row_of, value)  # fmax ignores NaN: a position is NaN if all its pixels are
    return result


KNOWN = "known"
"""The name of the list of united known clusters."""


def measure_list(
    name: str,
    table: pd.DataFrame,
    values: Mapping[Model, np.ndarray],
    objects: pd.DataFrame,
    record: Mapping[str, Any],
    split: np.ndarray,
    radius_arcmin: float,
) -> pd.DataFrame:
    """Measure every network at each listed position.

    Parameters
    ----------
    name : str
        The name of the list.
    table : DataFrame, n rows
        name, ra_deg, dec_deg, and perhaps z, m500c_msun, catalogues.
    values : mapping of (survey, model) to float ndarray, shape (n,)
        The networks' maps there (`forced`), NaN where they were not scanned.
    objects : DataFrame
        The scored objects; each listed position is matched with one of them.
    record : mapping
        The fit of the objects' probability (`clusterscan.merge.objects.score_objects`).
    split : str ndarray, shape (n,)
        Region of the sky: "train", "validation" or "test".
    radius_arcmin : float
        Largest separation of a listed object and its detection [arcmin].

    Returns
    -------
    DataFrame, n rows
        list, name, ra_deg, dec_deg, z, m500c_msun, catalogues, split, searched (some network has a
        value there), ``prob`` (an object with these values would have it; NaN where not searched),
        ``forced_*`` and ``single_*`` of every network (its raw value, and its value calibrated
        alone). Of the object matched one to one, the closest pair first: ``object_id`` (-1: none),
        ``object_prob`` and ``object_sep_arcsec`` (NaN: none).
    """
    models = sorted(values)
    measured = np.stack([np.asarray(values[m], dtype=np.float64) for m in models], axis=1)
    features = features_of(measured, "probability")
    searched = np.isfinite(measured).any(axis=1)
    prob = ProbabilityModel.from_dict(record).probability(features)
    columns: dict[str, Any] = {
        "list": np.full(len(table), name, dtype=object),
        "name": names_of(table),
        "ra_deg": numbers_of(table, "ra_deg"),
        "dec_deg": numbers_of(table, "dec_deg"),
        "z": numbers_of(table, "z"),
        "m500c_msun": numbers_of(table, "m500c_msun"),
        "catalogues": table.get("catalogues", name),
        "split": split,
        "searched": searched,
        "prob": np.where(searched, prob, np.nan),
    }
    for number, model in enumerate(models):
        tag = model_tag(model)
        columns[f"forced_{tag}"] = measured[:, number].astype(np.float32)
        how = (record.get("singles") or {}).get(tag)
        alone = np.full(len(table), np.nan) if how is None else calibrated(how, features[:, number])
        columns[f"single_{tag}"] = alone.astype(np.float32)
    # The list is matched as if objects were the catalogue, so two listed clusters never claim the
    # same object.
    columns |= _own_objects(table, objects, radius_arcmin)
    return pd.DataFrame(columns).reset_index(drop=True)


def _own_objects(
    table: pd.DataFrame, objects: pd.DataFrame, radius_arcmin: float
) -> dict[str, np.ndarray]:
    """Match listed positions and objects one to one; return the objects' columns."""
    found = match_known(table[["ra_deg", "dec_deg"]], objects_as_known(objects), radius_arcmin)
    row = found["known_row"].to_numpy()
    ids = objects["object_id"].to_numpy() if len(objects) else np.zeros(1, dtype=np.int64)
    probs = objects["prob"].to_numpy() if len(objects) else np.zeros(1)
    at = np.maximum(row, 0)
    return {
        "object_id": np.where(row < 0, -1, ids[at]),
        "object_prob": np.where(row < 0, np.nan, probs[at]),
        "object_sep_arcsec": found["known_sep_arcsec"].to_numpy(),
    }


def objects_as_known(objects: pd.DataFrame) -> pd.DataFrame:
    """Return the objects with the column names of a known catalogue, for `match_known`."""
    return objects[["ra_deg", "dec_deg", "pos_err_arcsec"]].assign(
        name=objects["object_id"].astype(str)
    )
