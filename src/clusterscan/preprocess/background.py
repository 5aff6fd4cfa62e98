"""Background: a median, or everything smoother than a Gaussian.

Smoothing is a normalised convolution: pixels without data weigh nothing, and neither does what
lies beyond the image's border.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

_SIGMA_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))


def medians(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return each band's median over valid pixels, shape (bands,); 0 where there are none."""
    if not valid.any():
        return np.zeros(image.shape[0], np.float32)
    # Gathering is the dearer half, and most images have no gaps.
    values = image.reshape(image.shape[0], -1) if valid.all() else image[:, valid]
    return np.median(values, axis=1).astype(np.float32)


def highpass(image: np.ndarray, valid: np.ndarray, fwhm_px: float) -> np.ndarray:
    """Subtract a Gaussian-smoothed copy.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        Any values where not valid.
    valid : bool ndarray, shape (ny, nx)
        Pixels that count.
    fwhm_px : float
        Full width at half maximum of the Gaussian [pixels].

    Returns
    -------
    float32 ndarray, shape (bands, ny, nx)
        0 where not valid.
    """
    sigma = fwhm_px * _SIGMA_PER_FWHM
    # The valid median goes first: sums of small differences lose no digits to a large offset.
    level = np.median(image[:, valid], axis=1) if valid.any() else np.zeros(image.shape[0])
    centred = np.where(valid, image - level[:, None, None], 0.0)
    weight = _smooth(valid.astype(np.float64), sigma)
    smooth = np.stack([_smooth(plane, sigma) for plane in centred])
    smooth /= np.maximum(weight, 1e-6)
    return np.where(valid, centred - smooth, 0.0).astype(np.float32)


def _smooth(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve with a unit Gaussian, zeros beyond the border (padded: nothing wraps around)."""
    pad = int(np.ceil(5.0 * sigma))
    shape = [fft.next_fast_len(side + pad, real=True) for side in plane.shape]
    # The Gaussian's own transform, not a sampled kernel: exact for any sigma.
    ky = fft.fftfreq(shape[0])[:, None]
    kx = fft.rfftfreq(shape[1])[None, :]
    kernel = np.exp(-2.0 * np.pi**2 * sigma**2 * (kx**2 + ky**2))
    smooth = fft.irfft2(fft.rfft2(plane, s=shape) * kernel, s=shape)
    return smooth[: plane.shape[0], : plane.shape[1]]
