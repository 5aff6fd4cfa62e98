"""The cost of one unit of each stage's work on a machine.

The cost of a network depends on the network and the machine; `calibrate` measures it in seconds.
The rates of the other stages were measured in the shipped run on one core of an AMD EPYC; they
are good to a factor of two elsewhere, unless you give measured ones. ``cut`` is that of a tile in
seven images of the unWISE atlas, with weights in gzip, resampled bilinearly
(`benchmarks/preprocess.py --only atlas`).
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError

from clusterscan.config.base import Settings
from clusterscan.config.model import (
    FUSION,
    Config,
    FusionModelSettings,
    ModelSettings,
    SurveySettings,
)
from clusterscan.core.errors import ConfigError
from clusterscan.networks.device import choose_device, fixed_threads
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.registry import build
from clusterscan.scan.dense_scan import as_batch, dense_grid
from clusterscan.scan.fast.scan_copy import scan_copy
from clusterscan.scan.windowed_scan import windowed_logits

# A forward pass and twice as much backward (Kaplan et al. 2020, arXiv:2001.08361, sect. 2.1).
_TRAINING_PER_FORWARD = 3.0
_CALIBRATION_CROPS = 4
_TRAINING_CROPS = 16


class StageRate(Settings):
    """Processor seconds of one tile, and of each million numbers of its image beyond that."""

    tile_s: float = Field(ge=0, description="Seconds a tile.")
    million_s: float = Field(0.0, ge=0, description="Seconds a million pixels and band.")


class NetworkRate(Settings):
    """Seconds that a network takes for a crop, and for a scan."""

    crop_s: float = Field(gt=0, description="One crop, forward.")
    megapixel_s: float | None = Field(
        None, gt=0, description="A million pixels of a tile, dense; null: crop by crop."
    )
    train_s: float | None = Field(
        None, gt=0, description="One crop, forward and backward; null: three times forward."
    )
    parameters: int = Field(0, ge=0, description="Weights, for the disk.")


class Rates(Settings):
    """Rates of one machine; all times are of one core, or of one GPU for networks on one."""

    job_s: float = Field(2.0, ge=0, description="Start of a job.")
    fetch: StageRate = StageRate(tile_s=0.75, million_s=0.06)
    cut: StageRate = StageRate(tile_s=0.1, million_s=0.32)
    preprocess: StageRate = StageRate(tile_s=0.1, million_s=0.08)
    sample: StageRate = StageRate(tile_s=0.5)
    filter: StageRate = StageRate(tile_s=0.3, million_s=0.1)
    detect: StageRate = StageRate(tile_s=0.35)
    whole_sky: StageRate = StageRate(tile_s=1.5)
    download_mb_s: float = Field(20.0, gt=0, description="From servers [10^6 bytes a second].")
    networks: dict[str, NetworkRate] = Field(
        default_factory=dict, description="By survey/model, such as unwise/resnet18."
    )
    device: str = Field("cpu", description="What the networks were timed on.")


def read_rates(path: Path) -> Rates:
    """Read rates from a JSON file, such as ``--save-rates`` writes; missing ones are the defaults.

    Raises
    ------
    ConfigError
        If it is not such a file.
    """
    try:
        return Rates.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigError(
            f"{path}: no file of rates ({error}); `clusterscan plan --save-rates FILE` writes one"
        ) from error


def calibrate(config: Config, rates: Rates, device: str = "auto") -> Rates:
    """Return rates with every network of a configuration timed on this machine, for a second each.

    Networks that the given rates know already are not timed.
    """
    found = dict(rates.networks)
    for name, survey in config.surveys.items():
        for key, model in survey.models.items():
            if f"{name}/{key}" not in found:
                found[f"{name}/{key}"] = _timed(survey, model, device)
    for key, fusion in config.fusions.items():
        if f"{FUSION}/{key}" not in found:
            found[f"{FUSION}/{key}"] = _sum_of_branches(config, fusion, device)
    kind = choose_device(device).type
    return rates.model_copy(update={"networks": found, "device": kind})


def training_s(rate: NetworkRate, examples: float) -> float:
    """Return the time of training on a number of crops [s]; a crop counts once per epoch."""
    return (rate.train_s or _TRAINING_PER_FORWARD * rate.crop_s) * examples


def forward_s(rate: NetworkRate, examples: float) -> float:
    """Return the time of forward passes of a number of crops in training [s]."""
    return training_s(rate, examples) / _TRAINING_PER_FORWARD


def _timed(survey: SurveySettings, model: ModelSettings, device: str) -> NetworkRate:
    bands = len(survey.bands)
    # The weights do not matter, and published ones need not be fetched for this.
    settings = model.network.model_copy(update={"pretrained": False})
    network = build(settings, bands, seed=0).eval().to(choose_device(device))
    # A scan's copy has a finer grid and costs several times as much as the network in training.
    quick = scan_copy(network, survey.scan.step_px)
    with fixed_threads(1):
        crop_s = _crop_s(quick, bands)
        dense = survey.scan.engine == "dense" and isinstance(quick, ScanNetwork)
        return NetworkRate(
            crop_s=crop_s,
            megapixel_s=_megapixel_s(quick, survey) if dense else None,
            train_s=_training_step_s(network.train(), bands) / _TRAINING_CROPS,
            parameters=sum(p.numel() for p in network.parameters()),
        )


def _sum_of_branches(config: Config, fusion: FusionModelSettings, device: str) -> NetworkRate:
    """Return the rates of a network of several surveys; its common layers count as free."""
    parts = [
        _timed(config.surveys[name], ModelSettings(network=branch), device)
        for name, branch in fusion.network.branches.items()
    ]
    megapixel_s = [p.megapixel_s for p in parts]
    dense = [s for s in megapixel_s if s is not None]
    return NetworkRate(
        crop_s=sum(p.crop_s for p in parts),
        megapixel_s=sum(dense) if len(dense) == len(parts) else None,
        parameters=sum(p.parameters for p in parts),
    )


def _crop_s(network: Network, bands: int) -> float:
    size = network.sizes_px[0]
    image = np.zeros((bands, size, size), dtype=np.float32)
    place = np.full(_CALIBRATION_CROPS, (size - 1) / 2)

    def crops() -> None:
        windowed_logits(network, image, place, place, batch_size=len(place))  # type: ignore[arg-type]

    return _seconds(crops) / len(place)


def _training_step_s(network: Network, bands: int) -> float:
    size = network.sizes_px[0]
    images = np.zeros((_TRAINING_CROPS, bands, size, size), dtype=np.float32)
    # At rate 0 a step costs the same and the weights stay finite, whatever the images.
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.0)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        network(as_batch(images, network)).float().square().mean().backward()
        optimiser.step()

    return _seconds(step)


def _megapixel_s(network: Network, survey: SurveySettings) -> float:
    assert isinstance(network, ScanNetwork)
    side = 2 * network.size_px + 256
    image = np.zeros((len(survey.bands), side, side), dtype=np.float32)
    ends = np.array([network.size_px / 2, side - network.size_px / 2])
    step = survey.scan.step_px
    return _seconds(lambda: dense_grid(network, image, ends, ends, step_px=step)) / side**2 * 1e6


def _seconds(work) -> float:
    """Return the processor time (on a GPU the wall time) of the faster of two calls [s]."""
    on_gpu = torch.cuda.is_available()
    clock = time.perf_counter if on_gpu else time.process_time
    best = np.inf
    for _ in range(2):  # the first one also finds memory
        started = clock()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        best = min(best, clock() - started)
    return max(float(best), 1e-6)
