"""From a survey's source settings to its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clusterscan.config.source import MosaicSource, SimulatedSource, SourceSettings
from clusterscan.errors import ConfigError
from clusterscan.fetch.simulated import Simulated
from clusterscan.fetch.source import ImageSpec, Source

if TYPE_CHECKING:
    from clusterscan.config.simulation import SimulationSettings


def open_source(
    settings: SourceSettings,
    spec: ImageSpec,
    *,
    seed: int = 0,
    simulation: SimulationSettings | None = None,
) -> Source:
    """Return the source that a survey's settings name.

    Parameters
    ----------
    settings : SourceSettings
        The survey's source.
    spec : ImageSpec
        What a tile's raw image must be.
    seed : int
        The run's seed; only the simulated sky uses it.
    simulation : SimulationSettings, optional
        The simulated sky; needed by the source `simulated`.

    Raises
    ------
    ConfigError
        If the source is simulated and there are no settings of the simulated sky.
    """
    if isinstance(settings, MosaicSource):
        from clusterscan.fetch.mosaic import Mosaic  # slow to import, and only needed here

        return Mosaic(settings, spec)
    if isinstance(settings, SimulatedSource) and simulation is not None:
        return Simulated(settings, spec, simulation, seed)
    raise ConfigError(
        f"survey {spec.survey}: source `simulated` needs the section `simulation` in the config"
    )
