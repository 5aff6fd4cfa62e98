"""Member galaxies of halos: how many, how bright, of what colour, and where.

References
----------
Bleem et al. 2020 (richness); Rykoff et al. 2014, ApJ 785, 104 (richness counts L > 0.2 L*).
Muzzin et al. 2007, ApJ 663, 150; Mancone et al. 2012, ApJ 761, 141 (luminosity function).
Hennig et al. 2017, MNRAS 467, 4015 (projected NFW, concentration, red part).
Lin & Mohr 2004, ApJ 617, 879 (brightest cluster galaxies).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaincc, gammaln

from clusterscan.config.simulation import HaloSettings
from clusterscan.physics import cosmology
from clusterscan.physics.richness import mean_richness
from clusterscan.simulate.cells import Kind, generator, offset_positions
from clusterscan.simulate.galaxies import characteristic_w1, mean_colour
from clusterscan.simulate.halos import Halos, halos_of_cell

ALPHA = -0.8
"""Faint-end slope of cluster members; above -1, so the numbers have a closed form."""

RED_PART = 0.7
"""Part of the galaxies above 0.2 L* that richness counts (red sequence)."""

CONCENTRATION = 3.6
R200_OVER_R500 = 1.0 / 0.65
_RICHNESS_LIMIT_LSTAR, FAINTEST_LSTAR, _BRIGHTEST_LSTAR = 0.2, 0.02, 8.0
_RED_SCATTER, _BLUE_SCATTER, _BLUE_SHIFT = 0.04, 0.12, 0.08
_BCG_SCATTER_MAG, _BCG_ABOVE_MSTAR, _BCG_MASS_SLOPE = 0.3, 1.6, 0.26


@dataclass(frozen=True)
class Members:
    """Member galaxies of a generation cell's halos, each column of shape (n,)."""

    ra_deg: np.ndarray
    dec_deg: np.ndarray
    w1_mag: np.ndarray
    w2_mag: np.ndarray
    halo: np.ndarray
    """Row of the halo in `halos_of_cell`."""
    red: np.ndarray
    """Whether the galaxy lies on the red sequence."""


def _above(x: np.ndarray | float) -> np.ndarray:
    """Return the Schechter function's integral above x = L / L* over that above 0."""
    return gammaincc(ALPHA + 1, x)


def members_per_richness(faintest_lstar: float = FAINTEST_LSTAR) -> float:
    """Return the number of all members brighter than a limit, per unit richness."""
    ratio = _above(faintest_lstar) / _above(_RICHNESS_LIMIT_LSTAR)
    return float(ratio / RED_PART)


@lru_cache(maxsize=1)
def _luminosity_quantiles() -> tuple[np.ndarray, np.ndarray]:
    x = np.geomspace(FAINTEST_LSTAR, _BRIGHTEST_LSTAR, 500)
    above = _above(x)
    return (above[0] - above) / (above[0] - above[-1]), np.log(x)


@lru_cache(maxsize=1)
def _radius_quantiles() -> tuple[np.ndarray, np.ndarray]:
    """Return (cumulative, R / R200) of a projected NFW profile inside R200.

    References
    ----------
    Bartelmann 1996, A&A 313, 697: enclosed projected mass.
    """
    x = np.geomspace(1e-3, CONCENTRATION, 400)
    low, high = x < 1, x > 1
    inner = np.ones_like(x)
    inner[low] = np.arccosh(1 / x[low]) / np.sqrt(1 - x[low] ** 2)
    inner[high] = np.arccos(1 / x[high]) / np.sqrt(x[high] ** 2 - 1)
    mass = np.log(x / 2) + inner
    return np.concatenate([[0.0], mass / mass[-1]]), np.concatenate([[0.0], x / CONCENTRATION])


@lru_cache(maxsize=96)
def members_of_cell(cell: int, seed: int, settings: HaloSettings) -> Members:
    """Draw the members of all halos centred in a generation cell, the brightest at the centre."""
    return draw_members(halos_of_cell(cell, seed, settings), generator(seed, Kind.MEMBERS, cell))


def draw_members(halos: Halos, rng: np.random.Generator) -> Members:
    """Draw the member galaxies of halos, the brightest at the centre."""
    number = rng.poisson(halos.richness * members_per_richness())
    halo = np.repeat(np.arange(len(halos)), number)
    n = len(halo)
    x = np.exp(np.interp(rng.random(n), *_luminosity_quantiles()))
    radius = np.interp(rng.random(n), *_radius_quantiles())
    angle = rng.random(n) * 2 * np.pi
    red = rng.random(n) < RED_PART
    colour_noise = rng.standard_normal(n)
    z = halos.z[halo]
    w1 = characteristic_w1(z) - 2.5 * np.log10(x)
    colour = mean_colour(z) + np.where(
        red, _RED_SCATTER * colour_noise, _BLUE_SHIFT + _BLUE_SCATTER * colour_noise
    )
    r200_deg = halos.r500_arcmin[halo] * R200_OVER_R500 / 60.0
    ra, dec = offset_positions(halos.ra_deg[halo], halos.dec_deg[halo], radius * r200_deg, angle)
    bcg_w1, bcg_w2 = _brightest(rng, halos)
    return Members(
        ra_deg=np.concatenate([halos.ra_deg, ra]),
        dec_deg=np.concatenate([halos.dec_deg, dec]),
        w1_mag=np.concatenate([bcg_w1, w1]),
        w2_mag=np.concatenate([bcg_w2, w1 - colour]),
        halo=np.concatenate([np.arange(len(halos)), halo]),
        red=np.concatenate([np.ones(len(halos), dtype=bool), red]),
    )


def brightest_w1(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the mean W1 of a halo's brightest galaxy [Vega mag]."""
    excess = 2.5 * _BCG_MASS_SLOPE * np.log10(m500c_msun / 2e14) + _BCG_ABOVE_MSTAR
    return characteristic_w1(z) - excess


def _brightest(rng: np.random.Generator, halos: Halos) -> tuple[np.ndarray, np.ndarray]:
    w1 = brightest_w1(halos.m500c_msun, halos.z)
    w1 = w1 + _BCG_SCATTER_MAG * rng.standard_normal(len(halos))
    colour = mean_colour(halos.z) + _RED_SCATTER * rng.standard_normal(len(halos))
    return w1, w1 - colour


def mean_member_counts(w1_mag: np.ndarray, settings: HaloSettings) -> np.ndarray:
    """Return what the galaxies of all halos add to the counts, on average [mag-1 deg-2].

    Parameters
    ----------
    w1_mag : ndarray, shape (n,)
        Apparent magnitudes [Vega].
    settings : HaloSettings
        The halos' settings.
    """
    table = cosmology.halo_table(settings.group_m500c_min_msun, settings.z_min, settings.z_max)
    mass = np.exp((table.ln_mass_edges[1:] + table.ln_mass_edges[:-1]) / 2)
    z = (table.z_edges[1:] + table.z_edges[:-1]) / 2
    mag = np.asarray(w1_mag)
    scatter = np.exp(settings.richness_scatter_ln**2 / 2)
    richness = mean_richness(mass[:, None], z[None, :]) * scatter
    members = (table.per_deg2 * richness).sum(axis=0) * members_per_richness()
    x = 10 ** (-0.4 * (mag[:, None] - characteristic_w1(z)[None, :]))
    total = _above(FAINTEST_LSTAR) * np.exp(gammaln(ALPHA + 1))
    per_mag = 0.4 * np.log(10) * x ** (ALPHA + 1) * np.exp(-x) / total
    satellites = (per_mag * (x > FAINTEST_LSTAR) * members[None, :]).sum(axis=1)
    offset = mag[:, None] - brightest_w1(mass[:, None], z[None, :]).ravel()[None, :]
    gaussian = np.exp(-0.5 * (offset / _BCG_SCATTER_MAG) ** 2)
    gaussian /= _BCG_SCATTER_MAG * np.sqrt(2 * np.pi)
    return satellites + gaussian @ table.per_deg2.ravel()
