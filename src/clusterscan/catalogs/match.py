"""Objects and known clusters: who is whom, one to one, and how likely by chance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.catalogs.cells import names_of, numbers_of, taken
from clusterscan.catalogs.chance import (
    DIRECTIONS,
    chance_matches,
    chance_probability,
    local_density,
    match_reliability,
)
from clusterscan.catalogs.pairs import checked_vectors, one_to_one, pairs_within, with_neighbour
from clusterscan.core import sky

CENTRING_ARCMIN = 0.5
_MOST_TRIALS = 100_000  # objects that estimate the part with a counterpart


def match_known(
    objects: pd.DataFrame,
    known: pd.DataFrame,
    radius_arcmin: float,
    *,
    centring_arcmin: float = CENTRING_ARCMIN,
) -> pd.DataFrame:
    """Match objects with known clusters, one to one, the closest pair first.

    Parameters
    ----------
    objects : DataFrame, n rows
        ``ra_deg``, ``dec_deg``, and perhaps ``pos_err_arcsec``.
    known : DataFrame
        A catalogue.
    radius_arcmin : float
        Largest separation [arcmin].
    centring_arcmin : float
        How far, along an axis, the centres of one cluster lie apart in two surveys beyond their
        position errors [arcmin].

    Returns
    -------
    matches : DataFrame, n rows
        ``known_row`` (-1: none), ``known_name`` ("": none), ``known_sep_arcsec``, ``known_z``,
        ``known_m500c_msun`` (NaN), and ``n_known``, the number of known clusters within the
        radius, whoever they were given to. ``known_p_chance``: the probability that an
        unrelated cluster lies so close, from the local density of known clusters;
        ``known_p_match``: that this is the object's counterpart, from both position errors, the
        local density and the part of objects that match beyond chance at shifted positions.

    Raises
    ------
    CatalogueError
        If a position of either side is not on the sky.
    """
    first = checked_vectors(objects["ra_deg"], objects["dec_deg"], "objects")
    second = checked_vectors(known["ra_deg"], known["dec_deg"], "known clusters")
    i, j, separation = pairs_within(first, second, radius_arcmin)
    kept = one_to_one(i, j, separation)
    row = np.full(len(objects), -1, dtype=np.int64)
    row[i[kept]] = j[kept]
    density = local_density(first[i], cKDTree(second), partners=True) if i.size else np.empty(0)
    errors = (_errors_arcmin(objects)[i], _errors_arcmin(known)[j])
    sigma = np.sqrt(errors[0] ** 2 + errors[1] ** 2 + centring_arcmin**2)
    part = part_with_counterpart(first, second, radius_arcmin) if i.size else 0.0
    reliability = match_reliability(i, separation, sigma, density, part)

    def of_kept(values: np.ndarray) -> np.ndarray:
        column = np.full(len(objects), np.nan)
        column[i[kept]] = values[kept]
        return column

    return pd.DataFrame(
        {
            "known_row": row,
            "known_name": taken(names_of(known), row, ""),
            "known_sep_arcsec": of_kept(60 * separation),
            "known_z": taken(numbers_of(known, "z"), row, np.nan),
            "known_m500c_msun": taken(numbers_of(known, "m500c_msun"), row, np.nan),
            "n_known": np.bincount(i, minlength=len(objects)).astype(np.int32),
            "known_p_chance": of_kept(chance_probability(separation, density)),
            "known_p_match": of_kept(reliability),
        },
        index=objects.index,
    )


def part_with_counterpart(first: np.ndarray, second: np.ndarray, radius_arcmin: float) -> float:
    """Return the part of positions with a true counterpart, from real and shifted matches.

    If a part Q has one, matches are N (Q + (1 - Q) c), with c the part that matches by chance.
    """
    tried = first
    if len(first) > _MOST_TRIALS:
        # A draw by the digits of positions: the same rows, whatever their order.
        x, y, z = first.T
        draw = (12345.6789 * x + 23456.7891 * y + 34567.8912 * z) % 1.0
        tried = first[draw < _MOST_TRIALS / len(first)]
        tried = tried if len(tried) else first[:1]
    real = with_neighbour(tried, cKDTree(second), sky.chord(radius_arcmin / 60.0)).size
    chance = chance_matches(tried, second, radius_arcmin) / len(tried)
    if chance >= 1:
        return 0.0
    fewest = 1 / (len(tried) + 1)  # some doubt is left by any finite number of trials
    return float(np.clip((real / len(tried) - chance) / (1 - chance), fewest, 1 - fewest))


def cross_matches(catalogues: Mapping[str, pd.DataFrame], radius_arcmin: float) -> pd.DataFrame:
    """Count matches of every catalogue in every other.

    Returns
    -------
    DataFrame
        One row for each ordered pair: ``first``, ``second``, ``n_first``, ``n_matched`` (rows of
        the first whose nearest of the second lies within the radius), ``n_chance`` (the same at
        shifted positions, mean over directions) and ``n_chance_error`` of that mean.
    """
    vectors = {
        name: checked_vectors(table["ra_deg"], table["dec_deg"], f"catalogue {name}")
        for name, table in catalogues.items()
    }
    rows = []
    for first, mine in vectors.items():
        for second, other in vectors.items():
            if first == second:
                continue
            matched = with_neighbour(mine, cKDTree(other), sky.chord(radius_arcmin / 60.0)).size
            chance = chance_matches(mine, other, radius_arcmin)
            error = np.sqrt(chance / DIRECTIONS)
            rows.append((first, second, len(mine), matched, chance, error))
    columns = ["first", "second", "n_first", "n_matched", "n_chance", "n_chance_error"]
    return pd.DataFrame(rows, columns=columns)


def _errors_arcmin(table: pd.DataFrame) -> np.ndarray:
    return np.nan_to_num(numbers_of(table, "pos_err_arcsec")) / 60.0
