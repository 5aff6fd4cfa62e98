"""The recipe of a training: its stages, optimisers, frozen parts, learning rates and random draws.

A stage is the whole of a training, or one step of a transfer (first a new head, then more layers).
To add an optimiser, name it in `clusterscan.config.train.Optimiser` and make it in
`make_optimiser`; to add a schedule, name it in `Schedule` and compute it in `rate_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clusterscan.config.train import LearningRate, Optimiser, Schedule, TrainSettings
from clusterscan.core.errors import ConfigError
from clusterscan.networks.network import Network


@dataclass(frozen=True)
class Stage:
    """One stage of a training, with all its settings filled in."""

    number: int
    trainable: str | int
    epochs: int
    optimiser: Optimiser
    learning_rate: LearningRate
    momentum: float
    weight_decay: float
    schedule: Schedule


def stages(settings: TrainSettings) -> tuple[Stage, ...]:
    """Return the stages; a transfer stage takes the training's values for unset settings."""
    shared = {
        key: getattr(settings, key)
        for key in ("optimiser", "learning_rate", "momentum", "weight_decay", "schedule")
    }
    if settings.transfer is None:
        return (Stage(number=0, trainable="all", epochs=settings.epochs, **shared),)
    out = []
    for number, stage in enumerate(settings.transfer):
        own = {key: getattr(stage, key) for key in shared if getattr(stage, key) is not None}
        out.append(
            Stage(number=number, trainable=stage.trainable, epochs=stage.epochs, **(shared | own))
        )
    return tuple(out)


class Draw(IntEnum):
    """The purposes that random numbers are drawn for; each has a stream of its own."""

    RANGE_TEST = 1
    EPOCH = 2
    STEP = 3
    DROPOUT = 4


def generator(seed: int, draw: Draw, *place: int) -> np.random.Generator:
    """Return the random numbers of one place in a training, such as (stage, epoch, step).

    They depend on the place alone, not on the draws before, so a training that resumes from a
    checkpoint draws the same numbers as an uninterrupted one.
    """
    # A list of integers is hashed into the state, so neighbouring steps are as independent as any.
    return np.random.default_rng([seed, int(draw), *place])


def seed_torch(seed: int, *place: int) -> None:
    """Set torch's random state, which dropout draws from, for one place in a training."""
    sequence = np.random.SeedSequence([seed, int(Draw.DROPOUT), *place])
    # Kept below 2**63, so that the seed fits into a signed 64-bit integer.
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]) >> 1)


# timm's create_optimizer_v2 is not used: it gives RMSprop a momentum and another alpha, so weights
# would change, refuses SGD without momentum, and costs two seconds of import in every training.
# For the other names it makes these same torch optimisers.
_PLAIN: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "adadelta": torch.optim.Adadelta,
}


def make_optimiser(network: nn.Module, stage: Stage, rate: float) -> torch.optim.Optimizer:
    """Make a fresh optimiser of the weights that are not frozen.

    Biases and the weights of norms (1-d) do not decay.
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": stage.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if stage.optimiser == "sgd":  # Nesterov's form needs momentum
        nesterov = stage.momentum > 0
        return torch.optim.SGD(groups, rate, momentum=stage.momentum, nesterov=nesterov)
    return _PLAIN[stage.optimiser](groups, lr=rate)  # type: ignore[call-arg]


def freeze(network: Network, trainable: str | int) -> None:
    """Let only part of a network learn.

    Parameters
    ----------
    network : Network
        Its parameters' requires_grad is set.
    trainable : 'all', 'head' or int
        Everything, the head, or this many of the last groups of layers.

    Raises
    ------
    ConfigError
        If the network has fewer groups.
    """
    groups = network.layer_groups()
    count = {"all": len(groups), "head": 1}.get(str(trainable), trainable)
    if int(count) > len(groups):
        raise ConfigError(
            f"train.transfer.trainable = {trainable}, but the network has {len(groups)} groups "
            "of layers; give fewer, or 'all'"
        )
    # Everything off first: the stage before may have trained more groups, or others.
    network.requires_grad_(trainable == "all")
    for group in groups[len(groups) - int(count) :]:
        for parameter in group:
            parameter.requires_grad_(True)


def frozen_norms(network: nn.Module) -> list[nn.Module]:
    """Return the batch norms whose weights are frozen.

    Their statistics must stay frozen too: the frozen layers behind them expect the old ones.
    """
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm)
        and (own := list(module.parameters(recurse=False)))
        and not any(p.requires_grad for p in own)
    ]


def rate_at(
    schedule: Schedule,
    peak: float,
    step: int,
    steps_per_epoch: int,
    epochs: int,
    *,
    factor: float,
    every_epochs: int,
    validation_losses: Sequence[float] = (),
) -> float:
    """Compute the learning rate of a step.

    It is a function of the step and of the losses so far, without any state, so a training
    resumes as if it had never stopped. (timm has no one-cycle or exponential schedule, torch's
    schedulers keep a state.)

    Parameters
    ----------
    schedule : str
        'constant'; 'one_cycle' rises along a cosine from peak / 25 during the first 30 % and
        falls to peak / 1e4; 'cosine' falls from the peak to 0; 'step' and 'exponential' fall by
        ``factor`` every ``every_epochs`` epochs, at once or a little after each epoch; 'plateau'
        falls when the validation loss has not fallen for ``every_epochs`` epochs.
    peak : float
        Highest rate.
    step, steps_per_epoch, epochs : int
        Steps done in this stage, and the length of the stage.
    factor, every_epochs : float, int
        For 'step', 'exponential' and 'plateau'.
    validation_losses : sequence of float
        One for each finished epoch of the stage.

    References
    ----------
    Smith & Topin 2018 (arXiv:1708.07120); Loshchilov & Hutter 2017, ICLR.
    """
    done, epoch = step / (steps_per_epoch * epochs), step // steps_per_epoch
    if schedule == "one_cycle":
        if done < 0.3:
            return _cosine(peak / 25, peak, done / 0.3)
        return _cosine(peak, peak / 1e4, (done - 0.3) / 0.7)
    if schedule == "cosine":
        return _cosine(peak, 0.0, done)
    if schedule == "step":
        return float(peak * factor ** (epoch // every_epochs))
    if schedule == "exponential":
        return float(peak * factor ** (epoch / every_epochs))
    if schedule == "plateau":
        return float(peak * factor ** plateaus(validation_losses, every_epochs))
    return peak


def plateaus(losses: Sequence[float], patience: int) -> int:
    """Count the runs of ``patience`` epochs whose losses stay above the lowest one before."""
    count, lowest, since = 0, np.inf, 0
    for loss in losses:
        if loss < lowest:
            lowest, since = loss, 0
        else:
            since += 1
        if since >= patience:
            # The lowest loss stays the one to beat, only the waiting starts again.
            count, since = count + 1, 0
    return count


def _cosine(start: float, end: float, share: float) -> float:
    return float(end + (start - end) * (1 + np.cos(np.pi * share)) / 2)
