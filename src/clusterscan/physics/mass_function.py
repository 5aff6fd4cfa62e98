"""How many halos there are of each mass and redshift, and how many red galaxies a halo holds.

Masses are M500c in Msun. Simulated skies draw their halos from this table (`simulate.halos`); the
selection function of a run on real data is weighted by it (`selection.expected`).

References
----------
Tinker et al. 2008, ApJ 688, 709 (the mass function); Diemer 2018, ApJS 239, 35 (colossus).
Bleem et al. 2020, ApJS 247, 25 (SPT-ECS with redMaPPer): Section 5, the richness-mass relation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clusterscan.physics.cosmology import comoving_distance_mpc, expansion, planck18

RICHNESS_AMPLITUDE, RICHNESS_SLOPE, RICHNESS_EVOLUTION = 76.9, 1.02, 0.29
_PIVOT_MSUN_H, _PIVOT_Z = 3e14, 0.6
_HEAVIEST_MSUN = 4e15
_SKY_DEG2 = 4 * np.pi * (180 / np.pi) ** 2


@dataclass(frozen=True)
class HaloTable:
    """Mean halo numbers on a grid of bins.

    Attributes
    ----------
    ln_mass_edges : ndarray, shape (m + 1,)
        Bin edges in ln(M500c / Msun).
    z_edges : ndarray, shape (n + 1,)
        Bin edges in redshift.
    per_deg2 : ndarray, shape (m, n)
        Mean number of halos in a bin [deg-2].
    """

    ln_mass_edges: np.ndarray
    z_edges: np.ndarray
    per_deg2: np.ndarray


@lru_cache(maxsize=4)
def halo_table(m500c_min_msun: float, z_min: float, z_max: float) -> HaloTable:
    """Tabulate the mass function of Tinker et al. 2008 for 500 times the critical density."""
    from colossus.lss import mass_function

    cosmo = planck18()
    ln_mass = np.linspace(np.log(m500c_min_msun), np.log(_HEAVIEST_MSUN), 133)
    z_edges = np.linspace(z_min, z_max, 81)
    middle_mass = np.exp((ln_mass[1:] + ln_mass[:-1]) / 2)
    middle_z = (z_edges[1:] + z_edges[:-1]) / 2
    volume = np.diff(comoving_distance_mpc(z_edges) ** 3) * 4 * np.pi / 3 / _SKY_DEG2
    # colossus counts masses in Msun/h and densities in (h/Mpc)^3.
    density = np.stack(
        [
            mass_function.massFunction(
                middle_mass * cosmo.h, z, mdef="500c", model="tinker08", q_out="dndlnM"
            )
            for z in middle_z
        ],
        axis=1,
    )
    return HaloTable(
        ln_mass, z_edges, density * cosmo.h**3 * np.diff(ln_mass)[:, None] * volume[None, :]
    )


def mean_richness(m500c_msun: np.ndarray | float, z: np.ndarray) -> np.ndarray:
    """Return exp <ln richness> at a true mass M500c [Msun] and redshift."""
    pivot = _PIVOT_MSUN_H / planck18().h
    growth = expansion(z) / expansion(np.array(_PIVOT_Z))
    scaled = np.asarray(m500c_msun) / pivot
    return RICHNESS_AMPLITUDE * scaled**RICHNESS_SLOPE * growth**RICHNESS_EVOLUTION


def mass_of_richness(richness: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the M500c [Msun] whose mean richness this is (the inverse of `mean_richness`)."""
    return (np.asarray(richness) / mean_richness(1e14, z)) ** (1 / RICHNESS_SLOPE) * 1e14
