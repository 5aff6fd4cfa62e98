"""A multi-scale filter for the light of cluster galaxies: difference of Gaussians, bands weighted.

After PZWav (Gonzalez 2014; Thongkham et al. 2024), which filters density maps of galaxies with
the same kernel; here the image itself is filtered, its bright sources left out.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from clusterscan.config.scan import MultiscaleFilterSettings
from clusterscan.core.errors import ImageError
from clusterscan.scan.significance import MAD_TO_SIGMA, local_significance

PIXELS_PER_SIGMA = 4  # blocks this much finer than the smallest core lose nothing
RING_RATIO = 4.0  # standard deviation of the ring over that of the core
BRIGHT_RADIUS_ARCSEC = 15.0  # the wings of stars around a bright pixel
COVARIANCE_CLIP = 4.0  # robust sigmas beyond which a pixel is a source, not the field


def multiscale_filter(
    image: np.ndarray,
    usable: np.ndarray,
    pixel_scale_arcsec: float,
    settings: MultiscaleFilterSettings,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the S/N of excess light, the best of all scales.

    Bright sources are left out. Every band is clipped, averaged in blocks, and filtered with a
    core Gaussian minus a wider one, both normalised by the usable pixels below them (so holes
    and edges add no signal). At each scale the bands are added with the weights C^-1 s, which are
    the best for a signal of colour ``s`` against the field's own covariance C: light of a frequent
    colour, such as that of stars, counts least.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        Finite everywhere.
    usable : bool ndarray, shape (ny, nx)
        Good pixels.
    pixel_scale_arcsec : float
        Pixel size [arcsec].
    settings : MultiscaleFilterSettings
        Scales, colour and clipping.

    Returns
    -------
    snr, fraction : float ndarray, shape (ny // factor, nx // factor)
        S/N, and the usable fraction below the smallest core.
    factor : int
        Side of a block [image pixels].

    Raises
    ------
    ImageError
        If the settings' colour has not one value for each band.
    """
    if image.shape[0] != len(settings.signal_colour):
        raise ImageError(
            f"the image has {image.shape[0]} bands and signal_colour "
            f"{len(settings.signal_colour)} values; give one for each band"
        )
    if settings.bright_sigma is not None:
        reach = BRIGHT_RADIUS_ARCSEC / pixel_scale_arcsec
        usable = usable & ~bright_sources(image, usable, settings.bright_sigma, reach)
    if not usable.any():
        return np.zeros(usable.shape), np.zeros(usable.shape), 1
    # Averaging in blocks first makes the wide Gaussians cheap.
    finest = min(settings.scales_arcsec) / pixel_scale_arcsec
    factor = max(int(finest / PIXELS_PER_SIGMA), 1)
    weight = block_mean(usable.astype(float), factor)
    light = np.stack([block_mean(clip(b, usable, settings.clip_sigma), factor) for b in image])
    radius = settings.noise_radius_arcmin * 60.0 / pixel_scale_arcsec / factor
    measurable = weight > 0.5
    best = None
    for scale in settings.scales_arcsec:
        sigma = scale / pixel_scale_arcsec / factor
        excess = difference_of_gaussians(light, weight, sigma)
        summed = add_bands(excess, np.array(settings.signal_colour), measurable)
        snr = local_significance(summed, measurable, radius)
        best = snr if best is None else np.maximum(best, snr)
    fraction = gaussian_filter(weight, finest / factor, mode="constant")
    assert best is not None  # the settings hold at least one scale
    return best, fraction, factor


def bright_sources(
    image: np.ndarray, usable: np.ndarray, bright_sigma: float, reach_px: float
) -> np.ndarray:
    """Return a mask (ny, nx) of all pixels near one that is too bright for a faint galaxy.

    Clipping alone is not enough: the wings of a bright star fill a filter's core.
    """
    bright = np.zeros(usable.shape, dtype=bool)
    for band in image:
        centre, sigma = level_and_noise(band[usable])
        bright |= usable & (band - centre > bright_sigma * sigma) & (sigma > 0)
    if not bright.any():
        return bright
    return distance_transform_edt(~bright) <= reach_px


def level_and_noise(values: np.ndarray) -> tuple[float, float]:
    """Return the median and the pixel noise, from the values below the median.

    Sources only add light, so the lower half of the values is noise alone.
    """
    centre = float(np.median(values))
    return centre, MAD_TO_SIGMA * float(np.median(centre - values[values <= centre]))


def clip(band: np.ndarray, usable: np.ndarray, clip_sigma: float) -> np.ndarray:
    """Return the band minus its median, clipped at multiples of its pixel noise, 0 if unusable."""
    centre, sigma = level_and_noise(band[usable])
    limit = clip_sigma * sigma if sigma > 0 else np.inf
    return np.where(usable, np.clip(band - centre, -limit, limit), 0.0)


def block_mean(image: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of ``factor`` x ``factor`` pixels; the last block is filled up with edges."""
    if factor == 1:
        return image
    pad = [(0, -size % factor) for size in image.shape]
    padded = np.pad(image, pad, mode="edge")
    ny, nx = (size // factor for size in padded.shape)
    return padded.reshape(ny, factor, nx, factor).mean(axis=(1, 3))


def difference_of_gaussians(light: np.ndarray, weight: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return mean light under a core Gaussian minus that under a wider one, band by band.

    ``light`` (bands, ny, nx) is already multiplied with ``weight`` (ny, nx).
    """
    sides = []
    for width in (sigma_px, RING_RATIO * sigma_px):
        under = np.maximum(gaussian_filter(weight, width, mode="constant"), 1e-6)
        sides.append(np.stack([gaussian_filter(b, width, mode="constant") for b in light]) / under)
    return sides[0] - sides[1]


def add_bands(excess: np.ndarray, colour: np.ndarray, measurable: np.ndarray) -> np.ndarray:
    """Add bands (bands, ny, nx) with the weights that see ``colour`` best in the field's noise."""
    sample = excess[:, measurable]
    sample = sample - np.median(sample, axis=1, keepdims=True)
    sigma = MAD_TO_SIGMA * np.median(np.abs(sample), axis=1, keepdims=True)
    field = sample[:, (np.abs(sample) <= COVARIANCE_CLIP * sigma).all(axis=0)]
    if field.shape[1] <= len(colour) or not (sigma > 0).all():
        return np.tensordot(colour, excess, axes=1)
    covariance = np.atleast_2d(field @ field.T / field.shape[1])
    # A slightly raised diagonal keeps two nearly equal bands from cancelling each other.
    covariance[np.diag_indices_from(covariance)] *= 1.001
    return np.tensordot(np.linalg.solve(covariance, colour), excess, axes=1)
