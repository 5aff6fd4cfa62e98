"""Measure completeness C(M500c, z) from injected clusters: fit, mass limits, expected counts.

The fit is ``C = c / (1 + exp(-(ln M - mu(z)) / s))`` with mu a parabola in z. The ceiling c lies
below one, because clusters behind stars and in masks are lost at any mass.

A probed tile has its own mass limit, which is drawn towards the footprint's limit where the tile
has few clusters. A tile without injected clusters has the footprint's limit, with the scatter
between tiles as its error. The expected counts come from the mass function of Tinker et al. 2008 in
Planck 2018 cosmology (`clusterscan.physics.cosmology`), within the injected masses and redshifts:
the injections say nothing about clusters beyond them. Nothing here enters the catalogue.
NESTED ordering, ICRS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, logit

from clusterscan.config.validation import InjectionGrid
from clusterscan.core.atomic import atomic_path
from clusterscan.measure.intervals import wilson
from clusterscan.physics.mass_function import HaloTable, halo_table

PIVOT_MSUN, PIVOT_Z = 3e14, 0.6
LIMITS = (0.5, 0.9)
#: Faint Gaussian pulls on ln M at 50 %, its slope and bend in z, ln s, and logit c: they matter
#: only where the injections do not say.
_PRIOR_MEAN = np.array([0.0, 0.0, 0.0, np.log(0.4), 2.5])
_PRIOR_WIDTH = np.array([1.5, 2.0, 3.0, 0.7, 1.5])
TILE_WIDTH = 0.3
"""Expected scatter of ln M at 50 % completeness between tiles."""


@dataclass(frozen=True)
class Completeness:
    """The fitted parameters; `at` evaluates the fit.

    Attributes
    ----------
    level, slope, bend : float
        mu(z) = ln(pivot mass) + level + slope (z - 0.6) + bend (z - 0.6)^2.
    width : float
        s, in ln M.
    ceiling : float
        c.
    """

    level: float
    slope: float
    bend: float
    width: float
    ceiling: float

    def mu(self, z: np.ndarray | float) -> np.ndarray:
        """Return ln M at half the ceiling [ln Msun]."""
        away = np.asarray(z, dtype=np.float64) - PIVOT_Z
        return np.log(PIVOT_MSUN) + self.level + self.slope * away + self.bend * away**2

    def at(self, m500c_msun: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
        """Return the completeness at masses and redshifts."""
        return self.ceiling * expit((np.log(m500c_msun) - self.mu(z)) / self.width)

    def limit(self, fraction: float, z: np.ndarray | float) -> np.ndarray:
        """Return the mass where completeness reaches a fraction [Msun]; NaN if it never does."""
        mu = self.mu(z)
        if fraction >= self.ceiling:
            return np.full(mu.shape, np.nan)
        return np.exp(mu + self.width * logit(fraction / self.ceiling))

    def to_dict(self) -> dict[str, float]:
        """Return all numbers to eight digits, for JSON."""
        return {key: float(f"{value:.8g}") for key, value in asdict(self).items()}


def fit_completeness(m500c_msun: np.ndarray, z: np.ndarray, found: np.ndarray) -> Completeness:
    """Fit the completeness by (penalised) maximum likelihood.

    Parameters
    ----------
    m500c_msun, z : float ndarray, shape (n,)
        Mass and redshift of the injected clusters.
    found : bool ndarray, shape (n,)
    """
    mass = np.log(np.asarray(m500c_msun, dtype=np.float64) / PIVOT_MSUN)
    away, hit = np.asarray(z, dtype=np.float64) - PIVOT_Z, np.asarray(found, dtype=bool)

    def cost(theta: np.ndarray) -> tuple[float, np.ndarray]:
        # Width and ceiling are fitted as ln s and logit c, so they stay positive and below 1
        # without bounds.
        s, c = np.exp(theta[3]), expit(theta[4])
        u = (mass - theta[0] - theta[1] * away - theta[2] * away**2) / s
        rise = expit(u)
        p = np.clip(c * rise, 1e-9, 1 - 1e-9)
        pull = (theta - _PRIOR_MEAN) / _PRIOR_WIDTH
        value = -np.log(np.where(hit, p, 1 - p)).sum() + 0.5 * (pull**2).sum()
        outer = np.where(hit, -1 / p, 1 / (1 - p))
        # The chain rule: d(-ln L)/du for each cluster; the derivatives of u by the parameters
        # follow.
        per_u = outer * c * rise * (1 - rise)
        gradient = np.array(
            [
                -(per_u / s).sum(),
                -(per_u * away / s).sum(),
                -(per_u * away**2 / s).sum(),
                -(per_u * u).sum(),
                (outer * rise * c * (1 - c)).sum(),
            ]
        )
        return value, gradient + pull / _PRIOR_WIDTH

    solved = minimize(cost, _PRIOR_MEAN, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    level, slope, bend, width, ceiling = solved.x
    return Completeness(level, slope, bend, float(np.exp(width)), float(expit(ceiling)))


def tile_shift(
    fit: Completeness, m500c_msun: np.ndarray, z: np.ndarray, found: np.ndarray
) -> tuple[float, float]:
    """Return the shift in ln M of a tile's completeness from the footprint's, and its error.

    A prior of width `TILE_WIDTH` draws the shift towards 0, so a tile with few clusters has the
    footprint's limit and a large error.
    """
    mass, mu = np.log(np.asarray(m500c_msun, dtype=np.float64)), fit.mu(z)
    hit = np.asarray(found, dtype=bool)
    # One parameter on a grid: the posterior's mean and width are sums, exact also where few
    # clusters leave it far from Gaussian.
    grid = np.linspace(-1.2, 1.2, 241)
    p = fit.ceiling * expit((mass - mu - grid[:, None]) / fit.width)
    p = np.clip(p, 1e-9, 1 - 1e-9)
    log_like = np.log(np.where(hit, p, 1 - p)).sum(axis=1) - 0.5 * (grid / TILE_WIDTH) ** 2
    weight = np.exp(log_like - log_like.max())
    weight /= weight.sum()
    mean = float((weight * grid).sum())
    return mean, float(np.sqrt((weight * (grid - mean) ** 2).sum()))


def binned(
    mass_bin: np.ndarray,
    z_bin: np.ndarray,
    found: np.ndarray,
    grid: InjectionGrid,
    confidence: float,
) -> dict[str, Any]:
    """Count injected and found clusters in the grid's bins, with Wilson intervals.

    Returns
    -------
    dict
        m500c_edges_msun, z_edges; n, k, value, low, high: lists of rows (mass) of columns (z).
    """
    shape = (len(grid.m500c_edges_msun) - 1, len(grid.z_edges) - 1)
    n, k = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    np.add.at(n, (mass_bin, z_bin), 1)
    np.add.at(k, (mass_bin, z_bin), np.asarray(found, dtype=np.int64))
    low, high = wilson(k, n, confidence)
    value = np.where(n > 0, k / np.maximum(n, 1), np.nan)
    return {
        "m500c_edges_msun": list(grid.m500c_edges_msun),
        "z_edges": list(grid.z_edges),
        "n": n.tolist(),
        "k": k.tolist(),
        "value": value.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def limits(
    fit: Completeness, drawn: list[Completeness], grid: InjectionGrid
) -> list[dict[str, Any]]:
    """Return the masses at 50 and 90 % completeness in the middle of each redshift bin.

    Returns
    -------
    list of dict
        fraction, z, m500c_msun, low, high (68 % of the draws); None where the limit lies outside
        the injected masses or is never reached.
    """
    lightest, heaviest = grid.m500c_edges_msun[0], grid.m500c_edges_msun[-1]

    def inside(mass: float) -> float | None:
        return float(f"{mass:.6g}") if lightest <= mass <= heaviest else None

    rows = []
    for fraction in LIMITS:
        for z in np.convolve(grid.z_edges, [0.5, 0.5], "valid"):
            masses = np.array([float(one.limit(fraction, z)) for one in drawn])
            # A draw that never reaches the fraction has its limit above all masses.
            masses = np.where(np.isnan(masses), np.inf, masses)
            low, high = (
                np.quantile(masses, [0.16, 0.84], method="nearest")
                if masses.size
                else (np.nan, np.nan)
            )
            rows.append(
                {
                    "fraction": fraction,
                    "z": float(f"{z:.6g}"),
                    "m500c_msun": inside(float(fit.limit(fraction, z))),
                    "low": inside(float(low)),
                    "high": inside(float(high)),
                }
            )
    return rows


def resampled_fits(
    columns: Mapping[str, np.ndarray],
    cell: np.ndarray,
    *,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> list[Completeness]:
    """Repeat the fit with sky cells drawn with replacement.

    ``columns`` holds m500c_msun, z and found, and ``cell`` the sky cells, all of shape (n,).
    """
    cells = np.unique(cell)
    members = [np.flatnonzero(cell == one) for one in cells]
    fits = []
    # As in `clusterscan.merge.calibrate`: cells are drawn, because clusters of a cell share depth
    # and noise.
    for _ in range(n_bootstrap):
        rows = np.concatenate([members[i] for i in rng.integers(cells.size, size=cells.size)])
        fits.append(fit_completeness(**{key: column[rows] for key, column in columns.items()}))
    return fits


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
    """Measure the mass limits of tiles at the pivot redshift.

    Parameters
    ----------
    clusters : DataFrame
        Injected clusters that count: tile, m500c_msun, z, found.
    fit : Completeness
        The fit to all of them.
    drawn : sequence of Completeness
        Fits to resampled sky, which give the error that all tiles have in common.
    tiles : sequence of int
        Tiles wanted, probed or not.
    grid : InjectionGrid
        Limits outside the grid's masses are NaN.
    confidence : float
        Probability content of the interval of the found share.

    Returns
    -------
    DataFrame
        One row per tile: tile, probed, n, n_found, found (share) with found_low and found_high, z,
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
        # The tile's own error and the error of the footprint's fit, which all tiles have in common.
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
    """Write the limits as a partial HEALPix map for healpy and Aladin (EXPLICIT, NESTED).

    The header says that the clusters are simulated. The same table always gives the same bytes.
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
    """Return the mass limits as lists for the report's figure."""
    return {
        "tile_order": tile_order,
        "z": PIVOT_Z,
        "tile": table["tile"].tolist(),
        "probed": table["probed"].tolist(),
        "m50_msun": table["m50_msun"].tolist(),
        "m90_msun": table["m90_msun"].tolist(),
    }


@dataclass(frozen=True)
class Expected:
    """The expected number of found clusters: a mass function times the completeness.

    Attributes
    ----------
    table : HaloTable
        All clusters per square degree, in bins of ln mass and redshift.
    fit : Completeness
        The completeness of the footprint.
    shifts : mapping of tile to float
        Shift in ln M of a tile's completeness (`tile_shift`); 0 for tiles that are not named.
    """

    table: HaloTable
    fit: Completeness
    shifts: Mapping[int, float]

    def found(self, tile: int) -> np.ndarray:
        """Return the expected found clusters per deg2 in the table's bins, (n_mass, n_z)."""
        mass = np.exp((self.table.ln_mass_edges[1:] + self.table.ln_mass_edges[:-1]) / 2)
        z = (self.table.z_edges[1:] + self.table.z_edges[:-1]) / 2
        # A tile whose limit is higher by a factor sees a cluster as the footprint would see one
        # lighter by that factor.
        eased = mass * np.exp(-self.shifts.get(tile, 0.0))
        return self.table.per_deg2 * self.fit.at(eased[:, None], z[None, :])

    def per_deg2(self, tile: int) -> float:
        """Return the expected found clusters per square degree of a tile."""
        return float(self.found(tile).sum())

    def draw(self, tile: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Draw ln M500c [ln Msun] and redshift of found clusters of a tile, each (count,)."""
        weight = self.found(tile).ravel()
        bins = rng.choice(weight.size, count, p=weight / weight.sum())
        row, column = np.divmod(bins, self.table.per_deg2.shape[1])
        return tuple(
            edges[at] + rng.random(count) * np.diff(edges)[at]
            for edges, at in ((self.table.ln_mass_edges, row), (self.table.z_edges, column))
        )


def mass_function(grid: InjectionGrid) -> HaloTable:
    """Return the mass function within the injected masses and redshifts, per square degree."""
    low, high = np.log(grid.m500c_edges_msun[0]), np.log(grid.m500c_edges_msun[-1])
    whole = halo_table(grid.m500c_edges_msun[0], grid.z_edges[0], grid.z_edges[-1])
    keep = whole.ln_mass_edges[:-1] < high
    edges = np.minimum(whole.ln_mass_edges[: keep.sum() + 1], high)
    # The heaviest mass cuts through a bin, whose number shrinks with its width.
    share = np.diff(edges) / np.diff(whole.ln_mass_edges[: keep.sum() + 1])
    edges[0] = low
    return HaloTable(edges, whole.z_edges, whole.per_deg2[keep] * share[:, None])


def expected_of(injection: Mapping[str, Any], grid: InjectionGrid) -> Expected | None:
    """Build the expectation from an injection report; None if the report has no fit."""
    if not injection or "fit" not in injection:
        return None
    shifts = {int(row["tile"]): float(row["ln_shift"]) for row in injection["tiles"]}
    return Expected(mass_function(grid), Completeness(**injection["fit"]), shifts)
