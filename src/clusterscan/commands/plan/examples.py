"""About how many labelled examples a run makes, and how many of them an epoch shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterscan.config.catalogs import SimulatedCatalogue
from clusterscan.config.model import Config, FusionModelSettings, ModelSettings, SurveySettings
from clusterscan.config.sample import StampSampleSettings, TileSampleSettings
from clusterscan.core import sky
from clusterscan.core.errors import ClusterscanError
from clusterscan.flow.footprint import run_tiles
from clusterscan.flow.sky_split import SkySplit

# Of the simulated catalogues of the shipped run, counted.
_SIMULATED_PER_DEG2 = {"truth": 50.0, "richness": 12.7, "sz": 0.04, "candidates": 10.0}
_UNREAD_PER_DEG2 = 1.0  # a catalogue that is not here yet
_CLEAR_OF_BORDERS = 0.9  # what keeps clear of other parts of the sky and of masked pixels


@dataclass(frozen=True)
class ExampleCounts:
    """How many examples there are, on all of a run's sky.

    Attributes
    ----------
    positives, negatives : float
        By label.
    train, validation : float
        The part of the sky that they are for.
    """

    positives: float
    negatives: float
    train: float
    validation: float

    @property
    def total(self) -> float:
        """All examples."""
        return self.positives + self.negatives

    def of_an_epoch(self, model: ModelSettings | FusionModelSettings) -> float:
        """Return how many examples an epoch of training shows (see `train.epochs.epoch_rows`)."""
        ratio = model.train.negatives_per_positive
        once = self.total if ratio is None else self.positives * (1.0 + ratio)
        return max(once * self.train, float(model.train.least_examples_per_epoch))


def count_examples(config: Config, survey: SurveySettings) -> ExampleCounts:
    """Return about how many examples a survey's sample stage makes."""
    tiles = np.array(run_tiles(config.sky), dtype=np.int64)
    area = tiles.size * sky.cell_area_deg2(config.sky.tile_order)
    parts = SkySplit(config.sky.regions).part_of(*sky.cell_centres(tiles, config.sky.tile_order))
    train, validation = (float(np.mean(parts == part)) for part in ("train", "validation"))
    sample = survey.sample
    density = {name: _per_deg2(config, name, tiles) for name in config.catalogue_names("known")}
    names = getattr(sample, "catalogues", None)
    known = sum(density.values() if names is None else (density[n] for n in names))
    around = np.pi * (sample.exclusion_arcmin / 60.0) ** 2
    free = float(np.exp(-around * sum(density.values())))  # of Poisson-distributed objects
    drawn = sample.random_per_deg2 + sample.stars_per_deg2
    positives, negatives = known, known * sample.offsets_per_known + free * drawn
    if isinstance(sample, TileSampleSettings):
        positives *= sample.jitters_per_known
        if sample.inject is not None:
            positives += free * sample.inject.per_deg2
        if sample.listed is not None:
            listed = density.get(sample.listed.catalogue, 0.0) * len(sample.listed.labels)
            positives, negatives = positives + listed / 2, negatives + listed / 2
    elif isinstance(sample, StampSampleSettings):
        negatives += known  # stamps of either label
    scale = _CLEAR_OF_BORDERS * area
    return ExampleCounts(positives * scale, negatives * scale, train, validation)


def _per_deg2(config: Config, name: str, tiles: np.ndarray) -> float:
    """Return the density of a catalogue's objects in the footprint [deg-2]; simulated: typical."""
    settings = config.catalogue(name)
    if isinstance(settings, SimulatedCatalogue):
        return _SIMULATED_PER_DEG2[settings.selection]
    from clusterscan.catalogs.reading import read_catalogue  # slow to import

    try:
        table = read_catalogue(settings).table
    except ClusterscanError:  # the run itself says what is wrong with it
        return _UNREAD_PER_DEG2
    order = config.sky.tile_order
    owners = sky.owning_cell(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), order)
    inside = int(np.isin(owners, tiles).sum())
    return inside / (tiles.size * sky.cell_area_deg2(order))
