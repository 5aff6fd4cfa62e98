"""Columns of catalogues that may lack them, and cells picked by row."""

from __future__ import annotations

import numpy as np
import pandas as pd


def names_of(table: pd.DataFrame) -> np.ndarray:
    """Return the names, "" where there is no such column."""
    if "name" not in table:
        return np.full(len(table), "", dtype=object)
    return table["name"].to_numpy(dtype=object)


def texts_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as text, "" where it is missing."""
    if column not in table:
        return np.full(len(table), "", dtype=object)
    return table[column].astype("string").fillna("").to_numpy(dtype=object)


def numbers_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as float64, NaN where it is missing."""
    if column not in table:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=np.float64, na_value=np.nan)


def taken(values: np.ndarray, row: np.ndarray, otherwise) -> np.ndarray:
    """Return values[row], and ``otherwise`` where row is -1."""
    picked = np.full(row.shape, otherwise, dtype=values.dtype)
    there = row >= 0
    picked[there] = values[row[there]]
    return picked
