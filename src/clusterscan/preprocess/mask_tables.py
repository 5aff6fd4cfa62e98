"""From tables of stars, galaxies and point sources to regions: how large each one's mask is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clusterscan.config.preprocess import (
    GalaxyMask,
    LegacySurveysRadius,
    PiecewiseRadius,
    RadiusRule,
    StarMask,
    TableMask,
)
from clusterscan.core.errors import CatalogueError
from clusterscan.formats.mask_planes import (
    BRIGHT_STAR,
    EXCLUDED,
    FLAGGED,
    LARGE_GALAXY,
    POINT_SOURCE,
)
from clusterscan.preprocess.regions import COLUMNS, LARGEST_DEG

_BITS = {"stars": BRIGHT_STAR, "galaxies": LARGE_GALAXY, "points": POINT_SOURCE}
_SIZE_TO_RADIUS_ARCMIN = {
    "diameter_arcmin": 1 / 2,
    "diameter_arcsec": 1 / 120,
    "radius_arcsec": 1 / 60,
}
# Legacy Surveys, legacypipe/reference.py, mask_radius_for_mag: 1630 arcsec * 1.396**(-mag).
_LEGACY_ARCSEC, _LEGACY_BASE = 1630.0, 1.396


def radius_arcmin(rule: RadiusRule, magnitude: np.ndarray) -> np.ndarray:
    """Return a rule's radius for each magnitude [arcmin]; NaN for NaN, 0 where the rule has none.

    Parameters
    ----------
    rule : RadiusRule
        Of the settings.
    magnitude : float ndarray, shape (n,)
        In the band that the rule was made for.
    """
    magnitude = np.asarray(magnitude, dtype=np.float64)
    if isinstance(rule, LegacySurveysRadius):
        return _LEGACY_ARCSEC / 60.0 * _LEGACY_BASE ** (-magnitude)
    if isinstance(rule, PiecewiseRadius):
        mags, radii = np.array(rule.points, dtype=np.float64).T
        radius = 10.0 ** np.interp(magnitude, mags, np.log10(radii))
        return np.where(magnitude > mags[-1], 0.0, radius)
    return rule.at_zero_arcmin * 10.0 ** (-rule.slope * magnitude)


def bits_of(plane: np.uint8, use: str) -> int:
    """Return a plane's bit with the one that says what it means."""
    return int(plane | (EXCLUDED if use == "exclude" else FLAGGED))


def regions_of(
    mask: TableMask, table: pd.DataFrame, where: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the regions of a table's objects, and what became of its rows.

    Parameters
    ----------
    mask : StarMask, GalaxyMask or PointSourceMask
        The settings.
    table : DataFrame
        Validated: ra_deg, dec_deg and what the mask needs.
    where : str
        The table, for messages.

    Returns
    -------
    regions : DataFrame
        Columns of `clusterscan.preprocess.regions`; only objects of a size above 0.
    counts : dict
        rows, with a mask, unmeasured (left out for want of a magnitude or size), too small (of no
        size by the rule or a limit).

    Raises
    ------
    CatalogueError
        If the table has no rows, or objects lack what their size follows from and the settings
        do not say what then.
    """
    if table.empty:
        raise CatalogueError(
            f"{where}: has no rows, so it masks nothing; correct it or its `select`, or leave out "
            "the mask"
        )
    count = len(table)
    a, b, angle, without = _shapes(mask, table, where)
    _refuse_huge(a, table, where)
    drawn = a > 0
    regions = pd.DataFrame(
        {
            "bits": np.full(count, bits_of(_BITS[mask.kind], mask.use)),
            "ra_deg": table["ra_deg"].to_numpy(),
            "dec_deg": table["dec_deg"].to_numpy(),
            "a_deg": a / 60.0,
            "b_deg": b / 60.0,
            "pa_deg": angle,
        }
    ).astype(COLUMNS)[drawn]
    counts = {
        "rows": count,
        "with a mask": int(drawn.sum()),
        "unmeasured": int((without & ~drawn).sum()),
        "too small": int((~drawn & ~without).sum()),
    }
    return regions.reset_index(drop=True), counts


def _shapes(
    mask: TableMask, table: pd.DataFrame, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return half-axes [arcmin], 0 where nothing is masked, angle [deg], and who lacks a size."""
    if isinstance(mask, GalaxyMask):
        return _ellipses(mask, table, where)
    if isinstance(mask, StarMask):
        radius, without = _star_radii(mask, table, where)
    else:
        radius, without = _point_radii(mask.radius_arcmin, table, where)
    return radius, radius, np.zeros(len(table)), without


# No star is as bright in any band; catalogues write -9.99, -99 or -999 where there is no magnitude.
_NO_STARS_MAG = -9.0


def _star_radii(mask: StarMask, table: pd.DataFrame, where: str) -> tuple[np.ndarray, np.ndarray]:
    magnitude = _numbers(table, "mag")
    without = ~(np.isfinite(magnitude) & (magnitude > _NO_STARS_MAG))
    if mask.without_magnitude == "error":
        _refuse(without, table, "mag", where, "without_magnitude: leave_out, or largest")
    radius = mask.factor * radius_arcmin(mask.radius, np.where(without, 0.0, magnitude))
    radius = np.where(radius > 0, np.clip(radius, mask.min_arcmin, mask.max_arcmin), 0.0)
    if mask.faintest_mag is not None:
        radius[magnitude > mask.faintest_mag] = 0.0
    radius[without] = mask.max_arcmin if mask.without_magnitude == "largest" else 0.0
    return radius, without


def _ellipses(
    mask: GalaxyMask, table: pd.DataFrame, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    size = _numbers(table, "size")
    without = ~np.isfinite(size)
    if mask.size == "log_d25":
        radius = 10.0**size / 20.0  # of a diameter in 0.1 arcmin
    else:
        without |= ~(size > 0)
        radius = size * _SIZE_TO_RADIUS_ARCMIN[mask.size]
    if mask.without_size == "error":
        _refuse(without, table, "size", where, "without_size: leave_out")
    small = 2 * radius < mask.min_diameter_arcmin
    a = np.where(without | small, 0.0, np.minimum(mask.factor * radius, mask.max_arcmin))
    ratio, angle = np.ones(len(table)), np.zeros(len(table))
    if mask.axis_ratio != "none":
        given, turned = _numbers(table, "axis_ratio"), _numbers(table, "pa_deg")
        if mask.axis_ratio == "log_a_over_b":
            given = 10.0 ** (-given)
        # Of unknown shape or angle a circle holds every ellipse that it may be.
        known = np.isfinite(given) & (given > 0) & (given <= 1) & np.isfinite(turned)
        ratio, angle = np.where(known, given, 1.0), np.where(known, turned, 0.0)
    return a, a * ratio, angle, without


def _point_radii(
    radius: float | None, table: pd.DataFrame, where: str
) -> tuple[np.ndarray, np.ndarray]:
    if radius is not None:
        return np.full(len(table), radius), np.zeros(len(table), bool)
    values = _numbers(table, "radius_arcmin")
    without = ~(np.isfinite(values) & (values > 0))
    _refuse(without, table, "radius_arcmin", where, "radius_arcmin, one for all")
    return values, without


def _refuse_huge(a: np.ndarray, table: pd.DataFrame, where: str) -> None:
    """Refuse half-axes that a tangent plane at the region's centre does not hold."""
    huge = a > 60.0 * LARGEST_DEG
    if huge.any():
        row = int(np.flatnonzero(huge)[0])
        raise CatalogueError(
            f"{where}: {int(huge.sum())} of {len(table)} masks are larger than {LARGEST_DEG:g} "
            f"degrees, the first is row {row + 1} ({table['name'].iloc[row]}, {a[row]:g} arcmin); "
            "mend the table or its unit, or lower the mask's radius, factor or max_arcmin"
        )


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    number = pd.to_numeric(table[column], errors="coerce")
    return number.to_numpy(dtype=np.float64, na_value=np.nan)


def _refuse(bad: np.ndarray, table: pd.DataFrame, column: str, where: str, mending: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise CatalogueError(
            f"{where}: {int(bad.sum())} of {len(table)} rows lack {column}, the first is row "
            f"{row + 1} ({table['name'].iloc[row]}, RA {table['ra_deg'].iloc[row]:.5f}, Dec "
            f"{table['dec_deg'].iloc[row]:.5f}); mend the table, or set {mending}"
        )
