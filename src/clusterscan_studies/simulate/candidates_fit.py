"""Is a source in a photon image extended? Poisson likelihood of a star against beta models.

The measure is that of XMM cluster pipelines: twice the gain in log-likelihood of the best beta
model (beta = 2/3) over a point source, both with a free local background (Pacaud et al. 2006,
MNRAS 372, 578). As a real pipeline's, the model point-spread function is round, the sky's is not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from scipy import ndimage, signal

from clusterscan_studies.simulate.xray_instrument import INSTRUMENTS, Instrument

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
        """Return these fits with some rows taken from others."""
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
    """Return a star, or a beta model seen like it, cut to a half side and of unit sum."""
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
        Their expected number without the source; what is scaled.
    models : ndarray, shape (n, all cores, side, side)
        Expected photons of the source for an amplitude of 1.
    used : bool ndarray, shape (n, side, side)
        Pixels that belong to this source, not to a neighbour.
    cores : tuple of int
        Which models to fit; the first is the point, 0.
    """
    n, pixels = len(counts), counts.shape[1] * counts.shape[2]
    good = (used & (background > 0)).reshape(n, pixels)
    seen = np.where(good, counts.reshape(n, pixels), 0.0)
    level = np.where(good, background.reshape(n, pixels), 0.0)
    model = np.where(good[:, None, :], models[:, cores].reshape(n, len(cores), pixels), 0.0)
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
    safe = np.maximum(expected, 1e-12)
    return (seen * np.log(safe) - expected).sum(axis=-1)


def _maximum(
    seen: np.ndarray, model: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the amplitudes and background scales (n, cores) of the greatest likelihood.

    The likelihood has one maximum; Fisher scoring finds it, both kept above zero.
    """
    seen, model, level = (a.astype(np.float32) for a in (seen, model, level))
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
        amplitude = np.maximum(amplitude + step_a, 0.2 * amplitude)
        scale = np.maximum(scale + step_b, 0.2 * scale)
    return amplitude.astype(float), scale.astype(float)
