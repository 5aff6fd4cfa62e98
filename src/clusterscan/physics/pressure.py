"""The SZ signal of a halo: the universal pressure profile, projected once.

References
----------
Arnaud et al. 2010, A&A 517, A92 (A10): Eqs. 5, 11, 12, 13.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from clusterscan.physics import cosmology

P0_H70, C500, GAMMA, ALPHA, BETA, ALPHA_P = 8.403, 1.177, 0.3081, 1.0510, 5.4905, 0.12
EXTENT_R500 = 5.0
"""Gas ends at this radius, as in A10's Y(5 R500) [R500]."""

_SIGMA_T_CM2 = 6.6524587e-25
_ME_C2_KEV = 510.99895
_CM_PER_MPC = 3.0856775814913673e24


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
    # l = far * t^3 puts nodes where the cusp is, dl = 3 far t^2 dt
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
