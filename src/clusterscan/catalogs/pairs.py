"""Pairs of positions on the sphere: who is near whom, and the closest pairs one to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from clusterscan import sky
from clusterscan.errors import CatalogueError


def checked_vectors(ra_deg: ArrayLike, dec_deg: ArrayLike, what: str) -> np.ndarray:
    """Return unit vectors (n, 3), or say which row of ``what`` is not on the sky.

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
            f"row {row}: ra_deg = {ra[row]}, dec_deg = {dec[row]}; drop or mend these rows"
        )
    return sky.unit_vectors(ra, dec) if ra.size else np.empty((0, 3))


def pairs_within(
    first: np.ndarray, second: np.ndarray, radius_arcmin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of two sets of unit vectors within a radius.

    Returns
    -------
    i, j : int64 ndarray, shape (n_pairs,)
        Rows in ``first`` and ``second``, sorted by i, then j.
    separation_arcmin : float64 ndarray, shape (n_pairs,)
    """
    if not len(first) or not len(second):
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing, np.empty(0)
    radius = sky.chord(radius_arcmin / 60.0)
    found = cKDTree(first).sparse_distance_matrix(cKDTree(second), radius, output_type="ndarray")
    found = found[np.lexsort((found["j"], found["i"]))]
    separation = 2 * np.degrees(np.arcsin(np.clip(found["v"] / 2, 0, 1))) * 60.0
    return found["i"].astype(np.int64), found["j"].astype(np.int64), separation


def one_to_one(i: np.ndarray, j: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Resolve pairs so that each row of either side is used once, the lowest rank first.

    The same as taking pairs in rising order of rank and skipping those whose rows are taken.
    Equal ranks go by i, then j.

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
    kept = np.zeros(len(i), dtype=bool)
    open_pairs = np.lexsort((j, i, rank))
    while open_pairs.size:
        # A pair that comes first for both of its rows is certain to be taken.
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
