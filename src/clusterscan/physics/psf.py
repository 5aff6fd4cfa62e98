"""The WISE point-spread functions: round Gaussian mixtures, and the faint wings beyond.

References
----------
Lang 2014, AJ 147, 108, and Lang, Hogg & Schlegel 2016, AJ 151, 36: mixture fits of the WISE PSF
(published as w1psffit.fits and w2psffit.fits); here averaged over the focal plane and made
round, because unWISE coadds mix the scan directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NATIVE_SCALE_ARCSEC = 2.75


@dataclass(frozen=True)
class Psf:
    """A sum of round Gaussians; variances in native (2.75 arcsec) pixels squared."""

    amplitudes: tuple[float, ...]
    variances_native: tuple[float, ...]

    def variances_px2(self, scale_arcsec: float) -> np.ndarray:
        """Return the variances at another pixel scale [px2]."""
        return np.array(self.variances_native) * (NATIVE_SCALE_ARCSEC / scale_arcsec) ** 2

    def peak(self, scale_arcsec: float) -> float:
        """Return the part of a centred star's flux in its brightest pixel."""
        return float(self.profile_r2(np.zeros(1), scale_arcsec)[0])

    def profile_r2(self, r2_px2: np.ndarray, scale_arcsec: float) -> np.ndarray:
        """Return the part of a star's flux per pixel at a squared radius."""
        total = np.zeros_like(r2_px2)
        for amplitude, v in zip(self.amplitudes, self.variances_px2(scale_arcsec), strict=True):
            total += (amplitude / (2 * np.pi * v)).astype(total.dtype) * np.exp(
                r2_px2 * total.dtype.type(-0.5 / v)
            )
        return total

    def noise_pixels(self, scale_arcsec: float) -> float:
        """Return the number of noise pixels, 1 / integral of the squared PSF."""
        # The product of two Gaussians integrates to one Gaussian of the summed variance, at 0.
        v = self.variances_px2(scale_arcsec)
        a = np.array(self.amplitudes)
        return float(1.0 / (np.outer(a, a) / (2 * np.pi * (v[:, None] + v[None, :]))).sum())


PSFS = (
    Psf((0.7730, 0.1670, 0.0600), (0.7980, 9.6216, 198.0)),
    Psf((0.7865, 0.1641, 0.0494), (1.0768, 9.3205, 197.3)),
)
"""W1 and W2; the amplitudes add up to 1."""

WING_AT_45_PX = 1e-6
"""Measured PSF at 45 native pixels, as a part of the flux per native pixel."""


def wing_profile_r2(r2_native: np.ndarray) -> np.ndarray:
    """Return the power-law wing beyond the mixture, per native pixel and unit flux.

    It follows the measured W1 PSF from 25 to 50 px, r^-3, and fades inside 40 px, where the
    mixture already holds the light.

    Parameters
    ----------
    r2_native : ndarray
        Squared radius in native pixels.
    """
    # In the float type of the input: images are float32, and wings cover millions of pixels.
    safe = np.maximum(r2_native, r2_native.dtype.type(1.0))
    inside = (safe / 1600) ** 2
    return (WING_AT_45_PX * 45.0**3) / (safe * np.sqrt(safe)) * (inside / (1 + inside))
