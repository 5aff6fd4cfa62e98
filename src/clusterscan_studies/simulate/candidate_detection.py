"""Detect sources in a photon image and fit each as a star and as beta models (Poisson).

The extent likelihood is that of XMM cluster pipelines: twice the gain in log-likelihood of the
best beta model (beta = 2/3) over a point source, both with a free local background (Pacaud et
al. 2006, MNRAS 372, 578). As in a real pipeline, the model PSF is round, but the true one is not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from scipy import ndimage, signal
from scipy.spatial import cKDTree

from clusterscan.config.simulation import SimulationSettings
from clusterscan_studies.simulate.xray import photons_of_pointing
from clusterscan_studies.simulate.xray_telescope import (
    INSTRUMENTS,
    Instrument,
    Pointing,
    pointing_of_cell,
)

CORES_PX = (0.0, 1.0, 1.5, 2.2, 3.2, 4.8, 7.0, 10.0)
"""Core radii tried; 0: a point."""

ALL_CORES = tuple(range(len(CORES_PX)))

STAMP_PX = 16
"""Half a side of the image around a source that is fitted."""

_FINE = 2  # template cells per pixel
_ANGLE_PARTS = (0.0, 0.3, 0.6, 0.85)  # of the field's radius: where templates are made
_ITERATIONS = 8


@dataclass(frozen=True)
class Fits:
    """Fits of n sources; columns of shape (n,).

    Attributes
    ----------
    point_counts, counts : float64
        Counts on the detector of the best point and of the best model of all.
    extent_px : float64
        Core radius of the best beta model.
    likelihood : float64
        Twice the log-likelihood of the best model over background alone.
    extent_likelihood : float64
        The same of the best beta model over the best point, 0 where the point is better.
    """

    point_counts: np.ndarray
    counts: np.ndarray
    extent_px: np.ndarray
    likelihood: np.ndarray
    extent_likelihood: np.ndarray

    def replaced(self, rows: np.ndarray, by: Fits) -> Fits:
        """Return these fits with some rows replaced."""
        columns = {}
        for name in (f.name for f in fields(self)):
            columns[name] = getattr(self, name).copy()
            columns[name][rows] = getattr(by, name)
        return Fits(**columns)


@lru_cache(maxsize=2)
def templates(instrument: str, pixel_arcsec: float) -> np.ndarray:
    """Return unit sources on a fine grid, shape (off-axis angles, cores, side, side)."""
    tube = INSTRUMENTS[instrument]
    half = _FINE * (STAMP_PX + 2)
    made = []
    for part in _ANGLE_PARTS:
        star = _star(tube, part * tube.field_radius_arcmin, pixel_arcsec / _FINE, 2 * half)
        made.append([_blurred(star, core * _FINE, half) for core in CORES_PX])
    return np.array(made)


def _star(tube: Instrument, off_axis: float, cell_arcsec: float, half: int) -> np.ndarray:
    """Return the round point-spread function, averaged over cells of a fine grid."""
    part = np.linspace(0.0, 1.0, 4001)
    radius = tube.psf_radius(part, np.full(part.shape, off_axis)) / cell_arcsec
    radius, first = np.unique(radius, return_index=True)
    part = part[first]
    # Within a cell the profile varies: average the enclosed light over 3 x 3 places.
    y, x = np.mgrid[-half : half + 2 / 3 : 1 / 3, -half : half + 2 / 3 : 1 / 3]
    r = np.hypot(x, y)
    density = np.gradient(part, np.pi * radius**2 + 1e-9)
    fine = np.interp(r, radius, density)
    image = ndimage.uniform_filter(fine, 3)[::3, ::3]
    return image / image.sum()


def _blurred(star: np.ndarray, core: float, half: int) -> np.ndarray:
    """Return a star or a blurred beta model, cut to a half side, with unit sum."""
    middle = star.shape[0] // 2
    if core > 0:
        y, x = np.indices(star.shape) - middle
        model = (1 + (x**2 + y**2) / core**2) ** -1.5 / (2 * np.pi * core**2)
        star = signal.fftconvolve(star, model, mode="same")
    cut = slice(middle - half, middle + half + 1)
    return star[cut, cut]


def source_images(
    instrument: str, pixel_arcsec: float, x: np.ndarray, y: np.ndarray, off_axis: np.ndarray
) -> np.ndarray:
    """Return each source's templates on its stamp, shape (n, cores, side, side).

    Parameters
    ----------
    instrument, pixel_arcsec
        As in `templates`.
    x, y : ndarray, shape (n,)
        Positions [pixels]; the stamp is centred on the nearest pixel.
    off_axis : ndarray, shape (n,)
        Off-axis angles over the field's radius.
    """
    table = templates(instrument, pixel_arcsec)
    nearest = np.abs(off_axis[:, None] - np.array(_ANGLE_PARTS)).argmin(axis=1)
    half = table.shape[-1] // 2
    side = np.arange(-STAMP_PX, STAMP_PX + 1)
    images = np.empty((len(x), table.shape[1], len(side), len(side)))
    for i in range(len(x)):
        rows = half + _FINE * (side - (y[i] - np.rint(y[i])))
        columns = half + _FINE * (side - (x[i] - np.rint(x[i])))
        images[i] = _sampled(table[nearest[i]], rows, columns)
    return images * _FINE**2


def _sampled(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate grids (..., side, side) linearly at the crossings of rows and columns."""
    r, c = np.floor(rows).astype(int), np.floor(columns).astype(int)
    fr, fc = (rows - r)[:, None], columns - c
    along = table[..., r, :] * (1 - fr) + table[..., r + 1, :] * fr
    return along[..., c] * (1 - fc) + along[..., c + 1] * fc


def fit_sources(
    counts: np.ndarray,
    background: np.ndarray,
    models: np.ndarray,
    used: np.ndarray,
    cores: tuple[int, ...],
) -> Fits:
    """Fit models to sources: amplitude and background scale, Poisson likelihood.

    Parameters
    ----------
    counts : ndarray, shape (n, side, side)
        Photons.
    background : ndarray, shape (n, side, side)
        Their expected number without the source, before scaling.
    models : ndarray, shape (n, all cores, side, side)
        Expected photons of a source with amplitude 1.
    used : bool ndarray, shape (n, side, side)
        Pixels that belong to this source, not to a neighbour.
    cores : tuple of int
        Indices of the models to fit; the first is the point, 0.
    """
    n, pixels = len(counts), counts.shape[1] * counts.shape[2]
    good = (used & (background > 0)).reshape(n, pixels)
    seen = np.where(good, counts.reshape(n, pixels), 0.0)
    level = np.where(good, background.reshape(n, pixels), 0.0)
    model = np.where(good[:, None, :], models[:, cores].reshape(n, len(cores), pixels), 0.0)
    # The null model has its background scaled to the counts: detection must beat the best
    # background, not the assumed one.
    free = seen.sum(-1) / np.maximum(level.sum(-1), 1e-9)
    nothing = _log_likelihood(seen, free[:, None] * level)
    amplitude, scale = _maximum(seen, model, level)
    expected = amplitude[..., None] * model + scale[..., None] * level[:, None, :]
    best = _log_likelihood(seen[:, None, :], expected)
    rows = np.arange(n)
    extended = best[:, 1:].argmax(axis=1) + 1 if len(cores) > 1 else np.zeros(n, dtype=int)
    gain = 2 * (best[rows, extended] - best[:, 0])
    chosen = np.where(gain > 0, extended, 0)
    return Fits(
        point_counts=amplitude[:, 0],
        counts=amplitude[rows, chosen],
        extent_px=np.array(CORES_PX)[np.array(cores)][extended],
        likelihood=2 * (best[rows, chosen] - nothing),
        extent_likelihood=np.maximum(gain, 0.0),
    )


def _log_likelihood(seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
    # The factorial term of the Poisson likelihood is the same for all models, and is left out.
    safe = np.maximum(expected, 1e-12)
    return (seen * np.log(safe) - expected).sum(axis=-1)


def _maximum(
    seen: np.ndarray, model: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the amplitudes and background scales (n, cores) of the greatest likelihood.

    The likelihood has one maximum; Fisher scoring finds it, both kept above zero.
    """
    seen, model, level = (a.astype(np.float32) for a in (seen, model, level))
    # Fisher scoring: Newton steps with the expected second derivatives, which are positive
    # definite. float32 is enough, for the amplitude's own error is some per cent.
    excess = np.maximum((seen - level).sum(-1), 3.0)[:, None]
    amplitude = excess / np.maximum(model.sum(-1), 1e-9)
    scale = np.ones_like(amplitude)
    for _ in range(_ITERATIONS):
        expected = amplitude[..., None] * model + scale[..., None] * level[:, None, :]
        inverse = 1 / np.maximum(expected, np.float32(1e-9))
        ratio = seen[:, None, :] * inverse - 1
        g_a = np.einsum("ncp,ncp->nc", model, ratio)
        g_b = np.einsum("np,ncp->nc", level, ratio)
        inverse *= model
        f_aa = np.einsum("ncp,ncp->nc", model, inverse)
        f_ab = np.einsum("np,ncp->nc", level, inverse)
        # sum of level expected / expected is known: f_ab amplitude + f_bb scale = sum of level
        f_bb = np.maximum(level.sum(-1)[:, None] - f_ab * amplitude, 1e-6) / scale
        determinant = np.maximum(f_aa * f_bb - f_ab**2, 1e-9)
        step_a = (f_bb * g_a - f_ab * g_b) / determinant
        step_b = (f_aa * g_b - f_ab * g_a) / determinant
        # A step never takes away more than 80 % of a value, so both stay positive without bounds.
        amplitude = np.maximum(amplitude + step_a, 0.2 * amplitude)
        scale = np.maximum(scale + step_b, 0.2 * scale)
    return amplitude.astype(float), scale.astype(float)


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
        True if a gap, a chip's border or the field's edge lies within 4 pixels.
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
    """Find the sources of the pointing of a cell."""
    pointing = pointing_of_cell(cell, seed, settings.xray)
    kind = settings.xray.instrument
    axis, live = _grid(kind)
    image = _photon_image(pointing, axis, seed, settings)
    background = _background(image, pointing, axis, live)
    snr = _snr_map(image, background)
    # Two smoothing scales, one near the PSF and one for extended sources; the higher S/N counts.
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
    """Return the expected background [counts per pixel]: known shape, measured level."""
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
    """Fit all peaks: as points alone, then with all models and their neighbours as points.

    Only peaks that a beta model of medium size fits clearly better than a point get all models.
    """
    y, x = places
    stamps = _Stamps.at(y, x)
    half = (len(image) - 1) / 2
    off_axis = np.hypot(x - half, y - half) * PIXEL_ARCSEC[kind] / 60.0
    field = pointing.instrument.field_radius_arcmin
    models = source_images(kind, PIXEL_ARCSEC[kind], x, y, off_axis / field)
    models *= stamps.cut(live)[:, None]
    counts, level, mine = stamps.cut(image), stamps.cut(background), stamps.own_pixels()
    # Two passes. First every peak is fitted alone as a point; then each is fitted on a background
    # that contains its neighbours as points, so the wings of a bright AGN are not taken for extent.
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
        """Return True for pixels of each piece that are nearest to its own position."""
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
    """Return True for pixels within 4 pixels of one that less than half of the cameras see."""
    return ndimage.maximum_filter((live < 0.5).astype(np.uint8), 9) > 0
