"""What two cluster surveys would list of one generation cell's halos.

The SZ catalogue is limited in signal-to-noise like ACT DR5's (Hilton et al. 2021, ApJS 253, 3),
the richness catalogue in richness like CAMIRA's (Oguri et al. 2018, PASJ 70, S20).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from clusterscan.config.simulation import SimulationSettings
from clusterscan.physics import cosmology, pressure
from clusterscan.physics.richness import mass_of_richness
from clusterscan.simulate.cells import (
    GENERATION_AREA_DEG2,
    Kind,
    generator,
    offset_positions,
    uniform_positions,
)
from clusterscan.simulate.detection import expected_snr
from clusterscan.simulate.halos import Halos, halos_of_cell

_POSITION_BOOST = 2.0
_SPECTROSCOPIC_ERROR = 0.0005
_FALSE_Z = (0.2, 0.9)  # projections are assigned redshifts in this range
_SZ_POSITION_ARCMIN = 1.4  # Rayleigh width times S/N, about a beam (Hilton et al. 2021, Fig. 8)


@lru_cache(maxsize=512)
def known_sz(cell: int, seed: int, settings: SimulationSettings) -> pd.DataFrame:
    """Return the SZ catalogue's entries from one generation cell (cached: do not change it)."""
    known = settings.known
    halos = _clusters(cell, seed, settings)
    rng = generator(seed, Kind.KNOWN_SZ, cell)
    noise, luck, turn, distance = _draws(rng, len(halos))
    z, z_err = _redshifts(rng, halos.z, settings)
    mean = expected_snr(halos.y0, halos.theta500_arcmin, settings.microwave)
    # A peak is found where it is highest: q^2 grows by 1 per coordinate (Vanderlinde et al. 2010).
    snr = np.sqrt(mean**2 + _POSITION_BOOST * (mean > 1)) + noise
    listed = (snr >= known.sz_snr_min) & (luck < known.sz_completeness)
    with np.errstate(divide="ignore"):
        offset = _SZ_POSITION_ARCMIN / np.maximum(snr, 1.0) * distance / 60.0
    ra, dec = offset_positions(halos.ra_deg, halos.dec_deg, offset, 2 * np.pi * turn)
    table = _table(halos, listed, ra, dec, z, z_err, f"SIMSZ{seed}-{cell}", seed)
    table["snr"] = snr[listed]
    table = _append_false(
        table, rng, cell, seed, known.sz_false_per_deg2, "snr", known.sz_snr_min, 4.0
    )
    table["m500c_msun"] = _mass_of_snr(table["snr"].to_numpy(), table["z"].to_numpy(), settings)
    return table[[*_COLUMNS, "snr", "truth_name"]]


@lru_cache(maxsize=512)
def known_richness(cell: int, seed: int, settings: SimulationSettings) -> pd.DataFrame:
    """Return the richness catalogue's entries from one generation cell (cached, as above)."""
    known = settings.known
    halos = _clusters(cell, seed, settings)
    rng = generator(seed, Kind.KNOWN_RICHNESS, cell)
    noise, luck, turn, distance = _draws(rng, len(halos))
    counted, missed = rng.standard_normal(len(halos)), rng.random(len(halos))
    z, z_err = _redshifts(rng, halos.z, settings)
    observed = halos.richness * np.exp(known.richness_noise_ln * noise)
    observed = np.maximum(observed + np.sqrt(observed) * counted, 0.0)
    listed = (
        (observed >= known.richness_min)
        & (luck < known.richness_completeness)
        & (z >= known.richness_z_min)
        & (z <= known.richness_z_max)
    )
    width = np.where(missed < known.miscentred_part, known.miscentring_r500, 0.02)
    offset = width * halos.r500_arcmin * distance / 60.0
    ra, dec = offset_positions(halos.ra_deg, halos.dec_deg, offset, 2 * np.pi * turn)
    table = _table(halos, listed, ra, dec, z, z_err, f"SIMRI{seed}-{cell}", seed)
    table["richness"] = observed[listed]
    table = _append_false(
        table, rng, cell, seed, known.richness_false_per_deg2, "richness", known.richness_min, 4.0
    )
    table["m500c_msun"] = mass_of_richness(
        table["richness"].to_numpy(), np.maximum(table["z"].to_numpy(), 0.0)
    )
    return table[[*_COLUMNS, "richness", "truth_name"]]


_COLUMNS = ["name", "ra_deg", "dec_deg", "z", "z_err", "m500c_msun"]


def _clusters(cell: int, seed: int, settings: SimulationSettings) -> Halos:
    halos = halos_of_cell(cell, seed, settings.halos)
    return halos.take(halos.m500c_msun >= settings.halos.m500c_min_msun)


def _draws(
    rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return noise (normal), luck (uniform), and the offset's turn (uniform) and distance.

    The distance is Rayleigh's, of width 1.
    """
    return rng.standard_normal(n), rng.random(n), rng.random(n), rng.rayleigh(1.0, n)


def _redshifts(
    rng: np.random.Generator, z: np.ndarray, settings: SimulationSettings
) -> tuple[np.ndarray, np.ndarray]:
    spectroscopic = rng.random(len(z)) < settings.known.spectroscopic_part
    photometric = settings.known.photo_z_scatter * (1 + z)
    error = np.where(spectroscopic, _SPECTROSCOPIC_ERROR, np.maximum(photometric, 1e-4))
    return np.maximum(z + error * rng.standard_normal(len(z)), 0.01), error


def _table(halos, listed, ra, dec, z, z_err, prefix: str, seed: int) -> pd.DataFrame:
    rows = np.flatnonzero(listed)
    return pd.DataFrame(
        {
            "name": [f"{prefix}-{halos.index[i]}" for i in rows],
            "ra_deg": ra[rows],
            "dec_deg": dec[rows],
            "z": z[rows],
            "z_err": z_err[rows],
            "truth_name": [f"SIM{seed}-{halos.cell[i]}-{halos.index[i]}" for i in rows],
        }
    ).astype({"name": "str", "truth_name": "str"})


def _append_false(
    table: pd.DataFrame,
    rng: np.random.Generator,
    cell: int,
    seed: int,
    per_deg2: float,
    observable: str,
    limit: float,
    slope: float,
) -> pd.DataFrame:
    """Add entries that are no cluster, their observable falling steeply from the limit."""
    count = rng.poisson(per_deg2 * GENERATION_AREA_DEG2)
    ra, dec = uniform_positions(rng, cell, count)
    z = rng.uniform(*_FALSE_Z, count)
    value = limit * (1.0 - rng.random(count)) ** (-1.0 / slope / 2.0)
    if count == 0:
        return table
    prefix = "SIMSZ" if observable == "snr" else "SIMRI"
    false = pd.DataFrame(
        {
            "name": [f"{prefix}{seed}-{cell}-F{i}" for i in range(count)],
            "ra_deg": ra,
            "dec_deg": dec,
            "z": z,
            "z_err": 0.02 * (1 + z),
            "truth_name": [""] * count,
            observable: value,
        }
    )
    return pd.concat([table, false], ignore_index=True) if len(table) else false


def _mass_of_snr(snr: np.ndarray, z: np.ndarray, settings: SimulationSettings) -> np.ndarray:
    """Return the true mass whose expected signal-to-noise this is, on a grid of masses."""
    grid = np.geomspace(1e13, 5e15, 160)
    one_minus_b = settings.halos.hydrostatic_one_minus_b
    masses = np.empty(len(snr))
    for i in range(len(snr)):
        own = one_minus_b * grid
        theta = cosmology.angle_arcmin(cosmology.r500_mpc(own, z[i]), z[i])
        q = expected_snr(pressure.central_compton(own, z[i]), theta, settings.microwave)
        masses[i] = np.exp(
            np.interp(np.sqrt(max(snr[i] ** 2 - _POSITION_BOOST, 0.1)), q, np.log(grid))
        )
    return masses
