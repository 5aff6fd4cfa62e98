"""The Sunyaev-Zeldovich effect: its spectrum, the gas that makes it, and templates to filter with.

Masses are M500c in Msun, angles in arcmin, temperatures in uK_CMB; no relativistic corrections.

References
----------
Arnaud et al. 2010, A&A 517, A92 (A10): the universal pressure profile, Eqs. 5, 11, 12, 13.
Carlstrom, Holder & Reese 2002, ARA&A 40, 643: the SZ spectrum, Eq. 2.
Fixsen 2009, ApJ 707, 916: the temperature of the CMB.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import j0

from clusterscan.physics import cosmology

T_CMB_K = 2.7255
H_OVER_K_PER_GHZ = 0.04799243073366221
"""h / k_B for a frequency in GHz [K / GHz]."""

P0_H70, C500, GAMMA, ALPHA, BETA, ALPHA_P = 8.403, 1.177, 0.3081, 1.0510, 5.4905, 0.12
EXTENT_R500 = 5.0
"""Gas ends at this radius, as in A10's Y(5 R500) [R500]."""

_H, _K, _C = 6.62607015e-34, 1.380649e-23, 2.99792458e8
_SIGMA_T_CM2 = 6.6524587e-25
_ME_C2_KEV = 510.99895
_CM_PER_MPC = 3.0856775814913673e24


# --- spectrum ----------------------------------------------------------------------------------


def reduced_frequency(frequency_ghz: np.ndarray | float) -> np.ndarray:
    """Return x = h nu / k T_CMB."""
    return H_OVER_K_PER_GHZ * np.asarray(frequency_ghz) / T_CMB_K


def sz_uk(frequency_ghz: np.ndarray | float) -> np.ndarray:
    """Return the thermal SZ temperature change per unit Compton y [uK_CMB]."""
    x = reduced_frequency(frequency_ghz)
    return T_CMB_K * 1e6 * (x / np.tanh(x / 2) - 4.0)


def uk_sr_per_jansky(frequency_ghz: np.ndarray | float) -> np.ndarray:
    """Return uK_CMB sr per Jansky: divide by a pixel's solid angle to get its temperature."""
    x = reduced_frequency(frequency_ghz)
    nu = np.asarray(frequency_ghz) * 1e9
    # dB/dT = 2 h^2 nu^4 / (c^2 k T^2) * e^x / (e^x - 1)^2   [W m-2 Hz-1 sr-1 K-1]
    slope = 2 * _H**2 * nu**4 / (_C**2 * _K * T_CMB_K**2) * np.exp(x) / np.expm1(x) ** 2
    return 1e-26 / slope * 1e6


# --- the gas of a halo -------------------------------------------------------------------------


def pressure_shape(x: np.ndarray) -> np.ndarray:
    """Return the generalised NFW shape without P0, at x = r / R500 (A10 Eq. 11)."""
    u = C500 * np.asarray(x)
    return u**-GAMMA * (1 + u**ALPHA) ** ((GAMMA - BETA) / ALPHA)


@lru_cache(maxsize=1)
def projected_shape() -> tuple[np.ndarray, np.ndarray]:
    """Return (s, g): the shape integrated along the line of sight within 5 R500.

    s is the projected radius in R500, g in R500, zero at the end.
    """
    s = np.concatenate([[0.0], np.geomspace(1e-3, EXTENT_R500, 300)])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    unit = (nodes + 1) / 2
    far = np.sqrt(np.maximum(EXTENT_R500**2 - s**2, 0.0))
    # The pressure diverges at the centre. l = far * t^3 puts most nodes near that cusp, where the
    # integrand changes fastest; dl = 3 far t^2 dt.
    length = far[:, None] * unit**3
    radius = np.sqrt(s[:, None] ** 2 + length**2)
    values = pressure_shape(np.maximum(radius, 1e-9)) * 3 * far[:, None] * unit**2
    return s, values @ weights  # 2 (both sides) * 1/2 (interval) = 1


def shape_at(s: np.ndarray | float) -> np.ndarray:
    """Return the projected shape at s = projected radius / R500, zero beyond the gas."""
    table_s, table_g = projected_shape()
    return np.interp(s, table_s, table_g, right=0.0)


@lru_cache(maxsize=1)
def disc_integral() -> float:
    """Return the projected shape integrated over the disc s < 1."""
    s = np.linspace(0.0, 1.0, 4001)
    return float(np.trapezoid(2 * np.pi * s * shape_at(s), s))


def p500_kev_cm3(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the characteristic pressure with the mass dependence alpha_P (A10 Eqs. 5 and 13)."""
    cosmo = cosmology.planck18()
    h70 = cosmo.H0 / 70.0
    scaled = np.asarray(m500c_msun) * h70 / 3e14
    return 1.65e-3 * cosmology.expansion(z) ** (8 / 3) * scaled ** (2 / 3 + ALPHA_P) * h70**2


def compton_amplitude(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return A with y(theta) = A shape_at(theta / theta500); masses are the profile's own."""
    h70 = cosmology.planck18().H0 / 70.0
    pressure = P0_H70 * h70**-1.5 * p500_kev_cm3(m500c_msun, z)
    radius_cm = cosmology.r500_mpc(m500c_msun, z) * _CM_PER_MPC
    return _SIGMA_T_CM2 / _ME_C2_KEV * pressure * radius_cm


def central_compton(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the central Compton parameter y0 of a halo by its pressure-profile mass."""
    return compton_amplitude(m500c_msun, z) * shape_at(0.0)


# --- templates in Fourier space ----------------------------------------------------------------


def beam_window(k: np.ndarray, fwhm_arcmin: float) -> np.ndarray:
    """Return the transform of a Gaussian beam at wave numbers k [rad / arcmin]."""
    sigma = fwhm_arcmin / np.sqrt(8 * np.log(2))
    return np.exp(-0.5 * (k * sigma) ** 2)


@lru_cache(maxsize=1)
def projected_profile() -> tuple[np.ndarray, np.ndarray]:
    """Return radii x = theta / theta500 and the Compton profile there, 1 at the centre.

    It is `projected_shape` on a finer table, as a Fourier transform needs it. The two agree to
    2e-5; both stay, since maps and simulated skies must keep their bytes.
    """
    x = np.concatenate([[0.0], np.geomspace(1e-4, EXTENT_R500, 600)])
    # Along the line of sight l = u^3: fine steps at the cusp.
    u = np.linspace(0, EXTENT_R500 ** (1 / 3), 2001)
    line, step = u**3, 3 * u**2
    radius = np.hypot(x[:, None], line)
    inside = (radius <= EXTENT_R500) & (radius > 0)
    integrand = np.zeros_like(radius)
    integrand[inside] = pressure_shape(radius[inside])
    y = np.trapezoid(integrand * step, u, axis=1)
    return x, y / y[0]


@lru_cache(maxsize=1)
def _unit_transform() -> tuple[np.ndarray, np.ndarray]:
    """Return the Hankel transform of the unit profile at wave numbers q [rad / theta500]."""
    x, y = projected_profile()
    fine = np.linspace(0, EXTENT_R500 ** (1 / 2), 6001) ** 2
    profile = np.interp(fine, x, y)
    q = np.concatenate([[0.0], np.geomspace(1e-2, 100.0, 500)])
    transform = [2 * np.pi * np.trapezoid(fine * profile * j0(value * fine), fine) for value in q]
    return q, np.array(transform)


def template_window(k: np.ndarray, theta500_arcmin: float) -> np.ndarray:
    """Return the transform [arcmin2] of a cluster with unit centre at k [rad / arcmin]."""
    q, transform = _unit_transform()
    return theta500_arcmin**2 * np.interp(k * theta500_arcmin, q, transform, right=0.0)
