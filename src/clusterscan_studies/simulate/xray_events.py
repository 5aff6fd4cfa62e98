"""The photons of a pointing: drawn once, from the pointing alone, so every image shows the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clusterscan.config.simulation import SimulationSettings
from clusterscan.core import sky
from clusterscan.simulate.cells import GENERATION_ORDER, Kind, generator
from clusterscan_studies.simulate.xray_emission import beta_radius
from clusterscan_studies.simulate.xray_pointings import Pointing, pointing_of_cell
from clusterscan_studies.simulate.xray_sources import XraySources, sources_of_cell

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
    """Return the counts of each source on axis, without gaps."""
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
        seen = np.hypot(x, y) < side
        yield x[seen], y[seen]


def _on_chips(rng: np.random.Generator, pointing: Pointing, x: np.ndarray, y: np.ndarray):
    seen = rng.random(len(x)) < pointing.instrument.live(x, y)
    return x[seen], y[seen]
