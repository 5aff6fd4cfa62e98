"""Read any catalogue that a config names, and keep it in clusterscan's own form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.layouts import LAYOUTS, Layout, layout_of
from clusterscan.catalogs.tables import read_table
from clusterscan.catalogs.validate import Validated, validate
from clusterscan.config.catalogs import (
    CatalogueSettings,
    GenericCatalogue,
    PublishedCatalogue,
    SimulatedCatalogue,
)
from clusterscan.config.paths import expand_path
from clusterscan.errors import CatalogueError, ConfigError
from clusterscan.provenance.fingerprint import file_sha256

if TYPE_CHECKING:
    from clusterscan.config.simulation import SimulationSettings

_UNIT_FACTORS = {
    "deg": (1.0, 1.0),
    "rad": (180.0 / np.pi, 180.0 / np.pi),
    "hourangle": (15.0, 1.0),
}


def read_catalogue(
    settings: CatalogueSettings,
    *,
    tiles: Sequence[int] = (),
    tile_order: int = 0,
    seed: int = 0,
    simulation: SimulationSettings | None = None,
) -> Validated:
    """Read, check and clean a catalogue.

    Parameters
    ----------
    settings : CatalogueSettings
        The catalogue.
    tiles, tile_order : sequence of int, int
        The run's footprint; a simulated catalogue covers it and the tiles around it.
    seed : int
        The run's seed, for simulated catalogues.
    simulation : SimulationSettings, optional
        The simulated sky, for simulated catalogues.

    Raises
    ------
    CatalogueError
        If the file is no such table, or rows are impossible and `bad_rows` is "error".
    SourceError
        If there is no such file.
    """
    if isinstance(settings, SimulatedCatalogue):
        if simulation is None:
            raise ConfigError(
                f"catalogue {settings.name}: kind `simulated` needs the section `simulation`"
            )
        from clusterscan.catalogs.simulated import simulated_table

        table = simulated_table(
            settings.selection, tiles, tile_order, seed=seed, settings=simulation
        )
        return validate(table, settings.name, default_name=settings.name)
    return _read_file(settings)


def catalogue_token(settings: CatalogueSettings) -> str:
    """Return a hash that changes with the catalogue's file ("" for simulated ones)."""
    if isinstance(settings, SimulatedCatalogue):
        return ""
    return file_sha256(expand_path(settings.path))


def _read_file(settings: PublishedCatalogue | GenericCatalogue) -> Validated:
    if isinstance(settings, GenericCatalogue):
        layout = layout_of(settings)
    else:
        layout = LAYOUTS[settings.kind]
    path = expand_path(settings.path)
    raw = _selected(read_table(path, layout), settings.select, path)
    return validate(
        _ours(raw, layout),
        str(path),
        bad_rows=settings.bad_rows,
        z_unknown=layout.z_unknown,
        default_name=settings.name,
    )


def _selected(raw: pd.DataFrame, select: dict[str, list[Any]], path: Path) -> pd.DataFrame:
    for column, values in select.items():
        if column not in raw:
            raise CatalogueError(
                f"{path}: select names column {column}, but the file has "
                f"{', '.join(map(str, raw.columns))}"
            )
        raw = raw[raw[column].isin(values)]
        if raw.empty:
            raise CatalogueError(f"{path}: select leaves no row with {column} in {values}")
    return raw


def _ours(raw: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Rename, rescale and convert columns to ours."""
    table = pd.DataFrame({ours: raw[theirs] for ours, theirs in layout.columns.items()})
    factors = dict(layout.scale)
    for column, factor in zip(
        ("ra_deg", "dec_deg"), _UNIT_FACTORS[layout.position_unit], strict=True
    ):
        if factor != 1.0:
            factors[column] = factors.get(column, 1.0) * factor
    for column, factor in factors.items():
        table[column] = pd.to_numeric(table[column], errors="coerce") * factor
    if "m500c_msun" in table:
        mass = pd.to_numeric(table["m500c_msun"], errors="coerce")
        table["m500c_msun"] = mass.where(mass > 0)  # 0 and -1 stand for no mass everywhere
    if "name" in table and (layout.name_prefix or layout.mend_names):
        names = table["name"].astype("string").str.strip()
        if layout.mend_names:
            names = names.str.replace(*layout.mend_names, regex=True)
        table["name"] = layout.name_prefix + names
    return table
