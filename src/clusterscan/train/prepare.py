"""Prepare a training: check examples against settings, build the network, lay out the crops."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from clusterscan import __version__
from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ConfigError, ProductError
from clusterscan.core.fingerprint import fingerprint
from clusterscan.flow.versions import STAGE_VERSIONS
from clusterscan.networks.card import load_model, read_card
from clusterscan.networks.device import channels_last, choose_device
from clusterscan.networks.network import Network
from clusterscan.networks.normalise import Normalisation, measure
from clusterscan.networks.pretrained import Copied, copy_weights
from clusterscan.networks.registry import build
from clusterscan.train.batches import Crops
from clusterscan.train.examples import Examples, check

AnyNetworkSettings = NetworkSettings | FusionSettings


@dataclass(frozen=True)
class Task:
    """A network to train and the examples to train it on.

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
    """Check that examples and settings fit, and put the views into the network's order.

    Raises
    ------
    ProductError
        If the examples are unsound.
    ConfigError
        If the examples lack views or classes of the network.
    """
    check(examples)
    count = len(examples.classes)
    if max(network.classes, 2) != count:
        few = "1 (one logit) or 2" if count == 2 else str(count)
        raise ConfigError(
            f"network.classes = {network.classes}, but the examples have the {count} classes "
            f"{', '.join(examples.classes)}; set classes to {few}"
        )
    names = [view.name for view in examples.views]
    if isinstance(network, FusionSettings):
        examples = _in_order_of_branches(examples, network)
    elif len(names) != 1:
        raise ConfigError(
            f"the examples have the {len(names)} views {', '.join(names)}, but network "
            f"{network.name} takes one; stack them, choose one, or train a fusion"
        )
    return Task(examples, network, settings, start_from)


def _in_order_of_branches(examples: Examples, network: FusionSettings) -> Examples:
    names = [view.name for view in examples.views]
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
    # Only training examples are measured, so that nothing of the other splits reaches the network.
    training = examples.rows("train")
    normalisations = tuple(
        measure(view.images[training[view.present[training]]], settings.normalisation)
        for view in examples.views
    )
    bands = [len(view.bands) for view in examples.views]
    # Built on the CPU, so that all devices start from the same weights.
    network = build(task.network, bands if len(bands) > 1 else bands[0], settings.seed)
    copied = None
    if task.start_from is not None:
        copied = copy_weights(network, load_model(task.start_from)[0].state_dict())
    network = channels_last(network.to(device))
    drop = task.network.drop_survey if isinstance(task.network, FusionSettings) else 0.0
    crops = Crops(examples, normalisations, network.sizes_px, settings, device, drop_survey=drop)
    return Prepared(task, network, crops, normalisations, copied)


def fingerprint_of(task: Task, data_sha256: str, device: torch.device) -> str:
    """Hash all that determines a training's weights; a checkpoint of another hash is not resumed.

    The interval between checkpoints is left out, as it cannot change the weights.
    """
    return fingerprint(
        {
            "network": task.network.model_dump(mode="json"),
            "settings": task.settings.model_dump(mode="json", exclude={"checkpoint_every_steps"}),
            "data": data_sha256,
            # CPUs and GPUs round differently, so neither continues what the other has begun.
            "device": device.type,
            "start_from": start_weights(task),
            "versions": versions(),
            "stage": STAGE_VERSIONS["train"],
        }
    )


def start_weights(task: Task) -> str | None:
    """Return the sha256 of the weights to start from, None for a fresh network."""
    if task.start_from is None:
        return None
    return str(read_card(task.start_from)["weights"]["sha256"])


def versions() -> dict[str, str]:
    """Return the versions of the software that determines the weights."""
    return {
        "clusterscan": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "pytorch_lightning": version("pytorch-lightning"),
        "torch": torch.__version__,
    }
