"""Which candidates are one object: friends-of-friends, chains split at the best candidates.

The rule. Candidates within the radius of each other are friends; friends of friends form a
group. In a group the best candidate starts an object. The best of those farther than the radius
from it starts the next one, and so on, until every candidate lies within the radius of an
object's best one. It joins the nearest of those that are better than itself. *Better* is the
higher score, then the lower declination, right ascension and name, so the order of rows never
matters. It follows that the best candidates of two objects are never within the radius.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from clusterscan.catalogs.pairs import pairs_within


def group(
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    vectors: np.ndarray,
    score: np.ndarray,
    name: np.ndarray,
    radius_arcmin: float,
) -> np.ndarray:
    """Return for each candidate the row of the best candidate of its object.

    Parameters
    ----------
    ra_deg, dec_deg : float ndarray, shape (n,)
        Positions [deg]; break ties.
    vectors : float ndarray, shape (n, 3)
        Their unit vectors.
    score : float ndarray, shape (n,)
        Higher is better.
    name : ndarray of str or int, shape (n,)
        Of the model; breaks the last ties.
    radius_arcmin : float
        Linking length [arcmin].

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
    i, j, separation = pairs_within(vectors, vectors, radius_arcmin)
    friends = coo_matrix((np.ones(i.size, dtype=np.int8), (i, j)), shape=(size, size))
    _, component = connected_components(friends, directed=False)
    leads = _leaders(component, place, i, j)
    allowed = leads[j] & (place[j] <= place[i])
    i, j, separation = i[allowed], j[allowed], separation[allowed]
    order = np.lexsort((place[j], separation, i))
    rows, first = np.unique(i[order], return_index=True)
    leader = np.empty(size, dtype=np.int64)
    leader[rows] = j[order][first]
    leader[leads] = np.flatnonzero(leads)
    return leader


def _leaders(component: np.ndarray, place: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return which candidates start an object; every round settles one in each group."""
    leads = np.zeros(place.size, dtype=bool)
    covered = np.zeros(place.size, dtype=bool)
    while not covered.all():
        waiting = np.flatnonzero(~covered)
        waiting = waiting[np.argsort(place[waiting])]
        _, first = np.unique(component[waiting], return_index=True)
        fresh = np.zeros(place.size, dtype=bool)
        fresh[waiting[first]] = True
        leads |= fresh
        covered |= fresh
        covered[i[fresh[j]]] = True
    return leads


def mean_position(
    vectors: np.ndarray, pos_err_arcmin: np.ndarray, label: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean vectors (count, 3), weighted by inverse variance, and their errors [arcmin].

    ``label`` numbers the objects 0 to count - 1. Rows must come in a fixed order, as sums run
    in it.
    """
    weight = np.asarray(pos_err_arcmin, dtype=np.float64) ** -2
    total = np.bincount(label, weights=weight, minlength=count)
    sums = [np.bincount(label, weights=weight * axis, minlength=count) for axis in vectors.T]
    return np.stack(sums, axis=1), total**-0.5
