"""How much work a configuration is: tiles, jobs, pixels, bytes and hours of each stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterscan.commands.plan.downloads import Download, downloads
from clusterscan.commands.plan.examples import ExampleCounts, count_examples
from clusterscan.commands.plan.rates import NetworkRate, Rates, StageRate, forward_s, training_s
from clusterscan.config.model import FILTER, FUSION, Config, FusionModelSettings, ModelSettings
from clusterscan.core import sky
from clusterscan.flow.footprint import run_blocks, run_tiles

_FLOAT, _BYTE = 4, 1
_LOWER_ORDERS = 4 / 3  # a HiPS tree: 1 + 1/4 + 1/16 + ...
_TILES_LOOKED_AT = 12  # tiles differ in their outline, so a few stand for all


@dataclass(frozen=True)
class StagePlan:
    """What one stage takes.

    Attributes
    ----------
    stage : str
        Its name.
    jobs, tiles : int
        Jobs, and tiles computed in them (a tile counts once for each survey and model).
    cpu_h : float
        Hours of one core, or of one GPU where networks run on one.
    disk_gib, download_gib : float
        What it leaves, and what it brings here.
    """

    stage: str
    jobs: int
    tiles: int
    cpu_h: float
    disk_gib: float = 0.0
    download_gib: float = 0.0


def plan(config: Config, rates: Rates) -> list[StagePlan]:
    """Return what each stage of a run takes, from nothing to the end."""
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
    shapes = [sky.tile_frame(tile, order, scale, halo)[1] for tile in some]
    return float(np.mean([ny * nx for ny, nx in shapes])) / 1e6


def planned_downloads(config: Config) -> list[Download]:
    """Return what the surveys of a run download."""
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
        made = count_examples(config, survey).total
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
        counts = count_examples(config, survey)
        for key, model in survey.models.items():
            rate = rates.networks[f"{name}/{key}"]
            seconds += _model_s(model, counts, rate)
            weights += rate.parameters
    for key, fusion in config.fusions.items():
        rate = rates.networks[f"{FUSION}/{key}"]
        listed = (count_examples(config, config.surveys[s]) for s in fusion.network.branches)
        seconds += _model_s(fusion, max(listed, key=lambda counts: counts.total), rate)
        weights += rate.parameters
    jobs = sum(len(s.models) for s in config.surveys.values()) + len(config.fusions)
    return StagePlan("train", jobs, 0, _hours(seconds, jobs, rates), weights * _FLOAT / 2**30)


def _model_s(
    model: ModelSettings | FusionModelSettings, counts: ExampleCounts, rate: NetworkRate
) -> float:
    """Return the seconds of a network's training: range tests, epochs, validation after each."""
    settings = model.train
    stages = settings.transfer or (None,)
    epochs = sum(stage.epochs for stage in stages if stage) or settings.epochs
    tested = settings.learning_rate == "range_test"
    tests = len(stages) * settings.range_test.steps * settings.batch_size if tested else 0
    shown = epochs * counts.of_an_epoch(model) + tests
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
    return StagePlan(stage, 1, 0, _hours(_tiles_s(rates.whole_sky, tiles, 0.0) / 3, 1, rates))


def _tiles_s(rate: StageRate, tiles: int, millions: float) -> float:
    return tiles * (rate.tile_s + rate.million_s * millions)


def _hours(seconds: float, jobs: int, rates: Rates) -> float:
    return (seconds + jobs * rates.job_s) / 3600
