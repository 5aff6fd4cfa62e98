"""The table of united clusters: what each catalogue says, what is taken, and what conflicts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.catalogs.cells import names_of, numbers_of, taken, texts_of
from clusterscan.catalogs.chance import chance_probability, local_density
from clusterscan.catalogs.linking import MatchRule
from clusterscan.core import sky

PROPERTIES = ("z", "m500c_msun")


class Conflict(IntFlag):
    """Bits of ``conflicts``: what to look at before a united row is believed.

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


def united_table(
    entries: Mapping[str, pd.DataFrame],
    member: Mapping[str, np.ndarray],
    marks: np.ndarray,
    rule: MatchRule,
) -> pd.DataFrame:
    """Return one row per cluster, sorted by position.

    Parameters
    ----------
    entries : mapping of name to DataFrame
        Distinct entries of each catalogue, the most trusted first.
    member : mapping of name to int ndarray, shape (n,)
        Of each catalogue, each cluster's row in its entries (-1: absent).
    marks : int ndarray, shape (n,)
        Conflicts found so far.
    rule : MatchRule
        Says what counts as a conflict.
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
    """Return a property, its source, and for redshifts its type, from the most trusted source.

    Spectroscopic redshifts go before all others.
    """
    size = len(next(iter(member.values()), ()))
    value = np.full(size, np.nan)
    source, kind = np.full(size, "", dtype=object), np.full(size, "", dtype=object)
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
    far = (z_high - z_low) / (1 + (z_high + z_low) / 2) > rule.z_conflict
    other = highest["m500c_msun"] > rule.mass_conflict * lowest["m500c_msun"]
    return (far * int(Conflict.REDSHIFT) | other * int(Conflict.MASS)).astype(np.int32)


def _cells(
    entries: Mapping[str, pd.DataFrame],
    member: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return what each catalogue says of each cluster."""
    own: dict[str, np.ndarray] = {}
    ra, dec = columns["ra_deg"], columns["dec_deg"]
    vectors = sky.unit_vectors(ra, dec) if ra.size else np.empty((0, 3))
    for name, table in entries.items():
        row = member[name]
        own[f"{name}_name"] = taken(names_of(table), row, "")
        for prop in PROPERTIES:
            own[f"{name}_{prop}"] = taken(numbers_of(table, prop), row, np.nan)
        position = [taken(numbers_of(table, c), row, np.nan) for c in ("ra_deg", "dec_deg")]
        separation = sky.separation_deg(ra, dec, *position)
        own[f"{name}_sep_arcsec"] = 3600 * separation
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
