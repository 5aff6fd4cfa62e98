"""Check a table of positions: refuse impossible rows, and values that contradict its layout.

A catalogue passes three checks. `look_over` compares the values with the declared layout: degrees
that look like radians or hours, positions that disagree with the names, masses in other units.
`validate` refuses or drops rows without a possible position or redshift, and cleans the rest.
`refuse_sources` and `warn_if_crowded` look for lists that do not hold clusters.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.catalogs.layouts import Layout
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError

log = logging.getLogger(__name__)

OPTIONAL = ("z", "m500c_msun", "richness", "snr")
FEWEST = 100  # with fewer rows the range of the positions says nothing
_MAX_REDSHIFT = 20.0
_FEWEST_NAMES = 10
# Names hold truncated positions, and some are of an earlier measurement. A degree is far beyond
# both, but less than most errors of columns, units and frames.
_NAME_TOLERANCE_DEG = 1.0
_GALACTIC_NAMES = frozenset({"glon", "glat", "l", "b", "gal_l", "gal_b", "_glon", "_glat"})
_MASS_RANGE = (1e11, 1e17)
_CROWD, _CROWD_ARCMIN, _CROWDED_PART = 10, 5.0, 0.005
# Positions inside names: J235959.9-010203, JHHMM.m+DDMM, G123.45-06.78.
_EQUATORIAL_NAME = (
    r"J\s?(?P<ra>\d{6}|\d{4})(?P<part>\.\d+)?(?P<sign>[+\-\u2212])(?P<dec>\d{6}|\d{4}|\d{2})"
    r"(?P<rest>\.\d+)?(?!\d)"
)
_GALACTIC_NAME = r"G(?P<l>\d{1,3}\.\d+)(?P<b>[+\-]\d{1,2}\.\d+)"


@dataclass(frozen=True)
class Validated:
    """A checked catalogue, and how many rows each step changed.

    Attributes
    ----------
    table : DataFrame
        name (str), ra_deg in [0, 360), dec_deg, z, m500c_msun, richness, snr (float64, NaN =
        unknown), then all other columns of the catalogue; in the file's order.
    counts : dict
        Numbers of rows: read, dropped, duplicates, wrapped, z_unknown, repeated_names.
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
        Treatment of rows without a possible position or redshift.
    z_unknown : tuple of float
        Values of z that mean unknown.
    default_name : str
        A row without a name is named with this word and its number, from 1.

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
    changes = ", ".join(f"{n} {what}" for what, n in counts.items() if n or what == "rows")
    log.info("%s: %s", where, changes)
    return Validated(clean, counts)


def _number(column: pd.Series) -> np.ndarray:
    # Text that is not a number becomes NaN here; `_bad_rows` then reports the row with its text.
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
    """Return the rows with an impossible position or redshift; raise if `bad_rows` is "error"."""
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
                f"{raw[column].iloc[row]} is not {right} ({int(wrong.sum())} such rows); fix "
                "the file, or set bad_rows: drop for this catalogue"
            )
        bad |= wrong.to_numpy()
    return bad


def _wrap(ra_deg: np.ndarray) -> np.ndarray:
    wrapped = np.mod(ra_deg, 360.0)
    return np.where(wrapped >= 360.0, 0.0, wrapped)  # -1e-15 % 360 is 360 in floating point


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
        Do not question the positions.

    Raises
    ------
    CatalogueError
        Names the file, row, column and value, and the setting that helps.
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
    """Refuse a list of sources as known clusters, with the most crowded row as evidence.

    Raises
    ------
    CatalogueError
        Always.
    """
    crowd = crowding(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    row = int(np.argmax(crowd)) if crowd.size else 0
    example = (
        f"row {row + 1} ({table['name'].iloc[row]}), column {column}: {table[column].iloc[row]}, "
        f"has {crowd[row]} others within {_CROWD_ARCMIN:g} arcmin: pieces of one extended object"
        if crowd.size
        else f"column {column}"
    )
    raise CatalogueError(
        f"{where}: these are extended sources, not clusters; {example}. Set role: reference to "
        "match with them only, or read the cluster catalogue made of them (kind: erass1)"
    )


def crowding(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Count the other rows within 5 arcmin of each row."""
    if not ra_deg.size:
        return np.empty(0, dtype=np.int64)
    vectors = sky.unit_vectors(ra_deg, dec_deg)
    tree = cKDTree(vectors)
    return (
        tree.query_ball_point(vectors, sky.chord(_CROWD_ARCMIN / 60), return_length=True) - 1
    ).astype(np.int64)


def warn_if_crowded(table: pd.DataFrame, where: str) -> None:
    """Warn if rows lie as close together as parts of extended sources do; clusters never do."""
    if not FEWEST <= len(table) <= 500_000:
        return
    crowd = crowding(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    # X-ray and radio catalogues split extended objects into many entries; galaxies crowd in
    # clusters. Clusters themselves are a few per square degree.
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
    looks = ""
    if np.abs(ra).max() <= 2 * np.pi and np.abs(dec).max() <= np.pi / 2:
        looks = f"all |RA| are below 2 pi and all |Dec| below pi / 2 in {good.size} rows: radians?"
        unit = "rad"
    # Hours span 0 to 24 while declinations span the sky. A small field in degrees has a small span
    # in both, and is left alone.
    elif ra.min() >= 0 and ra.max() <= 24 and np.ptp(ra) > 20 and np.ptp(dec) > 120:
        looks = f"all RA lie within 0 and 24 and Dec spans {np.ptp(dec):.0f} deg: hours?"
        unit = "hourangle"
    if looks:
        row = int(np.argmax(np.abs(ra)))
        raise CatalogueError(
            f"{where}: row {rows[good[row]]}, column {layout.columns['ra_deg']}: {ra[row]} is the "
            f"largest; {looks} Set position_unit: {unit}, or trust_positions: true if it is a "
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
    message = (
        f"{where}: row {rows[row]}, columns {layout.columns['ra_deg']} and "
        f"{layout.columns['dec_deg']}: {ra[row]}, {dec[row]} lies {apart[row]:.1f} deg from the "
        f"position in the name {names.iloc[row]} ({int(wrong.sum())} of {int(read.sum())} names)"
    )
    if wrong.sum() > read.sum() / 2:
        raise CatalogueError(
            f"{message}; check the columns, unit and frame. If the names are wrong, set "
            "trust_positions: true"
        )
    log.warning("%s; positions are kept", message)


def _masses(mass: pd.Series, layout: Layout, where: str) -> None:
    known = pd.to_numeric(mass, errors="coerce").dropna()
    # The commonest slip is a column in units of 1e14 solar masses, which gives clusters of three
    # solar masses.
    if len(known) >= _FEWEST_NAMES and not _MASS_RANGE[0] < known.median() < _MASS_RANGE[1]:
        row = known.index[0]
        raise CatalogueError(
            f"{where}: row {int(row) + 1}, column {layout.columns.get('m500c_msun')}: "
            f"{known.iloc[0]:g} cannot be a cluster's mass in solar masses (median "
            f"{known.median():g}); set scale, e.g. m500c_msun: 1e14"
        )


def _repeated_redshift(z: pd.Series, layout: Layout, where: str) -> None:
    number = pd.to_numeric(z, errors="coerce")
    high = number[(number >= 5) & ~number.isin(layout.z_unknown)]
    times = high.value_counts()
    # Real redshifts above 5 do not repeat to all digits; 9.99 or 99 in many rows is a sentinel.
    if len(times) and times.iloc[0] >= 3:
        value = times.index[0]
        row = int(high.index[high == value][0])
        raise CatalogueError(
            f"{where}: row {row + 1}, column {layout.columns.get('z', 'z')}: {value:g} occurs "
            f"{times.iloc[0]} times and cannot be a redshift; add it to z_unknown"
        )


def positions_in_names(names: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Read the ICRS positions (ra_deg, dec_deg) out of names; NaN for names without one.

    Names are truncated, so a position is good to about its last digit.

    References
    ----------
    IAU recommendations for nomenclature, https://cdsweb.u-strasbg.fr/Dic/iau-spec.html
    """
    text = names.astype("string")
    ra, dec = _equatorial(text)
    parts = text.str.replace("\u2212", "-").str.extract(_GALACTIC_NAME)
    galactic = np.isnan(ra) & parts["l"].notna().to_numpy()
    if galactic.any():
        ra[galactic], dec[galactic] = _galactic(parts[galactic].astype(float))
    return ra, dec


def disagreement_deg(names: pd.Series, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Return the distance of positions from those in their names [deg]; NaN without one."""
    ra, dec = positions_in_names(names)
    return sky.separation_deg(ra, dec, ra_deg, dec_deg)


def _equatorial(text: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    parts = text.str.extract(_EQUATORIAL_NAME)
    ra = _base_60(parts["ra"], parts["part"]) * 15
    dec = _base_60(parts["dec"], parts["rest"])
    dec = np.where(parts["sign"].isin(["-", "\u2212"]).to_numpy(), -dec, dec)
    wrong = ~((ra <= 360) & (np.abs(dec) <= 90))
    return np.where(wrong, np.nan, ra), np.where(wrong, np.nan, dec)


def _base_60(digits: pd.Series, fraction: pd.Series) -> np.ndarray:
    """Convert HHMMSS, HHMM or HH, with a decimal fraction of its last part, to a number."""
    number = pd.to_numeric(digits, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    part = pd.to_numeric(fraction, errors="coerce").to_numpy(dtype=float, na_value=0.0)
    pairs = digits.str.len().to_numpy(dtype=float, na_value=np.nan) / 2
    last = number % 100 + part
    middle = number // 100 % 100
    return np.select(
        [pairs == 3, pairs == 2, pairs == 1],
        [number // 10000 + middle / 60 + last / 3600, middle + last / 60, number + part],
        np.nan,
    )


def _galactic(parts: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    from astropy.coordinates import SkyCoord

    longitude, latitude = parts["l"].to_numpy(), parts["b"].to_numpy()
    good = (longitude <= 360) & (np.abs(latitude) <= 90)
    ra, dec = np.full(good.size, np.nan), np.full(good.size, np.nan)
    icrs = SkyCoord(longitude[good], latitude[good], unit="deg", frame="galactic").icrs
    ra[good], dec[good] = icrs.ra.deg, icrs.dec.deg
    return ra, dec
