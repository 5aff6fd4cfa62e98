"""Images of the simulated infrared sky: stars, galaxies, members of halos, in W1 and W2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.wcs import WCS

from clusterscan.config.simulation import SimulationSettings
from clusterscan.formats.mask_planes import MASK_DTYPE
from clusterscan.physics.psf import PSFS
from clusterscan.simulate.canvas import Frame, convolve_gaussians, deposit
from clusterscan.simulate.galaxies import field_galaxies_of_cell, members_of_cell
from clusterscan.simulate.sky_cells import Kind, generator
from clusterscan.simulate.stars import (
    REACH_ARCMIN,
    BrightStars,
    add_stars,
    bright_stars_of_cell,
    faint_stars_of_cell,
    mark_circles,
    mask_radius_px,
    spike_sources,
)

BANDS = ("W1", "W2")
ZERO_POINT_MAG = 22.5
"""Magnitude of a flux of 1 nanomaggy."""

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

SATURATED, BRIGHT_STAR = 2, 4
"""Bit planes of the mask."""

_BORDER_ARCSEC = 220.0  # 5.7 sigma of the PSF's widest Gaussian
_HALO_REACH_ARCMIN = 30.0  # R200 of the largest halo at z = 0.05

__all__ = ["BANDS", "BRIGHT_STAR", "SATURATED", "pixel_noise", "render_infrared"]


def flux_nanomaggies(mag: np.ndarray) -> np.ndarray:
    """Convert Vega magnitudes to fluxes [Vega nanomaggies]."""
    return 10 ** (0.4 * (ZERO_POINT_MAG - np.asarray(mag)))


def pixel_noise(settings: SimulationSettings, scale_arcsec: float) -> tuple[float, float]:
    """Return the noise of a pixel in W1 and W2 [nanomaggies] that gives the survey's depth."""
    depth = settings.infrared.depth_5sigma_vega_mag
    # A 5 sigma point source: the noise of a PSF-weighted flux is sigma_pixel times the square root
    # of the PSF's noise pixels.
    w1, w2 = (
        float(flux_nanomaggies(np.array(mag)) / 5 / np.sqrt(psf.noise_pixels(scale_arcsec)))
        for mag, psf in zip(depth, PSFS, strict=True)
    )
    return w1, w2


def render_infrared(
    wcs: WCS,
    shape: tuple[int, int],
    *,
    seed: int,
    settings: SimulationSettings,
    noise_key: int | Sequence[int] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Render an image of the simulated infrared sky.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Equatorial (ICRS) celestial WCS, 2.75 arcsec per pixel or thereabouts.
    shape : (ny, nx)
        Image shape [pixels].
    seed : int
        The sky's seed, >= 0.
    settings : SimulationSettings
        The sky's settings.
    noise_key : int, sequence of int, or None
        Key of this image's noise, drawn from the seed and the key; None: no noise.

    Returns
    -------
    image : float32 ndarray, shape (2, ny, nx)
        W1 and W2 [Vega nanomaggies per pixel], PSF-convolved, clipped where saturated.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bits 2 saturated in W1 or W2, 4 near a bright star.

    Raises
    ------
    ImageError
        If the WCS is not equatorial.
    """
    scale = Frame(wcs, shape, 0).scale_arcsec
    frame = Frame(wcs, shape, int(np.ceil(_BORDER_ARCSEC / scale)))
    sigma = pixel_noise(settings, scale)
    # Faint sources are deposited on one grid per band and convolved together. Bright stars follow,
    # one by one, with wings that no Gaussian has; then the image saturates, as a detector does.
    stars = _bright_stars(frame, seed, settings)
    grids = _point_sources(frame, stars, seed, settings, sigma[0])
    image = np.empty((2, *frame.shape), dtype=np.float32)
    mask = np.zeros(frame.shape, dtype=MASK_DTYPE)
    for band, psf in enumerate(PSFS):
        variances = psf.variances_px2(scale)
        wide = convolve_gaussians(grids[band], psf.amplitudes, variances, spline=True)
        add_stars(wide, frame, stars, band, psf, sigma[band])
        image[band] = frame.inner(wide)
        limit = flux_nanomaggies(np.array(settings.infrared.saturation_vega_mag[band]))
        # The limit is the magnitude of a star whose central pixel just saturates, hence its flux
        # times the PSF's peak.
        full_well = np.float32(limit * psf.peak(scale))
        mask[image[band] > full_well] |= SATURATED
        np.minimum(image[band], full_well, out=image[band])
    radius = mask_radius_px(
        stars.flux[0], sigma[0], PSFS[0], scale, settings.infrared.mask_level_sigma
    )
    b = frame.border_px
    mark_circles(mask, BRIGHT_STAR, stars.x - b, stars.y - b, radius)
    if noise_key is not None:
        _add_noise(image, sigma, seed, noise_key)
    return image, mask


def _point_sources(
    frame: Frame, stars: BrightStars, seed: int, settings: SimulationSettings, sigma: float
) -> np.ndarray:
    """Deposit all but the bright stars, and those stars' spikes; shape (2, ny, nx)."""
    spike_x, spike_y, spike_flux = spike_sources(frame, stars, sigma)
    parts: list[Columns] = [(spike_x, spike_y, spike_flux[0], spike_flux[1])]
    infrared = settings.infrared
    for cell in frame.cells().tolist():
        if infrared.galaxies:
            parts.append(_placed(frame, *field_galaxies_of_cell(cell, seed, settings)))
        if infrared.stars:
            parts.append(_placed(frame, *faint_stars_of_cell(cell, seed, infrared)))
    if infrared.galaxies:
        # Members lie around their halo's centre, so a halo of a cell beyond the image may have
        # members in it. Field galaxies and stars lie in their own cell.
        for cell in frame.cells(_HALO_REACH_ARCMIN).tolist():
            m = members_of_cell(cell, seed, settings.halos)
            keep = m.w1_mag < infrared.galaxy_limit_w1_mag
            parts.append(
                _placed(frame, m.ra_deg[keep], m.dec_deg[keep], m.w1_mag[keep], m.w2_mag[keep])
            )
    x, y, w1, w2 = (np.concatenate(column) for column in zip(*parts, strict=True))
    return deposit(x, y, np.stack([w1, w2]), frame.wide_shape)


def _placed(frame: Frame, ra, dec, w1, w2) -> Columns:
    """Return pixel positions and fluxes [nanomaggies] of the sources inside the widened image."""
    x, y = frame.to_pixel(ra, dec)
    near = frame.inside(x, y)
    return x[near], y[near], flux_nanomaggies(w1[near]), flux_nanomaggies(w2[near])


def _bright_stars(frame: Frame, seed: int, settings: SimulationSettings) -> BrightStars:
    """Return the bright stars in the frame, and those around it whose light reaches it."""
    columns: tuple[np.ndarray, ...] = tuple(np.zeros((4, 0)))
    if settings.infrared.stars:
        cells = frame.cells(REACH_ARCMIN).tolist()
        parts = [bright_stars_of_cell(cell, seed, settings.infrared) for cell in cells]
        columns = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    ra, dec, w1, w2 = columns
    x, y = frame.to_pixel(ra, dec)
    near = frame.inside(x, y, REACH_ARCMIN * 60.0 / frame.scale_arcsec)
    flux = flux_nanomaggies(np.stack([w1[near], w2[near]]))
    return BrightStars(ra[near], dec[near], x[near], y[near], flux)


def _add_noise(
    image: np.ndarray, sigma: Sequence[float], seed: int, noise_key: int | Sequence[int]
) -> None:
    key = (noise_key,) if isinstance(noise_key, int | np.integer) else tuple(noise_key)
    rng = generator(seed, Kind.INFRARED_NOISE, *key)
    for band in range(len(image)):
        image[band] += np.float32(sigma[band]) * rng.standard_normal(
            image[band].shape, dtype=np.float32
        )
