"""The split of the sky: whole HEALPix cells are for training, validation or test."""

from __future__ import annotations

import numpy as np

from clusterscan.config.searched_sky import CellSplit, FractionSplit
from clusterscan.core import sky
from clusterscan.formats.training_set import PARTS

_TRAIN, _VALIDATION, _TEST = range(3)

# A circle of 64 points, 10 % wider than asked for, meets every cell that comes nearer than the
# asked radius: a cell's corner (at least 60 degrees wide) is by then wider than their spacing.
_CIRCLE_POINTS = 64
_CIRCLE_EXCESS = 1.1


class SkySplit:
    """Assign positions to parts, and test that a disc around them touches no other part."""

    def __init__(self, settings: CellSplit | FractionSplit):
        self._settings = settings
        self.order = settings.order
        self.guard_arcmin = settings.guard_arcmin

    def part_of(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """Return each position's part: 'train', 'validation' or 'test'."""
        return np.array(PARTS)[self._codes(ra_deg, dec_deg)]

    def part_of_cells(self, cells: np.ndarray) -> np.ndarray:
        """Return the part of cells of the split's order."""
        return np.array(PARTS)[self._codes_of_cells(np.asarray(cells))]

    def keeps_clear(
        self, ra_deg: np.ndarray, dec_deg: np.ndarray, radius_arcmin: float
    ) -> np.ndarray:
        """Return True for each position if a disc around it lies wholly in the position's own part.

        Parameters
        ----------
        ra_deg, dec_deg : float ndarray, shape (n,)
            ICRS positions [deg].
        radius_arcmin : float
            The disc's radius, such as half a crop's diagonal [arcmin]; small against a cell.

        Returns
        -------
        bool ndarray, shape (n,)
        """
        own = self._codes(ra_deg, dec_deg)
        clear = np.ones(own.shape, bool)
        if own.size == 0 or radius_arcmin == 0:
            return clear
        angles = np.arange(_CIRCLE_POINTS) * 2 * np.pi / _CIRCLE_POINTS
        # Points on a circle instead of exact distances to cell borders, which HEALPix does not
        # offer.
        for angle in angles:
            ra, dec = offset_position(ra_deg, dec_deg, _CIRCLE_EXCESS * radius_arcmin, angle)
            clear &= self._codes(ra, dec) == own
        return clear

    def _codes(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        return self._codes_of_cells(sky.owning_cell(ra_deg, dec_deg, self.order))

    def _codes_of_cells(self, cells: np.ndarray) -> np.ndarray:
        settings = self._settings
        codes = np.full(cells.shape, _TRAIN)
        if isinstance(settings, CellSplit):
            codes[np.isin(cells, settings.validation)] = _VALIDATION
            codes[np.isin(cells, settings.test)] = _TEST
        else:
            # Test takes the low end of the same draw, so another share of validation leaves it as
            # it is.
            drawn = _uniform(cells)
            codes[drawn < settings.validation + settings.test] = _VALIDATION
            codes[drawn < settings.test] = _TEST
        return codes


def _uniform(cells: np.ndarray) -> np.ndarray:
    """Return a number in [0, 1) for each cell that looks random and never changes (SplitMix64)."""
    # A hash of the cell rather than a random stream: a cell keeps its part however many cells the
    # run searches. The upper 53 bits make a float64 in [0, 1).
    with np.errstate(over="ignore"):  # 64-bit arithmetic is meant to overflow
        z = cells.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def offset_position(
    ra_deg: np.ndarray, dec_deg: np.ndarray, distance_arcmin, angle_rad
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions a distance away, at an angle from north through east (great circles)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    far = np.radians(np.asarray(distance_arcmin) / 60.0)
    sin_dec = np.sin(dec) * np.cos(far) + np.cos(dec) * np.sin(far) * np.cos(angle_rad)
    new_dec = np.arcsin(np.clip(sin_dec, -1.0, 1.0))
    y = np.sin(angle_rad) * np.sin(far) * np.cos(dec)
    x = np.cos(far) - np.sin(dec) * sin_dec
    return np.degrees(ra + np.arctan2(y, x)) % 360.0, np.degrees(new_dec)
