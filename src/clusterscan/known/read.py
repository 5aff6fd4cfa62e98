"""Read any catalogue that a configuration names: one from a file, or one of the simulated sky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clusterscan.catalogs.checks import Validated, validate
from clusterscan.catalogs.reading import read_catalogue
from clusterscan.config.catalogs import CatalogueSettings, SimulatedCatalogue
from clusterscan.core.errors import ConfigError
from clusterscan.known.simulated import simulated_table

if TYPE_CHECKING:
    from clusterscan.config.simulation import SimulationSettings


def read_any_catalogue(
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
        If the file is not such a table, or rows are impossible and `bad_rows` is "error".
    ConfigError
        If a simulated catalogue is asked for without a simulated sky.
    SourceError
        If the file is missing.
    """
    if not isinstance(settings, SimulatedCatalogue):
        return read_catalogue(settings)
    if simulation is None:
        raise ConfigError(
            f"catalogue {settings.name}: kind `simulated` needs the section `simulation`"
        )
    table = simulated_table(settings.selection, tiles, tile_order, seed=seed, settings=simulation)
    return validate(table, settings.name, default_name=settings.name)
