"""Candidates are the peaks of a map: found across tile borders, owned by their map pixel's tile.

NESTED ordering and ICRS degrees. A network's map is searched in logit, a filter's in S/N.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.special import logit

from clusterscan.config.scan import DetectSettings
from clusterscan.core import sky
from clusterscan.core.errors import ProductError
from clusterscan.detect import peak_shape
from clusterscan.detect.map_points import MapPoints

Scale = Literal["probability", "snr"]

FLAG_EDGE = 1  # an invalid map pixel lies within the search radius
FLAG_BLENDED = 2  # another peak lies within twice the search radius
FLAG_CENTROID = 4  # no paraboloid fits the peak; its position is a centroid
FLAG_SATURATED = 8  # the probability is 0 or 1 to the last digit kept
# Masks with `use: flag` cover the map pixel of the peak.
FLAG_BRIGHT_STAR, FLAG_LARGE_GALAXY, FLAG_POINT_SOURCE, FLAG_SURVEY_MASK = 512, 1024, 2048, 4096
_FLAG_OF_PLANE = {4: FLAG_BRIGHT_STAR, 8: FLAG_LARGE_GALAXY, 16: FLAG_POINT_SOURCE,
                  32: FLAG_SURVEY_MASK}  # fmt: skip

SATURATION = 1e-6  # float32 cannot tell 1 - 6e-8 from 1, so a logit beyond 14 means nothing

COLUMNS = {
    "ipix": "int64",  # map pixel of the peak; its tile owns the candidate
    "ra_deg": "float64",
    "dec_deg": "float64",
    "pos_err_arcmin": "float32",  # along one axis
    "value": "float32",  # the map at the peak: probability or S/N
    "score": "float32",  # what was searched: (smoothed) logit or S/N
    "background": "float32",  # median score around
    "noise": "float32",  # robust scatter of the score around
    "snr": "float32",  # (score - background) / noise
    "area_px": "int32",  # map pixels above half height
    "flags": "int16",
}


def empty_candidates() -> pd.DataFrame:
    """Return a table of no candidates, with all columns."""
    table = pd.DataFrame({name: np.empty(0, dtype) for name, dtype in COLUMNS.items()})
    table.attrs["n_dropped"] = 0
    return table


def to_score(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Return what is searched for peaks: the logit of a probability, or S/N as it is."""
    values = np.asarray(values, dtype=np.float64)
    if scale == "snr":
        return values
    return logit(np.clip(values, SATURATION, 1 - SATURATION))


def find_peaks(
    values: np.ndarray,
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    ipix: np.ndarray,
    own: np.ndarray,
    *,
    map_order: int,
    settings: DetectSettings,
    scale: Scale = "probability",
) -> pd.DataFrame:
    """Return the candidates that a tile owns.

    A candidate is a map pixel that no other within ``settings.radius_arcmin`` exceeds (of equal
    ones that of the lowest index). Its position is refined below the pixel and may leave the
    tile; ownership does not. The result depends on the map around alone, so any tiling gives
    the same candidates, if the neighbours reach ``settings.reach_arcmin`` beyond the tile.

    Parameters
    ----------
    values : float ndarray, shape (n,)
        Map of the tile *and its neighbours*, NaN where invalid, in any order.
    ra_deg, dec_deg : float ndarray, shape (n,)
        Centres of the map pixels [deg].
    ipix : int64 ndarray, shape (n,)
        Their indices at ``map_order``, each once.
    own : bool ndarray, shape (n,)
        Which of them belong to the tile.
    map_order : int
        HEALPix order of the map.
    settings : DetectSettings
        Radii, thresholds, and so on.
    scale : {"probability", "snr"}
        What ``values`` are.

    Returns
    -------
    candidates : DataFrame
        `COLUMNS`, sorted by ``ipix``; ``attrs["n_dropped"]`` counts those beyond
        ``max_per_deg2``.

    Raises
    ------
    ProductError
        If positions are not finite, pixels occur twice, or probabilities leave [0, 1].
    """
    _check(values, ra_deg, dec_deg, ipix, own, scale)
    side_arcmin = 60.0 * np.sqrt(sky.cell_area_deg2(map_order))
    points, raw, mine = _points_near_own(
        values, ra_deg, dec_deg, ipix, own, settings.reach_arcmin + 2 * side_arcmin, scale
    )
    if not mine.any():
        return empty_candidates()
    if settings.smooth_fwhm_arcmin > 0:
        points = points.smoothed(settings.smooth_fwhm_arcmin)
    limit = settings.min_probability if scale == "probability" else settings.min_snr
    threshold = float(to_score(np.array([limit]), scale)[0])
    peaks = points.local_maxima(settings.radius_arcmin, threshold)
    kept, dropped = _best_of_tile(peaks[mine[peaks]], points, int(own.sum()), map_order, settings)
    blended = _has_neighbour(points.vectors, peaks, kept, 2 * settings.radius_arcmin)
    rows = [
        _measure(points, raw, int(row), bool(blend), map_order, settings, scale)
        for row, blend in zip(kept, blended, strict=True)
    ]
    table = (
        pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS) if rows else empty_candidates()
    )
    table.attrs["n_dropped"] = dropped
    return table


def mask_flags(pixels: np.ndarray, planes: np.ndarray | None) -> np.ndarray:
    """Return the flags of candidates that masks give.

    Parameters
    ----------
    pixels : int ndarray, shape (n,)
        Map pixel of each candidate within the tile, in nested order.
    planes : uint8 ndarray, shape (W * W,), optional
        The tile's FLAGS (`clusterscan.scan.validity.flags_at`).

    Returns
    -------
    int16 ndarray, shape (n,)
    """
    found = np.zeros(len(pixels), dtype=np.int16)
    if planes is not None:
        for plane, flag in _FLAG_OF_PLANE.items():
            found[(planes[pixels] & plane) != 0] |= flag
    return found


def _check(values, ra_deg, dec_deg, ipix, own, scale: Scale) -> None:
    sizes = {np.shape(a) for a in (values, ra_deg, dec_deg, ipix, own)}
    if len(sizes) != 1:
        raise ProductError(f"values, positions, ipix and own differ in shape: {sorted(sizes)}")
    bad = ~(np.isfinite(ra_deg) & np.isfinite(dec_deg))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ProductError(
            f"map pixel {ipix[row]} (row {row}) has no position: ra_deg = {ra_deg[row]}, "
            f"dec_deg = {dec_deg[row]}; take positions from sky.map_pixels"
        )
    if np.unique(ipix).size != np.size(ipix):
        raise ProductError("a map pixel occurs twice; give each neighbouring tile once")
    good = np.asarray(values)[~np.isnan(values)]
    if scale == "probability" and good.size and not (good.min() >= 0 and good.max() <= 1):
        raise ProductError(
            f"probabilities reach from {good.min()} to {good.max()}; for a filter's S/N map "
            'give scale="snr", else run scan again'
        )


def _points_near_own(values, ra_deg, dec_deg, ipix, own, reach_arcmin: float, scale: Scale):
    """Return the valid points in a cone around the tile's pixels, their values, which are own."""
    order = np.argsort(ipix, kind="stable")
    order = order[np.isfinite(values[order])]
    mine = np.asarray(own, dtype=bool)[order]
    vectors = sky.unit_vectors(ra_deg[order], dec_deg[order])
    near = np.zeros(order.size, dtype=bool)
    if mine.any():
        centre = vectors[mine].mean(axis=0)
        centre /= np.linalg.norm(centre)
        distance = np.linalg.norm(vectors - centre, axis=1)
        near = distance <= distance[mine].max() + sky.chord(reach_arcmin / 60.0)
    order = order[near]
    score = to_score(values[order], scale)
    points = MapPoints.build(np.asarray(ipix)[order], vectors[near], score)
    return points, np.asarray(values)[order], mine[near]


def _best_of_tile(
    rows: np.ndarray, points: MapPoints, own_pixels: int, map_order: int, settings: DetectSettings
) -> tuple[np.ndarray, int]:
    most = max(int(settings.max_per_deg2 * own_pixels * sky.cell_area_deg2(map_order)), 1)
    best_first = rows[np.lexsort((points.ipix[rows], -points.score[rows]))]
    return np.sort(best_first[:most]), max(rows.size - most, 0)


def _has_neighbour(
    vectors: np.ndarray, peaks: np.ndarray, rows: np.ndarray, radius_arcmin: float
) -> np.ndarray:
    if not rows.size:
        return np.zeros(0, dtype=bool)
    radius = sky.chord(radius_arcmin / 60.0)
    tree = cKDTree(vectors[peaks])
    return tree.query_ball_point(vectors[rows], radius, return_length=True) > 1


def _measure(
    points: MapPoints,
    raw: np.ndarray,
    row: int,
    blended: bool,
    map_order: int,
    settings: DetectSettings,
    scale: Scale,
) -> dict[str, float]:
    side = 60.0 * np.sqrt(sky.cell_area_deg2(map_order))
    around = peak_shape.background(
        points, row, settings.noise_inner_arcmin, settings.noise_outer_arcmin
    )
    score = float(points.score[row])
    snr = (score - around.level) / around.noise if around.noise > 0 else np.nan
    area = peak_shape.area_px(points, row, around.level, settings.noise_inner_arcmin, side)
    offset, fitted = peak_shape.vertex(points, row, side)
    ra, dec = peak_shape.ra_dec(peak_shape.displaced(points.vectors[row], offset)[None])
    flags = (FLAG_BLENDED if blended else 0) | (0 if fitted else FLAG_CENTROID)
    if _at_edge(points, row, settings.radius_arcmin, map_order):
        flags |= FLAG_EDGE
    if scale == "probability" and not SATURATION < raw[row] < 1 - SATURATION:
        flags |= FLAG_SATURATED
    return {
        "ipix": int(points.ipix[row]),
        "ra_deg": float(ra[0]),
        "dec_deg": float(dec[0]),
        "pos_err_arcmin": peak_shape.position_error_arcmin(
            area, snr, side, settings.position_error_floor_arcmin
        ),
        "value": float(raw[row]),
        "score": score,
        "background": around.level,
        "noise": around.noise,
        "snr": snr,
        "area_px": area,
        "flags": flags,
    }


def _at_edge(points: MapPoints, row: int, radius_arcmin: float, map_order: int) -> bool:
    ra, dec = peak_shape.ra_dec(points.vectors[row][None])
    expected = sky.cells_in_cone(
        float(ra[0]), float(dec[0]), radius_arcmin / 60.0, map_order, touching=False
    )
    at = np.minimum(np.searchsorted(points.ipix, expected), points.ipix.size - 1)
    return bool((points.ipix[at] != expected).any())
