"""How likely a match is chance: from the local density, from shifted positions, from both errors.

Densities are per square degree, separations in arcmin; positions are unit vectors.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from clusterscan.catalogs.pairs import along_the_sky, with_neighbour
from clusterscan.core import sky

_NEIGHBOURS = 10
_SKY_DEG2 = 4 * np.pi * np.degrees(1) ** 2
SHIFT_ARCMIN = 60.0
DIRECTIONS = 6


def local_density(
    vectors: np.ndarray, tree: cKDTree, *, neighbours: int = _NEIGHBOURS, partners: bool = False
) -> np.ndarray:
    """Return the density of a catalogue around positions [per deg2].

    From the distance of the k-th nearest entry: (k - 1) / area is free of bias where entries are
    spread at random. So it follows depth, masks and edges, as a mean density does not.

    Parameters
    ----------
    vectors : float ndarray, shape (n, 3)
        Positions.
    tree : cKDTree
        Of the catalogue's unit vectors.
    neighbours : int
        k.
    partners : bool
        Every position has a partner in the catalogue, which is left out.

    References
    ----------
    Cottam & Curtis 1956, Ecology 37, 451 (distances to the k-th neighbour).
    """
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
    """Return the probability that an unrelated entry lies this close, or closer.

    ``1 - exp(-pi d^2 rho)``, NaN where the separation is NaN (Downes et al. 1986, MNRAS 218, 31).
    """
    expected = np.pi * (np.asarray(separation_arcmin) / 60.0) ** 2 * density_deg2
    return -np.expm1(-expected)


def shifted(vectors: np.ndarray, shift_arcmin: float, direction: float) -> np.ndarray:
    """Return positions moved along great circles, all by one length in one direction [turns].

    Directions are counted from any fixed one at each position: there is no pole to go wrong at.
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
    """Return how many rows of ``first`` match by chance: the mean over shifted positions.

    Parameters
    ----------
    first, second : float ndarray, shape (n, 3), (m, 3)
        Unit vectors.
    radius_arcmin : float
        Of a match.
    shift_arcmin : float
        How far ``first`` is moved: more than the radius, less than the survey's structure.
    directions : int
        Number of moves, evenly around.
    """
    if not len(first) or not len(second):
        return 0.0
    tree, radius = cKDTree(second), sky.chord(radius_arcmin / 60.0)
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
        Of unrelated entries there.
    true_part : float
        Q, the part of the objects that has a true counterpart.

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
    total = np.bincount(group, weights=likelihood)[group]
    return likelihood / (total + 1 - true_part)
