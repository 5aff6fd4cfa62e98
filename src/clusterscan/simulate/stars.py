"""Stars: their counts in any direction, and the image of a bright star in WISE.

Counts in W1 follow from discs and a halo. A bright star has wings, diffraction spikes and a mask
around it. The spikes of WISE keep their angle to the scan direction, which follows ecliptic
meridians, so in coadds they stand at a fixed angle to the direction of the ecliptic pole. Their
strength here is illustrative; ghosts and latents are left out.

References
----------
Bahcall & Soneira 1980, ApJS 44, 73 (the method of the counts).
Juric et al. 2008, ApJ 673, 864 (scale heights and lengths, thick disc and halo fractions).
Just et al. 2015, MNRAS 451, 149 (luminosity function of nearby stars in Ks; here rounded values).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from clusterscan.config.simulation import InfraredSettings
from clusterscan.core import sky
from clusterscan.physics.psf import NATIVE_SCALE_ARCSEC, WING_AT_45_PX, Psf, wing_profile_r2
from clusterscan.simulate.canvas import Frame
from clusterscan.simulate.sky_cells import (
    GENERATION_AREA_DEG2,
    GENERATION_ORDER,
    Kind,
    generator,
    uniform_positions,
)

# --- counts -----------------------------------------------------------------------------------


# Local stellar density per magnitude [1e-3 pc-3 mag-1] against M_W1, about M_Ks.
_LF_MAG = np.array([-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11.0])
_LF = np.array(
    [0.0002, 0.0008, 0.003, 0.008, 0.02, 0.12, 0.08, 0.10, 0.6, 1.6, 3.2, 4.2, 6.5, 9.5, 11.0,
     10.0, 7.0, 5.0, 3.0]
)  # fmt: skip
_SUN_R_PC, _SUN_Z_PC = 8000.0, 25.0
_THICK_PART, _HALO_PART = 0.12, 0.0051
_BRIGHTEST_MAG = -3.0
_MAG_STEP = 0.25


def galactic_density(l_deg: float, b_deg: float, distance_pc: np.ndarray) -> np.ndarray:
    """Return the stellar density along a line of sight, in units of the local density."""
    l_rad, b_rad = np.radians(l_deg), np.radians(b_deg)
    along = distance_pc * np.cos(b_rad)
    x = _SUN_R_PC - along * np.cos(l_rad)
    radius = np.hypot(x, along * np.sin(l_rad))
    height = np.abs(distance_pc * np.sin(b_rad) + _SUN_Z_PC)

    def disc(scale_height: float, scale_length: float) -> np.ndarray:
        return np.exp(-(radius - _SUN_R_PC) / scale_length - (height - _SUN_Z_PC) / scale_height)

    # The stellar halo is flattened, with an axis ratio of 0.64 and a density of r^-2.77 (Juric et
    # al. 2008). Within 500 pc of the Galactic centre it is capped: there it would diverge.
    oblate = np.sqrt(radius**2 + (height / 0.64) ** 2)
    halo = (_SUN_R_PC / np.maximum(oblate, 500.0)) ** 2.77
    return (disc(300.0, 2600.0) + _THICK_PART * disc(900.0, 3600.0) + _HALO_PART * halo) / (
        1 + _THICK_PART + _HALO_PART
    )


def star_counts(l_deg: float, b_deg: float, w1_mag: np.ndarray) -> np.ndarray:
    """Return star counts in a direction [mag-1 deg-2]; no extinction.

    Parameters
    ----------
    l_deg, b_deg : float
        Galactic direction [deg].
    w1_mag : ndarray, shape (n,)
        Apparent magnitudes [Vega].
    """
    ln_distance = np.linspace(np.log(2.0), np.log(6e4), 160)
    distance = np.exp(ln_distance)
    volume = distance**3 * (np.pi / 180) ** 2 * (ln_distance[1] - ln_distance[0])
    stars = volume * galactic_density(l_deg, b_deg, distance)
    # The fundamental equation of stellar statistics: at each distance, count the stars whose
    # absolute magnitude gives the wanted apparent one.
    absolute = np.asarray(w1_mag)[:, None] - 5 * np.log10(distance / 10.0)[None, :]
    log_lf = np.interp(absolute, _LF_MAG, np.log(_LF * 1e-3), left=-50.0, right=-50.0)
    return (np.exp(log_lf) * stars).sum(axis=1)


@lru_cache(maxsize=256)
def _cumulative_counts(cell: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    ra, dec = (float(v) for v in sky.cell_centres(np.array(cell), GENERATION_ORDER))
    galactic = SkyCoord(ra * u.deg, dec * u.deg, frame="icrs").galactic
    edges = np.linspace(low, high, int(np.ceil((high - low) / _MAG_STEP)) + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = star_counts(galactic.l.deg, galactic.b.deg, middle) * np.diff(edges)
    return edges, np.concatenate([[0.0], np.cumsum(counts)])


def _draw(rng, cell, low: float, high: float, factor: float, cap_per_deg2: float):
    """Draw the stars of a cell between two magnitudes: position, W1 and W2."""
    edges, cumulative = _cumulative_counts(cell, low, high)
    # Towards the Galactic plane there would be millions of stars in a cell. The survey is confused
    # there anyway, so their number is capped; the magnitudes keep their distribution.
    total = min(cumulative[-1] * factor, cap_per_deg2) * GENERATION_AREA_DEG2
    count = rng.poisson(total)
    w1 = np.interp(rng.random(count) * cumulative[-1], cumulative, edges)
    # Dwarfs cooler than M4 are redder; they are faint stars nearby (Kirkpatrick et al. 2011).
    cool = rng.random(count) < np.clip((w1 - 11.0) / 20.0, 0.0, 0.3)
    colour = np.where(cool, 0.17, -0.03) + 0.04 * rng.standard_normal(count)
    ra, dec = uniform_positions(rng, cell, count)
    return ra, dec, w1, w1 - colour


def faint_stars_of_cell(cell: int, seed: int, settings: InfraredSettings):
    """Draw a cell's stars fainter than `bright_star_w1_mag`.

    Returns
    -------
    ra_deg, dec_deg, w1_mag, w2_mag : ndarray, shape (n,)
    """
    rng = generator(seed, Kind.STARS, cell)
    low, high = (
        settings.bright_star_w1_mag,
        max(settings.star_limit_w1_mag, settings.bright_star_w1_mag + _MAG_STEP),
    )
    return _draw(rng, cell, low, high, settings.star_density, settings.stars_max_per_deg2)


@lru_cache(maxsize=256)
def bright_stars_of_cell(cell: int, seed: int, settings: InfraredSettings):
    """Draw a cell's stars brighter than `bright_star_w1_mag`; columns as for faint ones."""
    rng = generator(seed, Kind.BRIGHT_STARS, cell)
    return _draw(rng, cell, _BRIGHTEST_MAG, settings.bright_star_w1_mag, settings.star_density, 1e6)


# --- images of bright stars -------------------------------------------------------------------


REACH_ARCMIN = 40.0
"""Stars further than this outside an image leave no light in it."""

_ECLIPTIC_POLE = np.array([0.0, -0.3977771559, 0.9174820621])  # ICRS
_SPIKE_ANGLES = np.radians([45.0, 135.0])
_SPIKE_START, _SPIKE_STEP, _SPIKE_AT_45_PX = 12.0, 0.5, 2e-5  # native px; part of the flux per px
_CORE_NATIVE_PX = 85.0
_FAINTEST_WING_SIGMA = 0.05


@dataclass(frozen=True)
class BrightStars:
    """Bright stars that reach a frame; every column has shape (n,), flux (2, n)."""

    ra_deg: np.ndarray
    dec_deg: np.ndarray
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    """W1 and W2 [nanomaggies]."""


def add_stars(
    image: np.ndarray, frame: Frame, stars: BrightStars, band: int, psf: Psf, sigma: float
) -> None:
    """Add cores and wings of bright stars to one band's widened image, in place.

    They are drawn one by one: an FFT would spread the rounding errors of a star of 0 mag over the
    whole image, where they would show.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        The widened image [nanomaggies per pixel].
    frame : Frame
        Its frame.
    stars : BrightStars
        The stars.
    band : int
        0 for W1, 1 for W2.
    psf : Psf
        The band's point-spread function.
    sigma : float
        Pixel noise; wings below 5 % of it are left out.
    """
    scale = frame.scale_arcsec
    ratio = scale / NATIVE_SCALE_ARCSEC
    core = _CORE_NATIVE_PX / ratio
    reach = _wing_reach_native_px(stars.flux[band], ratio, sigma) / ratio
    for i in range(len(stars.x)):
        position, flux = (stars.x[i], stars.y[i]), stars.flux[band, i]
        if reach[i] > 10:
            r2, window = _window(image.shape, position, reach[i])
            # Flux per native pixel -> flux per image pixel: the area grows with ratio^2.
            wings = wing_profile_r2(r2 * np.float32(ratio**2))
            wings *= (r2 < np.float32(reach[i] ** 2)) * np.float32(flux * ratio**2)
            image[window] += wings
        r2, window = _window(image.shape, position, core)
        image[window] += np.float32(flux) * psf.profile_r2(r2, scale).astype(np.float32)


def _wing_reach_native_px(flux: np.ndarray, ratio: float, sigma: float) -> np.ndarray:
    """Return the radius where the r^-3 wing falls below 5 % of a pixel's noise [native px]."""
    level = _FAINTEST_WING_SIGMA * sigma / ratio**2
    reach = 45.0 * (WING_AT_45_PX * flux / level) ** (1 / 3)
    return np.minimum(reach, REACH_ARCMIN * 60.0 / NATIVE_SCALE_ARCSEC)


def _window(shape: tuple[int, int], position: tuple[float, float], half: float):
    """Return squared distances (float32) in a box around a position, and the box's slices."""
    ny, nx = shape
    x, y = position
    x0, x1 = (int(np.clip(v, 0, nx)) for v in (x - half, x + half + 1))
    y0, y1 = (int(np.clip(v, 0, ny)) for v in (y - half, y + half + 1))
    dx = (np.arange(x0, x1) - x).astype(np.float32)
    dy = (np.arange(y0, y1) - y).astype(np.float32)
    return dy[:, None] ** 2 + dx[None, :] ** 2, (slice(y0, y1), slice(x0, x1))


def spike_sources(
    frame: Frame, stars: BrightStars, sigma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the spikes as points along four arms: (x, y, flux (2, n)), to be convolved."""
    ratio = frame.scale_arcsec / NATIVE_SCALE_ARCSEC
    reach = _wing_reach_native_px(stars.flux[0], ratio, sigma)
    along_x, along_y = _spike_directions(frame, stars)
    xs, ys, fluxes = [np.zeros(0)], [np.zeros(0)], [np.zeros((2, 0))]
    for i in np.flatnonzero(reach > _SPIKE_START):
        t = np.arange(_SPIKE_START, reach[i], _SPIKE_STEP)
        t = np.concatenate([-t, t])
        # A spike fades as r^-2 along its arm. Deposited as points, it gets the PSF's width when the
        # grid is convolved.
        light = _SPIKE_AT_45_PX * (45.0 / t) ** 2 * _SPIKE_STEP
        for ux, uy in zip(along_x[:, i], along_y[:, i], strict=True):
            xs.append(stars.x[i] + t / ratio * ux)
            ys.append(stars.y[i] + t / ratio * uy)
            fluxes.append(stars.flux[:, i : i + 1] * light)
    return np.concatenate(xs), np.concatenate(ys), np.concatenate(fluxes, axis=1)


def _spike_directions(frame: Frame, stars: BrightStars) -> tuple[np.ndarray, np.ndarray]:
    """Return unit pixel vectors (2 spikes, n stars) from a small step on the sky."""
    ra, dec = np.radians(stars.ra_deg), np.radians(stars.dec_deg)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)])
    outward = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    to_pole = np.arctan2(_ECLIPTIC_POLE @ east, _ECLIPTIC_POLE @ north)
    directions_x, directions_y = [], []
    for angle in _SPIKE_ANGLES:
        # A step on the sky, projected, gives the direction on the image whatever its rotation,
        # parity or distortion.
        moved = outward + 1e-4 * (np.cos(to_pole + angle) * north + np.sin(to_pole + angle) * east)
        moved /= np.linalg.norm(moved, axis=0)
        mx, my = frame.to_pixel(
            np.degrees(np.arctan2(moved[1], moved[0])) % 360.0, np.degrees(np.arcsin(moved[2]))
        )
        length = np.hypot(mx - stars.x, my - stars.y)
        directions_x.append((mx - stars.x) / length)
        directions_y.append((my - stars.y) / length)
    return np.array(directions_x), np.array(directions_y)


def mask_radius_px(
    flux: np.ndarray, sigma: float, psf: Psf, scale_arcsec: float, level_sigma: float
) -> np.ndarray:
    """Return the radius where a star's light falls to `level_sigma` pixel sigma [px]."""
    ratio = scale_arcsec / NATIVE_SCALE_ARCSEC
    radius = np.geomspace(0.5, REACH_ARCMIN * 60.0 / scale_arcsec, 400)
    light = psf.profile_r2(radius**2, scale_arcsec)
    light = light + wing_profile_r2((radius * ratio) ** 2) * ratio**2
    # `np.interp` needs a monotonic curve: the light is made to fall with radius, also where core
    # and wings are joined.
    light = np.maximum.accumulate(light[::-1])[::-1]
    wanted = level_sigma * sigma / np.asarray(flux)
    return np.interp(-np.log(wanted), -np.log(light), radius)


def mark_circles(
    mask: np.ndarray, bit: int, x: np.ndarray, y: np.ndarray, radius_px: np.ndarray
) -> None:
    """Set a bit of the mask within circles, in place."""
    ny, nx = mask.shape
    for cx, cy, r in zip(x, y, radius_px, strict=True):
        x0, x1 = max(0, int(np.floor(cx - r))), min(nx, int(np.ceil(cx + r)) + 1)
        y0, y1 = max(0, int(np.floor(cy - r))), min(ny, int(np.ceil(cy + r)) + 1)
        if x0 < x1 and y0 < y1:
            dx = np.arange(x0, x1)[None, :] - cx
            dy = np.arange(y0, y1)[:, None] - cy
            mask[y0:y1, x0:x1] |= np.where(dx**2 + dy**2 <= r**2, bit, 0).astype(mask.dtype)
