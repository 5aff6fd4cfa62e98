"""Values of a class column, compared as text: 3, 3.0 and "3" are one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from clusterscan.core.errors import CatalogueError
from clusterscan_studies.config.labels import Value

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
    """Return one text for equal values, however a file spells them."""
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
    """Return the error of a column that is not there."""
    return CatalogueError(
        f"{where}: the rule needs the column {column}, but there are "
        f"{', '.join(map(str, table.columns))}; map it in labels.columns"
    )


def named_row(table: pd.DataFrame, row: int) -> str:
    """Return how messages call a row: by its object, as cuts have changed the rows' numbers."""
    return f"object {table['object_id'].iloc[row]}" if "object_id" in table else f"row {row + 1}"
