"""Keep the parts of a split apart: join the rows that belong together, then prove that none leaks.

Two stamps of one object, one object under two names, or one image under two names would let a
network be tested on what it was trained on. `join_objects` finds the rows that must stay together
before a split; `assert_no_leakage` checks the finished split by means of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from clusterscan.catalogs.pairs import pairs_within
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError, ProductError

_SHOWN = 5


@dataclass(frozen=True)
class Leakage:
    """The objects, positions and images that two parts share.

    Attributes
    ----------
    objects : tuple of str
        Object ids that are in two parts.
    close_pairs : tuple of (str, str)
        Examples of two parts closer than the radius: the same object under two names.
    same_images : tuple of (str, str)
        Examples of two parts whose images are the same to the byte.
    """

    objects: tuple[str, ...]
    close_pairs: tuple[tuple[str, str], ...]
    same_images: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Return True if anything leaks."""
        return bool(self.objects or self.close_pairs or self.same_images)


def find_leakage(
    table: pd.DataFrame, radius_arcmin: float, image_sha256: Sequence[str] | None = None
) -> Leakage:
    """Find objects, sky, or images in two parts.

    Parameters
    ----------
    table : DataFrame
        All examples of a survey: example_id, object_id, ra_deg, dec_deg (NaN: not known), split.
    radius_arcmin : float
        Examples of different parts must be farther apart: the radius within which catalogue
        entries are one object, or a crop's diagonal to prove that no sky is shared [arcmin].
    image_sha256 : sequence of str, optional
        Checksum of each example's image.
    """
    parts = table.groupby("object_id")["split"].nunique()
    objects = tuple(sorted(str(name) for name in parts.index[parts > 1]))
    if len(table) < 2 or table["split"].nunique() < 2:
        return Leakage(objects, ())
    images = () if image_sha256 is None else _same_images(table, image_sha256)
    known = table["ra_deg"].notna() & table["dec_deg"].notna()
    return Leakage(objects, _close_pairs(table[known], radius_arcmin), images)


def _same_images(table: pd.DataFrame, image_sha256: Sequence[str]) -> tuple[tuple[str, str], ...]:
    marked = table.assign(image=np.asarray(image_sha256, dtype=object))
    return tuple(sorted(pair for _, rows in marked.groupby("image") for pair in _pairs(rows)))


def _pairs(rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    if rows["split"].nunique() > 1:
        listed = list(zip(rows["example_id"], rows["split"], strict=True))
        for (one, part), (other, another) in combinations(listed, 2):
            if part != another:
                yield str(one), str(other)


def _close_pairs(table: pd.DataFrame, radius_arcmin: float) -> tuple[tuple[str, str], ...]:
    if table.empty:
        return ()
    vectors = sky.unit_vectors(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    code, _ = pd.factorize(table["split"])
    name = table["example_id"].to_numpy()
    pairs: list[tuple[str, str]] = []
    # Trees of one part each: pairs within a part are many and of no interest.
    trees = [(np.flatnonzero(code == c), cKDTree(vectors[code == c])) for c in np.unique(code)]
    for first, (index_a, tree_a) in enumerate(trees):
        for index_b, tree_b in trees[first + 1 :]:
            found = tree_a.query_ball_tree(tree_b, sky.chord(radius_arcmin / 60.0))
            pairs += [
                (str(name[index_a[a]]), str(name[index_b[b]]))
                for a, near in enumerate(found)
                for b in near
            ]
    return tuple(sorted(pairs))


def assert_no_leakage(
    table: pd.DataFrame,
    radius_arcmin: float,
    where: str,
    image_sha256: Sequence[str] | None = None,
    *,
    remedy: str = "raise regions.guard_arcmin, or unite the catalogues with a larger radius",
) -> None:
    """Refuse a split that shows an object, sky or an image in two parts.

    Raises
    ------
    ProductError
        With the first objects and pairs.
    """
    # With trees and groupings of its own, so that an error in `join_objects` is not repeated here.
    leak = find_leakage(table, radius_arcmin, image_sha256)
    if leak:
        faults = (
            (leak.objects, "objects"),
            (leak.close_pairs, f"pairs of examples within {radius_arcmin:.4g} arcmin"),
            (leak.same_images, "pairs of examples with the same image"),
        )
        shown = "; ".join(
            f"{len(found)} {what}: "
            + ", ".join(one if isinstance(one, str) else " = ".join(one) for one in found[:_SHOWN])
            + (", ..." if len(found) > _SHOWN else "")
            for found, what in faults
            if found
        )
        raise ProductError(f"{where}: two parts of the split share {shown}; {remedy}")


_FIELD_BITS = 16  # the last 16 bits of an SDSS objID count the objects of a field


def join_objects(
    object_id: Sequence[str] | np.ndarray,
    ra_deg: np.ndarray | None = None,
    dec_deg: np.ndarray | None = None,
    radius_arcmin: float = 0.0,
    equal: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Group the rows that must share a part in any split, and name each row's group.

    Rows are joined if they have the same object_id, lie within the radius of each other, or are
    equal in any of ``equal``. Joins are transitive.

    Parameters
    ----------
    object_id : sequence of str, shape (n,)
        Objects, "" if unnamed; rows of one object are always joined.
    ra_deg, dec_deg : float ndarray, shape (n,), optional
        ICRS [deg]; unknown positions (NaN) join nothing.
    radius_arcmin : float
        Largest separation of two entries of one object [arcmin]; 0: positions join nothing.
    equal : sequence of ndarray, each of shape (n,)
        More keys, such as checksums of images; empty strings and NaN join nothing.

    Returns
    -------
    group : str ndarray, shape (n,)
        The first object_id of the group in alphabetical order, so that neither the rows' order nor
        objects elsewhere change it.
    """
    names = np.asarray([str(name) for name in object_id], dtype=object)
    if not names.size:
        return names.astype(str)
    ra = np.full(names.size, np.nan) if ra_deg is None else np.asarray(ra_deg, float)
    dec = np.full(names.size, np.nan) if dec_deg is None else np.asarray(dec_deg, float)
    links = [_equal_rows(names), *(_equal_rows(np.asarray(key, dtype=object)) for key in equal)]
    if radius_arcmin > 0:
        links.append(_near_rows(ra, dec, radius_arcmin))
    # After joining: unnamed rows must not be joined by name. Named by their position, so that the
    # group's name does not depend on the rows' order (studies draw folds over the sorted names).
    for row in np.flatnonzero(names == ""):
        at = f"{ra[row]:.7f},{dec[row]:.7f}"
        names[row] = f"at {at}" if np.isfinite(ra[row] + dec[row]) else f"row {row}"
    first = np.concatenate([a for a, _ in links])
    second = np.concatenate([b for _, b in links])
    graph = coo_matrix((np.ones(first.size, np.int8), (first, second)), shape=(names.size,) * 2)
    _, component = connected_components(graph, directed=False)
    # In alphabetical order the first row of each component has the name of the group.
    order = np.argsort(names.astype(str), kind="stable")
    _, least = np.unique(component[order], return_index=True)
    return names[order][least][component].astype(str)


def _equal_rows(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of rows that link all rows of equal key into chains."""
    # NaN is not equal to itself, and an unknown key must join nothing.
    known = np.array([k is not None and k == k and k != "" for k in key], dtype=bool)
    rows = np.flatnonzero(known)
    text = np.array([str(k) for k in key[rows]], dtype=str)
    order = np.argsort(text, kind="stable")
    # n - 1 links join n rows as well as all n (n - 1) / 2 pairs would.
    same = text[order][1:] == text[order][:-1]
    return rows[order][:-1][same], rows[order][1:][same]


def _near_rows(ra: np.ndarray, dec: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not rows.size:
        return rows, rows
    # Unit vectors have no seam at RA 0 and no crowding at the poles.
    vectors = sky.unit_vectors(ra[rows], dec[rows])
    i, j, _ = pairs_within(vectors, vectors, radius)
    return rows[i], rows[j]


def sdss_field(object_id: Sequence[str] | np.ndarray, where: str) -> np.ndarray:
    """Return the SDSS field of each objID, as numbers of run, camera column and field.

    Parameters
    ----------
    object_id : sequence of str, shape (n,)
        objIDs of the SDSS photometric catalogue.
    where : str
        Name of the table, for messages.

    Returns
    -------
    str ndarray, shape (n,)
        Equal for objects of one field (13.5' × 9.8').

    Raises
    ------
    CatalogueError
        If an entry is no objID.

    References
    ----------
    SDSS SkyServer, "SDSS ObjID encoding": bits 0-15 object, 16-27 field, 29-31 camera column,
    32-47 run, 48-58 rerun.
    """
    fields = []
    for row, name in enumerate(object_id):
        if not (str(name).isdecimal() and 2**_FIELD_BITS < int(name) < 2**63):
            raise CatalogueError(
                f"{where}: row {row + 1}: object_id {name!r} is no SDSS objID; map the column "
                "with the objIDs, or set join_sdss_fields: false"
            )
        number = int(name)
        # SDSS packs these numbers into fixed bits of the 64-bit objID.
        run, camera, field = (number >> 32) & 0xFFFF, (number >> 29) & 7, (number >> 16) & 0xFFF
        fields.append(f"{run}-{camera}-{field}")
    return np.array(fields, dtype=str)
