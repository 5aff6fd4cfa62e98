"""Microwave spectra: the SZ effect, and Jansky to uK_CMB.

References
----------
Carlstrom, Holder & Reese 2002, ARA&A 40, 643 (SZ, Eq. 2; no relativistic corrections).
Fixsen 2009, ApJ 707, 916 (CMB temperature).
"""

from __future__ import annotations

import numpy as np

T_CMB_K = 2.7255
_H_OVER_K_PER_GHZ = 0.04799243073366221  # h 1e9 / k_B [K]
_H, _K, _C = 6.62607015e-34, 1.380649e-23, 2.99792458e8


def reduced_frequency(frequency_ghz: np.ndarray | float) -> np.ndarray:
    """Return x = h nu / k T_CMB."""
    return _H_OVER_K_PER_GHZ * np.asarray(frequency_ghz) / T_CMB_K


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


def grey_body(frequency_ghz: np.ndarray, reference_ghz: float) -> np.ndarray:
    """Return dust flux density over that at a reference: nu^2.2 B_nu(9.7 K).

    References
    ----------
    Addison et al. 2012, ApJ 752, 120: effective CIB spectrum with beta = 2.2, T = 9.7 K.
    """

    def flux(ghz: np.ndarray | float) -> np.ndarray:
        return np.asarray(ghz) ** 5.2 / np.expm1(_H_OVER_K_PER_GHZ * np.asarray(ghz) / 9.7)

    return flux(frequency_ghz) / flux(reference_ghz)
