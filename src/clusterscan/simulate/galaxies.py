"""Galaxies in W1 and W2: the field, the passive m*(z), and the members of halos.

Field galaxies follow published counts minus the mean contribution of the halos' members. The
number of members follows the halo's richness; luminosity, colour and radius are drawn.

References
----------
Fazio et al. 2004, ApJS 154, 39 (3.6 um galaxy counts, Euclidean to 16 mag; here a smooth fit).
Andreon 2006, A&A 448, 447 (m* of cluster galaxies at 3.6 um: 16.30 at z = 0.5).
Mancone et al. 2010, ApJ 720, 284 (m* follows passive evolution to z = 1.3).
Papovich 2008, ApJ 676, 206; Stern et al. 2012, ApJ 753, 30 (colour against redshift, AGN).
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

from clusterscan.config.simulation import HaloSettings, SimulationSettings
from clusterscan.physics import cosmology
from clusterscan.physics.mass_function import halo_table, mean_richness
from clusterscan.simulate.halos import Halos, halos_of_cell
from clusterscan.simulate.sky_cells import (
    GENERATION_AREA_DEG2,
    Kind,
    generator,
    offset_positions,
    uniform_positions,
)

# --- field galaxies ---------------------------------------------------------------------------


# Differential counts, log10(N / mag / deg2), against 3.6 um Vega magnitude.
_COUNT_MAG = np.array([10.0, 16.0, 16.5, 17.0, 17.5, 18.0, 18.5, 19.0, 19.5, 20.0, 21.0])
_COUNT_LOG = np.array([-0.25, 3.35, 3.62, 3.87, 4.06, 4.21, 4.34, 4.45, 4.54, 4.62, 4.77])

_M_STAR_W1 = -24.40  # z = 0
_KE_SLOPE = 9.1  # k + e correction, -9.1 log10(1 + z): 16.30 at z = 0.5, 17.0 at z = 1
FIELD_ALPHA = -1.1

_COLOUR_Z = np.array(
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 4.0]
)
_COLOUR = np.array(
    [-0.05, 0.08, 0.18, 0.22, 0.20, 0.12, 0.04, 0.00, 0.01, 0.07, 0.15, 0.31, 0.45, 0.54, 0.60,
     0.64, 0.68, 0.60]
)  # fmt: skip

_FIELD_COLOUR_SCATTER = 0.12
_AGN_PART, _AGN_COLOUR, _AGN_SCATTER = 0.04, 1.0, 0.25


def characteristic_w1(z: np.ndarray) -> np.ndarray:
    """Return the apparent W1 of an L* galaxy, passively evolving [Vega mag]."""
    z = np.asarray(z)
    return _M_STAR_W1 + cosmology.distance_modulus(z) - _KE_SLOPE * np.log10(1 + z)


def mean_colour(z: np.ndarray) -> np.ndarray:
    """Return W1 - W2 of an old stellar population [Vega mag]."""
    return np.interp(z, _COLOUR_Z, _COLOUR)


def published_counts(w1_mag: np.ndarray) -> np.ndarray:
    """Return galaxy counts at 3.6 um [mag-1 deg-2]."""
    return 10 ** np.interp(w1_mag, _COUNT_MAG, _COUNT_LOG)


@lru_cache(maxsize=4)
def _field_table(settings: SimulationSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return magnitude edges, redshift edges and cumulative field galaxies per deg2.

    The counts are the published ones minus the members of halos; at each magnitude the redshifts
    follow an evolving Schechter function.
    """
    mags = np.linspace(10.0, settings.infrared.galaxy_limit_w1_mag, 96)
    z_edges = np.concatenate([np.linspace(0.005, 0.3, 30), np.linspace(0.32, 3.5, 80)])
    mag, z = (mags[1:] + mags[:-1]) / 2, (z_edges[1:] + z_edges[:-1]) / 2
    # phi* falls slowly with redshift, as luminosity functions to z = 3 do (Helgason et al. 2012)
    bright = 10 ** (-0.4 * (mag[:, None] - characteristic_w1(z)[None, :]))
    density = bright ** (FIELD_ALPHA + 1) * np.exp(-bright) * 10 ** (-0.25 * z)
    joint = density * np.diff(cosmology.comoving_distance_mpc(z_edges) ** 3)
    # At each magnitude this is a distribution in redshift alone; the counts then fix its total.
    joint /= np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
    # Members are drawn with their halos: without subtracting them, the sum would exceed the counts.
    counts = published_counts(mag)
    # The floor keeps some field galaxies where, by an odd choice of settings, members alone would
    # exceed the published counts.
    field = np.maximum(counts - mean_member_counts(mag, settings.halos), 0.3 * counts)
    return mags, z_edges, np.cumsum((joint * (field * np.diff(mags))[:, None]).ravel())


@dataclass(frozen=True)
class FieldGalaxies:
    """Field galaxies of a generation cell, each column of shape (n,)."""

    ra_deg: np.ndarray
    dec_deg: np.ndarray
    w1_mag: np.ndarray
    w2_mag: np.ndarray
    z: np.ndarray
    agn: np.ndarray
    """True if the galaxy has the colour of an active nucleus."""


def draw_field_galaxies(cell: int, seed: int, settings: SimulationSettings) -> FieldGalaxies:
    """Draw the field galaxies of a generation cell."""
    mags, z_edges, cumulative = _field_table(settings)
    rng = generator(seed, Kind.GALAXIES, cell)
    count = rng.poisson(cumulative[-1] * GENERATION_AREA_DEG2)
    bins = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    i, j = np.divmod(np.minimum(bins, len(cumulative) - 1), len(z_edges) - 1)
    w1 = mags[i] + rng.random(count) * (mags[1] - mags[0])
    z = (z_edges[j] + z_edges[j + 1]) / 2
    colour = mean_colour(z) + _FIELD_COLOUR_SCATTER * rng.standard_normal(count)
    agn = rng.random(count) < _AGN_PART
    colour[agn] = _AGN_COLOUR + _AGN_SCATTER * rng.standard_normal(int(agn.sum()))
    ra, dec = uniform_positions(rng, cell, count)
    return FieldGalaxies(ra, dec, w1, w1 - colour, z, agn)


def field_galaxies_of_cell(
    cell: int, seed: int, settings: SimulationSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return positions and magnitudes of a cell's field galaxies.

    Returns
    -------
    ra_deg, dec_deg, w1_mag, w2_mag : ndarray, shape (n,)
    """
    drawn = draw_field_galaxies(cell, seed, settings)
    return drawn.ra_deg, drawn.dec_deg, drawn.w1_mag, drawn.w2_mag


# --- members of halos -------------------------------------------------------------------------


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
    """True if the galaxy lies on the red sequence."""


def _above(x: np.ndarray | float) -> np.ndarray:
    """Return the fraction of a Schechter function's galaxies that lie above x = L / L*."""
    return gammaincc(ALPHA + 1, x)


def members_per_richness(faintest_lstar: float = FAINTEST_LSTAR) -> float:
    """Return the number of all members brighter than a limit, per unit richness."""
    ratio = _above(faintest_lstar) / _above(_RICHNESS_LIMIT_LSTAR)
    return float(ratio / RED_PART)


@lru_cache(maxsize=1)
def _luminosity_quantiles() -> tuple[np.ndarray, np.ndarray]:
    """Return (cumulative, ln L / L*) of the members' luminosity function."""
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
    # Projected mass within x = R / r_s of an NFW profile, up to a factor; x = 1 is its removable
    # singularity, where `inner` is 1.
    mass = np.log(x / 2) + inner
    return np.concatenate([[0.0], mass / mass[-1]]), np.concatenate([[0.0], x / CONCENTRATION])


@lru_cache(maxsize=96)
def members_of_cell(cell: int, seed: int, settings: HaloSettings) -> Members:
    """Draw the members of all halos centred in a generation cell, the brightest at the centre."""
    return draw_members(halos_of_cell(cell, seed, settings), generator(seed, Kind.MEMBERS, cell))


def draw_members(halos: Halos, rng: np.random.Generator) -> Members:
    """Draw the member galaxies of halos, the brightest at the centre."""
    # Richness counts red galaxies above 0.2 L*. All members down to 0.02 L* are drawn, so the
    # number is scaled up by the luminosity function and the red fraction.
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
        # The brightest galaxies come first, one for each halo, also for halos without other
        # members.
        halo=np.concatenate([np.arange(len(halos)), halo]),
        red=np.concatenate([np.ones(len(halos), dtype=bool), red]),
    )


def brightest_w1(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the mean W1 of a halo's brightest galaxy [Vega mag]."""
    excess = 2.5 * _BCG_MASS_SLOPE * np.log10(m500c_msun / 2e14) + _BCG_ABOVE_MSTAR
    return characteristic_w1(z) - excess


def _brightest(rng: np.random.Generator, halos: Halos) -> tuple[np.ndarray, np.ndarray]:
    """Draw W1 and W2 of the brightest galaxy of each halo."""
    w1 = brightest_w1(halos.m500c_msun, halos.z)
    w1 = w1 + _BCG_SCATTER_MAG * rng.standard_normal(len(halos))
    colour = mean_colour(halos.z) + _RED_SCATTER * rng.standard_normal(len(halos))
    return w1, w1 - colour


def mean_member_counts(w1_mag: np.ndarray, settings: HaloSettings) -> np.ndarray:
    """Return the mean contribution of the galaxies of all halos to the counts [mag-1 deg-2].

    Parameters
    ----------
    w1_mag : ndarray, shape (n,)
        Apparent magnitudes [Vega].
    settings : HaloSettings
        The halos' settings.
    """
    table = halo_table(settings.group_m500c_min_msun, settings.z_min, settings.z_max)
    mass = np.exp((table.ln_mass_edges[1:] + table.ln_mass_edges[:-1]) / 2)
    z = (table.z_edges[1:] + table.z_edges[:-1]) / 2
    mag = np.asarray(w1_mag)
    # The mean of a log-normal lies above its median by this factor.
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
