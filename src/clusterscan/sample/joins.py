"""Which objects must stay together in a split: those that are, or show, the same thing.

Two stamps of one object, one object under two names, one image under two names, or anything a
catalogue says belongs together, would let a network be tested on what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from clusterscan.catalogs.pairs import pairs_within
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError

_FIELD_BITS = 16  # the last 16 bits of an SDSS objID count the objects of a field


def join_objects(
    object_id: Sequence[str] | np.ndarray,
    ra_deg: np.ndarray | None = None,
    dec_deg: np.ndarray | None = None,
    radius_arcmin: float = 0.0,
    equal: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Return the name of each row's group: rows that share a part of any split.

    Rows are joined that have one object_id, lie within the radius of each other, or are equal in
    any of ``equal``; joins of joins are joined too.

    Parameters
    ----------
    object_id : sequence of str, shape (n,)
        Objects; rows of one object are always joined; "": no object that has a name.
    ra_deg, dec_deg : float ndarray, shape (n,), optional
        ICRS [deg]; NaN: not known, which joins nothing.
    radius_arcmin : float
        Largest separation of two entries of one object [arcmin]; 0: positions join nothing.
    equal : sequence of ndarray, each of shape (n,)
        Further keys, such as checksums of images; empty strings and NaN join nothing.

    Returns
    -------
    group : str ndarray, shape (n,)
        The least object_id of the group, so that neither the rows' order nor objects elsewhere
        change it.
    """
    names = np.asarray([str(name) for name in object_id], dtype=object)
    if not names.size:
        return names.astype(str)
    ra = np.full(names.size, np.nan) if ra_deg is None else np.asarray(ra_deg, float)
    dec = np.full(names.size, np.nan) if dec_deg is None else np.asarray(dec_deg, float)
    links = [_equal_rows(names), *(_equal_rows(np.asarray(key, dtype=object)) for key in equal)]
    if radius_arcmin > 0:
        links.append(_near_rows(ra, dec, radius_arcmin))
    for row in np.flatnonzero(names == ""):
        at = f"{ra[row]:.7f},{dec[row]:.7f}"
        names[row] = f"at {at}" if np.isfinite(ra[row] + dec[row]) else f"row {row}"
    first = np.concatenate([a for a, _ in links])
    second = np.concatenate([b for _, b in links])
    graph = coo_matrix((np.ones(first.size, np.int8), (first, second)), shape=(names.size,) * 2)
    _, component = connected_components(graph, directed=False)
    order = np.argsort(names.astype(str), kind="stable")
    _, least = np.unique(component[order], return_index=True)
    return names[order][least][component].astype(str)


def _equal_rows(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of rows that chain all rows of equal key."""
    known = np.array([k is not None and k == k and k != "" for k in key], dtype=bool)
    rows = np.flatnonzero(known)
    text = np.array([str(k) for k in key[rows]], dtype=str)
    order = np.argsort(text, kind="stable")
    same = text[order][1:] == text[order][:-1]
    return rows[order][:-1][same], rows[order][1:][same]


def _near_rows(ra: np.ndarray, dec: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not rows.size:
        return rows, rows
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
        The table, for messages.

    Returns
    -------
    str ndarray, shape (n,)
        Equal for objects of one field (13.5' × 9.8').

    Raises
    ------
    CatalogueError
        If one is no such number.

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
        run, camera, field = (number >> 32) & 0xFFFF, (number >> 29) & 7, (number >> 16) & 0xFFF
        fields.append(f"{run}-{camera}-{field}")
    return np.array(fields, dtype=str)
