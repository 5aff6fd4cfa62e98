"""How bright the gas of halos is in X-rays: luminosity, temperature, flux in 0.5-2 keV.

References
----------
Vikhlinin et al. 2009, ApJ 692, 1033: L_X-M500 in 0.5-2 keV (its Eq. 22), M500-T_X (Table 3).
Pacaud et al. 2016, A&A 592, A2: beta model with beta = 2/3 and a core radius of 0.15 R500.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from clusterscan.physics import cosmology

LOW_KEV, HIGH_KEV = 0.5, 2.0
_CM_PER_MPC = 3.0856775814913673e24
_CONTINUUM_SLOPE = -0.4  # of a thermal continuum's photon energy flux, beside exp(-E / kT)


def mean_luminosity(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return exp <ln L_X> in 0.5-2 keV of the source's frame [erg/s]."""
    h = cosmology.planck18().h
    ln = 47.392 + 1.61 * np.log(m500c_msun) + 1.85 * np.log(cosmology.expansion(z))
    return np.exp(ln - 0.39 * np.log(h / 0.72))


def temperature_kev(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the mean temperature of a halo's gas [keV]."""
    pivot = 3.02e14 / cosmology.planck18().h
    return 5.0 * (np.asarray(m500c_msun) * cosmology.expansion(z) / pivot) ** (1 / 1.53)


def _band_energy(low_kev: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Return a thermal continuum's energy in a band of LOW to HIGH times low / LOW."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    low = np.asarray(low_kev)[..., None]
    high = low * HIGH_KEV / LOW_KEV
    e = low + (high - low) * (nodes + 1) / 2
    spectrum = e**_CONTINUUM_SLOPE * np.exp(-e / np.asarray(temperature)[..., None])
    return ((high - low) / 2 * spectrum * weights).sum(axis=-1)


def k_correction(temperature: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the luminosity in the observed band over that in the same band at rest.

    Observed photons of 0.5-2 keV left the gas at (1 + z) times that; lines are ignored.
    """
    at_rest = np.full(np.shape(z), LOW_KEV)
    return _band_energy(LOW_KEV * (1 + np.asarray(z)), temperature) / _band_energy(
        at_rest, temperature
    )


def flux(luminosity: np.ndarray, m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the observed flux in 0.5-2 keV of gas of some luminosity [erg/s/cm2]."""
    distance = cosmology.comoving_distance_mpc(z) * (1 + np.asarray(z)) * _CM_PER_MPC
    return luminosity * k_correction(temperature_kev(m500c_msun, z), z) / (4 * np.pi * distance**2)


def beta_radius(part: np.ndarray) -> np.ndarray:
    """Return the radius [core radii] that holds a part of a beta model with beta = 2/3.

    Its surface brightness (1 + r^2)^-1.5 has the whole flux 2 pi.
    """
    return np.sqrt((1 - part) ** -2 - 1)


def beta_part(radius: np.ndarray) -> np.ndarray:
    """Return the part of the flux within a radius [core radii] (undoes `beta_radius`)."""
    return 1 - 1 / np.sqrt(1 + np.asarray(radius) ** 2)


# N(> S) = N (2e-15)^a / (S^a + S0^(a - b) S^b), S in erg/s/cm2
_COUNT_A, _COUNT_B, _COUNT_S0, _COUNT_N = 1.82, 0.60, 1.48e-14, 6150.0


def source_counts(flux_cgs: np.ndarray) -> np.ndarray:
    """Return the number of X-ray sources above a flux in 0.5-2 keV [deg-2].

    References
    ----------
    Moretti et al. 2003, ApJ 588, 696, Eq. 2, soft band: ROSAT, Chandra and XMM surveys together.
    """
    s = np.asarray(flux_cgs)
    return (
        _COUNT_N
        * 2e-15**_COUNT_A
        / (s**_COUNT_A + _COUNT_S0 ** (_COUNT_A - _COUNT_B) * s**_COUNT_B)
    )


@lru_cache(maxsize=4)
def count_quantiles(flux_min: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Return (sources per deg2 above a flux, parts fainter than, ln flux), to draw fluxes from."""
    ln_flux = np.linspace(np.log(flux_min), np.log(1e-11), 800)
    above = source_counts(np.exp(ln_flux))
    parts = (above[0] - above) / (above[0] - above[-1])
    return float(above[0] - above[-1]), parts, ln_flux
