"""The stages of a training, settled before it starts, and the random numbers of each step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch

from clusterscan.config.train import LearningRate, Optimiser, Schedule, TrainSettings


@dataclass(frozen=True)
class Stage:
    """One stage of a training: all of it, or one of a transfer's."""

    number: int
    trainable: str | int
    epochs: int
    optimiser: Optimiser
    learning_rate: LearningRate
    momentum: float
    weight_decay: float
    schedule: Schedule


def stages(settings: TrainSettings) -> tuple[Stage, ...]:
    """Return the stages of a training; what a transfer stage leaves open is as in the settings."""
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
    """What random numbers are drawn for; each has a stream of its own."""

    RANGE_TEST = 1
    EPOCH = 2
    STEP = 3
    DROPOUT = 4


def generator(seed: int, draw: Draw, *place: int) -> np.random.Generator:
    """Return the random numbers of one place in a training, such as (stage, epoch, step).

    As they depend on the place alone, a training that goes on from a checkpoint draws what an
    uninterrupted one would.
    """
    return np.random.default_rng([seed, int(draw), *place])


def seed_torch(seed: int, *place: int) -> None:
    """Set torch's random state, which dropout draws from, for one place in a training."""
    sequence = np.random.SeedSequence([seed, int(Draw.DROPOUT), *place])
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]) >> 1)
