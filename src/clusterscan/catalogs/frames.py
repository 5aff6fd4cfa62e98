"""Positions as their file gives them to ICRS degrees: units, sexagesimal text, other frames."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clusterscan.catalogs.layouts import Layout
from clusterscan.core.errors import CatalogueError

_UNIT_FACTORS = {
    "deg": (1.0, 1.0),
    "rad": (180.0 / np.pi, 180.0 / np.pi),
    "hourangle": (15.0, 1.0),
    "sexagesimal": (15.0, 1.0),
}
_SEXAGESIMAL = (
    r"^\s*([+\-\u2212]?)(\d{1,3})[\s:hd\u00b0]+(\d{1,2})(?:[\s:m'\u2032]+(\d{1,2}(?:\.\d*)?))?"
    r"[\s:s\"\u2033]*$"
)
_UNITS = {
    "deg": "deg", "degree": "deg", "degrees": "deg",
    "rad": "rad", "radian": "rad", "radians": "rad",
    "h": "hourangle", "hr": "hourangle", "hour": "hourangle", "hours": "hourangle",
    "hourangle": "hourangle", '"h:m:s"': "sexagesimal", '"d:m:s"': "sexagesimal",
}  # fmt: skip


def to_degrees(table: pd.DataFrame, layout: Layout, where: str) -> pd.DataFrame:
    """Return a table with ``ra_deg`` and ``dec_deg`` in ICRS degrees.

    Parameters
    ----------
    table : DataFrame
        Our columns with the file's values; ``attrs["units"]`` may hold the file's own units.
    layout : Layout
        Says what unit and frame they are in.
    where : str
        The file, for messages.

    Raises
    ------
    CatalogueError
        If the file's own unit, or what its values look like, contradicts the declaration.
    """
    units = table.attrs.get("units", {})
    table = table.copy()
    for column, factor in zip(
        ("ra_deg", "dec_deg"), _UNIT_FACTORS[layout.position_unit], strict=True
    ):
        _refuse_other_unit(column, units.get(column, ""), layout, where)
        table[column] = _numbers(table[column], column, layout.position_unit, where)
        if factor != 1.0:
            number = pd.to_numeric(table[column], errors="coerce")
            # What is no number stays as it is: the gate names its row.
            table[column] = (number * factor).where(number.notna(), table[column])
    return _to_icrs(table, layout)


def sexagesimal(text: pd.Series) -> np.ndarray:
    """Return hours or degrees of texts such as ``-00 30 15.2``, NaN for any other text."""
    parts = text.astype("string").str.extract(_SEXAGESIMAL)
    whole, minutes, seconds = (
        pd.to_numeric(parts[k], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        for k in (1, 2, 3)
    )
    seconds = np.where(parts[3].isna() & parts[1].notna(), 0.0, seconds)
    bad = (minutes >= 60) | (seconds > 60)  # REFLEX writes 60 for rounded seconds
    size = whole + minutes / 60 + seconds / 3600
    # The sign is a column of its own: -00 30 is below the equator.
    negative = parts[0].isin(["-", "\u2212"]).to_numpy()
    return np.where(bad, np.nan, np.where(negative, -size, size))


def _refuse_other_unit(column: str, unit: str, layout: Layout, where: str) -> None:
    told = _UNITS.get(unit.strip().lower(), "")
    declared = layout.position_unit
    same = told == declared or (told == "deg" and declared == "hourangle" and column == "dec_deg")
    if told and not same:
        raise CatalogueError(
            f"{where}: column {layout.columns[column]} ({column}) is in {unit}, as the file says, "
            f"but was declared in {declared}; set position_unit: {told}"
        )


def _numbers(values: pd.Series, column: str, unit: str, where: str) -> pd.Series:
    if unit == "sexagesimal":
        # What is no such text stays text: the gate names its row.
        read = pd.Series(sexagesimal(values), index=values.index)
        return read.astype(object).where(read.notna(), values)
    if values.dtype.kind in "iufb":
        return values
    number = pd.to_numeric(values, errors="coerce")
    if len(values) and number.isna().all() and np.isfinite(sexagesimal(values)).any():
        raise CatalogueError(
            f"{where}: row 1, column {column}: {values.iloc[0]!r} is sexagesimal text, declared "
            f"in {unit}; set position_unit: sexagesimal"
        )
    return values


def _to_icrs(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    if layout.frame == "icrs" or (layout.frame == "fk5" and layout.equinox == "J2000"):
        return table
    from astropy import units as u
    from astropy.coordinates import FK4, FK5, Galactic, SkyCoord

    frame = {
        "fk4": lambda: FK4(equinox=layout.equinox),
        "fk5": lambda: FK5(equinox=layout.equinox),
        "galactic": Galactic,
    }[layout.frame]()
    first = pd.to_numeric(table["ra_deg"], errors="coerce").to_numpy(dtype=float)
    second = pd.to_numeric(table["dec_deg"], errors="coerce").to_numpy(dtype=float)
    good = (np.abs(first) <= 360) & (np.abs(second) <= 90)  # the gate names the others
    icrs = SkyCoord(first[good] * u.deg, second[good] * u.deg, frame=frame).icrs
    for column, values in (("ra_deg", icrs.ra.deg), ("dec_deg", icrs.dec.deg)):
        number = table[column].astype(object)
        number[good] = values
        table[column] = number
    return table
