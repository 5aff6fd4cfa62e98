"""Gaussian random fields on the whole sky, made locally: patches blended by a partition of unity.

Around each cell of order 3 an independent flat patch is drawn from (seed, kind, cell). A point's
value is sum w_c f_c over the patches that reach it, with smooth weights w_c that depend on the
point alone and obey sum w_c^2 = 1. So the variance and, on scales well below the blending length
of some degrees, the power spectrum are the input's everywhere, and any image sees the same sky.
Structure larger than a patch is not coherent; high-passed maps do not notice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft, ndimage

from clusterscan.core import sky
from clusterscan.simulate import power
from clusterscan.simulate.cells import Kind, generator

PATCH_ORDER = 3
REACH_DEG = 7.8
"""Patches fade to nothing at this distance from their cell's centre."""

_PATCH_PX = 1024
_PATCH_SCALE_RAD = np.pi / 180 / 60  # 1 arcmin: Nyquist at l = 10800


def gaussian_sky(vectors: np.ndarray, *, seed: int, kind: Kind) -> np.ndarray:
    """Return the field at points.

    Parameters
    ----------
    vectors : float64 ndarray, shape (ny, nx, 3)
        Unit vectors (ICRS) of an image's pixels, an image of a few degrees; NaN gives 0.
    seed : int
        The sky's seed.
    kind : Kind.CMB or Kind.CIB
        Which field; the CIB has 1 uK2 at l = 3000 and 150 GHz.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
        Temperature [uK_CMB].
    """
    flat = np.nan_to_num(vectors.reshape(-1, 3))
    total = np.zeros(len(flat))
    squares = np.zeros(len(flat))
    for cell in _patches_near(flat):
        east, north, depth = _tangent_basis(int(cell)) @ flat.T
        weight = _weight(depth)
        used = np.flatnonzero(weight > 0)
        if len(used) == 0:
            continue
        values = _patch_values(int(cell), seed, kind, east[used], north[used], depth[used])
        total[used] += weight[used] * values
        squares[used] += weight[used] ** 2
    result = total / np.sqrt(np.maximum(squares, 1e-12))
    return result.reshape(vectors.shape[:2]).astype(np.float32)


def _patches_near(flat: np.ndarray) -> np.ndarray:
    centre = flat[:: max(1, len(flat) // 4096)].sum(axis=0)
    centre /= np.linalg.norm(centre)
    ok = np.linalg.norm(flat, axis=1) > 0.5
    radius = np.degrees(np.arccos(np.clip((flat[ok] @ centre).min(), -1, 1)))
    ra = float(np.degrees(np.arctan2(centre[1], centre[0])))
    dec = float(np.degrees(np.arcsin(np.clip(centre[2], -1, 1))))
    return sky.cells_in_cone(ra, dec, radius + REACH_DEG + 0.1, PATCH_ORDER, touching=False)


@lru_cache(maxsize=1024)
def _tangent_basis(cell: int) -> np.ndarray:
    """Return (east, north, outward) unit vectors at a cell's centre, shape (3, 3)."""
    ra, dec = (np.radians(float(v)) for v in sky.cell_centres(np.array(cell), PATCH_ORDER))
    return np.array(
        [
            [-np.sin(ra), np.cos(ra), 0.0],
            [-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)],
            [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)],
        ]
    )


def _weight(cosine: np.ndarray) -> np.ndarray:
    """Return the unnormalised weight: cos^2 of the distance, zero from `REACH_DEG` on."""
    distance = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return np.where(distance < REACH_DEG, np.cos(np.pi / 2 * distance / REACH_DEG) ** 2, 0.0)


def _patch_values(cell, seed, kind, east, north, depth) -> np.ndarray:
    # Lambert's equal-area projection: distances are right to 0.3 % at the patch's edge.
    stretch = np.sqrt(2.0 / (1.0 + depth)) / _PATCH_SCALE_RAD
    middle = (_PATCH_PX - 1) / 2
    coordinates = np.stack([north * stretch + middle, east * stretch + middle])
    return ndimage.map_coordinates(
        _patch(cell, seed, kind), coordinates, order=3, prefilter=False, mode="nearest"
    )


@lru_cache(maxsize=48)
def _patch(cell: int, seed: int, kind: Kind) -> np.ndarray:
    """Draw a patch; returns its cubic spline coefficients (float32, 4 MiB)."""
    rng = generator(seed, kind, cell)
    white = rng.standard_normal((_PATCH_PX, _PATCH_PX), dtype=np.float32)
    return fft.irfft2(fft.rfft2(white, workers=1) * _filter(kind), s=white.shape, workers=1)


@lru_cache(maxsize=2)
def _filter(kind: Kind) -> np.ndarray:
    """Return what turns white noise into spline coefficients of the field, per Fourier mode."""
    fy, fx = fft.fftfreq(_PATCH_PX)[:, None], fft.rfftfreq(_PATCH_PX)[None, :]
    ell = 2 * np.pi * np.hypot(fy, fx) / _PATCH_SCALE_RAD
    cl = power.cmb_cl(ell) if kind == Kind.CMB else power.cib_cl_150(ell, 1.0)
    # The cubic B-spline sampled at integers, (4 + 2 cos) / 6: dividing by it makes coefficients.
    spline = (2 + np.cos(2 * np.pi * fy)) * (2 + np.cos(2 * np.pi * fx)) / 9
    return (np.sqrt(cl) / _PATCH_SCALE_RAD / spline).astype(np.float32)
