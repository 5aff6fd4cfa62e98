"""Split listed objects: fractions of each class, k folds by sky region, guards between parts.

All functions take and return arrays. Rows of one group (`clusterscan.sample.leakage.join_objects`)
are never separated. The part of an object depends neither on the order of the rows nor on the
names of other objects.
"""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.spatial import cKDTree

from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.formats.training_set import PARTS
from clusterscan.sample.leakage import join_objects

_ALONE = "alone:"  # marks regions of objects that are in no cell
_REGIONS_PER_FOLD = 8
_FINEST_ORDER = 16  # cells of 3.2 arcsec


def split_objects(
    group: np.ndarray,
    label: np.ndarray,
    *,
    validation: float,
    test: float,
    seed: int,
) -> np.ndarray:
    """Draw the parts as fractions of each class, keeping groups whole.

    Parameters
    ----------
    group : str ndarray, shape (n,)
        Rows of one group go to one part; its commonest class counts for it.
    label : int ndarray, shape (n,)
        Classes.
    validation, test : float
        Fractions of the rows of each class.
    seed : int
        Another seed, another draw.

    Returns
    -------
    part : str ndarray, shape (n,)
        'train', 'validation' or 'test'.

    Raises
    ------
    CatalogueError
        If a class has too few objects for each part to get one.
    """
    names, member, size = np.unique(group, return_inverse=True, return_counts=True)
    stratum = _commonest(member, np.asarray(label), len(names))
    drawn = np.array([_uniform(seed, name) for name in names])
    part = np.full(len(names), PARTS[0], dtype=object)
    for value in np.unique(stratum):
        rows = np.flatnonzero(stratum == value)
        rows = rows[np.argsort(drawn[rows], kind="stable")]
        # A group belongs where its middle falls: big groups shift the fractions least.
        middle = (np.cumsum(size[rows]) - size[rows] / 2) / size[rows].sum()
        part[rows[middle < test + validation]] = PARTS[1]
        part[rows[middle < test]] = PARTS[2]
        wanted = PARTS if test > 0 else PARTS[:2]
        missing = [name for name in wanted if name not in part[rows]]
        if missing:
            raise CatalogueError(
                f"label {value} has {len(rows)} separate objects, too few for one in "
                f"{', '.join(missing)} with validation = {validation} and test = {test}; raise "
                "these fractions, join less, or bring more objects"
            )
    return part[member].astype(str)


def _commonest(member: np.ndarray, label: np.ndarray, groups: int) -> np.ndarray:
    """Return each group's most common label; of equally common ones the highest."""
    values, code = np.unique(label, return_inverse=True)
    counts = np.zeros((groups, len(values)), dtype=np.int64)
    np.add.at(counts, (member, code), 1)
    # `argmax` takes the first of equals; on reversed columns this is the highest label.
    return values[len(values) - 1 - np.argmax(counts[:, ::-1], axis=1)]


def _uniform(seed: int, name: str) -> float:
    """Return a number in [0, 1) that depends on the seed and the name alone."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    # A hash instead of a random draw: an object keeps its part when others are added or removed, so
    # a test object never moves into the training of a later version.
    return int.from_bytes(digest[:8], "big") / 2.0**64


def fold_numbers(
    group: np.ndarray,
    label: np.ndarray,
    folds: int,
    *,
    ra_deg: np.ndarray | None = None,
    dec_deg: np.ndarray | None = None,
    order: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Divide rows into folds of like size and like shares of the classes.

    Parameters
    ----------
    group : str ndarray, shape (n,)
        Rows of one group share a fold.
    label : int ndarray, shape (n,)
        Classes; each fold gets an equal share, as far as regions allow.
    folds : int
        Number of folds.
    ra_deg, dec_deg : float ndarray, shape (n,), optional
        ICRS [deg]; NaN where not known.
    order : int, optional
        HEALPix order of the cells that stay whole; a group is in the cell of its first member
        by position. None, or rows without a position: every group is a region of its own.
    seed : int
        Another seed, another division.

    Returns
    -------
    fold : int ndarray, shape (n,)
        0 to folds - 1.

    Raises
    ------
    CatalogueError
        If there are fewer regions, or examples of a class, than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    region = _regions(np.asarray(group), ra_deg, dec_deg, order)
    count = len(np.unique(region))
    if count < folds:
        raise CatalogueError(
            f"there are {count} separate regions of the sky for {folds} folds; ask for fewer "
            "folds, smaller cells (a higher order), or join less"
        )
    values, sizes = np.unique(label, return_counts=True)
    if sizes.min() < folds:
        raise CatalogueError(
            f"label {values[sizes.argmin()]} has {sizes.min()} examples for {folds} folds; ask "
            "for fewer folds, or bring more examples"
        )
    # Rows in a fixed order, as the division goes through them one by one.
    rows = np.lexsort((label, region))
    division = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(region), dtype=np.int64)
    parts = division.split(np.zeros((len(rows), 1)), np.asarray(label)[rows], region[rows])
    for number, (_, chosen) in enumerate(parts):
        fold[rows[chosen]] = number
    return fold


def sky_folds(
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    folds: int,
    *,
    radius_arcmin: float,
    object_id: np.ndarray,
    label: np.ndarray | None = None,
    order: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Divide examples into folds by region of the sky, entries of one object joined first.

    Parameters
    ----------
    ra_deg, dec_deg : float ndarray, shape (n,)
        ICRS [deg]; where all are NaN, objects are spread over the folds one by one.
    folds : int
        Number of folds.
    radius_arcmin : float
        Examples nearer than this share a fold: entries of one object [arcmin].
    object_id : str ndarray, shape (n,)
        Examples of one object share a fold; "": no object that has a name.
    label : int ndarray, shape (n,), optional
        Classes, of which each fold gets its share.
    order : int, optional
        HEALPix order of the regions; None: the coarsest that gives eight regions a fold.
    seed : int
        Another seed, another division.

    Returns
    -------
    fold : int ndarray, shape (n,)
        0 to folds - 1.

    Raises
    ------
    CatalogueError
        If there are fewer regions than folds.
    """
    group = join_objects(object_id, ra_deg, dec_deg, radius_arcmin)
    if order is None:
        order = _coarsest_order(ra_deg, dec_deg, _REGIONS_PER_FOLD * folds)
    label = np.zeros(len(group), dtype=np.int64) if label is None else label
    return fold_numbers(group, label, folds, ra_deg=ra_deg, dec_deg=dec_deg, order=order, seed=seed)


def _coarsest_order(ra: np.ndarray, dec: np.ndarray, regions: int) -> int | None:
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return None
    finest = sky.owning_cell(ra[known], dec[known], _FINEST_ORDER)
    # Neighbours share depth, noise and large-scale structure, so regions should be large; with few
    # of them folds would be unequal. Eight for each fold is the compromise.
    for order in range(_FINEST_ORDER):
        if len(np.unique(sky.ancestor(finest, _FINEST_ORDER, order))) >= regions:
            return order
    return _FINEST_ORDER


def _regions(
    group: np.ndarray, ra: np.ndarray | None, dec: np.ndarray | None, order: int | None
) -> np.ndarray:
    """Name each row's region: the cell of its group, or the group itself if it has no position."""
    region = np.array([_ALONE + name for name in group], dtype=object)
    if order is None or ra is None or dec is None:
        return region.astype(str)
    at = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if at.size:
        at = at[np.lexsort((ra[at], dec[at], group[at]))]
        names, first = np.unique(group[at], return_index=True)
        cells = sky.owning_cell(ra[at[first]], dec[at[first]], order)
        cell_of = dict(zip(names.tolist(), cells.tolist(), strict=True))
        region = np.array(
            [str(cell_of[g]) if g in cell_of else _ALONE + g for g in group.tolist()], dtype=object
        )
    return region.astype(str)


def split_by_folds(fold: np.ndarray, test: int, validation: int) -> np.ndarray:
    """Assign rows to parts: one fold is the test, one the validation, the others the training.

    Returns
    -------
    part : str ndarray, shape (n,)
        'train', 'validation' or 'test'.
    """
    fold = np.asarray(fold)
    return np.where(fold == test, PARTS[2], np.where(fold == validation, PARTS[1], PARTS[0]))


def keeps_clear(
    ra_deg: np.ndarray, dec_deg: np.ndarray, part: np.ndarray, radius_arcmin: float
) -> np.ndarray:
    """Return True for rows that are farther than the guard from later parts.

    Training gives way to validation, and both to the test, so the test part stays whole.

    Parameters
    ----------
    ra_deg, dec_deg : float ndarray, shape (n,)
        ICRS [deg]; rows without a position stay.
    part : str ndarray, shape (n,)
        Their parts.
    radius_arcmin : float
        Rows this near to one of a later part are left out [arcmin].

    Returns
    -------
    keep : bool ndarray, shape (n,)
    """
    keep = np.ones(len(part), dtype=bool)
    known = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    if radius_arcmin <= 0 or not known.any():
        return keep
    vectors = np.zeros((len(part), 3))
    vectors[known] = sky.unit_vectors(ra_deg[known], dec_deg[known])
    chord = sky.chord(radius_arcmin / 60.0)
    for later in (PARTS[2], PARTS[1]):
        # What an earlier round left out shows nobody's sky any more.
        others = known & keep & (part == later)
        earlier = PARTS[: PARTS.index(later)]
        mine = np.flatnonzero(known & keep & np.isin(part, earlier))
        if others.any() and mine.size:
            near, _ = cKDTree(vectors[others]).query(vectors[mine])
            keep[mine[near <= chord]] = False
    return keep
