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
from scipy.spatial import cKDTree

from clusterscan.catalogs.pairs import pairs_within
from clusterscan.core import sky

_SMALLEST_ARCMIN = 1e-9


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
    """Return the rows that start an object: the best first, then the best beyond its radius, ...

    The work grows with the number of rows whether they are spread or lie in one place: a row
    without neighbours leads; of the others only leaders look around themselves, and no point
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

    ``label`` numbers the objects 0 to count - 1. Rows must come in a fixed order, as sums run
    in it.
    """
    weight = np.asarray(pos_err_arcmin, dtype=np.float64) ** -2
    total = np.bincount(label, weights=weight, minlength=count)
    sums = [np.bincount(label, weights=weight * axis, minlength=count) for axis in vectors.T]
    return np.stack(sums, axis=1), total**-0.5
