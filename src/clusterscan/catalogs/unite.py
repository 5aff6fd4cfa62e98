"""Known catalogues: one row per cluster from several, with what each source says of it.

Catalogues have the columns name, ra_deg, dec_deg, and perhaps z, z_type, m500c_msun and
pos_err_arcsec (NaN: unknown). `linking` states which entries are one cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from clusterscan.catalogs.cells import names_of, numbers_of
from clusterscan.catalogs.groups import group
from clusterscan.catalogs.linking import Entries, Links, MatchRule, find_links, join
from clusterscan.catalogs.match import match_known
from clusterscan.catalogs.pairs import checked_vectors
from clusterscan.catalogs.united_table import PROPERTIES, Conflict, united_table
from clusterscan.core.errors import CatalogueError

__all__ = ["Conflict", "MatchRule", "match_known", "unite_known"]


def unite_known(
    catalogues: Mapping[str, pd.DataFrame],
    rule: float | MatchRule,
    *,
    duplicate_radius_arcmin: float = 0.1,
    trust: Sequence[str] = (),
) -> pd.DataFrame:
    """Return one row per cluster of several catalogues.

    Rows of one catalogue closer than ``duplicate_radius_arcmin`` are one entry. Which entries are
    one cluster is the same for any order of catalogues and of rows. A cluster takes its name and
    position from the most trusted catalogue that lists it, its redshift from the most trusted
    that knows one (spectroscopic ones before others), and its mass likewise.

    Parameters
    ----------
    catalogues : mapping of name to DataFrame
        In any order.
    rule : float or MatchRule
        When entries of two catalogues may be one cluster; a number is the largest separation
        [arcmin].
    duplicate_radius_arcmin : float
        The same within one catalogue; 0: only equal positions.
    trust : sequence of str
        Catalogues, the most trusted first; those not named follow in the order of their names.

    Returns
    -------
    clusters : DataFrame
        Sorted by position (``healpix29``): name, ra_deg, dec_deg, position_source, z, z_source,
        z_type, m500c_msun, m500c_source, n_catalogues, catalogues (";" between names),
        n_entries (rows of all inputs that are this cluster), conflicts (bits of `Conflict`); of
        each catalogue ``<it>_name`` ("": absent), ``<it>_z``, ``<it>_m500c_msun``,
        ``<it>_sep_arcsec`` from the position here, ``<it>_p_chance`` (the probability that an
        unrelated entry of it lies so close; NaN where it gave the position) and ``<it>_row``
        (-1: absent), its row in the input.

    Raises
    ------
    CatalogueError
        If a position is not on the sky, or ``trust`` names no catalogue.
    """
    rule = rule if isinstance(rule, MatchRule) else MatchRule(radius_arcmin=float(rule))
    order = _trusted_first(catalogues, trust)
    entries = {
        name: _distinct(name, catalogues[name], duplicate_radius_arcmin)
        for name in sorted(catalogues)
    }
    stacked = _stack(entries)
    everything = _as_entries(stacked)
    links = find_links(everything, rule)
    cluster = join(links, everything)
    numbers, label = np.unique(cluster, return_inverse=True)
    member = {}
    for code, name in enumerate(entries):
        of_it = stacked["catalogue"].to_numpy() == code
        rows = np.full(numbers.size, -1, dtype=np.int64)
        rows[label[of_it]] = stacked["entry"].to_numpy()[of_it]
        member[name] = rows
    marks = _marks_of_links(links, label, numbers.size)
    return united_table({name: entries[name] for name in order}, member, marks, rule)


def _trusted_first(catalogues: Mapping[str, pd.DataFrame], trust: Sequence[str]) -> list[str]:
    unknown = [name for name in trust if name not in catalogues]
    if unknown or len(set(trust)) != len(trust):
        raise CatalogueError(
            f"trust names {list(trust)}, but the catalogues are {sorted(catalogues)}; name each "
            "of them at most once"
        )
    return [*trust, *sorted(set(catalogues) - set(trust))]


def _distinct(name: str, table: pd.DataFrame, radius_arcmin: float) -> pd.DataFrame:
    """Return a catalogue's entries, with their input rows, in an order of positions.

    Of duplicates the one that knows most stays; ``n_rows`` says how many it stands for.
    """
    missing = [c for c in ("name", "ra_deg", "dec_deg") if c not in table]
    if missing:
        raise CatalogueError(f"catalogue {name} lacks the columns {missing}; map them in config")
    vectors = checked_vectors(table["ra_deg"], table["dec_deg"], f"catalogue {name}")
    table = table.reset_index(drop=True).assign(row=np.arange(len(table)), n_rows=1)
    order = np.lexsort((names_of(table).astype(str), table["ra_deg"], table["dec_deg"]))
    table, vectors = table.iloc[order].reset_index(drop=True), vectors[order]
    if len(table):
        known = sum(np.isfinite(numbers_of(table, prop)).astype(float) for prop in PROPERTIES)
        ra, dec = table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy()
        leader = group(ra, dec, vectors, known, np.arange(len(table)), radius_arcmin)
        kept, count = np.unique(leader, return_counts=True)
        table = table.iloc[kept].assign(n_rows=count).reset_index(drop=True)
    return table


def _stack(entries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return all entries in an order that neither catalogues' nor rows' order can change."""
    parts = [
        pd.DataFrame(
            {
                "ra_deg": numbers_of(table, "ra_deg"),
                "dec_deg": numbers_of(table, "dec_deg"),
                "z": numbers_of(table, "z"),
                "pos_err_arcmin": numbers_of(table, "pos_err_arcsec") / 60.0,
                "name": names_of(table),
                "catalogue": code,
                "entry": np.arange(len(table)),
            }
        )
        for code, table in enumerate(entries.values())
    ]
    if not parts:
        columns = ("ra_deg", "dec_deg", "z", "pos_err_arcmin", "catalogue", "entry")
        return pd.DataFrame({c: np.empty(0) for c in columns}).astype({"catalogue": int})
    stacked = pd.concat(parts, ignore_index=True)
    # Catalogues are numbered by name, so equal entries of two come in a fixed order too.
    keys = [stacked[c] for c in ("catalogue", "z", "ra_deg", "dec_deg")]
    return stacked.iloc[np.lexsort(keys)].reset_index(drop=True)


def _as_entries(stacked: pd.DataFrame) -> Entries:
    return Entries(
        checked_vectors(stacked["ra_deg"], stacked["dec_deg"], "entries"),
        stacked["catalogue"].to_numpy(),
        stacked["z"].to_numpy(),
        stacked["pos_err_arcmin"].to_numpy(),
    )


def _marks_of_links(links: Links, label: np.ndarray, count: int) -> np.ndarray:
    """Return the conflicts that pairs of entries of different clusters tell of."""
    marks = np.zeros(count, dtype=np.int32)
    apart = label[links.i] != label[links.j]
    for mark, told in (
        (Conflict.AMBIGUOUS, apart & links.permitted),
        (Conflict.PROJECTED, apart & ~links.permitted),
    ):
        for side in (links.i, links.j):
            marks[label[side[told]]] |= int(mark)
    return marks
