"""Images of the simulated optical sky: galaxies, active nuclei and stars in g, r, i."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.wcs import WCS

from clusterscan.config.simulation import SimulationSettings
from clusterscan.core.errors import ConfigError
from clusterscan.simulate.bright_stars import mark_circles
from clusterscan.simulate.cells import Kind, generator
from clusterscan.simulate.frame import Frame
from clusterscan_studies.simulate.optical_colours import BANDS
from clusterscan_studies.simulate.optical_light import OpticalPsf, add_discs, add_stars, convolved
from clusterscan_studies.simulate.optical_sources import (
    OpticalGalaxies,
    field_of_cell,
    members_seen_of_cell,
    stars_of_cell,
)
from clusterscan_studies.simulate.xray_sources import agn_of_cell

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
        What the noise of this image is drawn from, beside the seed; None: no noise.

    Returns
    -------
    image : float32 ndarray, shape (bands, ny, nx)
        Flux [nanomaggies per pixel], clipped where saturated.
    mask : uint8 ndarray, shape (ny, nx)
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
    mask = np.zeros(frame.shape, dtype=np.uint8)
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
