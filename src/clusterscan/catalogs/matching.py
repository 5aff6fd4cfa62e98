"""Match objects with catalogues, and compute the probability of chance matches.

Densities are per square degree, separations in arcmin; positions are unit vectors. Matching by
score: the best object takes the nearest free cluster within the radius, then the next best, so
what is matched at one threshold stays matched at all lower ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.catalogs.pairs import (
    along_the_sky,
    checked_vectors,
    one_to_one,
    pairs_within,
    with_neighbour,
)
from clusterscan.config.validation import Range
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError

CENTRING_ARCMIN = 0.5  # scatter of the centres that two surveys give one cluster
SHIFT_ARCMIN = 60.0
DIRECTIONS = 6
_NEIGHBOURS = 10
_SKY_DEG2 = 4 * np.pi * np.degrees(1) ** 2
_MOST_TRIALS = 100_000  # objects that the part with a counterpart is estimated from


def names_of(table: pd.DataFrame) -> np.ndarray:
    """Return the column of names, or "" in every row if there is none."""
    if "name" not in table:
        return np.full(len(table), "", dtype=object)
    return table["name"].to_numpy(dtype=object)


def texts_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as text, "" where a value or the column is missing."""
    if column not in table:
        return np.full(len(table), "", dtype=object)
    return table[column].astype("string").fillna("").to_numpy(dtype=object)


def numbers_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as float64, NaN where a value or the column is missing."""
    if column not in table:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=np.float64, na_value=np.nan)


def taken(values: np.ndarray, row: np.ndarray, otherwise) -> np.ndarray:
    """Return values[row], and ``otherwise`` where row is -1."""
    picked = np.full(row.shape, otherwise, dtype=values.dtype)
    there = row >= 0
    picked[there] = values[row[there]]
    return picked


def local_density(
    vectors: np.ndarray, tree: cKDTree, *, neighbours: int = _NEIGHBOURS, partners: bool = False
) -> np.ndarray:
    """Return the density of a catalogue around positions [per deg2].

    The estimate (k - 1) / area, with the area out to the k-th nearest entry, is free of bias where
    entries are spread at random. Unlike a mean density it follows depth, masks and edges.

    Parameters
    ----------
    vectors : float ndarray, shape (n, 3)
        Positions.
    tree : cKDTree
        Of the catalogue's unit vectors.
    neighbours : int
        k.
    partners : bool
        Every position has a partner in the catalogue, which does not count.

    References
    ----------
    Cottam & Curtis 1956, Ecology 37, 451 (distances to the k-th neighbour).
    """
    # If every position has a partner, the nearest entry is the partner itself; counting it would
    # overestimate the density of unrelated entries.
    rank = neighbours + int(partners)
    if tree.n < rank or not len(vectors):
        return np.full(len(vectors), tree.n / _SKY_DEG2)
    order = along_the_sky(vectors)
    chord = np.empty((len(vectors), 1))
    chord[order] = tree.query(vectors[order], k=[rank], workers=-1)[0]
    # A cap's area is pi times the square of its edge's straight distance from its middle.
    area = np.pi * np.maximum(chord[:, 0], 1e-9) ** 2 * np.degrees(1) ** 2
    return (neighbours - 1) / area


def chance_probability(separation_arcmin: np.ndarray, density_deg2: np.ndarray) -> np.ndarray:
    """Return the probability that an unrelated entry lies this close or closer.

    ``1 - exp(-pi d^2 rho)``, NaN where the separation is NaN (Downes et al. 1986, MNRAS 218, 31).
    """
    expected = np.pi * (np.asarray(separation_arcmin) / 60.0) ** 2 * density_deg2
    return -np.expm1(-expected)


def shifted(vectors: np.ndarray, shift_arcmin: float, direction: float) -> np.ndarray:
    """Move positions along great circles, all by one length in one direction [turns].

    Directions count from an arbitrary fixed one at each position, so the poles are not special.
    """
    helper = np.where(np.abs(vectors[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    east = np.cross(helper, vectors)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    north = np.cross(vectors, east)
    length, turn = np.radians(shift_arcmin / 60.0), 2 * np.pi * direction
    towards = np.cos(turn) * east + np.sin(turn) * north
    return np.cos(length) * vectors + np.sin(length) * towards


def chance_matches(
    first: np.ndarray,
    second: np.ndarray,
    radius_arcmin: float,
    *,
    shift_arcmin: float = SHIFT_ARCMIN,
    directions: int = DIRECTIONS,
) -> float:
    """Count the rows of ``first`` that match by chance: the mean over shifted positions.

    Parameters
    ----------
    first, second : float ndarray, shape (n, 3), (m, 3)
        Unit vectors.
    radius_arcmin : float
        Of a match.
    shift_arcmin : float
        Length of the shift: more than the radius, less than the scale of the survey's structure.
    directions : int
        Number of shifts, evenly around.
    """
    if not len(first) or not len(second):
        return 0.0
    tree, radius = cKDTree(second), sky.chord(radius_arcmin / 60.0)
    # Shifted positions keep the clustering and the footprint of the list, which uniform random
    # positions would not. The shift must exceed the radius, or true partners would be found again.
    shift_arcmin = max(shift_arcmin, 4 * radius_arcmin)
    counts = [
        with_neighbour(shifted(first, shift_arcmin, k / directions), tree, radius).size
        for k in range(directions)
    ]
    return float(np.mean(counts))


def match_reliability(
    group: np.ndarray,
    separation_arcmin: np.ndarray,
    sigma_arcmin: np.ndarray,
    density_deg2: np.ndarray,
    true_part: float,
) -> np.ndarray:
    """Return the probability that each candidate match is the true one.

    ``L = Q f(d) / rho`` with f the Gaussian density of offsets, and
    ``R = L / (sum of L over the object's candidates + 1 - Q)``.

    Parameters
    ----------
    group : int ndarray, shape (n,)
        The object of each candidate.
    separation_arcmin, sigma_arcmin : float ndarray, shape (n,)
        Offset, and its error along an axis from both positions.
    density_deg2 : float ndarray, shape (n,)
        Density of unrelated entries there.
    true_part : float
        Q, the fraction of the objects with a true counterpart.

    References
    ----------
    Sutherland & Saunders 1992, MNRAS 259, 413.
    """
    if not len(group):
        return np.empty(0)
    sigma = np.asarray(sigma_arcmin) / 60.0
    offset = np.asarray(separation_arcmin) / 60.0
    density = np.exp(-0.5 * (offset / sigma) ** 2) / (2 * np.pi * sigma**2)
    likelihood = true_part * density / np.maximum(density_deg2, 1e-12)
    # The last term, 1 - Q, is the chance that the true counterpart is not in the catalogue at all.
    total = np.bincount(group, weights=likelihood)[group]
    return likelihood / (total + 1 - true_part)


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
        radius, including those matched to other objects. ``known_p_chance`` is the probability
        that an unrelated cluster lies so close, from the local density of known clusters.
        ``known_p_match`` is the probability that this is the object's counterpart, from both
        position errors, the local density, and the fraction of objects that match beyond chance.

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
    # The reliability weighs all candidates of an object, also those given to other objects: they
    # are its alternatives.
    density = local_density(first[i], cKDTree(second), partners=True) if i.size else np.empty(0)
    # A gas centre and the brightest galaxy of one cluster differ by more than their errors, so the
    # scatter of centres is added to both.
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
    """Return the fraction of positions with a true counterpart, from real and shifted matches.

    If a fraction Q has one, N (Q + (1 - Q) c) positions match; c is the fraction that matches by
    chance, which the shifted positions give.
    """
    tried = first
    if len(first) > _MOST_TRIALS:
        # Draw by the digits of the positions: the same rows in whatever order they come.
        x, y, z = first.T
        draw = (12345.6789 * x + 23456.7891 * y + 34567.8912 * z) % 1.0
        tried = first[draw < _MOST_TRIALS / len(first)]
        tried = tried if len(tried) else first[:1]
    real = with_neighbour(tried, cKDTree(second), sky.chord(radius_arcmin / 60.0)).size
    chance = chance_matches(tried, second, radius_arcmin) / len(tried)
    if chance >= 1:
        return 0.0
    fewest = 1 / (len(tried) + 1)  # a finite number of trials never gives certainty
    return float(np.clip((real / len(tried) - chance) / (1 - chance), fewest, 1 - fewest))


def cross_matches(catalogues: Mapping[str, pd.DataFrame], radius_arcmin: float) -> pd.DataFrame:
    """Count the matches of every catalogue in every other.

    Returns
    -------
    DataFrame
        One row for each ordered pair: ``first``, ``second``, ``n_first``, ``n_matched`` (rows of
        the first with a row of the second within the radius), ``n_chance`` (the same at shifted
        positions, mean over directions) and ``n_chance_error``, the error of that mean.
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
            # Poisson error of a mean over six shifts.
            error = np.sqrt(chance / DIRECTIONS)
            rows.append((first, second, len(mine), matched, chance, error))
    columns = ["first", "second", "n_first", "n_matched", "n_chance", "n_chance_error"]
    return pd.DataFrame(rows, columns=columns)


def _errors_arcmin(table: pd.DataFrame) -> np.ndarray:
    return np.nan_to_num(numbers_of(table, "pos_err_arcsec")) / 60.0


def match_by_score(
    objects: pd.DataFrame, truth: pd.DataFrame, radius_arcmin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Match objects with true clusters in the order of their scores, the best object first.

    Returns
    -------
    row : int64 ndarray, shape (n,)
        Each object's row of ``truth``, -1: none.
    separation_arcmin : float64 ndarray, shape (n,)
        NaN without a match.
    """
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    i, j, separation = pairs_within(
        checked_vectors(ra, dec, "objects"),
        checked_vectors(truth["ra_deg"], truth["dec_deg"], "truth"),
        radius_arcmin,
    )
    # A pair's rank goes by its object's score, then by separation: `one_to_one` then serves the
    # best object first. Ties of the score go by position, never by the order of the rows.
    best_first = np.lexsort((ra, dec, -objects["score"].to_numpy(dtype=np.float64)))
    place = np.empty(len(objects), dtype=np.int64)
    place[best_first] = np.arange(len(objects))
    rank = np.empty(i.size)
    rank[np.lexsort((j, separation, place[i]))] = np.arange(i.size)
    kept = one_to_one(i, j, rank)
    row = np.full(len(objects), -1, dtype=np.int64)
    row[i[kept]] = j[kept]
    distance = np.full(len(objects), np.nan)
    distance[i[kept]] = separation[kept]
    return row, distance


def passes(table: pd.DataFrame, cut: Mapping[str, Range]) -> np.ndarray:
    """Return True for rows that lie in all ranges (both ends included); NaN never does.

    Raises
    ------
    CatalogueError
        If a column is missing.
    """
    good = np.ones(len(table), dtype=bool)
    for column, (low, high) in cut.items():
        if column not in table:
            raise CatalogueError(
                f"the truth catalogue has no column {column!r} to cut on; it has {list(table)}: "
                "correct validate.completeness_cut and validate.purity_cut"
            )
        values = table[column].to_numpy(dtype=np.float64, na_value=np.nan)
        good &= np.isfinite(values)
        good &= values >= (-np.inf if low is None else low)
        good &= values <= (np.inf if high is None else high)
    return good
