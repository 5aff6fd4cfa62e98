"""Find candidates: the peaks of a map, each owned by the tile that holds its map pixel.

NESTED ordering and ICRS degrees. A network's map is searched in logit, a filter's in S/N. The
search sees the map as points on the sphere, so it works alike across tile borders and at the
poles. Points are sorted by pixel index and every sum runs in that order: a result depends only on
the map around a position, to the last bit, and not on the tiling. Offsets are on the tangent
plane at the peak's pixel, in arcmin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from scipy.special import logit

from clusterscan.config.scan import DetectSettings
from clusterscan.core import sky
from clusterscan.core.errors import ProductError
from clusterscan.formats.mask_planes import MASKABLE

# Distances between unit vectors are chords, not angles: a k-d tree needs no special case at the
# poles or at RA 0, and `sky.chord` converts the radii.
CHUNK = 50_000  # pixels whose neighbours are held in memory at a time
NEIGHBOURS = 9  # a pixel and the eight around it


@dataclass(frozen=True)
class MapPoints:
    """Valid map pixels, sorted by index.

    Attributes
    ----------
    ipix : int64 ndarray, shape (n,)
        Map pixel index (NESTED), rising.
    vectors : float64 ndarray, shape (n, 3)
        Unit vectors of the pixels' centres.
    score : float64 ndarray, shape (n,)
        The values in which peaks are searched.
    tree : scipy.spatial.cKDTree
        Search tree of ``vectors``.
    """

    ipix: np.ndarray
    vectors: np.ndarray
    score: np.ndarray
    tree: cKDTree

    @classmethod
    def build(cls, ipix: np.ndarray, vectors: np.ndarray, score: np.ndarray) -> MapPoints:
        """Build the points from pixels that are sorted by index."""
        return cls(ipix, vectors, score, cKDTree(vectors))

    def smoothed(self, fwhm_arcmin: float) -> MapPoints:
        """Return the points with scores averaged by a Gaussian, cut at 3 sigma."""
        sigma = sky.chord(fwhm_arcmin / 60.0 / np.sqrt(8 * np.log(2)))
        parts = []
        for start in range(0, self.ipix.size, CHUNK):
            rows = cKDTree(self.vectors[start : start + CHUNK])
            pairs = rows.sparse_distance_matrix(self.tree, 3 * sigma, output_type="ndarray")
            weights = np.exp(-0.5 * (pairs["v"] / sigma) ** 2)
            shape = (rows.n, self.tree.n)
            matrix = csr_matrix((weights, (pairs["i"], pairs["j"])), shape=shape)
            matrix.sort_indices()  # fixes the order of the sums
            # Division by the sum of the weights makes up for invalid pixels, so edges and masks do
            # not pull the score down.
            parts.append(matrix @ self.score / (matrix @ np.ones(self.tree.n)))
        score = np.concatenate(parts) if parts else self.score
        return MapPoints(self.ipix, self.vectors, score, self.tree)

    def local_maxima(self, radius_arcmin: float, threshold: float) -> np.ndarray:
        """Return the rows that no pixel within the radius exceeds; ties go to the lowest index.

        Most pixels are beaten by one of their eight neighbours. One query for these leaves few
        pixels, and only for them is the whole disc searched.
        """
        radius = sky.chord(radius_arcmin / 60.0)
        rows = np.flatnonzero(self.score >= threshold)
        if not rows.size:
            return rows
        # Pixels below the threshold cannot beat those above it, so they are left out.
        tree = cKDTree(self.vectors[rows])
        score = self.score[rows]
        alive = _unbeaten_nearby(tree, score, radius)
        found = []
        for row in alive:
            around = np.array(tree.query_ball_point(tree.data[row], radius, return_sorted=True))
            best = around[np.argmax(score[around])]  # the first, so the lowest index, of equals
            if best == row:
                found.append(row)
        return rows[np.array(found, dtype=np.int64)]

    def around(self, row: int, radius_arcmin: float) -> np.ndarray:
        """Return the rows within a radius of a row, in order of their index."""
        found = self.tree.query_ball_point(
            self.vectors[row], sky.chord(radius_arcmin / 60.0), return_sorted=True
        )
        return np.array(found, dtype=np.int64)


def _unbeaten_nearby(tree: cKDTree, score: np.ndarray, radius: float) -> np.ndarray:
    """Return the rows that none of their nearest few neighbours exceeds."""
    alive = []
    for start in range(0, tree.n, CHUNK):
        count = min(NEIGHBOURS, tree.n)
        distance, near = tree.query(
            tree.data[start : start + CHUNK], k=np.arange(1, count + 1), distance_upper_bound=radius
        )
        mine = np.arange(start, start + len(near))[:, None]
        there = np.isfinite(distance)
        # A query with fewer neighbours than asked for returns an index beyond the end and an
        # infinite distance; the row itself, which never beats itself, takes its place.
        near = np.where(there, near, mine)
        other = score[near]
        beaten = (other > score[mine]) | ((other == score[mine]) & (near < mine))
        alive.append(mine[~beaten.any(axis=1), 0])
    return np.concatenate(alive)


# Median absolute deviation of a normal distribution -> sigma. Written out, so that the last digit
# of the noise does not depend on the version of a library.
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
    """Return two unit vectors perpendicular to a direction; it may be a pole."""
    x, y, z = vector
    # Perpendicular to z too, or to x near the poles, where z gives no direction.
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
    """Measure the median and the robust scatter of the map in an annulus around a peak."""
    near = points.around(row, outer_arcmin)
    distance = np.linalg.norm(points.vectors[near] - points.vectors[row], axis=1)
    # Only the ring counts: within the inner radius lies the peak itself. Median and MAD are little
    # affected by other clusters in the ring.
    ring = near[distance > sky.chord(inner_arcmin / 60.0)]
    if ring.size < FEWEST_NOISE_PIXELS:
        return Background(np.nan, np.nan)
    level = float(np.median(points.score[ring]))
    return Background(level, MAD_TO_SIGMA * float(np.median(np.abs(points.score[ring] - level))))


def vertex(points: MapPoints, row: int, side_arcmin: float) -> tuple[np.ndarray, bool]:
    """Measure the sub-pixel offset (2,) [arcmin] of a peak, and return True if a paraboloid fits.

    A paraboloid is fitted to the pixels around the peak. If it has no maximum within a pixel (flat
    tops, map edges), the centroid of the scores above their minimum is used.
    """
    near = points.around(row, FIT_RADIUS_PX * side_arcmin)
    position = offsets_arcmin(points.vectors[row], points.vectors[near])
    score = points.score[near]
    x, y = position.T
    if near.size >= 6:
        design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
        (_, gx, gy, hxx, hxy, hyy), *_ = np.linalg.lstsq(design, score, rcond=None)
        # The gradient vanishes at the vertex. Negative hxx and a positive determinant mean a
        # maximum; a saddle or a minimum has a vertex too, and it must not be taken. Nor must one
        # that lies beyond the pixel: another pixel would then be the higher one.
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
    """Count the connected map pixels above half height around the peak.

    Half height is halfway between the peak and ``level``, or the lowest pixel around if that is
    NaN.
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
    # Grow the island of pixels that touch the peak until it stays the same.
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


Scale = Literal["probability", "snr"]

FLAG_EDGE = 1  # an invalid map pixel lies within the search radius
FLAG_BLENDED = 2  # another peak lies within twice the search radius
FLAG_CENTROID = 4  # no paraboloid fits the peak; its position is a centroid
FLAG_SATURATED = 8  # the probability is 0 or 1 to the last digit kept

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
    """Return the values in which peaks are searched: logits of probabilities, or S/N."""
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
    pixels the one of the lowest index). Its position is refined below the pixel and may leave the
    tile; the pixel still decides which tile owns it. The result depends only on the map around
    the pixel, so any tiling gives the same candidates if the neighbours reach
    ``settings.reach_arcmin`` beyond the tile.

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
        Type of ``values``.

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
    # Everything farther from the tile than the reach cannot change its peaks, and is dropped: so
    # the result cannot depend on how much of the neighbours is given.
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
    """Translate the mask planes at the candidates' pixels into candidate flags.

    Parameters
    ----------
    pixels : int ndarray, shape (n,)
        Map pixel of each candidate within the tile, in nested order.
    planes : MASK_DTYPE ndarray, shape (W * W,), optional
        The tile's FLAGS (`clusterscan.scan.validity.flags_at`).

    Returns
    -------
    int16 ndarray, shape (n,)
    """
    found = np.zeros(len(pixels), dtype=np.int16)
    if planes is not None:
        for plane in MASKABLE:
            found[(planes[pixels] & plane.bit) != 0] |= plane.flag
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
    """Return the valid points in a cone around the tile, their values, and True for its own."""
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
    # A network that fails on a tile can give thousands of peaks. The limit is per area, so it does
    # not depend on the tiling, and the best peaks are kept.
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
    around = background(points, row, settings.noise_inner_arcmin, settings.noise_outer_arcmin)
    score = float(points.score[row])
    snr = (score - around.level) / around.noise if around.noise > 0 else np.nan
    area = area_px(points, row, around.level, settings.noise_inner_arcmin, side)
    offset, fitted = vertex(points, row, side)
    ra, dec = ra_dec(displaced(points.vectors[row], offset)[None])
    flags = (FLAG_BLENDED if blended else 0) | (0 if fitted else FLAG_CENTROID)
    if _at_edge(points, row, settings.radius_arcmin, map_order):
        flags |= FLAG_EDGE
    if scale == "probability" and not SATURATION < raw[row] < 1 - SATURATION:
        flags |= FLAG_SATURATED
    return {
        "ipix": int(points.ipix[row]),
        "ra_deg": float(ra[0]),
        "dec_deg": float(dec[0]),
        "pos_err_arcmin": position_error_arcmin(
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
    ra, dec = ra_dec(points.vectors[row][None])
    # An invalid pixel is absent from the list of points, so pixels that should be within the radius
    # are looked up one by one. `searchsorted` gives the place where each would be.
    expected = sky.cells_in_cone(
        float(ra[0]), float(dec[0]), radius_arcmin / 60.0, map_order, touching=False
    )
    at = np.minimum(np.searchsorted(points.ipix, expected), points.ipix.size - 1)
    return bool((points.ipix[at] != expected).any())
