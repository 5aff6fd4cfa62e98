"""Render the optical sky: seeing, exponential discs, the wings of bright stars.

The seeing is a Moffat profile with beta = 2.5 (Trujillo et al. 2001, MNRAS 328, 977). Saturated
stars use it directly; all else uses the best-fitting sum of three Gaussians.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from astropy.wcs import WCS
from scipy import fft
from scipy.optimize import nnls

from clusterscan.config.simulation import SimulationSettings
from clusterscan.core.errors import ConfigError
from clusterscan.formats.mask_planes import MASK_DTYPE
from clusterscan.simulate.canvas import Frame, deposit
from clusterscan.simulate.sky_cells import Kind, generator
from clusterscan.simulate.stars import mark_circles
from clusterscan_studies.simulate.optical_sources import (
    BANDS,
    OpticalGalaxies,
    field_of_cell,
    members_seen_of_cell,
    stars_of_cell,
)
from clusterscan_studies.simulate.xray_sources import agn_of_cell

MOFFAT_BETA = 2.5
_WIDTHS_FWHM = (0.42, 0.85, 2.2)  # sigma of the Gaussians
_LEAST_VARIANCE_PX2 = 0.36  # narrower sources would ring between pixels
_SCALE_PER_HALF_LIGHT = 1 / 1.6783470  # of an exponential disc
_DISC_REACH = 4.0  # half-light radii, which hold 99 % of the light
_STAR_REACH_PX = 400

Layer = tuple[np.ndarray, np.ndarray, np.ndarray, float]


@lru_cache(maxsize=1)
def _moffat_mixture() -> np.ndarray:
    """Fit the weights of three Gaussians to a Moffat profile of unit FWHM."""
    r = np.linspace(0.0, 8.0, 400)
    sigma = np.array(_WIDTHS_FWHM)
    gaussians = np.exp(-0.5 * (r[:, None] / sigma) ** 2) / (2 * np.pi * sigma**2)
    # The weight is the square root of the area of a ring, so that the wings, with many pixels,
    # count as they do in an image. Non-negative weights keep the sum free of negative rings.
    weight = np.sqrt(r + 0.05)[:, None]
    parts, _ = nnls(gaussians * weight, moffat(r**2, 1.0) * weight[:, 0])
    return parts / parts.sum()


def moffat(r2: np.ndarray, fwhm: float) -> np.ndarray:
    """Return a Moffat profile of unit flux at a squared radius, per unit area."""
    alpha2 = fwhm**2 / (4 * (2 ** (1 / MOFFAT_BETA) - 1))
    return (MOFFAT_BETA - 1) / (np.pi * alpha2) * (1 + r2 / alpha2) ** -MOFFAT_BETA


@dataclass(frozen=True)
class OpticalPsf:
    """A point-spread function on a pixel grid."""

    fwhm_arcsec: float
    scale_arcsec: float

    @cached_property
    def gaussians(self) -> tuple[np.ndarray, np.ndarray]:
        """Parts and variances of its Gaussians [px2]."""
        sigma = np.array(_WIDTHS_FWHM) * self.fwhm_arcsec / self.scale_arcsec
        return _moffat_mixture(), np.maximum(sigma**2, _LEAST_VARIANCE_PX2)

    @property
    def fwhm_px(self) -> float:
        """Full width at half maximum, at least that of a sampled source [px]."""
        least = np.sqrt(8 * np.log(2) * _LEAST_VARIANCE_PX2)
        return max(self.fwhm_arcsec / self.scale_arcsec, float(least))

    @property
    def noise_pixels(self) -> float:
        """Number of noise pixels, 1 / integral of the squared profile."""
        a, v = self.gaussians
        return float(1.0 / (np.outer(a, a) / (2 * np.pi * (v[:, None] + v[None, :]))).sum())

    @property
    def peak(self) -> float:
        """Part of a centred star's flux in its brightest pixel."""
        a, v = self.gaussians
        return float((a / (2 * np.pi * v)).sum())

    def reach(self, flux: np.ndarray, level: float) -> np.ndarray:
        """Return the radius where stars fall to a level [px]."""
        r = np.geomspace(0.5, _STAR_REACH_PX, 300)
        light = moffat(r**2, self.fwhm_px)
        return np.interp(-np.log(level / np.asarray(flux)), -np.log(light), r)


def convolved(layers: Sequence[Layer], psf: OpticalPsf, shape: tuple[int, int]) -> np.ndarray:
    """Return the image of point-like sources and exponential discs.

    Parameters
    ----------
    layers : sequence of (x, y, flux, half_light_px)
        Sources of one size each; 0 px: points.
    psf : OpticalPsf
        The seeing.
    shape : (ny, nx)
        The grid.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
    """
    full = tuple(fft.next_fast_len(side, real=True) for side in shape)
    fy, fx = fft.fftfreq(full[0]).astype(np.float32), fft.rfftfreq(full[1]).astype(np.float32)
    k2 = fy[:, None] ** 2 + fx[None, :] ** 2
    total = np.zeros((len(fy), len(fx)), dtype=np.complex64)
    for x, y, flux, half_light_px in layers:
        if len(x) == 0:
            continue
        spectrum = fft.rfft2(deposit(x, y, flux[None], shape)[0], s=full, workers=1)
        h = 2 * np.pi * half_light_px * _SCALE_PER_HALF_LIGHT
        # The transform of an exponential disc is (1 + (2 pi k h)^2)^-1.5. All galaxies of a size
        # class share one convolution, so the cost does not grow with the number of galaxies.
        total += spectrum if h == 0 else spectrum * (1 + np.float32(h * h) * k2) ** np.float32(-1.5)
    total *= _transfer(psf, fy, fx)
    return fft.irfft2(total, s=full, workers=1)[: shape[0], : shape[1]]


def _transfer(psf: OpticalPsf, fy: np.ndarray, fx: np.ndarray) -> np.ndarray:
    """Return the transfer function of the seeing, divided by that of the deposit's spline."""
    transfer = np.zeros((len(fy), len(fx)), dtype=np.float32)
    for part, variance in zip(*psf.gaussians, strict=True):
        along_y = part * np.exp(-2 * np.pi**2 * variance * fy**2)
        transfer += np.outer(along_y, np.exp(-2 * np.pi**2 * variance * fx**2)).astype(np.float32)
    return transfer / np.outer(np.sinc(fy) ** 3, np.sinc(fx) ** 3).astype(np.float32)


def add_discs(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    galaxies: OpticalGalaxies,
    frame: Frame,
    psf: OpticalPsf,
) -> None:
    """Add large galaxies one by one, in place: inclined exponential discs.

    The seeing is added in quadrature to their size, which is accurate far from the centre.
    """
    seeing = psf.fwhm_px / 2.355
    for i in range(len(x)):
        half = np.hypot(galaxies.half_light_arcsec[i] / frame.scale_arcsec, seeing)
        q = np.hypot(galaxies.axis_ratio[i], seeing / half)
        q = min(float(q), 1.0)
        box, dx, dy = _box(image.shape, x[i], y[i], _DISC_REACH * half / np.sqrt(q))
        c, s = np.cos(galaxies.angle_rad[i]), np.sin(galaxies.angle_rad[i])
        along, across = dx * c + dy * s, dy * c - dx * s
        radius = np.sqrt(q * along**2 + across**2 / q)
        scale = half * _SCALE_PER_HALF_LIGHT
        light = np.exp(-radius / scale) / (2 * np.pi * scale**2)
        image[box] += np.float32(flux[i]) * light.astype(np.float32)


def add_stars(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    psf: OpticalPsf,
    level: float,
) -> None:
    """Add bright stars one by one, in place, out to where they fall to a level."""
    for i, reach in enumerate(psf.reach(flux, level)):
        box, dx, dy = _box(image.shape, x[i], y[i], max(reach, 5.0))
        image[box] += (flux[i] * moffat(dx**2 + dy**2, psf.fwhm_px)).astype(np.float32)


def _box(shape: tuple[int, int], x: float, y: float, half: float):
    """Return the slices of a box around a position and the offsets from it."""
    ny, nx = shape
    x0, x1 = (int(np.clip(v, 0, nx)) for v in (x - half, x + half + 1))
    y0, y1 = (int(np.clip(v, 0, ny)) for v in (y - half, y + half + 1))
    dx, dy = np.arange(x0, x1)[None, :] - x, np.arange(y0, y1)[:, None] - y
    return (slice(y0, y1), slice(x0, x1)), dx, dy


SATURATED, BRIGHT_STAR = 2, 4
ZERO_POINT_MAG = 22.5
_BORDER_ARCSEC = 60.0
_STAR_REACH_ARCMIN = 6.0
_HALO_REACH_ARCMIN = 30.0  # R200 of the largest halo at z = 0.05
_SIZE_EDGES_ARCSEC = (0.7, 1.4, 2.8)  # half-light radii between these are drawn alike
_SIZES_ARCSEC = (0.0, 1.0, 2.0, 3.5)
_DISC_ARCSEC, _DISC_R_MAG = 3.5, 17.0  # larger and brighter galaxies are drawn one by one

__all__ = ["BANDS", "pixel_noise", "render_optical"]


def flux_nanomaggies(mag: np.ndarray) -> np.ndarray:
    """Return fluxes of AB magnitudes [nanomaggies]."""
    return 10 ** (0.4 * (ZERO_POINT_MAG - np.asarray(mag)))


def pixel_noise(settings: SimulationSettings, scale_arcsec: float, band: str) -> float:
    """Return the noise of a pixel that gives the survey's depth [nanomaggies]."""
    index = BANDS.index(band)
    psf = OpticalPsf(settings.optical.seeing_fwhm_arcsec[index], scale_arcsec)
    depth = flux_nanomaggies(np.array(settings.optical.depth_5sigma_ab_mag[index]))
    return float(depth / 5 / np.sqrt(psf.noise_pixels))


def render_optical(
    wcs: WCS,
    shape: tuple[int, int],
    *,
    bands: Sequence[str],
    seed: int,
    settings: SimulationSettings,
    noise_key: Sequence[int] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Render an image of the simulated optical sky.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Equatorial (ICRS) celestial WCS. Where pixels are coarser than the seeing, sources are
        drawn a little wider than they are, so that they stay sampled.
    shape : (ny, nx)
        Image shape [pixels].
    bands : sequence of {'g', 'r', 'i'}
        The bands wanted, in the order of the planes.
    seed : int
        The sky's seed, >= 0.
    settings : SimulationSettings
        The sky's settings.
    noise_key : sequence of int, or None
        Key of this image's noise, drawn from the seed and the key; None: no noise.

    Returns
    -------
    image : float32 ndarray, shape (bands, ny, nx)
        Flux [nanomaggies per pixel], clipped where saturated.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bits 2 saturated in a band, 4 near a bright star.

    Raises
    ------
    ConfigError
        If a band is none of g, r, i.
    ImageError
        If the WCS is not equatorial.
    """
    unknown = [band for band in bands if band not in BANDS]
    if unknown:
        raise ConfigError(
            f"bands = {list(bands)}: the simulated optical sky has no {unknown}; "
            f"choose from {list(BANDS)}"
        )
    scale = Frame(wcs, shape, 0).scale_arcsec
    frame = Frame(wcs, shape, int(np.ceil(_BORDER_ARCSEC / scale)))
    galaxies, stars = _galaxies(frame, seed, settings), _points(frame, seed, settings)
    image = np.empty((len(bands), *frame.shape), dtype=np.float32)
    mask = np.zeros(frame.shape, dtype=MASK_DTYPE)
    for plane, band in zip(image, bands, strict=True):
        sigma = pixel_noise(settings, scale, band)
        plane[...] = _band_image(frame, galaxies, stars, band, sigma, mask, settings)
    if noise_key is not None:
        _add_noise(image, bands, scale, seed, settings, noise_key)
    return image, mask


def _band_image(
    frame: Frame,
    galaxies: tuple[np.ndarray, np.ndarray, OpticalGalaxies],
    points: tuple[np.ndarray, np.ndarray, np.ndarray],
    band: str,
    sigma: float,
    mask: np.ndarray,
    settings: SimulationSettings,
) -> np.ndarray:
    """Return one band's image without noise, and mark its bright stars in the mask."""
    index, scale = BANDS.index(band), frame.scale_arcsec
    psf = OpticalPsf(settings.optical.seeing_fwhm_arcsec[index], scale)
    x, y, seen = galaxies
    flux = flux_nanomaggies(seen.mag[index])
    disc = (seen.half_light_arcsec > _DISC_ARCSEC) & (seen.mag[1] < _DISC_R_MAG)
    size = np.digitize(seen.half_light_arcsec, _SIZE_EDGES_ARCSEC)
    layers = [
        (x[chosen], y[chosen], flux[chosen], radius / scale)
        for number, radius in enumerate(_SIZES_ARCSEC)
        for chosen in [(size == number) & ~disc]
    ]
    px, py, pmag = points
    bright = pmag[index] < settings.optical.saturation_ab_mag
    pflux = flux_nanomaggies(pmag[index])
    layers.append((px[~bright], py[~bright], pflux[~bright], 0.0))
    wide = convolved(layers, psf, frame.wide_shape)
    add_discs(wide, x[disc], y[disc], flux[disc], seen.take(disc), frame, psf)
    stars = px[bright], py[bright], pflux[bright]
    add_stars(wide, *stars, psf, 0.05 * sigma)
    image = frame.inner(wide)
    full = np.float32(flux_nanomaggies(np.array(settings.optical.saturation_ab_mag)) * psf.peak)
    mask[image > full] |= SATURATED
    b = frame.border_px
    mark_circles(mask, BRIGHT_STAR, stars[0] - b, stars[1] - b, psf.reach(stars[2], 3.0 * sigma))
    return np.minimum(image, full)


def _galaxies(
    frame: Frame, seed: int, settings: SimulationSettings
) -> tuple[np.ndarray, np.ndarray, OpticalGalaxies]:
    """Return pixel positions and properties of the galaxies that reach a frame."""
    parts = [field_of_cell(cell, seed, settings) for cell in frame.cells().tolist()]
    far = frame.cells(_HALO_REACH_ARCMIN).tolist()
    parts += [members_seen_of_cell(cell, seed, settings) for cell in far]
    galaxies = OpticalGalaxies.concatenate(parts)
    x, y = frame.to_pixel(galaxies.ra_deg, galaxies.dec_deg)
    near = frame.inside(x, y) & settings.optical.galaxies
    return x[near], y[near], galaxies.take(near)


def _points(frame: Frame, seed: int, settings: SimulationSettings):
    """Return pixel positions and magnitudes (3, n) of stars and active nuclei."""
    reach_px = _STAR_REACH_ARCMIN * 60.0 / frame.scale_arcsec
    columns = [(np.zeros(0), np.zeros(0), np.zeros((3, 0)))]
    for cell in frame.cells(_STAR_REACH_ARCMIN).tolist():
        if settings.optical.stars:
            columns.append(stars_of_cell(cell, seed, settings))
        if settings.optical.agn:
            ra, dec, _, mag = agn_of_cell(cell, seed, settings)
            columns.append((ra, dec, mag))
    ra, dec, mag = (np.concatenate(column, axis=-1) for column in zip(*columns, strict=True))
    x, y = frame.to_pixel(ra, dec)
    # Only saturated stars have wings that are drawn far out, so only they matter outside the frame.
    saturated = mag.min(axis=0) < settings.optical.saturation_ab_mag
    near = frame.inside(x, y) | (saturated & frame.inside(x, y, reach_px))
    return x[near], y[near], mag[:, near]


def _add_noise(
    image: np.ndarray,
    bands: Sequence[str],
    scale: float,
    seed: int,
    settings: SimulationSettings,
    noise_key: Sequence[int],
) -> None:
    for plane, band in zip(image, bands, strict=True):
        # A band's noise is its own, whichever bands are asked for with it.
        rng = generator(seed, Kind.OPTICAL_NOISE, BANDS.index(band), *noise_key)
        sigma = np.float32(pixel_noise(settings, scale, band))
        plane += sigma * rng.standard_normal(plane.shape, dtype=np.float32)
