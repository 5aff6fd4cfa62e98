"""Open the source that a survey's settings name. Each source is imported only when it is used."""

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
from clusterscan.fetch.source import Source
from clusterscan.formats.image_spec import ImageSpec

if TYPE_CHECKING:
    from clusterscan.config.simulation import SimulationSettings
    from clusterscan.fetch.download.store import Access


def open_source(
    settings: SourceSettings,
    spec: ImageSpec,
    *,
    seed: int = 0,
    simulation: SimulationSettings | None = None,
    access: Access | None = None,
) -> Source:
    """Open the source that a survey's settings name.

    Parameters
    ----------
    settings : SourceSettings
        Settings of the source.
    spec : ImageSpec
        Requirements on the raw images.
    seed : int
        Seed of the run; used by the simulated sky alone.
    simulation : SimulationSettings, optional
        Settings of the simulated sky; required by the source `simulated`.
    access : Access, optional
        Download settings and folder; required by the sources that only sync lists.

    Raises
    ------
    ConfigError
        If the source is simulated and the config has no section `simulation`.
    """
    if isinstance(settings, MosaicSource):
        from clusterscan.fetch.mosaic import Mosaic

        return Mosaic(settings, spec)
    if isinstance(settings, SimulatedSource):
        if simulation is None:
            raise ConfigError(
                f"survey {spec.survey}: source `simulated` needs the section `simulation` in the "
                "config"
            )
        return Simulated(settings, spec, simulation, seed)
    # The remaining sources are listed by sync and need a place for their downloads.
    if access is None:
        raise ValueError(f"source `{settings.kind}` needs the access to downloads")
    if isinstance(settings, HipsSource):
        from clusterscan.fetch.hips import Hips

        return Hips(settings, spec, access)
    if isinstance(settings, ArchiveSource):
        from clusterscan.fetch.archive import Archive

        return Archive(settings, spec, access)
    if isinstance(settings, Hips2fitsSource):
        from clusterscan.fetch.services import Hips2fits

        return Hips2fits(settings, spec, access)
    if isinstance(settings, CutoutsSource):
        from clusterscan.fetch.services import Cutouts

        return Cutouts(settings, spec, access)
    if isinstance(settings, LocalSource):
        from clusterscan.fetch.local import Local

        return Local(settings, spec, access)
    raise ValueError(f"source `{settings.kind}` has no case in clusterscan.fetch.registry")
