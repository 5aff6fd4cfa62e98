"""The work that a configuration asks for: tiles, jobs, pixels, bytes and hours of each stage.

Hours come from the rates of one machine (`clusterscan.commands.plan.rates`). The number of
labelled examples, which training time depends on, is estimated from the density of the catalogues.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterscan.commands.plan.downloads import Download, downloads
from clusterscan.commands.plan.rates import NetworkRate, Rates, StageRate, forward_s, training_s
from clusterscan.config.catalogs import SimulatedCatalogue
from clusterscan.config.model import (
    FILTER,
    FUSION,
    Config,
    FusionModelSettings,
    ModelSettings,
    SurveySettings,
)
from clusterscan.config.sample import StampSampleSettings, TileSampleSettings
from clusterscan.core import sky
from clusterscan.core.errors import ClusterscanError
from clusterscan.flow.footprint import run_blocks, run_tiles
from clusterscan.flow.sky_split import SkySplit

_FLOAT, _BYTE = 4, 1
_LOWER_ORDERS = 4 / 3  # a HiPS tree: 1 + 1/4 + 1/16 + ...
_TILES_LOOKED_AT = 12  # tiles differ in their outline, so a few stand for all
# Of the simulated catalogues of the shipped run, counted.
_SIMULATED_PER_DEG2 = {"truth": 50.0, "richness": 12.7, "sz": 0.04, "candidates": 10.0}
_UNREAD_PER_DEG2 = 1.0  # a catalogue that is not here yet
_CLEAR_OF_BORDERS = 0.9  # what keeps clear of other parts of the sky and of masked pixels


@dataclass(frozen=True)
class StagePlan:
    """The work of one stage.

    Attributes
    ----------
    stage : str
        Its name.
    jobs, tiles : int
        Number of jobs, and of tiles computed in them (once for each survey and model).
    cpu_h : float
        Hours of one core, or of one GPU if networks run on one.
    disk_gib, download_gib : float
        Size of its products, and of its downloads.
    """

    stage: str
    jobs: int
    tiles: int
    cpu_h: float
    disk_gib: float = 0.0
    download_gib: float = 0.0


def plan(config: Config, rates: Rates) -> list[StagePlan]:
    """Return the work of each stage of a run that starts from nothing."""
    return [
        *_image_stages(config, rates),
        _train(config, rates),
        _scan(config, rates),
        _detect(config, rates),
        *(_at_the_end(config, rates, stage) for stage in ("merge", "validate", "publish")),
    ]


def image_megapixels(config: Config, survey: str, *, raw: bool) -> float:
    """Return the mean size of a tile's image of a survey, 10^6 pixels of one band."""
    settings, order = config.surveys[survey], config.sky.tile_order
    tiles = run_tiles(config.sky)
    some = tiles[:: max(len(tiles) // _TILES_LOOKED_AT, 1)]
    scale = settings.pixel_scale_arcsec if raw else settings.tile_pixel_scale_arcsec
    halo = settings.halo_arcmin + (settings.preprocess.margin_arcmin if raw else 0.0)
    # The frames themselves, as they are cut later: a tile's turn and outline change its size.
    shapes = [sky.tile_frame(tile, order, scale, halo)[1] for tile in some]
    return float(np.mean([ny * nx for ny, nx in shapes])) / 1e6


def planned_downloads(config: Config) -> list[Download]:
    """Return the downloads of a run, one entry for each survey that has any."""
    sizes = {name: image_megapixels(config, name, raw=True) for name in config.surveys}
    return downloads(config, sizes)


def _image_stages(config: Config, rates: Rates) -> list[StagePlan]:
    tiles, blocks = len(run_tiles(config.sky)), len(run_blocks(config.sky))
    seconds = dict.fromkeys(("fetch", "preprocess", "sample"), 0.0)
    disk = dict.fromkeys(seconds, 0.0)
    download = sum(d.gib for d in planned_downloads(config))
    disk["fetch"] += download * 2**30  # what was downloaded is kept
    for name, survey in config.surveys.items():
        bands = len(survey.bands)
        raw, image = (image_megapixels(config, name, raw=r) for r in (True, False))
        making = rates.fetch if survey.source.kind == "simulated" else rates.cut
        seconds["fetch"] += _tiles_s(making, tiles, raw * bands)
        seconds["preprocess"] += _tiles_s(rates.preprocess, tiles, raw * bands)
        seconds["sample"] += _tiles_s(rates.sample, tiles, 0.0)
        disk["fetch"] += tiles * raw * 1e6 * bands * _FLOAT
        disk["preprocess"] += tiles * image * 1e6 * (bands * _FLOAT + _BYTE)
        made = estimate_examples(config, survey).total
        disk["sample"] += made * bands * survey.sample.size_px**2 * 2
    surveys = len(config.surveys)
    jobs = {"fetch": surveys * blocks + len(config.catalogs)}
    return [
        StagePlan(
            stage,
            jobs.get(stage, surveys * blocks),
            surveys * tiles,
            _hours(seconds[stage], jobs.get(stage, surveys * blocks), rates),
            disk[stage] / 2**30,
            download if stage == "fetch" else 0.0,
        )
        for stage in seconds
    ]


def _train(config: Config, rates: Rates) -> StagePlan:
    seconds, weights = 0.0, 0
    for name, survey in config.surveys.items():
        counts = estimate_examples(config, survey)
        for key, model in survey.models.items():
            rate = rates.networks[f"{name}/{key}"]
            seconds += _model_s(model, counts, rate)
            weights += rate.parameters
    for key, fusion in config.fusions.items():
        rate = rates.networks[f"{FUSION}/{key}"]
        listed = (estimate_examples(config, config.surveys[s]) for s in fusion.network.branches)
        seconds += _model_s(fusion, max(listed, key=lambda counts: counts.total), rate)
        weights += rate.parameters
    jobs = sum(len(s.models) for s in config.surveys.values()) + len(config.fusions)
    return StagePlan("train", jobs, 0, _hours(seconds, jobs, rates), weights * _FLOAT / 2**30)


def _model_s(
    model: ModelSettings | FusionModelSettings, counts: ExampleEstimate, rate: NetworkRate
) -> float:
    """Return the seconds of a network's training: range tests, epochs, validation after each."""
    settings = model.train
    stages = settings.transfer or (None,)
    epochs = sum(stage.epochs for stage in stages if stage) or settings.epochs
    tested = settings.learning_rate == "range_test"
    tests = len(stages) * settings.range_test.steps * settings.batch_size if tested else 0
    shown = epochs * counts.of_an_epoch(model) + tests
    # Validation after each epoch, and predictions of all examples (an upper bound) at the end.
    judged = epochs * counts.validation * counts.total + counts.total
    return training_s(rate, shown) + forward_s(rate, judged)


def _scan(config: Config, rates: Rates) -> StagePlan:
    tiles, seconds = len(run_tiles(config.sky)), 0.0
    pixels = 4 ** (config.sky.map_order - config.sky.tile_order)
    for survey, model in config.scanned():
        # Of a network of several surveys the largest image stands for all: an upper bound.
        seen = config.surveys_of(survey, model)
        megapixels = max(image_megapixels(config, name, raw=False) for name in seen)
        if model == FILTER:
            bands = len(config.surveys[survey].bands)
            seconds += _tiles_s(rates.filter, tiles, megapixels * bands)
            continue
        rate = rates.networks[f"{survey}/{model}"]
        dense_s = rate.megapixel_s and rate.megapixel_s * megapixels
        seconds += tiles * (dense_s or rate.crop_s * pixels)
    maps = len(config.scanned())
    jobs = maps * len(run_blocks(config.sky))
    disk = maps * tiles * pixels * (_FLOAT + _BYTE) * _LOWER_ORDERS
    return StagePlan("scan", jobs, maps * tiles, _hours(seconds, jobs, rates), disk / 2**30)


def _detect(config: Config, rates: Rates) -> StagePlan:
    maps, tiles = len(config.scanned()), len(run_tiles(config.sky))
    jobs = maps * len(run_blocks(config.sky))
    seconds = _tiles_s(rates.detect, maps * tiles, 0.0)
    return StagePlan("detect", jobs, maps * tiles, _hours(seconds, jobs, rates))


def _at_the_end(config: Config, rates: Rates, stage: str) -> StagePlan:
    tiles = len(run_tiles(config.sky))
    # The measured rate is that of the three last stages together.
    return StagePlan(stage, 1, 0, _hours(_tiles_s(rates.whole_sky, tiles, 0.0) / 3, 1, rates))


def _tiles_s(rate: StageRate, tiles: int, millions: float) -> float:
    return tiles * (rate.tile_s + rate.million_s * millions)


def _hours(seconds: float, jobs: int, rates: Rates) -> float:
    return (seconds + jobs * rates.job_s) / 3600


@dataclass(frozen=True)
class ExampleEstimate:
    """Estimated number of examples on all of a run's sky.

    Attributes
    ----------
    positives, negatives : float
        By label.
    train, validation : float
        Fraction of the sky in each region.
    """

    positives: float
    negatives: float
    train: float
    validation: float

    @property
    def total(self) -> float:
        """Return the number of all examples."""
        return self.positives + self.negatives

    def of_an_epoch(self, model: ModelSettings | FusionModelSettings) -> float:
        """Return the number of examples in one epoch of training."""
        ratio = model.train.negatives_per_positive
        once = self.total if ratio is None else self.positives * (1.0 + ratio)
        return max(once * self.train, float(model.train.least_examples_per_epoch))


def estimate_examples(config: Config, survey: SurveySettings) -> ExampleEstimate:
    """Estimate the number of examples that the sample stage makes of a survey."""
    tiles = np.array(run_tiles(config.sky), dtype=np.int64)
    area = tiles.size * sky.cell_area_deg2(config.sky.tile_order)
    parts = SkySplit(config.sky.regions).part_of(*sky.cell_centres(tiles, config.sky.tile_order))
    train, validation = (float(np.mean(parts == part)) for part in ("train", "validation"))
    sample = survey.sample
    density = {name: _per_deg2(config, name, tiles) for name in config.catalogue_names("known")}
    # None: all known catalogues label examples. Duplicates between them are counted twice, so the
    # estimate is rather too high.
    names = getattr(sample, "catalogues", None)
    known = sum(density.values() if names is None else (density[n] for n in names))
    # Random positions near a known object are dropped; of Poisson-distributed objects exp(-n A)
    # leave an area A free.
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
    return ExampleEstimate(positives * scale, negatives * scale, train, validation)


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
