"""Generation cells of the simulated sky, and the random numbers that belong to each.

Every kind of object in every cell has a random stream of its own, from (seed, kind, cell). So a
cell's objects are the same whichever images are made, in any order and by any process, and a new
kind of object moves none of the others.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from clusterscan.core import sky

GENERATION_ORDER = 6
"""HEALPix order of the cells that objects are drawn in (0.84 deg2 each)."""

GENERATION_AREA_DEG2 = sky.cell_area_deg2(GENERATION_ORDER)

_FINE_ORDER = 26  # 0.003 arcsec: positions are uniform over these pixels of a cell


class Kind(IntEnum):
    """Purpose of a random stream. The values are part of the sky's definition: never change one."""

    HALOS = 1
    MEMBERS = 2
    GALAXIES = 3
    STARS = 4
    BRIGHT_STARS = 5
    RADIO = 6
    DUSTY = 7
    CMB = 8
    CIB = 9
    INFRARED_NOISE = 10
    MICROWAVE_NOISE = 11
    KNOWN_SZ = 12
    KNOWN_RICHNESS = 13
    XRAY_POINTING = 14
    XRAY_CLUSTERS = 15
    XRAY_AGN = 16
    XRAY_GALAXIES = 17
    XRAY_PHOTONS = 18
    OPTICAL_GALAXIES = 19
    OPTICAL_MEMBERS = 20
    OPTICAL_STARS = 21
    OPTICAL_NOISE = 22
    VOLUNTEERS = 23


def generator(seed: int, kind: Kind, *ids: int) -> np.random.Generator:
    """Return the random stream of one cell (or image) and kind of object."""
    # numpy hashes the whole list into the seed: streams of neighbouring cells are independent.
    return np.random.default_rng([int(seed), int(kind), *(int(i) for i in ids)])


def uniform_positions(
    rng: np.random.Generator, cell: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions (ra_deg, dec_deg), uniform in solid angle inside a generation cell."""
    # HEALPix pixels have equal areas, so a random descendant of the cell is a uniform position in
    # it, without rejection and also at the poles.
    inside = 4 ** (_FINE_ORDER - GENERATION_ORDER)
    fine = int(cell) * inside + rng.integers(0, inside, count)
    return sky.cell_centres(fine, _FINE_ORDER)


def offset_positions(
    ra_deg: np.ndarray, dec_deg: np.ndarray, separation_deg: np.ndarray, angle_rad: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move positions along great circles; correct at the poles as well.

    Parameters
    ----------
    ra_deg, dec_deg : ndarray, shape (n,)
        Starting points [deg].
    separation_deg, angle_rad : ndarray, shape (n,)
        Distance [deg] and position angle, from north through east [rad].

    Returns
    -------
    ra_deg, dec_deg : ndarray, shape (n,)
    """
    ra, dec, r = np.radians(ra_deg), np.radians(dec_deg), np.radians(separation_deg)
    sin_dec = np.sin(dec) * np.cos(r) + np.cos(dec) * np.sin(r) * np.cos(angle_rad)
    east = np.sin(r) * np.sin(angle_rad)
    north = np.cos(dec) * np.cos(r) - np.sin(dec) * np.sin(r) * np.cos(angle_rad)
    moved = ra + np.arctan2(east, north)
    return np.degrees(moved) % 360.0, np.degrees(np.arcsin(np.clip(sin_dec, -1.0, 1.0)))
