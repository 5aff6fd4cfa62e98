"""Rules that label a table: cuts, class maps, redshift windows, matches with a catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clusterscan.catalogs.pairs import checked_vectors, one_to_one, pairs_within
from clusterscan.catalogs.reading import read_catalogue
from clusterscan.core.errors import CatalogueError
from clusterscan_studies.config.labels import (
    CatalogueMatch,
    ClassMap,
    Cut,
    LabelRule,
    RedshiftWindows,
    Value,
)

NO_LABEL = -1


def map_values(values: np.ndarray, classes: Mapping[str, Sequence[Value]]) -> np.ndarray:
    """Return the label of each value, -1 where no class has it."""
    label = np.full(len(values), NO_LABEL, dtype=np.int64)
    for number, listed in enumerate(classes.values()):
        label[np.isin(values, [as_text(v) for v in listed])] = number
    return label


def column_text(table: pd.DataFrame, column: str, where: str) -> np.ndarray:
    """Return a column's values as text: 3, 3.0 and "3" are all "3"."""
    if column not in table:
        raise no_column(table, column, where)
    return np.array([as_text(v) for v in table[column].tolist()], dtype=object)


def as_text(value: object) -> str:
    """Convert a value to text so that equal values have equal text, however a file spells them."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else str(float(value))
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    # Long identifiers do not survive a float: only what it holds exactly is a number.
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else text


def no_column(table: pd.DataFrame, column: str, where: str) -> CatalogueError:
    """Build the error for a missing column."""
    return CatalogueError(
        f"{where}: the rule needs the column {column}, but there are "
        f"{', '.join(map(str, table.columns))}; map it in labels.columns"
    )


def named_row(table: pd.DataFrame, row: int) -> str:
    """Return a row's name for messages: its object, because cuts change row numbers."""
    return f"object {table['object_id'].iloc[row]}" if "object_id" in table else f"row {row + 1}"


def apply_cuts(
    table: pd.DataFrame, cuts: Sequence[Cut], where: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Drop rows outside the ranges of the cuts, one cut after the other.

    Parameters
    ----------
    table : DataFrame
        With the columns that the cuts name.
    cuts : sequence of Cut
        In the order in which they are applied and counted.
    where : str
        The table, for messages.

    Returns
    -------
    table : DataFrame
        The remaining rows, with a new index from 0.
    counts : dict
        ``cut_<name>``: rows that each cut left out.

    Raises
    ------
    CatalogueError
        If a column is missing or holds no numbers, or no row stays.
    """
    counts: dict[str, int] = {}
    for cut in cuts:
        # One cut after the other, as papers describe their samples: each count is of the rows that
        # all earlier cuts had kept.
        stays = inside(table, cut, where)
        counts[f"cut_{cut.name}"] = int((~stays).sum())
        table = table[stays].reset_index(drop=True)
        if table.empty:
            raise CatalogueError(
                f"{where}: cut {cut.name!r} ({_range(cut)}) leaves no row; loosen it, or see "
                "that its columns are the right ones"
            )
    return table, counts


def inside(table: pd.DataFrame, cut: Cut, where: str) -> np.ndarray:
    """Return True for the rows that a cut keeps, shape (n,)."""
    value = np.zeros(len(table))
    for column, factor in cut.terms.items():
        if column not in table:
            raise CatalogueError(
                f"{where}: cut {cut.name!r} needs the column {column}, but there are "
                f"{', '.join(map(str, table.columns))}; map it in labels.columns"
            )
        value = value + factor * numbers(table, column, where)
    stays = np.ones(len(table), dtype=bool)
    if cut.min is not None:
        stays &= value >= cut.min
    if cut.max is not None:
        stays &= value <= cut.max
    return np.where(np.isnan(value), cut.unknown == "keep", stays)


def numbers(table: pd.DataFrame, column: str, where: str) -> np.ndarray:
    """Return a column as float64, NaN where it is empty.

    Raises
    ------
    CatalogueError
        If it holds text that is not a number.
    """
    values = pd.to_numeric(table[column], errors="coerce")
    wrong = values.isna() & table[column].notna() & (table[column].astype(str).str.strip() != "")
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise CatalogueError(
            f"{where}: {named_row(table, row)}, column {column}: {table[column].iloc[row]!r} is no "
            f"number ({int(wrong.sum())} such rows); correct the file"
        )
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _range(cut: Cut) -> str:
    low = "" if cut.min is None else f"{cut.min} <= "
    high = "" if cut.max is None else f" <= {cut.max}"
    return low + " + ".join(f"{factor:g} {name}" for name, factor in cut.terms.items()) + high


@dataclass(frozen=True)
class Labels:
    """The classes of a table's rows.

    Attributes
    ----------
    label : int64 ndarray, shape (n,)
        0 to K - 1; -1: left out.
    classes : tuple of str
        Names of labels 0 to K - 1.
    counts : dict
        Rows left out, and why.
    columns : dict
        Further columns that the rule brings, such as fractions of votes.
    """

    label: np.ndarray
    classes: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def give_labels(table: pd.DataFrame, rule: LabelRule, where: str) -> Labels:
    """Label a table's rows by a rule.

    Parameters
    ----------
    table : DataFrame
        object_id, the columns that the rule names, and ra_deg and dec_deg for a match.
    rule : LabelRule
        The rule.
    where : str
        The table, for messages.

    Raises
    ------
    CatalogueError
        If a value fits no class, or a file of the rule is invalid.
    """
    if isinstance(rule, ClassMap):
        return by_classes(table, rule, where)
    if isinstance(rule, RedshiftWindows):
        return by_redshift(table, rule, where)
    if isinstance(rule, CatalogueMatch):
        return by_match(table, rule, where)
    from clusterscan_studies.labels.votes import by_votes

    return by_votes(table, rule, where)


def by_classes(table: pd.DataFrame, rule: ClassMap, where: str) -> Labels:
    """Map a column's classes to ours."""
    values = column_text(table, rule.column, where)
    label = map_values(values, rule.classes)
    dropped = np.isin(values, [as_text(v) for v in rule.dropped])
    others = (label == NO_LABEL) & ~dropped
    if others.any() and rule.others == "error":
        row = int(np.flatnonzero(others)[0])
        listed = [as_text(v) for known in (*rule.classes.values(), rule.dropped) for v in known]
        raise CatalogueError(
            f"{where}: {named_row(table, row)}, column {rule.column}: {values[row]!r} is none of "
            f"the classes {', '.join(listed)} ({int(others.sum())} such rows); add it to classes "
            "or dropped, or set others: drop"
        )
    counts = {"class_dropped": int(dropped.sum()), "class_unknown": int(others.sum())}
    return Labels(label, tuple(rule.classes), counts)


def by_redshift(table: pd.DataFrame, rule: RedshiftWindows, where: str) -> Labels:
    """Label by redshift windows, closed below and open above."""
    if rule.column not in table:
        raise no_column(table, rule.column, where)
    z = numbers(table, rule.column, where)
    # Catalogues write an unknown redshift as -1, 0 or 99, which would fall into a window.
    z = np.where(np.isin(z, rule.unknown), np.nan, z)
    names = np.full(len(z), "", dtype=object)
    for name, (low, high) in rule.windows.items():
        above = np.ones(len(z), bool) if low is None else z >= low
        below = np.ones(len(z), bool) if high is None else z < high
        names[above & below & ~np.isnan(z)] = name
    classes = rule.classes or {name: [name] for name in rule.windows}
    label = map_values(names, classes)
    unknown = np.isnan(z)
    counts = {
        "redshift_unknown": int(unknown.sum()),
        "redshift_outside": int(((label == NO_LABEL) & ~unknown).sum()),
    }
    return Labels(label, tuple(classes), counts)


def by_match(table: pd.DataFrame, rule: CatalogueMatch, where: str) -> Labels:
    """Label rows with and without a catalogue entry nearby."""
    entries = read_catalogue(rule.catalogue).table
    _, _, matched = nearest_entries(table, entries, rule.radius_arcsec, where, rule.one_to_one)
    counts = {"matched": int(matched.sum()), "catalogue_entries": len(entries)}
    return Labels(matched.astype(np.int64), (rule.others, rule.matched), counts)


def nearest_entries(
    table: pd.DataFrame,
    entries: pd.DataFrame,
    radius_arcsec: float,
    where: str,
    single: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find each row's nearest entry: its row (-1: none), separation [arcsec], and True if any.

    ``single``: an entry goes to one row only, the closest pairs first.
    """
    if "ra_deg" not in table:
        raise CatalogueError(
            f"{where}: a match by position needs ra_deg and dec_deg; map them in labels.columns"
        )
    i, j, separation = pairs_within(
        checked_vectors(table["ra_deg"], table["dec_deg"], where),
        checked_vectors(entries["ra_deg"], entries["dec_deg"], "the catalogue"),
        radius_arcsec / 60.0,
    )
    if single:
        kept = one_to_one(i, j, separation)
    else:
        kept = np.zeros(len(i), dtype=bool)
        order = np.lexsort((j, separation, i))
        kept[order[np.unique(i[order], return_index=True)[1]]] = True
    entry = np.full(len(table), -1, dtype=np.int64)
    entry[i[kept]] = j[kept]
    distance = np.full(len(table), np.nan)
    distance[i[kept]] = 60.0 * separation[kept]
    return entry, distance, entry >= 0
