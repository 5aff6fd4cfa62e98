"""Planck 2018 cosmology and the Tinker halo mass function, by colossus, tabulated once a process.

Masses are M500c in Msun, lengths in Mpc (no factors of h).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_KM_PER_MPC = 3.0856775814913673e19
_MSUN_KG = 1.98840987e30
_G = 6.67430e-11
_SKY_DEG2 = 4 * np.pi * (180 / np.pi) ** 2


@lru_cache(maxsize=1)
def planck18():
    """Return colossus' Planck 2018 cosmology (no cache files are written)."""
    from colossus.cosmology import cosmology

    return cosmology.setCosmology("planck18", persistence="")


@lru_cache(maxsize=1)
def _distance_table() -> tuple[np.ndarray, np.ndarray]:
    z = np.concatenate([[0.0], np.geomspace(1e-3, 12.0, 600)])
    return z, planck18().comovingDistance(0.0, z) / planck18().h


def comoving_distance_mpc(z: np.ndarray) -> np.ndarray:
    """Return line-of-sight comoving distances [Mpc]."""
    return np.interp(z, *_distance_table())


def angular_distance_mpc(z: np.ndarray) -> np.ndarray:
    """Return angular diameter distances [Mpc]."""
    return comoving_distance_mpc(z) / (1.0 + np.asarray(z))


def distance_modulus(z: np.ndarray) -> np.ndarray:
    """Return distance moduli [mag]."""
    luminosity = comoving_distance_mpc(z) * (1.0 + np.asarray(z))
    return 5.0 * np.log10(luminosity) + 25.0


def expansion(z: np.ndarray) -> np.ndarray:
    """Return E(z) = H(z) / H0."""
    return planck18().Ez(np.asarray(z, dtype=float))


def critical_density_msun_mpc3(z: np.ndarray) -> np.ndarray:
    """Return the critical density [Msun / Mpc3]."""
    hubble = planck18().H0 / _KM_PER_MPC * expansion(z)
    return 3 * hubble**2 / (8 * np.pi * _G) * (_KM_PER_MPC * 1e3) ** 3 / _MSUN_KG


def r500_mpc(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return R500c [Mpc, proper]."""
    volume = np.asarray(m500c_msun) / (500 * critical_density_msun_mpc3(z))
    return (volume * 3 / (4 * np.pi)) ** (1 / 3)


def angle_arcmin(length_mpc: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the angle of a proper length at a redshift [arcmin]."""
    return np.degrees(np.asarray(length_mpc) / angular_distance_mpc(z)) * 60.0


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

    def draw(self, rng: np.random.Generator, area_deg2: float) -> tuple[np.ndarray, np.ndarray]:
        """Draw the (m500c_msun, z) of the halos on an area: Poisson, unclustered."""
        mean = self.per_deg2.ravel() * area_deg2
        cumulative = np.cumsum(mean)
        count = rng.poisson(cumulative[-1])
        bins = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
        i, j = np.divmod(np.minimum(bins, mean.size - 1), self.per_deg2.shape[1])
        ln_mass = self.ln_mass_edges[i] + rng.random(count) * np.diff(self.ln_mass_edges)[i]
        z = self.z_edges[j] + rng.random(count) * np.diff(self.z_edges)[j]
        return np.exp(ln_mass), z


@lru_cache(maxsize=4)
def halo_table(m500c_min_msun: float, z_min: float, z_max: float) -> HaloTable:
    """Tabulate the mass function of Tinker et al. 2008 for 500 times the critical density.

    References
    ----------
    Tinker et al. 2008, ApJ 688, 709; Diemer 2018, ApJS 239, 35 (colossus).
    """
    from colossus.lss import mass_function

    cosmo = planck18()
    ln_mass = np.linspace(np.log(m500c_min_msun), np.log(4e15), 133)
    z_edges = np.linspace(z_min, z_max, 81)
    middle_mass = np.exp((ln_mass[1:] + ln_mass[:-1]) / 2)
    middle_z = (z_edges[1:] + z_edges[:-1]) / 2
    volume = np.diff(comoving_distance_mpc(z_edges) ** 3) * 4 * np.pi / 3 / _SKY_DEG2
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
