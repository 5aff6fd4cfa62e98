"""The one gate that every catalogue passes: possible positions, plain names, honest unknowns."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from clusterscan.core.errors import CatalogueError

log = logging.getLogger(__name__)

OPTIONAL = ("z", "m500c_msun", "richness", "snr")
_MAX_REDSHIFT = 20.0


@dataclass(frozen=True)
class Validated:
    """A catalogue that passed, and what was done to it.

    Attributes
    ----------
    table : DataFrame
        name (str), ra_deg in [0, 360), dec_deg, z, m500c_msun, richness, snr (float64, NaN =
        unknown), then whatever else the catalogue brings; in the file's order.
    counts : dict
        rows read, dropped, duplicates, wrapped, z_unknown, repeated_names.
    """

    table: pd.DataFrame
    counts: dict[str, int] = field(default_factory=dict)


def validate(
    table: pd.DataFrame,
    where: str,
    *,
    bad_rows: Literal["error", "drop"] = "error",
    z_unknown: tuple[float, ...] = (),
    default_name: str = "row",
) -> Validated:
    """Check and clean a catalogue.

    Parameters
    ----------
    table : DataFrame
        Columns ra_deg and dec_deg [deg]; name and any others are optional. The index is the
        file's row number, from 0.
    where : str
        The file, for messages.
    bad_rows : {"error", "drop"}
        What happens to rows without a possible position or redshift.
    z_unknown : tuple of float
        Values of z that stand for unknown.
    default_name : str
        Names of nameless rows are this and the row's number, from 1.

    Raises
    ------
    CatalogueError
        If a position or a redshift is impossible and ``bad_rows`` is "error"; names file, row,
        column and value.
    """
    file_rows = np.asarray(table.index) + 1
    table = table.reset_index(drop=True)
    counts = {"rows": len(table)}
    clean = pd.DataFrame({"name": _names(table, default_name)})
    clean["ra_deg"], clean["dec_deg"] = _number(table["ra_deg"]), _number(table["dec_deg"])
    for column in OPTIONAL:
        clean[column] = _number(table[column]) if column in table else np.nan
    for column in table.columns.difference(clean.columns, sort=False):
        clean[column] = table[column]
    counts["z_unknown"] = _forget_sentinels(clean, z_unknown)
    bad = _bad_rows(clean, table, where, bad_rows, file_rows)
    counts["dropped"] = int(bad.sum())
    clean = clean[~bad]
    outside = ~clean["ra_deg"].between(0.0, 360.0, inclusive="left")
    counts["wrapped"] = int(outside.sum())
    clean["ra_deg"] = _wrap(clean["ra_deg"].to_numpy())
    same = clean.duplicated(["name", "ra_deg", "dec_deg"])
    counts["duplicates"] = int(same.sum())
    clean = clean[~same].reset_index(drop=True)
    counts["repeated_names"] = int(clean["name"].duplicated().sum())
    _tell(where, counts)
    return Validated(clean, counts)


def _number(column: pd.Series) -> np.ndarray:
    # What is no number becomes NaN here and a bad row, with its text in the message, below.
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _names(table: pd.DataFrame, default: str) -> pd.Series:
    number = pd.Series([f"{default} {row + 1}" for row in range(len(table))], dtype=object)
    if "name" not in table:
        return number.astype(str)
    column = table["name"]
    # A column of integers with gaps is read as floats: "27", not "27.0".
    if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").str.strip()
    return text.mask(text.isna() | (text == ""), number.astype("string")).astype(str)


def _forget_sentinels(clean: pd.DataFrame, z_unknown: tuple[float, ...]) -> int:
    sentinel = clean["z"].isin(z_unknown)
    clean.loc[sentinel, "z"] = np.nan
    return int(sentinel.sum())


def _bad_rows(
    clean: pd.DataFrame,
    raw: pd.DataFrame,
    where: str,
    bad_rows: Literal["error", "drop"],
    file_rows: np.ndarray,
) -> np.ndarray:
    """Return rows that no position or redshift can be made of; raise if that is asked for."""
    checks = (
        # Negated so that NaN counts as bad.
        ("ra_deg", ~(clean["ra_deg"].abs() <= 360.0), "within -360 and 360 deg"),
        ("dec_deg", ~(clean["dec_deg"].abs() <= 90.0), "within -90 and 90 deg"),
        (
            "z",
            (clean["z"] < 0) | (clean["z"] > _MAX_REDSHIFT),
            f"within 0 and {_MAX_REDSHIFT:g}; declare values that mean unknown in z_unknown",
        ),
    )
    bad = np.zeros(len(clean), bool)
    for column, wrong, right in checks:
        if wrong.any() and bad_rows == "error":
            row = int(np.flatnonzero(wrong)[0])
            raise CatalogueError(
                f"{where}: row {file_rows[row]} ({clean['name'].iloc[row]}), column {column}: "
                f"{raw[column].iloc[row]} is not {right} ({int(wrong.sum())} such rows); mend "
                "the file, or set bad_rows: drop for this catalogue"
            )
        bad |= wrong.to_numpy()
    return bad


def _wrap(ra_deg: np.ndarray) -> np.ndarray:
    wrapped = np.mod(ra_deg, 360.0)
    return np.where(wrapped >= 360.0, 0.0, wrapped)  # -1e-15 % 360 is 360 in floating point


def _tell(where: str, counts: dict[str, int]) -> None:
    told = ", ".join(f"{value} {key}" for key, value in counts.items() if value or key == "rows")
    log.info("%s: %s", where, told)
