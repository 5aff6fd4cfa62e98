"""Read a table as it stands in its file; everything about meaning comes later."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from clusterscan.catalogs.layouts import Column, Layout
from clusterscan.core.errors import CatalogueError


def read_table(path: Path, layout: Layout) -> pd.DataFrame:
    """Return a file's columns, named as in the file.

    The units that the file itself gives are in ``attrs["units"]``.

    Raises
    ------
    CatalogueError
        If the file is no such table or lacks a column.
    """
    try:
        if layout.format == "csv":
            table = _read_csv(path, layout)
        elif layout.format == "parquet":
            table = pd.read_parquet(path)
        else:
            table = _read_astropy(path, layout.format)
    except CatalogueError:
        raise
    except Exception as error:  # readers raise whatever their parsers do
        raise CatalogueError(
            f"{path}: not a readable {layout.format} table ({type(error).__name__}: {error}); "
            "check the catalogue's kind, format and delimiter in the config"
        ) from error
    missing = [wanted for wanted in layout.columns.values() if column_of(wanted, table) is None]
    if missing:
        told = ", ".join(" or ".join(w) if isinstance(w, tuple) else str(w) for w in missing)
        raise CatalogueError(
            f"{path}: has no column {told} (it has "
            f"{', '.join(map(str, table.columns))}); correct the catalogue's kind or columns"
        )
    return table


def column_of(wanted: Column, table: pd.DataFrame) -> str | int | None:
    """Return the first of a declaration's names that a table has, or None."""
    names = wanted if isinstance(wanted, tuple) else (wanted,)
    return next((name for name in names if name in table), None)


def _read_csv(path: Path, layout: Layout) -> pd.DataFrame:
    return pd.read_csv(
        path,
        sep=r"\s+" if layout.delimiter == " " else layout.delimiter,
        comment=layout.comment,
        header=0 if layout.header else None,
        skipinitialspace=True,
        low_memory=False,
    )


def _read_astropy(path: Path, form: str) -> pd.DataFrame:
    from astropy.table import MaskedColumn, Table
    from astropy.units import UnitsWarning

    with warnings.catch_warnings():
        # Published tables spell units in ways of their own; layouts say what they mean.
        warnings.simplefilter("ignore", UnitsWarning)
        # A gzipped or nameless file is told by its content; ECSV is the one that needs its name.
        table = Table.read(path, format="ascii.ecsv" if form == "ecsv" else form)
    columns, units = {}, {}
    for column in table.itercols():
        if column.ndim > 1:
            continue  # arrays in cells are never positions
        values = column
        if isinstance(column, MaskedColumn):
            kind = column.dtype.kind
            values = column.astype(float).filled(np.nan) if kind in "iuf" else column.filled()
        array = np.asarray(values)
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8", "replace")
        if not array.dtype.isnative:  # FITS is big-endian, pandas is not
            array = array.astype(array.dtype.newbyteorder("="))
        columns[column.name] = array
        units[column.name] = str(column.unit or "")
    frame = pd.DataFrame(columns)
    frame.attrs["units"] = units
    return frame
