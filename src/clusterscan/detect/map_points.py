"""A map as points on the sphere: neighbours, smoothing, and which pixels are highest.

Pixels are kept sorted by index and every sum runs in that order, so a result depends on the
pixels around a position alone, to the last bit, and not on the tiles they came in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from clusterscan.core import sky

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
        What peaks are searched in.
    tree : scipy.spatial.cKDTree
        Of ``vectors``.
    """

    ipix: np.ndarray
    vectors: np.ndarray
    score: np.ndarray
    tree: cKDTree

    @classmethod
    def build(cls, ipix: np.ndarray, vectors: np.ndarray, score: np.ndarray) -> MapPoints:
        """Make the points from pixels already sorted by index."""
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
            parts.append(matrix @ self.score / (matrix @ np.ones(self.tree.n)))
        score = np.concatenate(parts) if parts else self.score
        return MapPoints(self.ipix, self.vectors, score, self.tree)

    def local_maxima(self, radius_arcmin: float, threshold: float) -> np.ndarray:
        """Return the rows that nothing within the radius exceeds; ties go to the lowest index."""
        radius = sky.chord(radius_arcmin / 60.0)
        rows = np.flatnonzero(self.score >= threshold)
        if not rows.size:
            return rows
        # Pixels below the threshold beat none above it, so they need not be asked.
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
    """Return the rows that their nearest few neighbours leave as possible maxima."""
    alive = []
    for start in range(0, tree.n, CHUNK):
        count = min(NEIGHBOURS, tree.n)
        distance, near = tree.query(
            tree.data[start : start + CHUNK], k=np.arange(1, count + 1), distance_upper_bound=radius
        )
        mine = np.arange(start, start + len(near))[:, None]
        there = np.isfinite(distance)
        near = np.where(there, near, mine)
        other = score[near]
        beaten = (other > score[mine]) | ((other == score[mine]) & (near < mine))
        alive.append(mine[~beaten.any(axis=1), 0])
    return np.concatenate(alive)
