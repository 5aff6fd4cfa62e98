"""The mass limit over the sky: M500c at 50 and 90 % completeness of every tile, at one redshift.

A probed tile has a limit of its own, drawn to the footprint's as far as its own clusters do not
say; a tile without injected clusters has the footprint's, with the error that tiles' scatter gives
it. NESTED ordering, ICRS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.config.validation import InjectionGrid
from clusterscan.core.atomic import atomic_path
from clusterscan.selection.completeness import LIMITS, PIVOT_Z, TILE_WIDTH, Completeness, tile_shift
from clusterscan.validate.intervals import wilson

#: column of the FITS file: column of the table, unit, meaning
_COLUMNS = {
    "PIXEL": ("tile", None, "HEALPix tile, NESTED"),
    "PROBED": ("probed", None, "F: no injections, footprint's limit"),
    "N": ("n", None, "injected clusters that count"),
    "K": ("n_found", None, "of them found"),
    "FRACTION": ("found", None, "share found, all M and z"),
    "F_LOW": ("found_low", None, "lower end of its interval"),
    "F_HIGH": ("found_high", None, "upper end of its interval"),
    "M50": ("m50_msun", "solMass", "M500c at 50 % completeness"),
    "M90": ("m90_msun", "solMass", "M500c at 90 % completeness"),
    "LNERR50": ("ln_error_50", None, "error of ln M50, 68 %"),
    "LNERR90": ("ln_error_90", None, "error of ln M90, 68 %"),
}


def tile_limits(
    clusters: pd.DataFrame,
    fit: Completeness,
    drawn: Sequence[Completeness],
    tiles: Sequence[int],
    grid: InjectionGrid,
    confidence: float,
) -> pd.DataFrame:
    """Return the mass limits of tiles at the pivot redshift.

    Parameters
    ----------
    clusters : DataFrame
        Injected clusters that count: tile, m500c_msun, z, found.
    fit : Completeness
        Of all of them.
    drawn : sequence of Completeness
        Fits to resampled sky, for the error that all tiles share.
    tiles : sequence of int
        Tiles wanted, probed or not.
    grid : InjectionGrid
        Limits outside its masses are NaN.
    confidence : float
        Content of the interval of the found share.

    Returns
    -------
    DataFrame
        A row a tile: tile, probed, n, n_found, found (share) with found_low and found_high, z,
        ln_shift and ln_shift_error (of ln M at a given completeness), m50_msun, m90_msun and
        their errors ln_error_50, ln_error_90.
    """
    shared = {f: _ln_error(fit, drawn, f) for f in LIMITS}
    members = dict(tuple(clusters.groupby("tile")))
    rows = [_tile(tile, members.get(tile, clusters.iloc[:0]), fit, shared, grid) for tile in tiles]
    table = pd.DataFrame(rows)
    n, found = table["n"].to_numpy(), table["n_found"].to_numpy()
    low, high = wilson(found, n, confidence)
    share = np.where(n > 0, found / np.maximum(n, 1), np.nan)
    return table.assign(found=share, found_low=low, found_high=high)


def _tile(
    tile: int,
    part: pd.DataFrame,
    fit: Completeness,
    shared: Mapping[float, float],
    grid: InjectionGrid,
) -> dict[str, Any]:
    shift, error = 0.0, TILE_WIDTH
    if len(part):
        shift, error = tile_shift(
            fit, part["m500c_msun"].to_numpy(), part["z"].to_numpy(), part["found"].to_numpy()
        )
    row: dict[str, Any] = {
        "tile": int(tile), "probed": bool(len(part)), "n": len(part),
        "n_found": int(part["found"].sum()), "z": PIVOT_Z,
        "ln_shift": shift, "ln_shift_error": error,
    }  # fmt: skip
    lightest, heaviest = grid.m500c_edges_msun[0], grid.m500c_edges_msun[-1]
    for fraction in LIMITS:
        mass = float(fit.limit(fraction, PIVOT_Z) * np.exp(shift))
        name = f"{100 * fraction:.0f}"
        row[f"m{name}_msun"] = mass if lightest <= mass <= heaviest else float("nan")
        row[f"ln_error_{name}"] = float(np.hypot(error, shared[fraction]))
    return row


def _ln_error(fit: Completeness, drawn: Sequence[Completeness], fraction: float) -> float:
    """Return half the 68 % range of the footprint's ln limit over resampled sky; 0 without any."""
    ln_mass = np.log([float(one.limit(fraction, PIVOT_Z)) for one in drawn])
    ln_mass = ln_mass[np.isfinite(ln_mass)]
    if ln_mass.size < 2:
        return 0.0
    low, high = np.quantile(ln_mass, [0.16, 0.84])
    return float(high - low) / 2


def write_mass_map(
    path: Path, table: pd.DataFrame, tile_order: int, *, purity: float, seed: int
) -> None:
    """Write the limits as a partial HEALPix map that healpy and Aladin read (EXPLICIT, NESTED).

    The clusters are simulated, and the header says so; the same table always gives the same bytes.
    """
    from astropy.io import fits

    hdu = fits.BinTableHDU.from_columns([_column(table, *item) for item in _COLUMNS.items()])
    cards: dict[str, tuple[str | int | float | bool, str]] = {
        "EXTNAME": ("MASS_LIMITS", "mass at 50 and 90 % completeness"),
        "PIXTYPE": ("HEALPIX", ""),
        "ORDERING": ("NESTED", ""),
        "NSIDE": (2**tile_order, "of the tiles"),
        "INDXSCHM": ("EXPLICIT", "the column PIXEL holds the cells"),
        "OBJECT": ("PARTIAL", ""),
        "COORDSYS": ("C", "ICRS"),
        "REDSHIFT": (PIVOT_Z, "redshift of the limits"),
        "PURITY": (purity, "expected purity of the sample that is meant"),
        "CSSEED": (seed, "seed of the run"),
        "SIMULATD": (True, "the injected clusters are SIMULATED"),
    }
    for keyword, card in cards.items():
        hdu.header[keyword] = card
    for number, (_, (_, _, meaning)) in enumerate(_COLUMNS.items(), start=1):
        hdu.header.comments[f"TTYPE{number}"] = meaning
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(temporary)


def _column(table: pd.DataFrame, name: str, how: tuple[str, str | None, str]):
    from astropy.io import fits

    values = table[how[0]].to_numpy()
    form = {"b": "L", "i": "K", "f": "D"}[values.dtype.kind]
    return fits.Column(name, form, unit=how[1], array=values)


def for_the_report(table: pd.DataFrame, tile_order: int) -> dict[str, Any]:
    """Return what the report's figure needs: tiles, their M50, and whether they were probed."""
    return {
        "tile_order": tile_order,
        "z": PIVOT_Z,
        "tile": table["tile"].tolist(),
        "probed": table["probed"].tolist(),
        "m50_msun": table["m50_msun"].tolist(),
        "m90_msun": table["m90_msun"].tolist(),
    }
