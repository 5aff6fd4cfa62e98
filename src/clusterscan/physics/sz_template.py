"""Templates of the SZ effect: its spectrum, the universal pressure profile, and beams.

References
----------
Arnaud et al. 2010, A&A 517, A92 (profile); Sunyaev & Zeldovich 1972 (spectrum).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.constants import h
from scipy.constants import k as k_boltzmann
from scipy.special import j0

T_CMB_K = 2.7255
# Arnaud et al. 2010, eq. 12: c500, gamma, alpha, beta
C500, GAMMA, ALPHA, BETA = 1.177, 0.3081, 1.0510, 5.4905
EDGE = 5.0  # the gas ends at 5 R500


def sz_response_uk(frequency_ghz: float) -> float:
    """Return the change of temperature [uK_CMB] for unit Compton y (non-relativistic)."""
    x = h * frequency_ghz * 1e9 / (k_boltzmann * T_CMB_K)
    return T_CMB_K * 1e6 * (x / np.tanh(x / 2) - 4.0)


def beam_window(k: np.ndarray, fwhm_arcmin: float) -> np.ndarray:
    """Return the transform of a Gaussian beam at wave numbers k [rad / arcmin]."""
    sigma = fwhm_arcmin / np.sqrt(8 * np.log(2))
    return np.exp(-0.5 * (k * sigma) ** 2)


def pressure(x: np.ndarray) -> np.ndarray:
    """Return the universal pressure profile at x = r / R500, up to a factor."""
    s = C500 * x
    return s**-GAMMA * (1 + s**ALPHA) ** ((GAMMA - BETA) / ALPHA)


@lru_cache(maxsize=1)
def projected_profile() -> tuple[np.ndarray, np.ndarray]:
    """Return radii x = theta / theta500 and the Compton profile there, 1 at the centre."""
    x = np.concatenate([[0.0], np.geomspace(1e-4, EDGE, 600)])
    # Along the line of sight l = u^3: fine steps at the cusp.
    u = np.linspace(0, EDGE ** (1 / 3), 2001)
    line, step = u**3, 3 * u**2
    radius = np.hypot(x[:, None], line)
    inside = (radius <= EDGE) & (radius > 0)
    integrand = np.zeros_like(radius)
    integrand[inside] = pressure(radius[inside])
    y = np.trapezoid(integrand * step, u, axis=1)
    return x, y / y[0]


def compton_profile(theta_arcmin: np.ndarray, theta500_arcmin: float) -> np.ndarray:
    """Return the Compton y of a cluster with unit centre, unsmoothed."""
    x, y = projected_profile()
    return np.interp(np.asarray(theta_arcmin) / theta500_arcmin, x, y, right=0.0)


@lru_cache(maxsize=1)
def _unit_transform() -> tuple[np.ndarray, np.ndarray]:
    # Hankel transform of the unit profile at wave numbers q [rad / theta500].
    x, y = projected_profile()
    fine = np.linspace(0, EDGE ** (1 / 2), 6001) ** 2
    profile = np.interp(fine, x, y)
    q = np.concatenate([[0.0], np.geomspace(1e-2, 100.0, 500)])
    transform = [2 * np.pi * np.trapezoid(fine * profile * j0(value * fine), fine) for value in q]
    return q, np.array(transform)


def template_window(k: np.ndarray, theta500_arcmin: float) -> np.ndarray:
    """Return the transform [arcmin2] of a cluster with unit centre at k [rad / arcmin]."""
    q, transform = _unit_transform()
    return theta500_arcmin**2 * np.interp(k * theta500_arcmin, q, transform, right=0.0)
