"""Find sources in a pointing's photons as a pipeline does, and measure whether they are extended.

Two steps, as in Pacaud et al. 2006 (MNRAS 372, 578): peaks of smoothed photon images, then a
likelihood fit of each. Their wavelets are replaced by two Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from clusterscan.config.simulation import SimulationSettings
from clusterscan_studies.simulate.candidates_fit import (
    ALL_CORES,
    STAMP_PX,
    Fits,
    fit_sources,
    source_images,
)
from clusterscan_studies.simulate.xray_events import photons_of_pointing
from clusterscan_studies.simulate.xray_instrument import INSTRUMENTS
from clusterscan_studies.simulate.xray_pointings import Pointing, pointing_of_cell

PIXEL_ARCSEC = {"xmm": 4.0, "rosat": 15.0}
_SIGMAS_PX = (2.0, 4.5)
_SEPARATION_PX = 5.0  # nearer peaks are one source
_BACKGROUND_BIN_PX = 16
_LOWER_HALF_BIAS = 1.05  # the mean of the lower half of Poisson numbers is so much too low
_MIDDLE_CORE, _WORTH_A_LOOK = 4, 3.0


@dataclass(frozen=True)
class Detections:
    """Sources found in a pointing, each column of shape (n,), and the peaks' fits.

    Attributes
    ----------
    x, y : float64
        Detector coordinates [arcmin].
    snr : float64
        Signal-to-noise of the peak in the smoothed images.
    seen : float64
        Exposure there over that on axis.
    edge : bool
        Whether a gap, a chip's border or the field's edge lies within 4 pixels.
    """

    x: np.ndarray
    y: np.ndarray
    snr: np.ndarray
    seen: np.ndarray
    edge: np.ndarray
    fits: Fits

    def __len__(self) -> int:
        return len(self.x)


@lru_cache(maxsize=2)
def _grid(instrument: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel centres along an axis [arcmin] and each pixel's mean live part."""
    tube, pixel = INSTRUMENTS[instrument], PIXEL_ARCSEC[instrument] / 60.0
    half = int(np.ceil(tube.field_radius_arcmin / pixel)) + STAMP_PX + 1
    axis = np.arange(-half, half + 1) * pixel
    thirds = (axis[:, None] + pixel * np.array([-1, 0, 1]) / 3).ravel()
    fine = tube.live(*np.meshgrid(thirds, thirds))
    side = len(axis)
    return axis, fine.reshape(side, 3, side, 3).mean(axis=(1, 3))


def detect(cell: int, seed: int, settings: SimulationSettings) -> Detections:
    """Find the sources of a cell's pointing.

    Parameters
    ----------
    cell : int
        The pointing's cell.
    seed : int
        The sky's seed.
    settings : SimulationSettings
        The sky's settings.
    """
    pointing = pointing_of_cell(cell, seed, settings.xray)
    kind = settings.xray.instrument
    axis, live = _grid(kind)
    image = _photon_image(pointing, axis, seed, settings)
    background = _background(image, pointing, axis, live)
    snr = _snr_map(image, background)
    rows, columns = _peaks(snr, live > 0, settings.candidates.detection_snr)
    y, x = _refined(snr, rows, columns)
    fits = _fitted(kind, image, background, live, pointing, (y, x))
    pixel = PIXEL_ARCSEC[kind] / 60.0
    px, py = x * pixel + axis[0], y * pixel + axis[0]
    return Detections(
        x=px,
        y=py,
        snr=snr[rows, columns],
        seen=pointing.instrument.vignetting(np.hypot(px, py)) * live[rows, columns],
        edge=_near_edge(live)[rows, columns],
        fits=fits,
    )


def _photon_image(pointing: Pointing, axis: np.ndarray, seed: int, settings: SimulationSettings):
    photons = photons_of_pointing(pointing.cell, seed, settings)
    pixel, side = axis[1] - axis[0], len(axis)
    ix = np.rint((photons.x - axis[0]) / pixel).astype(np.int64)
    iy = np.rint((photons.y - axis[0]) / pixel).astype(np.int64)
    return np.bincount(iy * side + ix, minlength=side * side).reshape(side, side).astype(float)


def _background(image: np.ndarray, pointing: Pointing, axis: np.ndarray, live: np.ndarray):
    """Return the expected background [counts per pixel]: the known shape, its level measured."""
    x, y = np.meshgrid(axis, axis)
    tube = pointing.instrument
    rate = tube.sky_rate * tube.vignetting(np.hypot(x, y)) + tube.particle_rate
    shape = rate * live
    n = _BACKGROUND_BIN_PX
    side = len(axis) // n * n
    seen, expected = (
        part[:side, :side].reshape(side // n, n, side // n, n).sum(axis=(1, 3))
        for part in (image, shape)
    )
    good = expected > 0.3 * expected.max()
    # Sources only add: the lower half of the bins tells the level between them.
    levels = np.sort(seen[good] / expected[good])
    level = levels[: levels.size // 2 + 1].mean()
    return np.maximum(_LOWER_HALF_BIAS * level, 1e-12) * shape


def _snr_map(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    best = np.full(image.shape, -np.inf)
    for sigma in _SIGMAS_PX:
        excess = ndimage.gaussian_filter(image - background, sigma, mode="constant")
        # A squared Gaussian is one of sigma / sqrt(2), of sum 1 / (4 pi sigma^2).
        variance = ndimage.gaussian_filter(background, sigma / np.sqrt(2), mode="constant")
        noise = np.sqrt(np.maximum(variance, 1e-6) / (4 * np.pi * sigma**2))
        best = np.maximum(best, excess / noise)
    return best


def _peaks(snr: np.ndarray, seen: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of peaks, the highest first, none close to a higher one."""
    top = (ndimage.maximum_filter(snr, 5) == snr) & (snr >= least) & seen
    rows, columns = np.nonzero(top)
    order = np.argsort(-snr[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    places = np.stack([rows, columns], axis=1).astype(float)
    keep = np.ones(len(rows), dtype=bool)
    if len(rows) > 1:
        for i, j in sorted(cKDTree(places).query_pairs(_SEPARATION_PX)):
            keep[j] &= not keep[i]
    return rows[keep], columns[keep]


def _refined(snr: np.ndarray, rows: np.ndarray, columns: np.ndarray):
    """Return peak positions (y, x) to a part of a pixel, by parabolas along the axes."""

    def shift(before: np.ndarray, at: np.ndarray, after: np.ndarray) -> np.ndarray:
        bend = np.minimum(before - 2 * at + after, -1e-9)
        return np.clip(0.5 * (before - after) / bend, -0.5, 0.5)

    at = snr[rows, columns]
    dy = shift(snr[rows - 1, columns], at, snr[rows + 1, columns])
    dx = shift(snr[rows, columns - 1], at, snr[rows, columns + 1])
    return rows + dy, columns + dx


def _fitted(
    kind: str,
    image: np.ndarray,
    background: np.ndarray,
    live: np.ndarray,
    pointing: Pointing,
    places: tuple[np.ndarray, np.ndarray],
) -> Fits:
    """Fit all peaks: as points alone, then with all models beside their neighbours as points.

    Peaks that a middling beta model fits hardly better than a point are spared the others.
    """
    y, x = places
    stamps = _Stamps.at(y, x)
    half = (len(image) - 1) / 2
    off_axis = np.hypot(x - half, y - half) * PIXEL_ARCSEC[kind] / 60.0
    field = pointing.instrument.field_radius_arcmin
    models = source_images(kind, PIXEL_ARCSEC[kind], x, y, off_axis / field)
    models *= stamps.cut(live)[:, None]
    counts, level, mine = stamps.cut(image), stamps.cut(background), stamps.own_pixels()
    points = fit_sources(counts, level, models, mine, (0,)).point_counts
    others = background.copy()
    for i in range(len(x)):
        others[stamps.rows[i][:, None], stamps.columns[i]] += points[i] * models[i, 0]
    around = stamps.cut(others) - points[:, None, None] * models[:, 0]
    around = np.maximum(around, level)
    fits = fit_sources(counts, around, models, mine, (0, _MIDDLE_CORE))
    wide = np.flatnonzero(fits.extent_likelihood > _WORTH_A_LOOK)
    closer = fit_sources(counts[wide], around[wide], models[wide], mine[wide], ALL_CORES)
    return fits.replaced(wide, closer)


@dataclass(frozen=True)
class _Stamps:
    """Square pieces of an image around positions; rows and columns of shape (n, side)."""

    y: np.ndarray
    x: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @staticmethod
    def at(y: np.ndarray, x: np.ndarray) -> _Stamps:
        """Return the pieces around positions [px], centred on the nearest pixel."""
        side = np.arange(-STAMP_PX, STAMP_PX + 1)
        iy, ix = np.rint(y).astype(int), np.rint(x).astype(int)
        return _Stamps(y, x, iy[:, None] + side, ix[:, None] + side)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Return the pieces, shape (n, side, side)."""
        return image[self.rows[:, :, None], self.columns[:, None, :]]

    def own_pixels(self) -> np.ndarray:
        """Say which pixels of each piece are nearer to its position than to any other."""
        n, side = self.rows.shape
        own = np.ones((n, side, side), dtype=bool)
        if n < 2:
            return own
        tree = cKDTree(np.stack([self.y, self.x], axis=1))
        pairs = tree.query_pairs(3.0 * STAMP_PX, output_type="ndarray")
        for i, j in np.concatenate([pairs, pairs[:, ::-1]]):
            rows, columns = self.rows[i].astype(float), self.columns[i].astype(float)
            # |p - i|^2 <= |p - j|^2 is linear in p
            along_y = 2 * (self.y[j] - self.y[i]) * rows
            along_x = 2 * (self.x[j] - self.x[i]) * columns
            most = self.y[j] ** 2 + self.x[j] ** 2 - self.y[i] ** 2 - self.x[i] ** 2
            own[i] &= along_y[:, None] + along_x <= most
        return own


def _near_edge(live: np.ndarray) -> np.ndarray:
    """Say which pixels have a place that no more than half of the cameras see close by."""
    return ndimage.maximum_filter((live < 0.5).astype(np.uint8), 9) > 0
