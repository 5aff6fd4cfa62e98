"""Cuts on a table's rows: limits in magnitude, colour, or any sum of columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clusterscan.core.errors import CatalogueError
from clusterscan_studies.config.labels import Cut
from clusterscan_studies.labels.values import named_row


def apply_cuts(
    table: pd.DataFrame, cuts: Sequence[Cut], where: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Leave out rows outside of the cuts' ranges, one cut after the other.

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
        The rows that stay, numbered anew.
    counts : dict
        ``cut_<name>``: rows that each cut left out.

    Raises
    ------
    CatalogueError
        If a column is missing or holds no numbers, or no row stays.
    """
    counts: dict[str, int] = {}
    for cut in cuts:
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
    """Return which rows a cut keeps, bool, shape (n,)."""
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
        If it holds text that is no number.
    """
    values = pd.to_numeric(table[column], errors="coerce")
    wrong = values.isna() & table[column].notna() & (table[column].astype(str).str.strip() != "")
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise CatalogueError(
            f"{where}: {named_row(table, row)}, column {column}: {table[column].iloc[row]!r} is no "
            f"number ({int(wrong.sum())} such rows); mend the file"
        )
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _range(cut: Cut) -> str:
    low = "" if cut.min is None else f"{cut.min} <= "
    high = "" if cut.max is None else f" <= {cut.max}"
    return low + " + ".join(f"{factor:g} {name}" for name, factor in cut.terms.items()) + high
