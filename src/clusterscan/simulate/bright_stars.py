"""What a bright star does to a WISE image: wings, diffraction spikes, a mask around it.

The spikes of WISE keep their angle to the scan direction, which follows ecliptic meridians, so
in coadds they stand at a fixed angle to the direction of the ecliptic pole. Their strength here
is illustrative; ghosts and latents are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterscan.physics.psf import NATIVE_SCALE_ARCSEC, WING_AT_45_PX, Psf, wing_profile_r2
from clusterscan.simulate.frame import Frame

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

    They are drawn one by one: by FFT, rounding errors of a star of 0 mag would show.

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
            wings = wing_profile_r2(r2 * np.float32(ratio**2))
            wings *= (r2 < np.float32(reach[i] ** 2)) * np.float32(flux * ratio**2)
            image[window] += wings
        r2, window = _window(image.shape, position, core)
        image[window] += np.float32(flux) * psf.profile_r2(r2, scale).astype(np.float32)


def _wing_reach_native_px(flux: np.ndarray, ratio: float, sigma: float) -> np.ndarray:
    """Return where the r^-3 wing falls below 5 % of the noise of a pixel."""
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
            mask[y0:y1, x0:x1] |= np.where(dx**2 + dy**2 <= r**2, bit, 0).astype(np.uint8)
