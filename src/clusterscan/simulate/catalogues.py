"""Catalogues of the simulated sky: the truth, and what two surveys would know of it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from clusterscan.config.simulation import SimulationSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.simulate.cells import GENERATION_ORDER
from clusterscan.simulate.detection import expected_snr
from clusterscan.simulate.halos import Halos, halos_of_cell
from clusterscan.simulate.known import known_richness, known_sz

__all__ = ["known_of_cell", "truth_of_cell"]


def truth_of_cell(
    ipix: int, order: int, *, seed: int, settings: SimulationSettings
) -> pd.DataFrame:
    """Return every simulated cluster centred in a HEALPix cell.

    Parameters
    ----------
    ipix, order : int
        The cell (NESTED) at any order.
    seed : int
        The sky's seed, >= 0.
    settings : SimulationSettings
        The sky's settings.

    Returns
    -------
    pandas.DataFrame
        Rows in falling mass within each generation cell. Columns: name; ra_deg, dec_deg (ICRS,
        the gas centre and brightest galaxy); z; m500c_msun; r500_arcmin; y0 (central Compton
        parameter, with scatter); y500_arcmin2 (cylindrical integral within R500 of the
        pressure profile); richness (expected, with intrinsic scatter); q_sz (expected
        signal-to-noise in the microwave survey).
    """
    halos = _halos_in(ipix, order, seed, settings)
    return pd.DataFrame(
        {
            "name": _names("SIM", seed, halos.cell, halos.index),
            "ra_deg": halos.ra_deg,
            "dec_deg": halos.dec_deg,
            "z": halos.z,
            "m500c_msun": halos.m500c_msun,
            "r500_arcmin": halos.r500_arcmin,
            "y0": halos.y0,
            "y500_arcmin2": halos.y500_arcmin2,
            "richness": halos.richness,
            "q_sz": expected_snr(halos.y0, halos.theta500_arcmin, settings.microwave),
        }
    )


def known_of_cell(
    ipix: int,
    order: int,
    *,
    seed: int,
    settings: SimulationSettings,
    selection: Literal["sz", "richness"] = "sz",
) -> pd.DataFrame:
    """Return what a survey's catalogue lists in a HEALPix cell: incomplete, noisy, not pure.

    Parameters
    ----------
    ipix, order, seed, settings
        As for `truth_of_cell`.
    selection : {'sz', 'richness'}
        A signal-to-noise limited SZ survey, or a richness limited optical one.

    Returns
    -------
    pandas.DataFrame
        Columns: name; ra_deg, dec_deg (measured centre, which lies in the cell); z, z_err;
        m500c_msun (from the observable, noisy); snr or richness (the observable); truth_name
        (the halo behind the entry, empty where there is none; for validation only).

    Raises
    ------
    CatalogueError
        If the selection is unknown.
    """
    select = {"sz": known_sz, "richness": known_richness}.get(selection)
    if select is None:
        raise CatalogueError(
            f"selection = {selection!r} is not a simulated catalogue; use 'sz' or 'richness'"
        )
    # A measured centre may lie across a border: look at the neighbours' halos as well.
    cells = _generation_cells(ipix, order)
    around = np.unique(np.concatenate([sky.neighbours(int(c), GENERATION_ORDER) for c in cells]))
    parts = [select(int(cell), seed, settings) for cell in np.union1d(cells, around)]
    table = pd.concat(parts, ignore_index=True)
    owner = sky.owning_cell(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), order)
    return table[owner == ipix].reset_index(drop=True)


def _generation_cells(ipix: int, order: int) -> np.ndarray:
    if order <= GENERATION_ORDER:
        return sky.descendants(int(ipix), order, GENERATION_ORDER)
    return np.array([sky.ancestor(int(ipix), order, GENERATION_ORDER)], dtype=np.int64)


def _halos_in(ipix: int, order: int, seed: int, settings: SimulationSettings) -> Halos:
    parts = []
    for cell in _generation_cells(ipix, order):
        halos = halos_of_cell(int(cell), seed, settings.halos)
        parts.append(halos.take(halos.m500c_msun >= settings.halos.m500c_min_msun))
    halos = Halos.concatenate(parts)
    if order > GENERATION_ORDER:
        halos = halos.take(sky.owning_cell(halos.ra_deg, halos.dec_deg, order) == ipix)
    return halos


def _names(prefix: str, seed: int, cell: np.ndarray, index: np.ndarray) -> list[str]:
    return [f"{prefix}{seed}-{c}-{i}" for c, i in zip(cell, index, strict=True)]
