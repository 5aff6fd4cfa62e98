"""Decide which entries of different catalogues are one cluster.

Two entries of different catalogues are a *permitted pair* if they lie within their limit of each
other and, where both have a redshift and a window is set, within the window. The limit is an
angle, or a length where a redshift of the two is known, widened by the position errors of both. A
*cluster* is a set of entries, at most one of each catalogue, every two of which are a permitted
pair.

Sets grow from single entries: the closest pair joins its two sets if the result is such a set
again, then the next closest, and so on. So if A is near B and B near C, the three are one cluster
only if A and C are a permitted pair too; else B belongs to the closer of them. *Closer* is the
lower separation in units of the limit (and of the redshift window), then the lower separation,
then the lower declination, right ascension and name, so neither the order of catalogues nor that
of rows matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from clusterscan.catalogs.pairs import MOST_PAIRS, arcmin_of_chord, count_pairs
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError


@dataclass(frozen=True)
class MatchRule:
    """When entries of two catalogues may be one cluster.

    Attributes
    ----------
    radius_arcmin : float
        Largest separation where no redshift is known, or ``radius_kpc`` is not given.
    radius_kpc : float, optional
        Largest separation across the line of sight where either redshift is known (their mean
        where both are), in a flat cosmology of H0 = 70 km/s/Mpc and Omega_m = 0.3.
    n_sigma : float
        Limits widen, in quadrature, by this many times the position errors of both.
    most_arcmin : float, optional
        No limit is larger; as ``radius_arcmin`` where it is not given and limits are angles,
        else 15.
    z_window : float, optional
        Largest |z1 - z2| / (1 + z), z their mean; pairs beyond are two clusters.
    z_conflict : float
        Redshifts that differ by more count as a conflict.
    mass_conflict : float
        Masses with a larger ratio count as a conflict.
    """

    radius_arcmin: float = 2.5
    radius_kpc: float | None = None
    n_sigma: float = 0.0
    most_arcmin: float | None = None
    z_window: float | None = None
    z_conflict: float = 0.05
    mass_conflict: float = 3.0

    @property
    def search_arcmin(self) -> float:
        """The radius that holds every permitted pair [arcmin]."""
        if self.most_arcmin is not None:
            return self.most_arcmin
        plain = self.radius_kpc is None and self.n_sigma == 0
        return self.radius_arcmin if plain else max(self.radius_arcmin, 15.0)


@dataclass(frozen=True)
class Entries:
    """Entries of all catalogues, in an order that the order of the input does not change.

    Attributes
    ----------
    vectors : float ndarray, shape (n, 3)
        Unit vectors.
    catalogue : int ndarray, shape (n,)
        Number of the catalogue.
    z, pos_err_arcmin : float ndarray, shape (n,)
        NaN: unknown. Errors are 1 sigma along an axis.
    """

    vectors: np.ndarray
    catalogue: np.ndarray
    z: np.ndarray
    pos_err_arcmin: np.ndarray


@dataclass(frozen=True)
class Links:
    """Pairs of entries of different catalogues, i < j, closest first.

    Attributes
    ----------
    i, j : int ndarray, shape (n,)
        Rows of the entries.
    separation_arcmin : float ndarray, shape (n,)
    permitted : bool ndarray, shape (n,)
        True if they may be one cluster; only their redshifts keep the others apart.
    """

    i: np.ndarray
    j: np.ndarray
    separation_arcmin: np.ndarray
    permitted: np.ndarray


def find_links(entries: Entries, rule: MatchRule) -> Links:
    """Return all pairs of different catalogues within their limits, closest first.

    Raises
    ------
    CatalogueError
        If there are so many pairs that entries must be duplicates of each other.
    """
    i, j, separation = _candidates(entries, rule)
    z1, z2 = entries.z[i], entries.z[j]
    limit = limits_arcmin(z1, z2, entries.pos_err_arcmin[i], entries.pos_err_arcmin[j], rule)
    inside = separation <= limit
    i, j, separation, limit = i[inside], j[inside], separation[inside], limit[inside]
    # The closest pair is the one that uses up least of its limit, not the one with the fewest
    # arcseconds: a nearby cluster spans arcminutes, and a Planck position is good to no better.
    # Where there is a redshift window, the redshift difference counts in the same way, in
    # quadrature.
    cost = (separation / np.maximum(limit, 1e-9)) ** 2
    apart = redshift_distance(entries.z[i], entries.z[j])
    permitted = np.ones(i.size, dtype=bool)
    if rule.z_window is not None:
        # Negated, so that pairs with an unknown redshift (NaN) are permitted.
        permitted = ~(apart > rule.z_window)
        cost = cost + np.nan_to_num((apart / rule.z_window) ** 2)
    # The entries are sorted by position and name, so i and j break ties in that order.
    order = np.lexsort((j, i, separation, cost))
    return Links(i[order], j[order], separation[order], permitted[order])


def limits_arcmin(
    z1: np.ndarray, z2: np.ndarray, err1: np.ndarray, err2: np.ndarray, rule: MatchRule
) -> np.ndarray:
    """Return the largest separation at which pairs may be one cluster [arcmin].

    Redshifts and position errors [arcmin] are NaN where unknown.
    """
    limit = np.full(np.shape(z1), rule.radius_arcmin, dtype=np.float64)
    if rule.radius_kpc is not None:
        z = _mean_of_known(z1, z2)
        known = np.isfinite(z)
        limit[known] = rule.radius_kpc / kpc_per_arcmin(z[known])
    if rule.n_sigma > 0:
        error = np.hypot(np.nan_to_num(err1), np.nan_to_num(err2))
        # SZ and X-ray catalogues from large beams have errors of arcminutes, optical ones of
        # arcseconds. Limits widen with the errors, up to `search_arcmin`, the radius of the pair
        # search.
        limit = np.hypot(limit, rule.n_sigma * error)
    return np.minimum(limit, rule.search_arcmin)


def kpc_per_arcmin(z: np.ndarray) -> np.ndarray:
    """Return the transverse proper length of an arcminute at a redshift [kpc]."""
    grid, kpc = _kpc_grid()
    # The length vanishes at z = 0; the lowest redshift of the grid keeps limits finite.
    return np.interp(np.maximum(z, grid[0]), grid, kpc)


@cache
def _kpc_grid() -> tuple[np.ndarray, np.ndarray]:
    from astropy.cosmology import FlatLambdaCDM

    grid = np.geomspace(1e-4, 21.0, 2000)
    return grid, FlatLambdaCDM(70.0, 0.3).kpc_proper_per_arcmin(grid).value


def redshift_distance(z1: np.ndarray, z2: np.ndarray) -> np.ndarray:
    """Return |z1 - z2| / (1 + their mean), NaN where one is unknown."""
    return np.abs(z1 - z2) / (1 + (z1 + z2) / 2)


def join(links: Links, entries: Entries) -> np.ndarray:
    """Join permitted pairs into clusters by the rule in the module's docstring.

    Returns
    -------
    cluster : int64 ndarray, shape (n,)
        The lowest row among the cluster's entries.
    """
    # As in agglomerative clustering with complete linkage, but with a fixed list of permitted
    # pairs. Links come closest first, so each step tries to join the sets of its two entries. The
    # loop is in Python, yet only entries with a neighbour take part, and sets are small.
    i, j = links.i[links.permitted], links.j[links.permitted]
    permitted = set(zip(i.tolist(), j.tolist(), strict=True))
    members: dict[int, list[int]] = {}
    of = np.arange(len(entries.catalogue)).tolist()
    catalogue = entries.catalogue.tolist()
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        if of[a] == of[b]:
            continue
        first = members.get(of[a], [a])
        second = members.get(of[b], [b])
        if _may_join(first, second, permitted, catalogue):
            joined = first + second
            # The lower row names the joined set: labels then do not depend on which side a pair
            # lists first.
            number = min(of[a], of[b])
            members.pop(max(of[a], of[b]), None)
            members[number] = joined
            for entry in joined:
                of[entry] = number
    return np.array(of, dtype=np.int64)


def _may_join(
    first: list[int], second: list[int], permitted: set[tuple[int, int]], catalogue: list[int]
) -> bool:
    if len(first) == 1 and len(second) == 1:
        return True  # the pair itself
    if {catalogue[k] for k in first} & {catalogue[k] for k in second}:
        return False
    return all(((a, b) if a < b else (b, a)) in permitted for a in first for b in second)


def _candidates(entries: Entries, rule: MatchRule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of different catalogues within the search radius."""
    if not len(entries.vectors):
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing, np.empty(0)
    tree = cKDTree(entries.vectors)
    radius = sky.chord(rule.search_arcmin / 60.0)
    count = count_pairs(entries.vectors, tree, radius) / 2
    if count > MOST_PAIRS:
        raise CatalogueError(
            f"{tree.n} entries make about {count:.1e} pairs within {rule.search_arcmin:g} arcmin; "
            "the radius is too large for catalogues so dense"
        )
    pairs = tree.query_pairs(radius, output_type="ndarray")
    i, j = pairs.min(axis=1), pairs.max(axis=1)
    different = entries.catalogue[i] != entries.catalogue[j]
    i, j = i[different], j[different]
    chord = np.sqrt(((entries.vectors[i] - entries.vectors[j]) ** 2).sum(axis=1))
    return i, j, arcmin_of_chord(chord)


def _mean_of_known(z1: np.ndarray, z2: np.ndarray) -> np.ndarray:
    both = (np.asarray(z1, float) + np.asarray(z2, float)) / 2
    return np.where(np.isnan(both), np.where(np.isnan(z1), z2, z1), both)
