"""How many red galaxies a halo of some mass holds.

References
----------
Bleem et al. 2020, ApJS 247, 25 (SPT-ECS with redMaPPer): Section 5, the richness-mass relation.
"""

from __future__ import annotations

import numpy as np

from clusterscan.physics import cosmology

AMPLITUDE, SLOPE, EVOLUTION = 76.9, 1.02, 0.29
_PIVOT_MSUN_H, _PIVOT_Z = 3e14, 0.6


def mean_richness(m500c_msun: np.ndarray | float, z: np.ndarray) -> np.ndarray:
    """Return exp <ln richness> at a true mass M500c [Msun] and redshift."""
    pivot = _PIVOT_MSUN_H / cosmology.planck18().h
    growth = cosmology.expansion(z) / cosmology.expansion(np.array(_PIVOT_Z))
    return AMPLITUDE * (np.asarray(m500c_msun) / pivot) ** SLOPE * growth**EVOLUTION


def mass_of_richness(richness: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the M500c [Msun] whose mean richness this is (undoes `mean_richness`)."""
    return (np.asarray(richness) / mean_richness(1e14, z)) ** (1 / SLOPE) * 1e14
