"""Render the X-ray sky; photons are drawn for each pointing, so all images show the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy.wcs import WCS

from clusterscan.config.simulation import SimulationSettings
from clusterscan.core import sky
from clusterscan.formats.mask_planes import MASK_DTYPE
from clusterscan.simulate.canvas import Frame, convolve_gaussians
from clusterscan.simulate.sky_cells import GENERATION_ORDER, Kind, generator
from clusterscan_studies.simulate.xray_sources import XraySources, beta_radius, sources_of_cell
from clusterscan_studies.simulate.xray_telescope import Pointing, pointing_of_cell, pointings_around

# X-ray images are counts of single photons, most pixels hold none. So the simulation draws photons,
# not a mean image: source, mirror (vignetting), PSF, then chips, in the order of the light.
_REACH_ARCMIN = 3.0  # sources so far outside the field may still scatter photons into it
_BETA_LIMIT = 0.97  # of the flux: the model ends there, at 33 core radii


@dataclass(frozen=True)
class Photons:
    """Detected photons, each column of shape (n,), in detector coordinates [arcmin]."""

    x: np.ndarray
    y: np.ndarray


def sources_near(pointing: Pointing, seed: int, settings: SimulationSettings) -> XraySources:
    """Return the sources in a pointing's field and just outside, by rising cell."""
    reach = (pointing.instrument.field_radius_arcmin + _REACH_ARCMIN) / 60.0
    centre = pointing.ra_deg, pointing.dec_deg
    cells = sky.cells_in_cone(*centre, reach, GENERATION_ORDER)
    every = XraySources.concatenate([sources_of_cell(int(c), seed, settings) for c in cells])
    return every.take(sky.separation_deg(*centre, every.ra_deg, every.dec_deg) <= reach)


def expected_counts(pointing: Pointing, sources: XraySources) -> np.ndarray:
    """Return the expected counts of each source, as if on axis and without gaps between chips."""
    return sources.flux * pointing.instrument.counts_per_flux * pointing.exposure_s


@lru_cache(maxsize=64)
def photons_of_pointing(cell: int, seed: int, settings: SimulationSettings) -> Photons:
    """Draw the photons of a cell's pointing: sources, sky, particles, a noisy chip."""
    pointing = pointing_of_cell(cell, seed, settings.xray)
    rng = generator(seed, Kind.XRAY_PHOTONS, pointing.instrument.pointing_order, cell)
    parts = [
        _from_sources(rng, pointing, sources_near(pointing, seed, settings)),
        *_background(rng, pointing),
    ]
    x, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Photons(x.astype(np.float32), y.astype(np.float32))


def _from_sources(rng: np.random.Generator, pointing: Pointing, sources: XraySources):
    tube = pointing.instrument
    # Photons are drawn as if all sources were on axis; vignetting and gaps then remove some of
    # them. A Poisson process that is thinned at random is a Poisson process again.
    number = rng.poisson(expected_counts(pointing, sources))
    x, y = pointing.to_detector(sky.unit_vectors(sources.ra_deg, sources.dec_deg))
    x, y = np.repeat(x, number), np.repeat(y, number)
    core = np.repeat(sources.core_arcsec, number) / 60.0
    radius = core * beta_radius(_BETA_LIMIT * rng.random(len(x)))
    angle = rng.random(len(x)) * 2 * np.pi
    x, y = x + radius * np.cos(angle), y + radius * np.sin(angle)
    # The mirror's efficiency is that of where the photon comes from, the chips' where it lands.
    through = rng.random(len(x)) < tube.vignetting(np.hypot(x, y))
    x, y = x[through], y[through]
    dx, dy = tube.psf_offsets(rng, x, y)
    return _on_chips(rng, pointing, x + dx, y + dy)


def _background(rng: np.random.Generator, pointing: Pointing):
    tube = pointing.instrument
    side = tube.field_radius_arcmin
    seconds = pointing.background * pointing.exposure_s
    # Sky background comes through the mirrors and is vignetted like a source. Particles hit the
    # chips directly: they are uniform, so at large off-axis angles they dominate.
    for rate, vignetted in ((tube.sky_rate, True), (tube.particle_rate, False)):
        n = rng.poisson(rate * seconds * (2 * side) ** 2)
        x, y = rng.uniform(-side, side, (2, n))
        if vignetted:
            through = rng.random(n) < tube.vignetting(np.hypot(x, y))
            x, y = x[through], y[through]
        yield _on_chips(rng, pointing, x, y)
    if pointing.noisy_chip >= 0:
        left, right, low, high = tube.noisy_chips[pointing.noisy_chip]
        n = rng.poisson(tube.noisy_rate * seconds * (right - left) * (high - low))
        x, y = rng.uniform(left, right, n), rng.uniform(low, high, n)
        # A noisy chip sees the extra events over its whole area, but the field of view is round.
        seen = np.hypot(x, y) < side
        yield x[seen], y[seen]


def _on_chips(rng: np.random.Generator, pointing: Pointing, x: np.ndarray, y: np.ndarray):
    seen = rng.random(len(x)) < pointing.instrument.live(x, y)
    return x[seen], y[seen]


BANDS = ("soft",)
UNITS = ("ct/arcmin2", "ct/s/arcmin2")
"""Units of the image: counts, or with `exposure_corrected` rates."""

NO_COVERAGE = 1
_GRID_STEP_PX = 16  # detector coordinates are smooth: interpolated between so many pixels
_REACH_FWHM = 2.0

__all__ = ["BANDS", "render_xray"]


def render_xray(
    wcs: WCS, shape: tuple[int, int], *, seed: int, settings: SimulationSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Render an image of the simulated X-ray sky in 0.5-2 keV.

    Photons belong to the pointing that detected them, not to the image: overlapping images show
    the same photons, and an image has no noise of its own.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Equatorial (ICRS) celestial WCS.
    shape : (ny, nx)
        Image shape [pixels].
    seed : int
        The sky's seed, >= 0.
    settings : SimulationSettings
        The sky's settings.

    Returns
    -------
    image : float32 ndarray, shape (1, ny, nx)
        Counts [ct/arcmin2], or with `exposure_corrected` rates [ct/s/arcmin2], smoothed; 0 where
        nothing was observed.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        1 where nothing was observed.

    Raises
    ------
    ImageError
        If the WCS is not equatorial.
    """
    scale = Frame(wcs, shape, 0).scale_arcsec
    fwhm_px = settings.xray.smoothing_fwhm_arcsec / scale
    frame = Frame(wcs, shape, int(np.ceil(_REACH_FWHM * fwhm_px)))
    pointings = pointings_around(*frame.cone, seed, settings.xray)
    counts = np.zeros(frame.wide_shape, dtype=np.float32)
    exposure = np.zeros(frame.wide_shape, dtype=np.float32)
    vectors = frame.pixel_vectors(_GRID_STEP_PX)
    for pointing in pointings:
        _add_photons(counts, frame, pointing, seed, settings)
        _add_exposure(exposure, vectors, pointing)
    seen = exposure > 0
    counts[~seen] = 0.0
    image = _smoothed(counts, fwhm_px)
    if settings.xray.exposure_corrected:
        # Counts and exposure are smoothed alike before the division, so a gap between chips leaves
        # no bright or dark line.
        image /= np.maximum(_smoothed(exposure, fwhm_px), 1.0)
    image *= (60.0 / scale) ** 2
    image[~seen] = 0.0
    mask = np.where(frame.inner(seen), 0, NO_COVERAGE).astype(MASK_DTYPE)
    return np.ascontiguousarray(frame.inner(image))[None], mask


def _smoothed(plane: np.ndarray, fwhm_px: float) -> np.ndarray:
    if fwhm_px == 0:
        return plane.copy()
    variance = (fwhm_px / np.sqrt(8 * np.log(2))) ** 2
    # Convolved sums of counts are never negative; what is, is rounding.
    return np.maximum(convolve_gaussians(plane, [1.0], [variance], spline=False), 0.0)


def _add_photons(
    counts: np.ndarray, frame: Frame, pointing: Pointing, seed: int, settings: SimulationSettings
) -> None:
    photons = photons_of_pointing(pointing.cell, seed, settings)
    x, y = frame.to_pixel(*pointing.to_sky(photons.x.astype(float), photons.y.astype(float)))
    near = frame.inside(x, y)
    ix, iy = np.rint(x[near]).astype(np.int64), np.rint(y[near]).astype(np.int64)
    ny, nx = counts.shape
    good = (ix >= 0) & (ix < nx) & (iy >= 0) & (iy < ny)
    # Two photons may fall on one pixel, which plain indexed addition would count once.
    np.add.at(counts.reshape(-1), iy[good] * nx + ix[good], np.float32(1.0))


def _add_exposure(exposure: np.ndarray, vectors: np.ndarray, pointing: Pointing) -> None:
    """Add a pointing's exposure [s], in place; vectors are those of every 16th pixel."""
    x, y = pointing.to_detector(vectors)
    far = np.hypot(x, y) > pointing.instrument.field_radius_arcmin + _margin(x, y)
    rows, columns = (np.flatnonzero(~np.all(far, axis=axis)) for axis in (1, 0))
    if rows.size == 0 or columns.size == 0:
        return
    # Only the part of the coarse grid that the field touches is refined: a pointing covers a small
    # corner of most images.
    r0, r1 = max(rows[0] - 1, 0), min(rows[-1] + 2, x.shape[0])
    c0, c1 = max(columns[0] - 1, 0), min(columns[-1] + 2, x.shape[1])
    ny, nx = exposure.shape
    top, left = r0 * _GRID_STEP_PX, c0 * _GRID_STEP_PX
    bottom, right = min(r1 * _GRID_STEP_PX, ny), min(c1 * _GRID_STEP_PX, nx)
    iy = np.arange(top, bottom) / _GRID_STEP_PX - r0
    ix = np.arange(left, right) / _GRID_STEP_PX - c0
    fine_x, fine_y = (_between(side[r0:r1, c0:c1], iy, ix) for side in (x, y))
    exposure[top:bottom, left:right] += pointing.exposure(fine_x, fine_y).astype(np.float32)


def _margin(x: np.ndarray, y: np.ndarray) -> float:
    """Return an upper bound on the spacing of a coarse detector grid [arcmin]."""
    steps = [
        np.nanmax(np.abs(np.diff(side, axis=a)), initial=0.0) for side in (x, y) for a in (0, 1)
    ]
    return 2 * float(max(steps))


def _between(coarse: np.ndarray, iy: np.ndarray, ix: np.ndarray) -> np.ndarray:
    """Interpolate a smooth grid linearly, and extrapolate linearly beyond its last point."""
    rows = _along(coarse, iy)
    return _along(rows.T, ix).T


def _along(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    if values.shape[0] == 1:
        return np.repeat(values, len(at), axis=0)
    low = np.clip(np.floor(at).astype(int), 0, values.shape[0] - 2)
    part = (at - low)[:, None]
    return values[low] * (1 - part) + values[low + 1] * part
