"""The multi-frequency matched filter for the thermal SZ effect (Melin et al. 2006).

Maps are in uK_CMB. The filtered map is the central Compton parameter y0 that fits best at each
position, in units of its noise. Noise power is measured on the tile itself: clusters are few, so
the map is nearly all noise. Bright point sources are subtracted first, since a radio galaxy leaves
a ring in the filtered map that looks like clusters.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, uniform_filter

from clusterscan.config.scan import MatchedFilterSettings
from clusterscan.core.errors import ImageError
from clusterscan.physics.sz_effect import beam_window, sz_uk, template_window
from clusterscan.scan.significance import MAD_TO_SIGMA, local_significance


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
    if image.shape[0] != len(settings.frequencies_ghz):
        raise ImageError(
            f"the image has {image.shape[0]} bands and frequencies_ghz "
            f"{len(settings.frequencies_ghz)} values; give one for each band"
        )
    # The Fourier transform takes the tile as periodic: without a taper its edges would be steps
    # with power on all scales.
    weight = taper(usable, settings.taper_arcmin / pixel_scale_arcmin)
    maps = _without_mean(image, weight)
    if settings.point_source_snr is not None:
        maps = subtract_point_sources(
            maps, weight, pixel_scale_arcmin, settings.beam_fwhm_arcmin, settings.point_source_snr
        )
    response = np.array([sz_uk(f) for f in settings.frequencies_ghz])
    k = wave_numbers(usable.shape, pixel_scale_arcmin)
    beams = np.stack([beam_window(k, fwhm) for fwhm in settings.beam_fwhm_arcmin])
    if settings.highpass_fwhm_arcmin is not None:
        # The maps were high-passed in preprocessing, so the template has to be as well.
        beams = beams * (1 - beam_window(k, settings.highpass_fwhm_arcmin))
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


# --- noise and amplitudes in Fourier space ----------------------------------------------------


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
    weights[:, 0, 0] = 0.0  # the mean of a tile carries no signal
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
    # Annuli of a few modes: wide enough that the power in one is no accident, narrow enough to
    # follow the steep CMB.
    step = MODES_PER_ANNULUS * max(k[0, 1], k[1, 0])
    annulus = (k / step).astype(int).ravel()
    inside = k.ravel() > 0  # all but the mean
    count = np.bincount(annulus, weights=inside)

    def annular_mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(annulus, weights=values.ravel() * inside) / count

    bands = len(maps)
    middle = annular_mean(k)
    power = [annular_mean(np.abs(t) ** 2) for t in transform]
    # A floor and a slightly raised diagonal keep the covariance invertible where bands hold nothing
    # or the same.
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


# --- point sources ----------------------------------------------------------------------------


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

    Only bright spots are subtracted: clusters are dark below 217 GHz and too faint above.

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
            # Only the highest peak within the reach: around a bright source the filter rings.
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
