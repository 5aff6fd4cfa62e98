"""Pairs and groups of positions on the sphere: who is near whom, and who belongs together.

How `group` splits chains. Candidates within the radius of each other are friends; friends of
friends form a group. In a group the best candidate starts an object. The best of those farther
than the radius from it starts the next one, and so on, until every candidate lies within the
radius of an object's best one. A candidate joins the nearest of the starters that are better than
itself. *Better* is the higher score, then the lower declination, right ascension and name, so the
order of rows never matters. It follows that the best candidates of two objects are never within
the radius of each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError

_MANY = 50_000  # in longer lists, rows without any neighbour are first sorted out
_CHUNK = 1_000_000  # rows of one query: bounds the memory
MOST_PAIRS = 500_000_000
_SAMPLE = 2_000
_SMALLEST_ARCMIN = 1e-9


def checked_vectors(ra_deg: ArrayLike, dec_deg: ArrayLike, what: str) -> np.ndarray:
    """Return unit vectors (n, 3) of positions; refuse positions that are not on the sky.

    Raises
    ------
    CatalogueError
        If a position is NaN, infinite or has |dec| > 90 deg.
    """
    ra = np.asarray(ra_deg, dtype=np.float64)
    dec = np.asarray(dec_deg, dtype=np.float64)
    bad = ~(np.abs(dec) <= 90) | ~np.isfinite(ra)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise CatalogueError(
            f"{what}: {bad.sum()} of {bad.size} rows have no position on the sky, the first is "
            f"row {row}: ra_deg = {ra[row]}, dec_deg = {dec[row]}; drop or fix these rows"
        )
    return sky.unit_vectors(ra, dec) if ra.size else np.empty((0, 3))


def pairs_within(
    first: np.ndarray, second: np.ndarray, radius_arcmin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of two sets of unit vectors within a radius.

    In long lists most rows have no neighbour in the other list. These are dropped first, with one
    query each, so that the list of pairs and the trees that make it stay small.

    Returns
    -------
    i, j : int64 ndarray, shape (n_pairs,)
        Rows in ``first`` and ``second``, sorted by i, then j.
    separation_arcmin : float64 ndarray, shape (n_pairs,)

    Raises
    ------
    CatalogueError
        If there are so many pairs that entries must be duplicates of each other.
    """
    if not len(first) or not len(second):
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing, np.empty(0)
    # Trees hold points in space: an angle on the sky is a chord through the sphere.
    radius = sky.chord(radius_arcmin / 60.0)
    rows = np.arange(len(first))
    if len(first) > _MANY or len(second) > _MANY:
        refuse_crowds(second, "the second list")
        rows = with_neighbour(first, cKDTree(second), radius)
        first = first[rows]
        near = with_neighbour(second, cKDTree(first), radius)
    else:
        near = np.arange(len(second))
    tree = cKDTree(second[near])
    count = count_pairs(first, tree, radius)
    if count > MOST_PAIRS:
        raise CatalogueError(
            f"{len(first)} and {tree.n} entries make about {count:.1e} pairs within "
            f"{radius_arcmin:g} arcmin; the radius is too large, or entries are duplicates "
            "(unite_known removes them)"
        )
    found = cKDTree(first).sparse_distance_matrix(tree, radius, output_type="ndarray")
    i, j = rows[found["i"]], near[found["j"]]
    # The tree returns pairs in an order of its own; sorted, results do not depend on it.
    order = np.lexsort((j, i))
    return i[order], j[order], arcmin_of_chord(found["v"][order])


def arcmin_of_chord(chord: np.ndarray) -> np.ndarray:
    """Return the angles [arcmin] between unit vectors of given straight distances."""
    return 2 * np.degrees(np.arcsin(np.clip(chord / 2, 0, 1))) * 60.0


def with_neighbour(vectors: np.ndarray, tree: cKDTree, radius: float) -> np.ndarray:
    """Return the rows, in order, within a straight distance of any point of a tree."""
    if tree.n == 0:
        return np.empty(0, dtype=np.int64)
    beyond = np.nextafter(radius, 3)  # the bound itself is not within it
    found = np.zeros(len(vectors), dtype=bool)
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK]
        order = along_the_sky(part)
        distance, _ = tree.query(part[order], distance_upper_bound=beyond, workers=-1)
        found[start + order[np.isfinite(distance)]] = True
    return np.flatnonzero(found)


def refuse_crowds(vectors: np.ndarray, what: str, most: int = 20_000) -> None:
    """Refuse a list with very many entries at one place, where a search would never finish.

    Raises
    ------
    CatalogueError
        Names the first such row.
    """
    if len(vectors) <= most:
        return
    # Equal positions have equal x, which is a cheap first test; only then whole vectors are
    # compared.
    _, first, counts = np.unique(vectors[:, 0], return_index=True, return_counts=True)
    if counts.max() > most:
        row = int(first[np.argmax(counts)])
        same = int((vectors == vectors[row]).all(axis=1).sum())
        if same > most:
            raise CatalogueError(
                f"{what}: {same} entries lie at one place, the first is row {row}; remove the "
                "duplicates (unite_known does)"
            )


def along_the_sky(vectors: np.ndarray) -> np.ndarray:
    """Sort rows so that neighbours on the sky follow one another.

    Queries in this order find their branch of the search tree in the processor's cache.
    """
    import healpy as hp

    if not len(vectors):
        return np.empty(0, dtype=np.int64)
    return np.argsort(hp.vec2pix(256, *vectors.T, nest=True), kind="stable")


def count_pairs(vectors: np.ndarray, tree: cKDTree, radius: float) -> float:
    """Estimate the number of pairs between points and a tree, from an even sample of the points."""
    if len(vectors) * tree.n <= MOST_PAIRS:
        return 0.0  # even all pairs are few enough
    step = max(1, len(vectors) // _SAMPLE)
    sample = vectors[::step]
    return float(tree.query_ball_point(sample, radius, return_length=True).mean() * len(vectors))


def one_to_one(i: np.ndarray, j: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Resolve pairs so that each row of either side is used once, the lowest rank first.

    The result is that of taking pairs in rising order of rank and skipping those whose rows are
    already used. Equal ranks go by i, then j.

    Parameters
    ----------
    i, j : int ndarray, shape (n,)
        Rows of the two sides.
    rank : float ndarray, shape (n,)
        Separation, or any cost.

    Returns
    -------
    kept : bool ndarray, shape (n,)
    """
    # A loop over pairs would be slow in Python. Each round instead takes all pairs at once that
    # come first for both of their rows: no other pair can claim these rows before them. A few
    # rounds settle millions of pairs.
    kept = np.zeros(len(i), dtype=bool)
    open_pairs = np.lexsort((j, i, rank))
    while open_pairs.size:
        first_i = _is_first(i[open_pairs])
        first_j = _is_first(j[open_pairs])
        taken = open_pairs[first_i & first_j]
        kept[taken] = True
        free = ~(np.isin(i[open_pairs], i[taken]) | np.isin(j[open_pairs], j[taken]))
        open_pairs = open_pairs[free]
    return kept


def _is_first(values: np.ndarray) -> np.ndarray:
    first = np.zeros(values.size, dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def group(
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    vectors: np.ndarray,
    score: np.ndarray,
    name: np.ndarray,
    radius_arcmin: float,
) -> np.ndarray:
    """Group candidates into objects; return the row of each one's best candidate.

    Parameters
    ----------
    ra_deg, dec_deg : float ndarray, shape (n,)
        Positions [deg]; break ties.
    vectors : float ndarray, shape (n, 3)
        Their unit vectors.
    score : float ndarray, shape (n,)
        Higher is better.
    name : ndarray of str or int, shape (n,)
        The model; breaks the last ties.
    radius_arcmin : float
        Linking length [arcmin]; 0: only equal positions.

    Returns
    -------
    leader : int64 ndarray, shape (n,)
    """
    size = len(score)
    if not size:
        return np.empty(0, dtype=np.int64)
    best_first = np.lexsort((name, ra_deg, dec_deg, -np.asarray(score, dtype=np.float64)))
    place = np.empty(size, dtype=np.int64)
    place[best_first] = np.arange(size)
    # The square of a smaller radius would vanish, and equal positions with it.
    radius_arcmin = max(radius_arcmin, _SMALLEST_ARCMIN)
    led = _leaders(vectors, best_first, sky.chord(radius_arcmin / 60.0))
    # Every row lies within the radius of a leader. It joins the nearest leader that is better than
    # itself; such a leader exists, because a row that no better leader covers leads itself.
    i, j, separation = pairs_within(vectors, vectors[led], radius_arcmin)
    j = led[j]
    allowed = place[j] <= place[i]
    i, j, separation = i[allowed], j[allowed], separation[allowed]
    order = np.lexsort((place[j], separation, i))
    rows, first = np.unique(i[order], return_index=True)
    leader = np.empty(size, dtype=np.int64)
    leader[rows] = j[order][first]
    leader[led] = led
    return leader


def _leaders(vectors: np.ndarray, best_first: np.ndarray, radius: float) -> np.ndarray:
    """Return the rows that start an object: the best, then the best beyond its radius, and so on.

    The work is linear in the number of rows, even if all lie in one place. A row without
    neighbours is a leader. Of the others only the leaders query their surroundings, and no point
    lies within the radius of more than five leaders.
    """
    # A search tree cannot divide equal points, so only the best of them goes into it.
    _, first = np.unique(vectors[best_first], axis=0, return_index=True)
    rows = best_first[np.sort(first)]
    tree = cKDTree(vectors[rows])
    second = min(2, rows.size)
    distance, _ = tree.query(vectors[rows], k=[second], workers=-1)
    lonely = (distance[:, 0] > radius) | (rows.size == 1)
    among = rows[~lonely]
    leads = [rows[lonely]]
    if among.size:
        leads.append(among[_greedy(vectors[among], radius)])
    return np.sort(np.concatenate(leads))


def _greedy(vectors: np.ndarray, radius: float) -> np.ndarray:
    """Return the places of the leaders among points given best first."""
    tree = cKDTree(vectors)
    covered = bytearray(len(vectors))
    found = []
    for place, vector in enumerate(vectors):
        if not covered[place]:
            found.append(place)
            for near in tree.query_ball_point(vector, radius):
                covered[near] = 1
    return np.array(found, dtype=np.int64)


def mean_position(
    vectors: np.ndarray, pos_err_arcmin: np.ndarray, label: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean vectors (count, 3), weighted by inverse variance, and their errors [arcmin].

    ``label`` numbers the objects from 0 to count - 1. The sums run in the order of the rows, so
    equal results to the last bit need rows in a fixed order.
    """
    weight = np.asarray(pos_err_arcmin, dtype=np.float64) ** -2
    total = np.bincount(label, weights=weight, minlength=count)
    sums = [np.bincount(label, weights=weight * axis, minlength=count) for axis in vectors.T]
    return np.stack(sums, axis=1), total**-0.5
