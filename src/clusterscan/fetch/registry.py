"""From a survey's source settings to its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clusterscan.config.image_sources import (
    ArchiveSource,
    CutoutsSource,
    Hips2fitsSource,
    HipsSource,
    LocalSource,
    MosaicSource,
    SimulatedSource,
    SourceSettings,
)
from clusterscan.core.errors import ConfigError
from clusterscan.fetch.simulated import Simulated
from clusterscan.fetch.source import ImageSpec, Source

if TYPE_CHECKING:
    from clusterscan.config.simulation import SimulationSettings
    from clusterscan.fetch.download.store import Access


PreparedSettings = HipsSource | LocalSource | ArchiveSource | Hips2fitsSource | CutoutsSource


def open_source(
    settings: SourceSettings,
    spec: ImageSpec,
    *,
    seed: int = 0,
    simulation: SimulationSettings | None = None,
    access: Access | None = None,
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
    access : Access, optional
        How to download and where to; needed by sources that only sync lists.

    Raises
    ------
    ConfigError
        If the source is simulated and there are no settings of the simulated sky.
    """
    if isinstance(settings, MosaicSource):
        from clusterscan.fetch.mosaic import Mosaic  # slow to import, and only needed here

        return Mosaic(settings, spec)
    if isinstance(settings, PreparedSettings):
        if access is None:
            raise ValueError(f"source `{settings.kind}` needs the access to downloads")
        return _open_prepared(settings, spec, access)
    if isinstance(settings, SimulatedSource) and simulation is not None:
        return Simulated(settings, spec, simulation, seed)
    raise ConfigError(
        f"survey {spec.survey}: source `simulated` needs the section `simulation` in the config"
    )


def _open_prepared(settings: PreparedSettings, spec: ImageSpec, access: Access) -> Source:
    if isinstance(settings, HipsSource):
        from clusterscan.fetch.hips.source import Hips

        return Hips(settings, spec, access)
    if isinstance(settings, ArchiveSource):
        from clusterscan.fetch.archive.source import Archive

        return Archive(settings, spec, access)
    if isinstance(settings, Hips2fitsSource):
        from clusterscan.fetch.service.hips2fits import Hips2fits

        return Hips2fits(settings, spec, access)
    if isinstance(settings, CutoutsSource):
        from clusterscan.fetch.service.cutouts import Cutouts

        return Cutouts(settings, spec, access)
    from clusterscan.fetch.local.source import Local

    return Local(settings, spec, access)
