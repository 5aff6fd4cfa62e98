"""Signs that a catalogue is not what it is said to be: wrong units, frames, columns or objects.

Each check looks at the whole table, for a row alone never tells, and refuses with the row and
column that show it best.
"""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.catalogs.layouts import Layout
from clusterscan.catalogs.name_positions import disagreement_deg
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError

log = logging.getLogger(__name__)

FEWEST = 100  # rows that let the ranges of positions tell
_FEWEST_NAMES = 10
_NAME_TOLERANCE_DEG = 1.0
_GALACTIC_NAMES = frozenset({"glon", "glat", "l", "b", "gal_l", "gal_b", "_glon", "_glat"})
_MASS_RANGE = (1e11, 1e17)
_CROWD, _CROWD_ARCMIN, _CROWDED_PART = 10, 5.0, 0.005


def look_over(table: pd.DataFrame, layout: Layout, where: str, *, trust: bool = False) -> None:
    """Refuse a table whose values contradict its declaration.

    Parameters
    ----------
    table : DataFrame
        Our columns; positions in ICRS degrees as declared, not yet wrapped. The index is the
        file's row number, from 0.
    layout : Layout
        The declaration.
    where : str
        The file, for messages.
    trust : bool
        The user says that positions are right however they look.

    Raises
    ------
    CatalogueError
        Naming file, row, column and value, and how to mend it.
    """
    ra = pd.to_numeric(table["ra_deg"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    dec = pd.to_numeric(table["dec_deg"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    rows = np.asarray(table.index) + 1  # numbered as in the file
    if not trust:
        _galactic_columns(layout, where)
        if layout.position_unit == "deg" and layout.frame != "galactic":
            _radians_or_hours(ra, dec, rows, layout, where)
        if "name" in table:
            _names_that_disagree(table["name"], ra, dec, rows, layout, where)
    if "m500c_msun" in table:
        _masses(table["m500c_msun"], layout, where)
    if "z" in table:
        _repeated_redshift(table["z"], layout, where)


def refuse_sources(table: pd.DataFrame, where: str, column: str) -> None:
    """Say that a list of sources holds no clusters, with the row that shows it best.

    Raises
    ------
    CatalogueError
        Always.
    """
    crowd = crowding(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    row = int(np.argmax(crowd)) if crowd.size else 0
    example = (
        f"row {row + 1} ({table['name'].iloc[row]}), column {column}: {table[column].iloc[row]}, "
        f"has {crowd[row]} more within {_CROWD_ARCMIN:g} arcmin: pieces of one extended object"
        if crowd.size
        else f"column {column}"
    )
    raise CatalogueError(
        f"{where}: these are extended sources, not clusters; {example}. Set role: reference to "
        "match with them only, or read the cluster catalogue made of them (kind: erass1)"
    )


def crowding(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Return how many other rows lie within 5 arcmin of each."""
    if not ra_deg.size:
        return np.empty(0, dtype=np.int64)
    vectors = sky.unit_vectors(ra_deg, dec_deg)
    tree = cKDTree(vectors)
    return (
        tree.query_ball_point(vectors, sky.chord(_CROWD_ARCMIN / 60), return_length=True) - 1
    ).astype(np.int64)


def tell_if_crowded(table: pd.DataFrame, where: str) -> None:
    """Warn where rows crowd as parts of extended sources do, and no known cluster list does."""
    if not FEWEST <= len(table) <= 500_000:
        return
    crowd = crowding(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    if np.mean(crowd >= _CROWD) > _CROWDED_PART:
        row = int(np.argmax(crowd))
        log.warning(
            "%s: %.1f %% of the rows have %d others within %g arcmin, row %d (%s) has %d; is this "
            "a list of clusters, or of sources or galaxies?",
            where, 100 * np.mean(crowd >= _CROWD), _CROWD, _CROWD_ARCMIN, row + 1,
            table["name"].iloc[row], crowd[row],
        )  # fmt: skip


def _galactic_columns(layout: Layout, where: str) -> None:
    for ours in ("ra_deg", "dec_deg"):
        theirs = layout.columns[ours]
        if layout.frame != "galactic" and str(theirs).lower() in _GALACTIC_NAMES:
            raise CatalogueError(
                f"{where}: column {theirs} holds Galactic coordinates by its name, but was "
                f"declared as {ours} in {layout.frame}; set frame: galactic"
            )


def _radians_or_hours(
    ra: np.ndarray, dec: np.ndarray, rows: np.ndarray, layout: Layout, where: str
) -> None:
    good = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if good.size < FEWEST:
        return
    ra, dec = ra[good], dec[good]
    told = ""
    if np.abs(ra).max() <= 2 * np.pi and np.abs(dec).max() <= np.pi / 2:
        told = f"all |RA| are below 2 pi and all |Dec| below pi / 2 in {good.size} rows: radians?"
        unit = "rad"
    elif ra.min() >= 0 and ra.max() <= 24 and np.ptp(ra) > 20 and np.ptp(dec) > 120:
        told = f"all RA lie within 0 and 24 and Dec spans {np.ptp(dec):.0f} deg: hours?"
        unit = "hourangle"
    if told:
        row = int(np.argmax(np.abs(ra)))
        raise CatalogueError(
            f"{where}: row {rows[good[row]]}, column {layout.columns['ra_deg']}: {ra[row]} is the "
            f"largest; {told} Set position_unit: {unit}, or trust_positions: true if it is a "
            "small field in degrees"
        )


def _names_that_disagree(
    names: pd.Series,
    ra: np.ndarray,
    dec: np.ndarray,
    rows: np.ndarray,
    layout: Layout,
    where: str,
) -> None:
    apart = disagreement_deg(names, ra, dec)
    read = np.isfinite(apart)
    wrong = read & (apart > _NAME_TOLERANCE_DEG)
    if read.sum() < _FEWEST_NAMES or not wrong.any():
        return
    row = int(np.flatnonzero(wrong)[0])
    told = (
        f"{where}: row {rows[row]}, columns {layout.columns['ra_deg']} and "
        f"{layout.columns['dec_deg']}: {ra[row]}, {dec[row]} lies {apart[row]:.1f} deg from the "
        f"position in the name {names.iloc[row]} ({int(wrong.sum())} of {int(read.sum())} names)"
    )
    if wrong.sum() > read.sum() / 2:
        raise CatalogueError(
            f"{told}; the wrong columns, unit or frame? If names are wrong, set trust_positions: "
            "true"
        )
    log.warning("%s; positions are kept", told)


def _masses(mass: pd.Series, layout: Layout, where: str) -> None:
    known = pd.to_numeric(mass, errors="coerce").dropna()
    if len(known) >= _FEWEST_NAMES and not _MASS_RANGE[0] < known.median() < _MASS_RANGE[1]:
        row = known.index[0]
        raise CatalogueError(
            f"{where}: row {int(row) + 1}, column {layout.columns.get('m500c_msun')}: "
            f"{known.iloc[0]:g} is no cluster's mass in solar masses, nor is the median "
            f"{known.median():g}; set scale, e.g. m500c_msun: 1e14"
        )


def _repeated_redshift(z: pd.Series, layout: Layout, where: str) -> None:
    number = pd.to_numeric(z, errors="coerce")
    high = number[(number >= 5) & ~number.isin(layout.z_unknown)]
    times = high.value_counts()
    if len(times) and times.iloc[0] >= 3:
        value = times.index[0]
        row = int(high.index[high == value][0])
        raise CatalogueError(
            f"{where}: row {row + 1}, column {layout.columns.get('z', 'z')}: {value:g} stands "
            f"{times.iloc[0]} times and is no cluster's redshift; add it to z_unknown"
        )
