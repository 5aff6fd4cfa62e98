"""Position, extent and significance of one peak of a map.

Positions are offsets on the tangent plane at the peak's pixel, in arcmin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterscan.core import sky
from clusterscan.detect.map_points import MapPoints

MAD_TO_SIGMA = 1.4826022185056018
FIT_RADIUS_PX = 1.9  # holds the peak's pixel and the eight around it, whatever their shapes
TOUCHING_PX = 1.6  # pixels this close share a side or a corner
FEWEST_NOISE_PIXELS = 20
ARCMIN = 60.0 * 180.0 / np.pi


@dataclass(frozen=True)
class Background:
    """Level and noise of the map around a peak (NaN where too few pixels are valid)."""

    level: float
    noise: float


def ra_dec(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ICRS positions (ra_deg in [0, 360), dec_deg) of vectors (n, 3) of any length."""
    x, y, z = np.asarray(vectors, dtype=np.float64).T
    ra = np.degrees(np.arctan2(y, x)) % 360.0
    # A tiny negative angle modulo 360 rounds to 360 itself.
    return np.where(ra >= 360.0, 0.0, ra), np.degrees(np.arctan2(z, np.hypot(x, y)))


def basis(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit vectors across a direction (any; defined at the poles too)."""
    x, y, z = vector
    # Across z, or across x near the poles, where z gives no direction.
    first = np.array([-y, x, 0.0]) if abs(z) < 0.9 else np.array([0.0, -z, y])
    first /= np.sqrt(first @ first)
    a, b, c = first
    return first, np.array([y * c - z * b, z * a - x * c, x * b - y * a])


def offsets_arcmin(centre: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return tangent-plane offsets (n, 2) [arcmin] of unit vectors from a centre."""
    first, second = basis(centre)
    depth = vectors @ centre
    return np.stack([vectors @ first / depth, vectors @ second / depth], axis=1) * ARCMIN


def displaced(centre: np.ndarray, offset_arcmin: np.ndarray) -> np.ndarray:
    """Return the unit vector at a tangent-plane offset from a centre."""
    first, second = basis(centre)
    vector = centre + (first * offset_arcmin[0] + second * offset_arcmin[1]) / ARCMIN
    return vector / np.linalg.norm(vector)


def background(points: MapPoints, row: int, inner_arcmin: float, outer_arcmin: float) -> Background:
    """Return the median and robust scatter of the map in an annulus around a peak."""
    near = points.around(row, outer_arcmin)
    distance = np.linalg.norm(points.vectors[near] - points.vectors[row], axis=1)
    ring = near[distance > sky.chord(inner_arcmin / 60.0)]
    if ring.size < FEWEST_NOISE_PIXELS:
        return Background(np.nan, np.nan)
    level = float(np.median(points.score[ring]))
    return Background(level, MAD_TO_SIGMA * float(np.median(np.abs(points.score[ring] - level))))


def vertex(points: MapPoints, row: int, side_arcmin: float) -> tuple[np.ndarray, bool]:
    """Return the sub-pixel offset (2,) [arcmin] of a peak, and whether a paraboloid gave it.

    A paraboloid is fitted to the pixels around; where it has no maximum within a pixel (flat
    tops, map edges), the centroid of the scores above the lowest of them is used.
    """
    near = points.around(row, FIT_RADIUS_PX * side_arcmin)
    position = offsets_arcmin(points.vectors[row], points.vectors[near])
    score = points.score[near]
    x, y = position.T
    if near.size >= 6:
        design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
        (_, gx, gy, hxx, hxy, hyy), *_ = np.linalg.lstsq(design, score, rcond=None)
        determinant = 4 * hxx * hyy - hxy**2
        if hxx < 0 and determinant > 0:
            offset = np.array([hxy * gy - 2 * hyy * gx, hxy * gx - 2 * hxx * gy]) / determinant
            if np.hypot(*offset) <= side_arcmin:
                return offset, True
    weight = score - score.min()
    if not weight.sum() > 0:
        return np.zeros(2), False
    return (weight[:, None] * position).sum(axis=0) / weight.sum(), False


def area_px(
    points: MapPoints, row: int, level: float, radius_arcmin: float, side_arcmin: float
) -> int:
    """Count the map pixels above half height that hang together with the peak.

    Half height lies between the peak and ``level``, or the lowest pixel around if it is NaN.
    """
    near = points.around(row, radius_arcmin)
    if np.isnan(level):
        level = float(points.score[near].min())
    half = 0.5 * (points.score[row] + level)
    near = near[points.score[near] > half] if points.score[row] > level else near[near == row]
    if near.size <= 1:
        return 1
    position = offsets_arcmin(points.vectors[row], points.vectors[near])
    distance = np.hypot(*(position[:, None] - position[None]).transpose(2, 0, 1))
    touching = distance < TOUCHING_PX * side_arcmin
    island = touching[np.searchsorted(near, row)]
    while True:
        grown = touching[island].any(axis=0)
        if np.array_equal(grown, island):
            return int(island.sum())
        island = grown


def position_error_arcmin(area: int, snr: float, side_arcmin: float, floor_arcmin: float) -> float:
    """Return the standard error of a peak's position along one axis [arcmin].

    0.6 FWHM / (S/N), with the FWHM of a circle of the peak's area (Ivison et al. 2007, MNRAS
    380, 199, eq. B22), and a floor added in quadrature.
    """
    fwhm = 2 * side_arcmin * np.sqrt(area / np.pi)
    signal = max(snr, 1.0) if np.isfinite(snr) else 1.0
    return float(np.hypot(0.6 * fwhm / signal, floor_arcmin))
