"""Unite known catalogues: one row per cluster, with the values of each source.

Catalogues have the columns name, ra_deg, dec_deg, and perhaps z, z_type, m500c_msun and
pos_err_arcsec (NaN: unknown). `clusterscan.known.linking` states which entries are one cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntFlag

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.catalogs.matching import (
    chance_probability,
    local_density,
    names_of,
    numbers_of,
    taken,
    texts_of,
)
from clusterscan.catalogs.pairs import checked_vectors, group
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.known.linking import Entries, Links, MatchRule, find_links, join

PROPERTIES = ("z", "m500c_msun")


class Conflict(IntFlag):
    """Bits of ``conflicts``: reasons to check a united row before relying on it.

    Attributes
    ----------
    REDSHIFT, MASS
        Two sources' redshifts or masses differ by more than the rule's ``z_conflict`` or
        ``mass_conflict``.
    AMBIGUOUS
        An entry of another cluster might be one of this cluster's too.
    DUPLICATE
        A source lists the cluster more than once.
    PROJECTED
        A cluster at another redshift lies within the limit, and only its redshift keeps it
        apart.
    """

    REDSHIFT = 1
    MASS = 2
    AMBIGUOUS = 4
    DUPLICATE = 8
    PROJECTED = 16


def unite_known(
    catalogues: Mapping[str, pd.DataFrame],
    rule: float | MatchRule,
    *,
    duplicate_radius_arcmin: float = 0.1,
    trust: Sequence[str] = (),
) -> pd.DataFrame:
    """Unite several catalogues into a table with one row per cluster.

    Rows of one catalogue closer than ``duplicate_radius_arcmin`` are one entry. Which entries are
    one cluster does not depend on the order of catalogues or rows. A cluster takes its name and
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
        n_entries (rows of all inputs that are this cluster), conflicts (bits of `Conflict`). Of
        each catalogue: ``<it>_name`` ("": absent), ``<it>_row`` (its row in the input, -1:
        absent), ``<it>_ra_deg``, ``<it>_dec_deg``, ``<it>_z``, ``<it>_m500c_msun``,
        ``<it>_sep_arcsec`` from the position here, and ``<it>_p_chance`` (the probability that an
        unrelated entry of it lies so close; NaN where it gave the position).

    Raises
    ------
    CatalogueError
        If a position is not on the sky, or ``trust`` names no catalogue.
    """
    # The steps: duplicates within each catalogue become one entry; entries of all catalogues are
    # stacked in a fixed order; pairs within the rule's limits are linked; links are joined into
    # clusters; then each cluster takes the values of its most trusted entries.
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
    """Return a catalogue's entries, sorted by position, with their rows in the input.

    Of duplicates the one with the most known properties stays; ``n_rows`` counts them.
    """
    missing = [c for c in ("name", "ra_deg", "dec_deg") if c not in table]
    if missing:
        raise CatalogueError(f"catalogue {name} lacks the columns {missing}; map them in config")
    vectors = checked_vectors(table["ra_deg"], table["dec_deg"], f"catalogue {name}")
    table = table.reset_index(drop=True).assign(row=np.arange(len(table)), n_rows=1)
    order = np.lexsort((names_of(table).astype(str), table["ra_deg"], table["dec_deg"]))
    table, vectors = table.iloc[order].reset_index(drop=True), vectors[order]
    if len(table):
        # The number of known properties takes the place of the score in `group`: the best
        # documented of duplicate rows leads, and position breaks ties.
        known = sum(np.isfinite(numbers_of(table, prop)).astype(float) for prop in PROPERTIES)
        ra, dec = table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy()
        leader = group(ra, dec, vectors, known, np.arange(len(table)), radius_arcmin)
        kept, count = np.unique(leader, return_counts=True)
        table = table.iloc[kept].assign(n_rows=count).reset_index(drop=True)
    return table


def _stack(entries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Stack all entries in an order that does not depend on the order of the input."""
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
    """Mark the conflicts of clusters whose entries are linked to entries of other clusters."""
    marks = np.zeros(count, dtype=np.int32)
    apart = label[links.i] != label[links.j]
    for mark, linked in (
        (Conflict.AMBIGUOUS, apart & links.permitted),
        # An `apart` link ends in two clusters. If it was permitted, the entry could have joined
        # either (AMBIGUOUS); if not, only the redshifts kept them apart (PROJECTED).
        (Conflict.PROJECTED, apart & ~links.permitted),
    ):
        for side in (links.i, links.j):
            marks[label[side[linked]]] |= int(mark)
    return marks


def entries_of(known: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the entries of one catalogue in a table of united clusters.

    Returns
    -------
    DataFrame
        ``ra_deg`` and ``dec_deg`` of each entry (duplicates are one), in the catalogue's order.
    """
    row = known[f"{name}_row"].to_numpy()
    listed = np.flatnonzero(row >= 0)
    order = listed[np.argsort(row[listed], kind="stable")]
    return pd.DataFrame({c: known[f"{name}_{c}"].to_numpy()[order] for c in ("ra_deg", "dec_deg")})


def united_table(
    entries: Mapping[str, pd.DataFrame],
    member: Mapping[str, np.ndarray],
    marks: np.ndarray,
    rule: MatchRule,
) -> pd.DataFrame:
    """Build the table of united clusters, sorted by position.

    Parameters
    ----------
    entries : mapping of name to DataFrame
        Distinct entries of each catalogue, the most trusted first.
    member : mapping of name to int ndarray, shape (n,)
        For each catalogue, each cluster's row in its entries (-1: absent).
    marks : int ndarray, shape (n,)
        Conflicts found so far.
    rule : MatchRule
        Defines conflicts.
    """
    size = marks.size
    columns: dict[str, np.ndarray] = {"name": np.full(size, "", dtype=object)}
    columns |= {c: np.full(size, np.nan) for c in ("ra_deg", "dec_deg")}
    columns["position_source"] = np.full(size, "", dtype=object)
    columns |= _best(entries, member, "z") | _best(entries, member, "m500c_msun")
    joined = np.full(size, "", dtype=object)
    count, rows = np.zeros(size, dtype=np.int32), np.zeros(size, dtype=np.int32)
    marks = marks.copy()
    for name, table in entries.items():
        listed = member[name] >= 0
        fresh = listed & (count == 0)
        row = member[name][fresh]
        columns["name"][fresh] = names_of(table)[row]
        columns["position_source"][fresh] = name
        for column in ("ra_deg", "dec_deg"):
            columns[column][fresh] = numbers_of(table, column)[row]
        joined[fresh] = name
        again = listed & ~fresh
        joined[again] = [f"{before};{name}" for before in joined[again]]
        count += listed
        number = taken(table["n_rows"].to_numpy(), member[name], 0)
        rows += number.astype(np.int32)
        marks[number > 1] |= int(Conflict.DUPLICATE)
    columns |= {"n_catalogues": count, "catalogues": joined, "n_entries": rows}
    columns["conflicts"] = marks | _disagreements(entries, member, rule)
    own = _cells(entries, member, columns)
    return _sorted(columns | own)


def _best(
    entries: Mapping[str, pd.DataFrame], member: Mapping[str, np.ndarray], prop: str
) -> dict[str, np.ndarray]:
    """Take a property from the most trusted source that knows it, with its source and its type.

    Spectroscopic redshifts have priority over all others. Only redshifts have a type.
    """
    size = len(next(iter(member.values()), ()))
    value = np.full(size, np.nan)
    source, kind = np.full(size, "", dtype=object), np.full(size, "", dtype=object)
    # Redshifts take two rounds: first only spectroscopic ones, then any for what is still open.
    for spectroscopic in (True, False) if prop == "z" else (False,):
        for name, table in entries.items():
            theirs = taken(numbers_of(table, prop), member[name], np.nan)
            types = taken(texts_of(table, f"{prop}_type"), member[name], "")
            fresh = np.isnan(value) & ~np.isnan(theirs)
            fresh &= (types == "spec") | (not spectroscopic)
            value[fresh], source[fresh], kind[fresh] = theirs[fresh], name, types[fresh]
    found = {prop: value, f"{prop.split('_')[0]}_source": source}
    return found | ({"z_type": kind} if prop == "z" else {})


def _disagreements(
    entries: Mapping[str, pd.DataFrame], member: Mapping[str, np.ndarray], rule: MatchRule
) -> np.ndarray:
    lowest: dict[str, np.ndarray] = {}
    highest: dict[str, np.ndarray] = {}
    size = len(next(iter(member.values()), ()))
    for prop in PROPERTIES:
        lowest[prop], highest[prop] = np.full(size, np.nan), np.full(size, np.nan)
        for name, table in entries.items():
            value = taken(numbers_of(table, prop), member[name], np.nan)
            lowest[prop] = np.fmin(lowest[prop], value)
            highest[prop] = np.fmax(highest[prop], value)
    z_low, z_high = lowest["z"], highest["z"]
    # If the extremes agree, all pairs agree. A comparison with NaN is False: fewer than two known
    # values are never in conflict.
    far = (z_high - z_low) / (1 + (z_high + z_low) / 2) > rule.z_conflict
    other = highest["m500c_msun"] > rule.mass_conflict * lowest["m500c_msun"]
    return (far * int(Conflict.REDSHIFT) | other * int(Conflict.MASS)).astype(np.int32)


def _cells(
    entries: Mapping[str, pd.DataFrame],
    member: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Build the columns of each catalogue: its own entry for each united cluster."""
    own: dict[str, np.ndarray] = {}
    ra, dec = columns["ra_deg"], columns["dec_deg"]
    vectors = sky.unit_vectors(ra, dec) if ra.size else np.empty((0, 3))
    for name, table in entries.items():
        row = member[name]
        own[f"{name}_name"] = taken(names_of(table), row, "")
        for prop in PROPERTIES:
            own[f"{name}_{prop}"] = taken(numbers_of(table, prop), row, np.nan)
        position = [taken(numbers_of(table, c), row, np.nan) for c in ("ra_deg", "dec_deg")]
        own[f"{name}_ra_deg"], own[f"{name}_dec_deg"] = position
        separation = sky.separation_deg(ra, dec, *position)
        own[f"{name}_sep_arcsec"] = 3600 * separation
        # The catalogue that gave the position lies at distance 0 from itself, which says nothing
        # about chance.
        matched = np.flatnonzero((row >= 0) & (columns["position_source"] != name))
        chance = np.full(row.size, np.nan)
        if matched.size:
            places = [numbers_of(table, c) for c in ("ra_deg", "dec_deg")]
            tree = cKDTree(sky.unit_vectors(*places))
            density = local_density(vectors[matched], tree, partners=True)
            chance[matched] = chance_probability(60 * separation[matched], density)
        own[f"{name}_p_chance"] = chance
        own[f"{name}_row"] = taken(table["row"].to_numpy(), row, -1)
    return own


def _sorted(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    ra, dec = columns["ra_deg"], columns["dec_deg"]
    cell = sky.owning_cell(ra, dec, sky.MAX_ORDER) if ra.size else np.empty(0, dtype=np.int64)
    table = pd.DataFrame({"name": columns["name"], "healpix29": cell} | columns)
    return table.sort_values(["healpix29", "dec_deg", "name"], ignore_index=True)
