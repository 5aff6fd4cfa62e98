"""Planck 2018 cosmology by colossus: distances, densities and angles.

Masses are M500c in Msun, lengths in Mpc (no factors of h). colossus is imported where it is needed,
since it takes half a second and most commands do without.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_KM_PER_MPC = 3.0856775814913673e19
_MSUN_KG = 1.98840987e30
_G = 6.67430e-11


@lru_cache(maxsize=1)
def planck18():
    """Return colossus' Planck 2018 cosmology (no cache files are written)."""
    from colossus.cosmology import cosmology

    return cosmology.setCosmology("planck18", persistence="")


@lru_cache(maxsize=1)
def _distance_table() -> tuple[np.ndarray, np.ndarray]:
    # One table for all callers: skies ask for the distances of millions of objects.
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
