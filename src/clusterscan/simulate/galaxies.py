"""Galaxies in W1 and W2: counts, redshifts, colours and the passive m*(z).

References
----------
Fazio et al. 2004, ApJS 154, 39 (3.6 um galaxy counts, Euclidean to 16 mag; here a smooth fit).
Andreon 2006, A&A 448, 447 (m* of cluster galaxies at 3.6 um: 16.30 at z = 0.5).
Mancone et al. 2010, ApJ 720, 284 (m* follows passive evolution to z = 1.3).
Papovich 2008, ApJ 676, 206; Stern et al. 2012, ApJ 753, 30 (colour against redshift, AGN).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clusterscan.config.simulation import SimulationSettings
from clusterscan.physics import cosmology
from clusterscan.simulate.cells import GENERATION_AREA_DEG2, Kind, generator, uniform_positions

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

    The counts are the published ones less the members that halos contribute; at each magnitude
    the redshifts follow an evolving Schechter function.
    """
    from clusterscan.simulate.members import mean_member_counts

    mags = np.linspace(10.0, settings.infrared.galaxy_limit_w1_mag, 96)
    z_edges = np.concatenate([np.linspace(0.005, 0.3, 30), np.linspace(0.32, 3.5, 80)])
    mag, z = (mags[1:] + mags[:-1]) / 2, (z_edges[1:] + z_edges[:-1]) / 2
    # phi* falls slowly with redshift, as luminosity functions to z = 3 do (Helgason et al. 2012)
    bright = 10 ** (-0.4 * (mag[:, None] - characteristic_w1(z)[None, :]))
    density = bright ** (FIELD_ALPHA + 1) * np.exp(-bright) * 10 ** (-0.25 * z)
    joint = density * np.diff(cosmology.comoving_distance_mpc(z_edges) ** 3)
    joint /= np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
    counts = published_counts(mag)
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
    """Whether the colour is that of an active nucleus."""


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
    """Return what the infrared survey sees of a cell's field galaxies.

    Returns
    -------
    ra_deg, dec_deg, w1_mag, w2_mag : ndarray, shape (n,)
    """
    drawn = draw_field_galaxies(cell, seed, settings)
    return drawn.ra_deg, drawn.dec_deg, drawn.w1_mag, drawn.w2_mag
