"""Known catalogues: one row per cluster from several, and which object is which known cluster.

Catalogues have the columns name, ra_deg, dec_deg, and perhaps z and m500c_msun (NaN: unknown).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from clusterscan import sky
from clusterscan.catalogs.groups import group
from clusterscan.catalogs.pairs import checked_vectors, one_to_one, pairs_within
from clusterscan.errors import CatalogueError

PROPERTIES = ("z", "m500c_msun")


def match_known(objects: pd.DataFrame, known: pd.DataFrame, radius_arcmin: float) -> pd.DataFrame:
    """Match objects with known clusters, one to one, the closest pair first.

    Parameters
    ----------
    objects : DataFrame, n rows
        ``ra_deg`` and ``dec_deg``.
    known : DataFrame
        A catalogue.
    radius_arcmin : float
        Largest separation [arcmin].

    Returns
    -------
    matches : DataFrame, n rows
        ``known_row`` (-1: none), ``known_name`` ("": none), ``known_sep_arcsec``, ``known_z``,
        ``known_m500c_msun`` (NaN), and ``n_known``, the number of known clusters within the
        radius, whoever they were given to.

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
    distance = np.full(len(objects), np.nan)
    distance[i[kept]] = 60 * separation[kept]
    return pd.DataFrame(
        {
            "known_row": row,
            "known_name": _taken(_names(known), row, ""),
            "known_sep_arcsec": distance,
            "known_z": _taken(_numbers(known, "z"), row, np.nan),
            "known_m500c_msun": _taken(_numbers(known, "m500c_msun"), row, np.nan),
            "n_known": np.bincount(i, minlength=len(objects)).astype(np.int32),
        },
        index=objects.index,
    )


def unite_known(
    catalogues: Mapping[str, pd.DataFrame],
    radius_arcmin: float,
    *,
    duplicate_radius_arcmin: float = 0.1,
) -> pd.DataFrame:
    """Return one row per cluster of several catalogues.

    Rows of one catalogue closer than ``duplicate_radius_arcmin`` are one cluster. Then each
    catalogue, in the order given, is matched one to one, the closest pair first, with the
    clusters so far; what finds no partner within ``radius_arcmin`` is a cluster of its own. So
    the first catalogue that lists a cluster gives its name and position, and the first that
    knows them its redshift and mass: put the most trusted first. The order of rows does not
    matter.

    Parameters
    ----------
    catalogues : mapping of name to DataFrame
        The most trusted first.
    radius_arcmin : float
        Largest separation of two catalogues' entries of one cluster [arcmin].
    duplicate_radius_arcmin : float
        The same within one catalogue.

    Returns
    -------
    clusters : DataFrame
        Sorted by position (``healpix29``): name, ra_deg, dec_deg, z, z_source, m500c_msun,
        m500c_source, n_catalogues, catalogues (";" between names); of each catalogue
        ``<it>_name`` ("": absent), ``<it>_z``, ``<it>_m500c_msun``, ``<it>_sep_arcsec`` from
        the position here, and ``<it>_row`` (-1: absent), its row in the input.

    Raises
    ------
    CatalogueError
        If a position is not on the sky.
    """
    entries = {
        name: _distinct(name, table, duplicate_radius_arcmin) for name, table in catalogues.items()
    }
    ra, dec = np.empty(0), np.empty(0)
    member: dict[str, np.ndarray] = {}  # of each catalogue: cluster -> row of its entries
    for name, table in entries.items():
        i, j, separation = pairs_within(
            checked_vectors(ra, dec, "clusters"),
            checked_vectors(table["ra_deg"], table["dec_deg"], name),
            radius_arcmin,
        )
        kept = one_to_one(i, j, separation)
        alone = np.setdiff1d(np.arange(len(table)), j[kept])
        rows = np.full(ra.size + alone.size, -1, dtype=np.int64)
        rows[i[kept]] = j[kept]
        rows[ra.size :] = alone
        member[name] = rows
        ra = np.concatenate([ra, table["ra_deg"].to_numpy()[alone]])
        dec = np.concatenate([dec, table["dec_deg"].to_numpy()[alone]])
    member = {
        name: np.concatenate([rows, np.full(ra.size - rows.size, -1, dtype=np.int64)])
        for name, rows in member.items()
    }
    return _united_table(entries, member, ra, dec)


def _united_table(
    entries: Mapping[str, pd.DataFrame],
    member: Mapping[str, np.ndarray],
    ra: np.ndarray,
    dec: np.ndarray,
) -> pd.DataFrame:
    size = ra.size
    cell = sky.owning_cell(ra, dec, sky.MAX_ORDER) if size else np.empty(0, dtype=np.int64)
    united = {
        "name": np.full(size, "", dtype=object),
        "healpix29": cell,
        "ra_deg": ra,
        "dec_deg": dec,
    }
    for prop in PROPERTIES:
        united[prop] = np.full(size, np.nan)
        united[f"{prop.split('_')[0]}_source"] = np.full(size, "", dtype=object)
    united["n_catalogues"] = np.zeros(size, dtype=np.int32)
    united["catalogues"] = np.full(size, "", dtype=object)
    own: dict[str, np.ndarray] = {}
    for name, table in entries.items():
        row = member[name]
        listed = row >= 0
        names = _taken(_names(table), row, "")
        united["name"] = np.where(listed & (united["n_catalogues"] == 0), names, united["name"])
        joined = [f"{a};{name}" if a else name for a in united["catalogues"]]
        united["catalogues"] = np.where(listed, np.array(joined, object), united["catalogues"])
        united["n_catalogues"] += listed
        own[f"{name}_name"] = names
        for prop in PROPERTIES:
            value = _taken(_numbers(table, prop), row, np.nan)
            fresh = np.isnan(united[prop]) & ~np.isnan(value)
            united[prop] = np.where(fresh, value, united[prop])
            source = f"{prop.split('_')[0]}_source"
            united[source] = np.where(fresh, name, united[source]).astype(object)
            own[f"{name}_{prop}"] = value
        there_ra, there_dec = (
            _taken(_numbers(table, c), row, np.nan) for c in ("ra_deg", "dec_deg")
        )
        own[f"{name}_sep_arcsec"] = 3600 * sky.separation_deg(ra, dec, there_ra, there_dec)
        own[f"{name}_row"] = _taken(table["row"].to_numpy(), row, -1)
    clusters = pd.DataFrame({**united, **own})
    return clusters.sort_values(["healpix29", "dec_deg", "name"], ignore_index=True)


def _distinct(name: str, table: pd.DataFrame, radius_arcmin: float) -> pd.DataFrame:
    """Return a catalogue without duplicates, its input rows noted, in an order of positions."""
    missing = [c for c in ("name", "ra_deg", "dec_deg") if c not in table]
    if missing:
        raise CatalogueError(f"catalogue {name} lacks the columns {missing}; map them in config")
    vectors = checked_vectors(table["ra_deg"], table["dec_deg"], f"catalogue {name}")
    table = table.reset_index(drop=True).assign(row=np.arange(len(table)))
    order = np.lexsort((_names(table).astype(str), table["ra_deg"], table["dec_deg"]))
    table, vectors = table.iloc[order].reset_index(drop=True), vectors[order]
    if radius_arcmin > 0 and len(table):
        known = sum(np.isfinite(_numbers(table, prop)).astype(float) for prop in PROPERTIES)
        ra, dec = table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy()
        leader = group(ra, dec, vectors, known, np.arange(len(table)), radius_arcmin)
        table = table.iloc[np.unique(leader)].reset_index(drop=True)
    return table


def _names(table: pd.DataFrame) -> np.ndarray:
    if "name" not in table:
        return np.full(len(table), "", dtype=object)
    return table["name"].to_numpy(dtype=object)


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    if column not in table:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=np.float64, na_value=np.nan)


def _taken(values: np.ndarray, row: np.ndarray, otherwise) -> np.ndarray:
    """Return values[row], and ``otherwise`` where row is -1."""
    if not len(values):
        return np.full(row.shape, otherwise, dtype=values.dtype)
    return np.where(row >= 0, values[np.maximum(row, 0)], otherwise).astype(values.dtype)
