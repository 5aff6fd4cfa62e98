"""Linear filters in Fourier space: noise power measured on the map, best amplitudes in it."""

from __future__ import annotations

import numpy as np

MODES_PER_ANNULUS = 2.0  # width of an annulus in units of the image's lowest mode


def filter_with_template(
    maps: np.ndarray, template: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the best amplitude of a template at every pixel, and its standard deviation.

    Parameters
    ----------
    maps : float ndarray, shape (bands, ny, nx)
        Tapered maps.
    template : float ndarray, shape (bands, ny, nx)
        Fourier transform (numpy's convention) of the template, centred on pixel 0, for unit
        amplitude; real, as the templates are round.
    noise : float ndarray, shape (ny, nx, bands, bands)
        Cross-power spectra of the noise.

    Returns
    -------
    amplitude : float ndarray, shape (ny, nx)
    sigma : float
    """
    weights = np.linalg.solve(noise, np.moveaxis(template, 0, -1)[..., None])[..., 0]
    weights = np.moveaxis(weights, -1, 0)
    weights[:, 0, 0] = 0.0  # the mean of a tile is no signal
    information = np.sum(template * weights) / template[0].size
    filtered = np.fft.ifft2(np.sum(weights * np.fft.fft2(maps), axis=0)).real
    return filtered / information, float(information**-0.5)


def noise_covariance(maps: np.ndarray, weight: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the cross-power spectra of tapered maps, averaged over annuli.

    Between annuli the logarithm of the power and the correlations are interpolated, as the
    power of the CMB falls steeply.

    Parameters
    ----------
    maps : float ndarray, shape (bands, ny, nx)
        Maps times taper.
    weight : float ndarray, shape (ny, nx)
        The taper.
    k : float ndarray, shape (ny, nx)
        Wave numbers [rad / arcmin].

    Returns
    -------
    covariance : float ndarray, shape (ny, nx, bands, bands)
    """
    transform = np.fft.fft2(maps) / np.sqrt(np.sum(weight**2))
    step = MODES_PER_ANNULUS * max(k[0, 1], k[1, 0])
    annulus = (k / step).astype(int).ravel()
    inside = annulus > 0
    inside |= k.ravel() > 0
    count = np.bincount(annulus, weights=inside)

    def annular_mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(annulus, weights=values.ravel() * inside) / count

    bands = len(maps)
    middle = annular_mean(k)
    power = [annular_mean(np.abs(t) ** 2) for t in transform]
    floor = 1e-12 * max(p.max() for p in power) + 1e-300
    power = [np.maximum(p, floor) for p in power]
    spread = [np.exp(np.interp(k, middle, np.log(p))) for p in power]
    covariance = np.empty((*k.shape, bands, bands))
    for i in range(bands):
        covariance[..., i, i] = spread[i] * (1 + 1e-6)
        for j in range(i):
            cross = annular_mean((transform[i] * transform[j].conj()).real)
            correlation = np.interp(k, middle, cross / np.sqrt(power[i] * power[j]))
            covariance[..., i, j] = correlation * np.sqrt(spread[i] * spread[j])
            covariance[..., j, i] = covariance[..., i, j]
    return covariance


def wave_numbers(shape: tuple[int, ...], pixel_scale_arcmin: float) -> np.ndarray:
    """Return |k| [rad / arcmin] of numpy's discrete Fourier transform, shape (ny, nx)."""
    ky, kx = (2 * np.pi * np.fft.fftfreq(n, pixel_scale_arcmin) for n in shape)
    return np.hypot(ky[:, None], kx)
