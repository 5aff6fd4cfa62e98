"""SZ signals of model clusters, added to crops of real (or simulated) microwave images.

A small footprint contains too few listed SZ clusters to learn from, so more positives are made. The
image is the survey's own, with its noise, CMB and sources; only the cluster's decrement is computed
(Arnaud et al. 2010 profile, the beams, and the high-pass filter of the images).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from clusterscan.config.sample import InjectionSettings
from clusterscan.config.validation import SzSignal
from clusterscan.physics import cosmology, sz_effect
from clusterscan.physics.sz_effect import beam_window, sz_uk, template_window

HYDROSTATIC_ONE_MINUS_B = 0.71  # mass that scales the pressure profile, over the true mass
# Side of the Fourier transform in crops. A profile reaches far beyond a crop, and without padding
# it would wrap around the edges of the periodic transform.
_PADDING = 3
_KEY = 17  # keeps these random draws apart from those of positions


def draw_clusters(
    count: int, tile: int, tile_order: int, seed: int, settings: InjectionSettings
) -> pd.DataFrame:
    """Draw model clusters: masses log-uniform, redshifts uniform.

    Returns
    -------
    DataFrame, count rows
        m500c_msun, z, theta500_arcmin, and y0, the central Compton parameter.
    """
    rng = np.random.default_rng([seed, _KEY, tile_order, tile])
    low, high = settings.m500c_msun
    # Uniform in ln M: drawn like the real mass function, nearly all would be too faint to see.
    mass = np.exp(rng.uniform(np.log(low), np.log(high), count))
    z = rng.uniform(*settings.z, count)
    return pd.DataFrame(
        {
            "m500c_msun": mass,
            "z": z,
            "theta500_arcmin": cosmology.angle_arcmin(cosmology.r500_mpc(mass, z), z),
            "y0": sz_effect.central_compton(HYDROSTATIC_ONE_MINUS_B * mass, z),
        }
    )


def decrement_uk(
    cluster: pd.Series | Mapping[str, float],
    offset_px: tuple[float, float],
    size_px: int,
    pixel_scale_arcmin: float,
    settings: InjectionSettings | SzSignal,
) -> np.ndarray:
    """Compute a cluster's signal in every band of a crop.

    Parameters
    ----------
    cluster : Series or mapping
        theta500_arcmin and y0.
    offset_px : (dy, dx)
        Position of the cluster relative to the crop's centre [pixels].
    size_px : int
        Side of the crop.
    pixel_scale_arcmin : float
        Pixel size [arcmin].
    settings : InjectionSettings or SzSignal
        Frequencies, beams, high-pass.

    Returns
    -------
    float64 ndarray, shape (bands, size_px, size_px)
        Temperature change [uK_CMB].
    """
    side = _PADDING * size_px
    # The crop's centre lies between pixels if its side is even, so the profile is shifted by a
    # phase, which is exact for fractions of a pixel.
    centre = (side - 1) / 2
    ky = 2 * np.pi * np.fft.fftfreq(side, pixel_scale_arcmin)[:, None]
    kx = 2 * np.pi * np.fft.rfftfreq(side, pixel_scale_arcmin)
    k = np.hypot(ky, kx)
    dy, dx = ((centre + o) * pixel_scale_arcmin for o in offset_px)
    compton = cluster["y0"] * template_window(k, cluster["theta500_arcmin"])
    # A shift is a phase; dividing by the pixel's area turns the continuous transform of the profile
    # into the discrete one of its pixels.
    compton = compton * np.exp(-1j * (ky * dy + kx * dx)) / pixel_scale_arcmin**2
    if settings.highpass_fwhm_arcmin is not None:
        compton = compton * (1 - beam_window(k, settings.highpass_fwhm_arcmin))
    first = size_px * (_PADDING - 1) // 2
    inner = slice(first, first + size_px)
    return np.stack(
        [
            sz_uk(frequency) * np.fft.irfft2(compton * beam_window(k, fwhm), (side, side))
            for frequency, fwhm in zip(
                settings.frequencies_ghz, settings.beam_fwhm_arcmin, strict=True
            )
        ]
    )[:, inner, inner]
