"""The catalogue in memory: derived columns, checked values, one order of rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.formats.catalogue_columns import NULL_INTEGER, Column
from clusterscan.publish.names import DEFAULT_FORMAT, GUARD_DEG, iau_names

Arrays = dict[str, np.ndarray]

#: Columns that follow from the position alone and are always computed here.
DERIVED = ("name", "RADeg", "decDeg", "glon_deg", "glat_deg", "healpix29", "tile")


def build_catalogue(
    objects: pd.DataFrame | Mapping[str, np.ndarray],
    columns: Sequence[Column],
    *,
    tile_order: int,
    acronym: str = "CSCAN",
    name_format: str = DEFAULT_FORMAT,
    guard_deg: float = GUARD_DEG,
) -> Arrays:
    """Return the catalogue's columns, rows sorted by descending ``prob``, then name.

    Parameters
    ----------
    objects : DataFrame or mapping of str to array, n rows
        The merged objects; needs ``ra_deg`` and ``dec_deg`` (ICRS). Columns of the specification
        that are missing become null, columns outside it are left out.
    columns : sequence of Column
        The specification.
    tile_order : int
        Order of the tiles that own objects.
    acronym, name_format, guard_deg
        See `clusterscan.publish.names.iau_names`.

    Returns
    -------
    catalogue : dict of str to array of shape (n,)
        In the specification's order; text is ASCII ``str`` in object arrays.

    Raises
    ------
    CatalogueError
        If a position is not on the sky, a column holds values of a wrong type, or a value is
        missing from a column that has no null.
    """
    table = _columns_of(objects)
    for needed in ("ra_deg", "dec_deg"):
        if needed not in table:
            raise CatalogueError(f"the merged objects have no column {needed!r}; run merge again")
    ra = np.asarray(table["ra_deg"], dtype=np.float64)
    dec = np.asarray(table["dec_deg"], dtype=np.float64)
    try:
        names = iau_names(ra, dec, acronym, name_format=name_format, guard_deg=guard_deg)
    except ValueError as error:
        raise CatalogueError(f"merged objects: {error}") from error
    ra = ra % 360.0
    ra = np.where(ra < 360.0, ra, 0.0)  # -1e-17 % 360 is 360 in floating point
    table |= _from_positions(ra, dec, tile_order) | {"ra_deg": ra, "dec_deg": dec}
    table["name"] = np.array(names, dtype=object)
    found = as_columns(table, columns)
    order = _row_order(found)
    return {name: values[order] for name, values in found.items()}


def as_columns(table: pd.DataFrame | Mapping[str, np.ndarray], columns: Sequence[Column]) -> Arrays:
    """Return a table's columns as a specification has them, in its order.

    Raises
    ------
    CatalogueError
        As `build_catalogue`.
    """
    given = _columns_of(table)
    rows = len(next(iter(given.values()), ()))
    return {c.name: _as_column(given.get(c.name), c, rows) for c in columns}


def clean_text(value: object) -> str:
    """Return text as FITS can hold it: printable ASCII, blanks for control characters, '' for null.

    Letters with accents lose them; other characters become '?'. Markup is kept as it is: each
    format's writer escapes it.
    """
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", text).strip()
    return text.encode("ascii", "replace").decode("ascii")


def _columns_of(objects: pd.DataFrame | Mapping[str, np.ndarray]) -> dict[str, Any]:
    if isinstance(objects, pd.DataFrame):
        return {str(name): objects[name] for name in objects.columns}
    return dict(objects)


def _from_positions(ra: np.ndarray, dec: np.ndarray, tile_order: int) -> Arrays:
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    galactic = SkyCoord(ra * u.deg, dec * u.deg, frame="icrs").galactic
    if ra.size:
        healpix29 = sky.owning_cell(ra, dec, sky.MAX_ORDER)
        # From the position itself: owner and cell of order 29 then never disagree.
        tile = sky.owning_cell(ra, dec, tile_order)
    else:
        healpix29 = tile = np.zeros(0, dtype=np.int64)
    return {
        "RADeg": ra,
        "decDeg": dec,
        "glon_deg": np.asarray(galactic.l.deg),
        "glat_deg": np.asarray(galactic.b.deg),
        "healpix29": healpix29,
        "tile": tile,
    }


def _as_column(values, column: Column, rows: int) -> np.ndarray:
    if values is None:
        return _nulls(column, rows)
    raw = values.to_numpy() if isinstance(values, pd.Series) else np.asarray(values)
    try:
        if column.dtype == "str":
            return np.array([clean_text(v) for v in raw], dtype=object)
        if column.dtype.startswith("int"):
            return _integers(raw, column)
        number = pd.to_numeric(pd.Series(raw), errors="raise").astype("float64").to_numpy()
    except (ValueError, TypeError, OverflowError) as error:
        raise CatalogueError(
            f"column {column.name!r} of the merged objects is not {column.dtype}: {error}"
        ) from error
    if not column.null and np.isnan(number).any():
        row = int(np.flatnonzero(np.isnan(number))[0])
        raise CatalogueError(f"column {column.name!r} has no value at row {row}; it must have one")
    return number.astype(column.dtype)


def _integers(raw: np.ndarray, column: Column) -> np.ndarray:
    if raw.dtype.kind in "iub":
        return raw.astype(column.dtype)
    number = pd.to_numeric(pd.Series(raw), errors="raise").astype("float64").to_numpy()
    missing = np.isnan(number)
    if missing.any() and not column.null:
        row = int(np.flatnonzero(missing)[0])
        raise CatalogueError(f"column {column.name!r} has no value at row {row}; it must have one")
    whole = np.where(missing, NULL_INTEGER, number)
    if (whole != np.trunc(whole)).any():
        raise ValueError("it holds fractions")
    return whole.astype(column.dtype)


def _nulls(column: Column, rows: int) -> np.ndarray:
    if column.dtype == "str":
        return np.full(rows, "", dtype=object)
    if column.dtype.startswith("int"):
        return np.full(rows, NULL_INTEGER if column.null else 0, dtype=column.dtype)
    if not column.null and rows:
        raise CatalogueError(
            f"the merged objects have no column {column.name!r}, which every object must have; "
            "run merge again"
        )
    return np.full(rows, np.nan, dtype=column.dtype)


def _row_order(catalogue: Arrays) -> np.ndarray:
    if "prob" not in catalogue:
        return np.arange(len(catalogue["name"]))
    return np.lexsort((catalogue["name"].astype(str), -catalogue["prob"]))
