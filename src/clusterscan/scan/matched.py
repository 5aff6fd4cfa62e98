"""The multi-frequency matched filter for the thermal SZ effect (Melin et al. 2006).

Maps are in uK_CMB; the filtered map is the central Compton parameter y0 that fits best at each
position, in units of its noise. The noise is measured on the tile itself.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from clusterscan.config.scan import MatchedFilterSettings
from clusterscan.core.errors import ImageError
from clusterscan.physics.sz_template import beam_window, sz_response_uk, template_window
from clusterscan.scan.fourier_filter import filter_with_template, noise_covariance, wave_numbers
from clusterscan.scan.point_sources import subtract_point_sources
from clusterscan.scan.significance import local_significance


def matched_filter(
    image: np.ndarray,
    usable: np.ndarray,
    pixel_scale_arcmin: float,
    settings: MatchedFilterSettings,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the S/N of the SZ effect, the best of all template sizes.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        Maps [uK_CMB], finite everywhere.
    usable : bool ndarray, shape (ny, nx)
        Good pixels.
    pixel_scale_arcmin : float
        Pixel size [arcmin].
    settings : MatchedFilterSettings
        Frequencies, beams and template sizes.

    Returns
    -------
    snr, fraction : float ndarray, shape (ny, nx)
        S/N, and the usable fraction around each pixel.
    factor : int
        1: the image's own pixels.

    Raises
    ------
    ImageError
        If the settings' frequencies are not as many as the bands.

    With several sizes the map is a maximum, so its mean over a blank field lies above zero.

    References
    ----------
    Melin, Bartlett & Delabrouille 2006, A&A 459, 341; Herranz et al. 2002, MNRAS 336, 1057.
    """
    _check_bands(image, settings)
    weight = taper(usable, settings.taper_arcmin / pixel_scale_arcmin)
    maps = _without_mean(image, weight)
    if settings.point_source_snr is not None:
        maps = subtract_point_sources(
            maps, weight, pixel_scale_arcmin, settings.beam_fwhm_arcmin, settings.point_source_snr
        )
    response = np.array([sz_response_uk(f) for f in settings.frequencies_ghz])
    k = wave_numbers(usable.shape, pixel_scale_arcmin)
    beams = _windows(k, settings)
    noise = noise_covariance(maps * weight, weight, k)
    measurable = weight > 0.99
    radius = settings.noise_radius_arcmin / pixel_scale_arcmin
    best = None
    for theta500 in settings.theta500_arcmin:
        template = response[:, None, None] * beams * template_window(k, theta500)
        y0, sigma = filter_with_template(maps * weight, template / pixel_scale_arcmin**2, noise)
        snr = local_significance(y0 / sigma, measurable, radius)
        best = snr if best is None else np.maximum(best, snr)
    assert best is not None  # the settings hold at least one size
    width = max(round(2 * max(settings.beam_fwhm_arcmin) / pixel_scale_arcmin), 1)
    return best, uniform_filter(usable.astype(float), width, mode="constant"), 1


def _check_bands(image: np.ndarray, settings: MatchedFilterSettings) -> None:
    if image.shape[0] != len(settings.frequencies_ghz):
        raise ImageError(
            f"the image has {image.shape[0]} bands and frequencies_ghz "
            f"{len(settings.frequencies_ghz)} values; give one for each band"
        )


def _windows(k: np.ndarray, settings: MatchedFilterSettings) -> np.ndarray:
    """Return what is left of each band's plane waves: beams, less what the high-pass takes."""
    beams = np.stack([beam_window(k, fwhm) for fwhm in settings.beam_fwhm_arcmin])
    if settings.highpass_fwhm_arcmin is not None:
        beams = beams * (1 - beam_window(k, settings.highpass_fwhm_arcmin))
    return beams


def taper(usable: np.ndarray, width_px: float) -> np.ndarray:
    """Return weights that fall to zero over ``width_px`` at the image's edges, gently at holes."""
    ramps = []
    for size in usable.shape:
        edge = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
        ramps.append(0.5 - 0.5 * np.cos(np.pi * np.clip(edge / width_px, 0, 1)))
    if usable.all():
        return ramps[0][:, None] * ramps[1]
    # Twice the smoothed mask minus one: zero from the hole's rim on, one a few pixels away.
    holes = np.clip(2 * gaussian_filter(usable.astype(float), 1.5, mode="nearest") - 1, 0, 1)
    return ramps[0][:, None] * ramps[1] * holes * usable


def _without_mean(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    total = weight.sum()
    if not total > 0:
        return np.zeros_like(image)
    return image - ((image * weight).sum(axis=(1, 2)) / total)[:, None, None]
