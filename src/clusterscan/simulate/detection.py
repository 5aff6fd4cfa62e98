"""How well the microwave survey measures a halo: an ideal multi-frequency matched filter.

References
----------
Melin, Bartlett & Delabrouille 2006, A&A 459, 341 (Eqs. 9 to 11).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import j0

from clusterscan.config.simulation import MicrowaveSettings
from clusterscan.physics import pressure, spectra
from clusterscan.simulate import power
from clusterscan.simulate.point_sources import unresolved_power

_ARCMIN = np.pi / 180 / 60


@lru_cache(maxsize=8)
def central_compton_noise(settings: MicrowaveSettings) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the 1 sigma error of y0 against angular size.

    The noise is the CMB, the infrared background, sources below 10 mJy, and the instrument's;
    the signal is the pressure profile of that size, all bands together.

    Returns
    -------
    theta500_arcmin, sigma_y0 : ndarray, shape (n,)
    """
    ell = np.geomspace(50.0, 2.5e4, 1200)
    weight = _weight(ell, settings)
    sizes = np.geomspace(0.2, 60.0, 48)
    sigma = np.empty_like(sizes)
    for i, theta500 in enumerate(sizes):
        tau = _profile_transform(ell, theta500)
        sigma[i] = np.trapezoid(ell**2 * tau**2 * weight / (2 * np.pi), np.log(ell)) ** -0.5
    return sizes, sigma


def _weight(ell: np.ndarray, settings: MicrowaveSettings) -> np.ndarray:
    """Return f^T N^-1 f, f the SZ spectrum and N the beam-corrected noise between bands."""
    ghz = np.array(settings.frequency_sz_ghz)
    common = power.cmb_cl(ell)[:, None, None] * np.ones((3, 3)) * settings.cmb
    dust = power.cib_scaling(ghz)
    cib = power.cib_cl_150(ell, settings.clustered_cib_uk2)
    common = common + cib[:, None, None] * np.outer(dust, dust)
    common = common + unresolved_power(settings)[None]
    for band in range(3):
        transfer = power.beam(ell, settings.beam_fwhm_arcmin[band])
        common[:, band, band] += (
            power.noise_cl(ell, band, settings) / np.maximum(transfer, 1e-8) ** 2 + 1e-12
        )
    signal = spectra.sz_uk(ghz)
    return np.einsum("i,lij,j->l", signal, np.linalg.inv(common), signal)


@lru_cache(maxsize=1)
def _unit_transform() -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the Hankel transform of the profile with y0 = 1 and theta500 = 1 rad."""
    s, g = pressure.projected_shape()
    fine = np.concatenate([np.linspace(0, 0.1, 400)[:-1], np.linspace(0.1, s[-1], 4000)])
    profile = np.interp(fine, s, g) / g[0]
    k = np.concatenate([[0.0], np.geomspace(1e-3, 500.0, 500)])
    values = [np.trapezoid(2 * np.pi * fine * profile * j0(x * fine), fine) for x in k]
    return k, np.array(values)


def _profile_transform(ell: np.ndarray, theta500_arcmin: float) -> np.ndarray:
    theta = theta500_arcmin * _ARCMIN
    return theta**2 * np.interp(ell * theta, *_unit_transform(), right=0.0)


def expected_snr(
    y0: np.ndarray, theta500_arcmin: np.ndarray, settings: MicrowaveSettings
) -> np.ndarray:
    """Return the mean signal-to-noise of halos in the survey."""
    sizes, sigma = central_compton_noise(settings)
    return np.asarray(y0) / np.exp(np.interp(np.log(theta500_arcmin), np.log(sizes), np.log(sigma)))
