"""All that a training needs before its first step."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ConfigError, ProductError
from clusterscan.networks.card import load_model
from clusterscan.networks.device import channels_last, choose_device
from clusterscan.networks.network import Network
from clusterscan.networks.normalise import Normalisation, measure
from clusterscan.networks.pretrained import Copied
from clusterscan.networks.registry import build
from clusterscan.networks.transfer import start_from as copy_body
from clusterscan.train.batches import Crops
from clusterscan.train.examples import Examples
from clusterscan.train.soundness import check

AnyNetworkSettings = NetworkSettings | FusionSettings


@dataclass(frozen=True)
class Task:
    """What to train on what.

    Attributes
    ----------
    examples : Examples
        Views in the network's order.
    network, settings : NetworkSettings or FusionSettings, TrainSettings
        As given.
    start_from : Path or None
        Folder of a model to start from.
    """

    examples: Examples
    network: AnyNetworkSettings
    settings: TrainSettings
    start_from: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A task with the network and the tensors that it trains with."""

    task: Task
    network: Network
    crops: Crops
    normalisations: tuple[Normalisation, ...]
    copied: Copied | None


def make_task(
    examples: Examples,
    network: AnyNetworkSettings,
    settings: TrainSettings,
    start_from: Path | None,
) -> Task:
    """Check that examples and settings fit, and return them with the views that are used.

    Raises
    ------
    ProductError
        If the examples are unsound.
    ConfigError
        If they have not the views or classes of the network.
    """
    check(examples)
    _refuse_other_classes(examples, network)
    return Task(_with_views_of(examples, network), network, settings, start_from)


def _refuse_other_classes(examples: Examples, network: AnyNetworkSettings) -> None:
    count = len(examples.classes)
    if max(network.classes, 2) != count:
        few = "1 (one logit) or 2" if count == 2 else str(count)
        raise ConfigError(
            f"network.classes = {network.classes}, but the examples have the {count} classes "
            f"{', '.join(examples.classes)}; set classes to {few}"
        )


def _with_views_of(examples: Examples, network: AnyNetworkSettings) -> Examples:
    names = [view.name for view in examples.views]
    if not isinstance(network, FusionSettings):
        if len(names) != 1:
            raise ConfigError(
                f"the examples have the {len(names)} views {', '.join(names)}, but network "
                f"{network.name} takes one; stack them, choose one, or train a fusion"
            )
        return examples
    missing = [survey for survey in network.branches if survey not in names]
    if missing:
        raise ConfigError(
            f"the fusion has branches for {', '.join(network.branches)}, but the examples have "
            f"only the views {', '.join(names)}; name the branches like the surveys"
        )
    views = tuple(examples.views[names.index(survey)] for survey in network.branches)
    unseen = ~sum((view.present for view in views[1:]), start=views[0].present)
    if unseen.any():
        raise ProductError(
            f"{unseen.sum()} examples have an image in none of {', '.join(network.branches)}, "
            f"first {str(examples.example_id[unseen][0])!r}; leave them out"
        )
    return replace(examples, views=views)


def device_of(settings: TrainSettings) -> torch.device:
    """Return the device of this process; where several share a training, each has its own."""
    device = choose_device(settings.device)
    if settings.devices > 1 and device.type == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def prepare(task: Task) -> Prepared:
    """Build the network and lay the examples out for training.

    Raises
    ------
    ModelError
        If the network cannot be built or started from the given one, or a band is constant.
    """
    settings, examples = task.settings, task.examples
    device = device_of(settings)
    learnt = examples.rows("train")
    normalisations = tuple(
        measure(view.images[learnt[view.present[learnt]]], settings.normalisation)
        for view in examples.views
    )
    bands = [len(view.bands) for view in examples.views]
    network = build(task.network, bands if len(bands) > 1 else bands[0], settings.seed)
    copied = None
    if task.start_from is not None:
        copied = copy_body(network, load_model(task.start_from)[0])
    network = channels_last(network.to(device))
    drop = task.network.drop_survey if isinstance(task.network, FusionSettings) else 0.0
    crops = Crops(examples, normalisations, network.sizes_px, settings, device, drop_survey=drop)
    return Prepared(task, network, crops, normalisations, copied)
