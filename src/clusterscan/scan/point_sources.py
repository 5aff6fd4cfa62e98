"""Subtraction of bright point sources from microwave maps, before clusters are looked for.

Unsubtracted, a radio galaxy leaves a ring in the filtered map that looks like clusters.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter

from clusterscan.physics.sz_template import beam_window
from clusterscan.scan.fourier_filter import filter_with_template, noise_covariance, wave_numbers
from clusterscan.scan.significance import MAD_TO_SIGMA

PASSES = 5  # each finds what brighter sources nearby hid before
RING_FWHM = 5.0  # how far the filter's ringing reaches
FIT_STEPS = 4
EXTENT_FWHM = 3.0  # a Gaussian beam is nothing beyond


def subtract_point_sources(
    maps: np.ndarray,
    weight: np.ndarray,
    pixel_scale_arcmin: float,
    beam_fwhm_arcmin: tuple[float, ...],
    threshold_snr: float,
) -> np.ndarray:
    """Return maps without the point sources brighter than a S/N, each band by itself.

    Only bright spots are taken: clusters are dark below 217 GHz and too faint above.

    Parameters
    ----------
    maps : float ndarray, shape (bands, ny, nx)
        Maps of zero mean.
    weight : float ndarray, shape (ny, nx)
        Taper, 0 at unusable pixels.
    pixel_scale_arcmin : float
        Pixel size [arcmin].
    beam_fwhm_arcmin : tuple of float
        Beam of each band [arcmin].
    threshold_snr : float
        Least S/N of a source in its band.

    Returns
    -------
    cleaned : float ndarray, shape (bands, ny, nx)
    """
    k = wave_numbers(weight.shape, pixel_scale_arcmin)
    cleaned = maps.copy()
    for band, fwhm in enumerate(beam_fwhm_arcmin):
        area = 2 * np.pi * (fwhm / pixel_scale_arcmin) ** 2 / (8 * np.log(2))
        template = area * beam_window(k, fwhm)[None]
        reach = 2 * int(np.ceil(RING_FWHM * fwhm / pixel_scale_arcmin)) + 1
        for _ in range(PASSES):
            tapered = cleaned[band : band + 1] * weight
            noise = noise_covariance(tapered, weight, k)
            flux, _ = filter_with_template(tapered, template, noise)
            spread = MAD_TO_SIGMA * np.median(np.abs(flux[weight > 0.5])) if weight.any() else 0.0
            # The highest within the reach only: around a bright source the filter rings.
            peaks = (flux == maximum_filter(flux, reach)) & (flux > threshold_snr * spread)
            peaks &= (weight > 0.5) & (spread > 0)
            if not peaks.any():
                break
            for y, x in np.argwhere(peaks):
                _subtract_one(cleaned[band], flux, int(y), int(x), fwhm / pixel_scale_arcmin)
    return cleaned


def _subtract_one(image: np.ndarray, flux: np.ndarray, y: int, x: int, fwhm_px: float) -> None:
    start = _vertex(flux, y, x)
    peak, top, left = _fit(image, start, y, x, fwhm_px)
    rows, columns = _box(image.shape, y, x, EXTENT_FWHM * fwhm_px)
    image[np.ix_(rows, columns)] -= peak * _beam(rows - top, columns - left, fwhm_px)


def _vertex(flux: np.ndarray, y: int, x: int) -> np.ndarray:
    """Return the height and sub-pixel place (y, x) of a peak, by a parabola along each axis."""
    start = np.array([flux[y, x], y, x], dtype=float)
    if 0 < y < flux.shape[0] - 1 and 0 < x < flux.shape[1] - 1:
        sides = ((flux[y - 1, x], flux[y + 1, x]), (flux[y, x - 1], flux[y, x + 1]))
        for axis, (before, after) in enumerate(sides):
            bend = before - 2 * flux[y, x] + after
            offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
            offset = float(np.clip(offset, -0.5, 0.5))
            start[0] -= 0.25 * (before - after) * offset
            start[axis + 1] += offset
    return start


def _fit(image: np.ndarray, start: np.ndarray, y: int, x: int, fwhm_px: float) -> np.ndarray:
    """Refine height and place of a source on a flat background by Gauss-Newton steps.

    The parabola alone leaves a few per cent of a bright source behind, many times the noise.
    """
    rows, columns = _box(image.shape, y, x, max(fwhm_px, 1.5))
    data = image[np.ix_(rows, columns)].ravel()
    found = start
    for _ in range(FIT_STEPS):
        peak, top, left = found
        dy, dx = rows - top, columns - left
        beam = _beam(dy, dx, fwhm_px)
        slope = 8 * np.log(2) / fwhm_px**2 * peak * beam
        design = np.stack(
            [beam, slope * dy[:, None], slope * dx, np.ones_like(beam)], axis=-1
        ).reshape(-1, 4)
        step, *_ = np.linalg.lstsq(design, data - peak * beam.ravel(), rcond=None)
        found = found + step[:3]
    moved = np.abs(found[1:] - start[1:]).max()
    # A faint source in noise may run away: then the filter's own estimate is the better one.
    return found if moved < 1.0 and found[0] > 0 else start


def _beam(dy: np.ndarray, dx: np.ndarray, fwhm_px: float) -> np.ndarray:
    return np.exp(-4 * np.log(2) * (dy[:, None] ** 2 + dx**2) / fwhm_px**2)


def _box(shape: tuple[int, ...], y: int, x: int, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
    reach = int(np.ceil(reach_px))
    return (
        np.arange(max(y - reach, 0), min(y + reach + 1, shape[0])),
        np.arange(max(x - reach, 0), min(x + reach + 1, shape[1])),
    )
