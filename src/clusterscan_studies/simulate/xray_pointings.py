"""Where the X-ray telescope pointed: one pointing a HEALPix cell, its frame and exposure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clusterscan.config.simulation_xray import XraySettings
from clusterscan.core import sky
from clusterscan.simulate.cells import Kind, generator
from clusterscan_studies.simulate.xray_instrument import INSTRUMENTS, Instrument

_ARCMIN_PER_RAD = 60 * 180 / np.pi


@dataclass(frozen=True)
class Pointing:
    """One observation.

    Attributes
    ----------
    cell : int
        Its cell at the instrument's `pointing_order`.
    ra_deg, dec_deg, roll_rad : float
        The optical axis, and the angle from north through east of the detector's y.
    exposure_s : float
        Exposure on axis.
    background : float
        Background relative to the published.
    noisy_chip : int
        Which of the instrument's `noisy_chips` is noisy, -1: none.
    """

    cell: int
    ra_deg: float
    dec_deg: float
    roll_rad: float
    exposure_s: float
    background: float
    noisy_chip: int
    instrument: Instrument

    @property
    def _axes(self) -> np.ndarray:
        """Unit vectors of x, y and the optical axis, as rows."""
        ra, dec = np.radians(self.ra_deg), np.radians(self.dec_deg)
        east = np.array([-np.sin(ra), np.cos(ra), 0.0])
        north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
        axis = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        c, s = np.cos(self.roll_rad), np.sin(self.roll_rad)
        return np.stack([east * c - north * s, east * s + north * c, axis])

    def to_detector(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return detector positions (x, y) of unit vectors (..., 3) [arcmin]; NaN behind it."""
        x, y, depth = np.moveaxis(vectors @ self._axes.T, -1, 0)
        depth = np.where(depth > 0.5, depth, np.nan)
        return x / depth * _ARCMIN_PER_RAD, y / depth * _ARCMIN_PER_RAD

    def to_sky(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sky positions (ra_deg, dec_deg) of detector positions [arcmin]."""
        plane = np.stack([x / _ARCMIN_PER_RAD, y / _ARCMIN_PER_RAD, np.ones_like(x)], axis=-1)
        v = plane @ self._axes
        ra = np.degrees(np.arctan2(v[..., 1], v[..., 0])) % 360.0
        return ra, np.degrees(np.arctan2(v[..., 2], np.hypot(v[..., 0], v[..., 1])))

    def exposure(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the exposure that photons of the sky see, vignetted [s]; 0 outside."""
        off_axis = np.hypot(x, y)
        seen = self.instrument.vignetting(off_axis) * self.instrument.live(x, y)
        return np.where(np.isfinite(off_axis), self.exposure_s * seen, 0.0)

    def background_counts(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the background expected without noisy chips [ct/arcmin2]."""
        tube = self.instrument
        rate = tube.sky_rate * tube.vignetting(np.hypot(x, y)) + tube.particle_rate
        return self.background * self.exposure_s * rate * tube.live(x, y)


@lru_cache(maxsize=4096)
def pointing_of_cell(cell: int, seed: int, settings: XraySettings) -> Pointing:
    """Draw a cell's pointing: near its centre, at any roll, of some depth and background."""
    tube = INSTRUMENTS[settings.instrument]
    rng = generator(seed, Kind.XRAY_POINTING, tube.pointing_order, cell)
    jitter = rng.uniform(-tube.jitter_arcmin, tube.jitter_arcmin, 2)
    roll = rng.uniform(0.0, 2 * np.pi)
    depth, level = rng.standard_normal(2)
    noisy, which = rng.random(2)
    ra, dec = (float(v) for v in sky.cell_centres(np.array(cell), tube.pointing_order))
    middle = Pointing(cell, ra, dec, 0.0, 1.0, 1.0, -1, tube)
    ra, dec = (float(v) for v in middle.to_sky(*jitter))
    exposure = 1e3 * settings.exposure_ks
    chips = len(tube.noisy_chips)
    return Pointing(
        cell=cell,
        ra_deg=ra,
        dec_deg=dec,
        roll_rad=roll,
        exposure_s=exposure * float(np.exp(settings.exposure_scatter_ln * np.clip(depth, -2, 2))),
        background=settings.background * float(np.exp(settings.background_scatter_ln * level)),
        noisy_chip=int(which * chips) if noisy < settings.noisy_chip_part and chips else -1,
        instrument=tube,
    )


def pointings_around(
    ra_deg: float, dec_deg: float, radius_deg: float, seed: int, settings: XraySettings
) -> list[Pointing]:
    """Return the pointings whose field reaches into a cone, by rising cell."""
    tube = INSTRUMENTS[settings.instrument]
    reach = radius_deg + (tube.field_radius_arcmin + 1.5 * tube.jitter_arcmin) / 60.0
    cells = sky.cells_in_cone(ra_deg, dec_deg, reach, tube.pointing_order)
    found = [pointing_of_cell(int(cell), seed, settings) for cell in cells]
    limit = radius_deg + tube.field_radius_arcmin / 60.0
    return [p for p in found if sky.separation_deg(ra_deg, dec_deg, p.ra_deg, p.dec_deg) <= limit]
