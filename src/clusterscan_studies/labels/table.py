"""Read, cut and label a table with one row per stamp."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clusterscan.catalogs.checks import validate
from clusterscan.catalogs.layouts import Layout
from clusterscan.catalogs.reading import read_catalogue, read_table
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import CatalogueError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan_studies.config.labels import Attached, LabelSettings
from clusterscan_studies.labels.rules import (
    NO_LABEL,
    Labels,
    apply_cuts,
    give_labels,
    nearest_entries,
)


@dataclass(frozen=True)
class LabelTable:
    """Labelled stamps.

    Attributes
    ----------
    table : DataFrame
        One row per stamp: object_id, member, ra_deg, dec_deg (NaN: not known), label (int64),
        then the other columns of the table, of the attached catalogues and of the rule.
    classes : tuple of str
        Names of labels 0 to K - 1.
    members : frozenset of str
        All stamps that the file names.
    everything : DataFrame
        All rows of the file with a possible position, before cuts and without labels.
    counts : dict
        Rows read, left out and why, and rows of each class.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    members: frozenset[str]
    everything: pd.DataFrame
    counts: dict[str, int] = field(default_factory=dict)


def read_label_table(settings: LabelSettings) -> LabelTable:
    """Read the labels of stamps.

    Raises
    ------
    CatalogueError
        If the file, a position, a value or a class is invalid, a stamp or an object has two
        classes, or a class has no members.
    """
    where = str(expand_path(settings.path))
    table, members, counts = _read(settings, where)
    everything = table
    # Catalogues are attached before the cuts, so that a cut can use their columns.
    for extra in settings.attach:
        table, matched = attach(table, extra, where)
        counts[f"attached_{extra.catalogue.name}"] = matched
    table, cut = apply_cuts(table, settings.cuts, where)
    labels = give_labels(table, settings.rule, where)
    table = table.assign(**labels.columns, label=labels.label)
    table = table[labels.label != NO_LABEL].reset_index(drop=True)
    counts |= cut | labels.counts
    counts |= _members_of_each(table, labels, where, settings)
    _refuse_two_labels(table, labels.classes, where)
    return LabelTable(table, labels.classes, members, everything, counts)


def label_token(settings: LabelSettings) -> str:
    """Compute a hash of all files that the labels are read from."""
    rule = settings.rule
    paths = [settings.path, *(extra.catalogue.path for extra in settings.attach)]
    if rule.kind == "match":
        paths.append(rule.catalogue.path)
    if rule.kind == "zooniverse":
        paths += [rule.export, *([rule.experts.path] if rule.experts else [])]
    return fingerprint([file_sha256(expand_path(path)) for path in paths])


def _read(
    settings: LabelSettings, where: str
) -> tuple[pd.DataFrame, frozenset[str], dict[str, int]]:
    layout = Layout(
        settings.format, settings.columns, delimiter=settings.delimiter, comment=settings.comment
    )
    raw = read_table(expand_path(settings.path), layout)
    table = pd.DataFrame({ours: raw[theirs] for ours, theirs in settings.columns.items()})
    for column in ("object_id", "member"):
        table[column] = _names(table[column], settings.columns[column], where)
    _refuse_repeated_members(table, settings, where)
    counts, members = {"rows": len(table)}, frozenset(table["member"])
    if "ra_deg" in table:
        # The gate calls rows by the stamp's name: one object may have several stamps.
        places = table[["ra_deg", "dec_deg"]].assign(name=table["member"])
        checked = validate(places, where, bad_rows=settings.bad_rows)
        good = checked.table.set_index("name")[["ra_deg", "dec_deg"]]
        table = table[table["member"].isin(good.index)].reset_index(drop=True)
        table = table.assign(**good.loc[table["member"]].reset_index(drop=True))
        counts["dropped_positions"] = checked.counts["dropped"]
    else:
        table = table.assign(ra_deg=np.nan, dec_deg=np.nan)
    first = ["object_id", "member", "ra_deg", "dec_deg"]
    return table[[*first, *table.columns.difference(first, sort=False)]], members, counts


def _names(column: pd.Series, theirs: str, where: str) -> np.ndarray:
    if column.dtype.kind == "f":
        # SDSS ids have 18 or 19 digits, and a float64 holds 15: read as decimal numbers, different
        # objects would become one.
        if column.isna().any() or not (column % 1 == 0).all() or (column.abs() >= 2**53).any():
            raise CatalogueError(
                f"{where}: column {theirs} is read as decimal numbers, which long identifiers do "
                "not survive; give every row one, or write them as text"
            )
        column = column.astype(np.int64)
    text = column.astype("string").str.strip()
    empty = text.isna() | (text == "")
    if empty.any():
        row = int(np.flatnonzero(empty)[0])
        raise CatalogueError(
            f"{where}: row {row + 1}, column {theirs} is empty ({int(empty.sum())} such rows); "
            "each stamp needs its object and its file"
        )
    return text.to_numpy(dtype=object)


def _refuse_repeated_members(table: pd.DataFrame, settings: LabelSettings, where: str) -> None:
    twice = table["member"][table["member"].duplicated()]
    if len(twice):
        raise CatalogueError(
            f"{where}: stamp {twice.iloc[0]!r} stands in column {settings.columns['member']} "
            f"twice ({len(twice)} such rows); give each stamp one row"
        )


def attach(table: pd.DataFrame, extra: Attached, where: str) -> tuple[pd.DataFrame, int]:
    """Add columns of a catalogue to the objects by position; also return the number of matches.

    Raises
    ------
    CatalogueError
        If the catalogue lacks a column.
    """
    entries = read_catalogue(extra.catalogue).table
    missing = [theirs for theirs in extra.columns.values() if theirs not in entries]
    if missing:
        raise CatalogueError(
            f"{extra.catalogue.path}: has no column {', '.join(missing)} (it has "
            f"{', '.join(map(str, entries.columns))}); correct attach.columns"
        )
    # Stamps of one object share its entry: only different objects compete for one.
    objects = table.drop_duplicates("object_id")
    entry, _, found = nearest_entries(objects, entries, extra.radius_arcsec, where, single=True)
    row_of = dict(zip(objects["object_id"], entry.tolist(), strict=True))
    rows = table["object_id"].map(row_of).to_numpy()
    brought = {
        ours: entries[theirs].reindex(np.where(rows >= 0, rows, -1)).to_numpy()
        for ours, theirs in extra.columns.items()
    }
    return table.assign(**brought), int(found.sum())


def _members_of_each(
    table: pd.DataFrame, labels: Labels, where: str, settings: LabelSettings
) -> dict[str, int]:
    number = np.bincount(table["label"], minlength=len(labels.classes))
    counts = {f"class_{name}": int(n) for name, n in zip(labels.classes, number, strict=True)}
    empty = [name for name, n in zip(labels.classes, number, strict=True) if n == 0]
    if empty:
        rule = settings.rule
        left = f"after the cuts {[cut.name for cut in settings.cuts]} " if settings.cuts else ""
        raise CatalogueError(
            f"{where}: class {', '.join(empty)} has no members {left}({counts}); correct "
            f"labels.rule ({rule.kind}), or loosen the cuts"
        )
    return counts


def _refuse_two_labels(table: pd.DataFrame, classes: tuple[str, ...], where: str) -> None:
    number = table.groupby("object_id")["label"].nunique()
    torn = number.index[number > 1]
    if len(torn):
        rows = table[table["object_id"] == torn[0]]
        told = ", ".join(
            f"{m}: {classes[k]}" for m, k in zip(rows["member"], rows["label"], strict=True)
        )
        raise CatalogueError(
            f"{where}: {len(torn)} objects have stamps of different classes, the first is "
            f"{torn[0]} ({told}); give an object one class, or its stamps ids of their own"
        )
