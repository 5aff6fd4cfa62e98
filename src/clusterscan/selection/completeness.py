"""Completeness C(M500c, z) from injected clusters: bins with intervals, a smooth fit, limits.

The fit is ``C = c / (1 + exp(-(ln M - mu(z)) / s))`` with mu a parabola in z and a ceiling c below
one: clusters behind stars and in masks are lost at any mass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from clusterscan.config.validation import InjectionGrid
from clusterscan.validate.intervals import wilson

PIVOT_MSUN, PIVOT_Z = 3e14, 0.6
LIMITS = (0.5, 0.9)
#: Faint Gaussian pulls on ln M at 50 %, its slope and bend in z, ln s, and logit c: they matter
#: only where the injections do not say.
_PRIOR_MEAN = np.array([0.0, 0.0, 0.0, np.log(0.4), 2.5])
_PRIOR_WIDTH = np.array([1.5, 2.0, 3.0, 0.7, 1.5])
TILE_WIDTH = 0.3
"""How much tiles' ln M at 50 % are expected to differ."""


@dataclass(frozen=True)
class Completeness:
    """The fit's numbers; `at` evaluates it.

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
        """Return the mass at which the completeness reaches a fraction [Msun]; NaN: never."""
        mu = self.mu(z)
        if fraction >= self.ceiling:
            return np.full(mu.shape, np.nan)
        return np.exp(mu + self.width * logit(fraction / self.ceiling))

    def to_dict(self) -> dict[str, float]:
        """Return all numbers to eight digits, for JSON."""
        return {key: float(f"{value:.8g}") for key, value in asdict(self).items()}


def fit_completeness(m500c_msun: np.ndarray, z: np.ndarray, found: np.ndarray) -> Completeness:
    """Return the smooth completeness of the highest (penalised) likelihood.

    Parameters
    ----------
    m500c_msun, z : float ndarray, shape (n,)
        Of the injected clusters.
    found : bool ndarray, shape (n,)
    """
    mass = np.log(np.asarray(m500c_msun, dtype=np.float64) / PIVOT_MSUN)
    away, hit = np.asarray(z, dtype=np.float64) - PIVOT_Z, np.asarray(found, dtype=bool)

    def cost(theta: np.ndarray) -> tuple[float, np.ndarray]:
        s, c = np.exp(theta[3]), expit(theta[4])
        u = (mass - theta[0] - theta[1] * away - theta[2] * away**2) / s
        rise = expit(u)
        p = np.clip(c * rise, 1e-9, 1 - 1e-9)
        pull = (theta - _PRIOR_MEAN) / _PRIOR_WIDTH
        value = -np.log(np.where(hit, p, 1 - p)).sum() + 0.5 * (pull**2).sum()
        outer = np.where(hit, -1 / p, 1 / (1 - p))
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
    """Return by how much ln M at a given completeness is higher on a tile, and its error.

    The shift is drawn to 0 as far as the tile's own clusters do not say: a tile with few has the
    footprint's limit and a large error.
    """
    mass, mu = np.log(np.asarray(m500c_msun, dtype=np.float64)), fit.mu(z)
    hit = np.asarray(found, dtype=bool)
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
    """Return counts and completeness in the grid's bins, with Wilson intervals.

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
            # A draw that never gets there stands for a limit above all masses.
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
    """Return fits to injected clusters whose sky cells are drawn with replacement.

    Parameters
    ----------
    columns : mapping
        m500c_msun, z, found: ndarrays of shape (n,).
    cell : int ndarray, shape (n,)
        Sky cells.
    n_bootstrap : int
    rng : numpy.random.Generator
    """
    cells = np.unique(cell)
    members = [np.flatnonzero(cell == one) for one in cells]
    fits = []
    for _ in range(n_bootstrap):
        rows = np.concatenate([members[i] for i in rng.integers(cells.size, size=cells.size)])
        fits.append(fit_completeness(**{key: column[rows] for key, column in columns.items()}))
    return fits
