"""Which trainings an experiment consists of, and what each is made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from clusterscan.core.fingerprint import fingerprint


@dataclass(frozen=True)
class Repeat:
    """One training of an experiment.

    Attributes
    ----------
    seed : int
        Seed of everything random in it.
    fold : int or None
        The fold of the sky that it is tested on, 0 ...; None for the data set's own split.
    """

    seed: int
    fold: int | None = None

    @property
    def name(self) -> str:
        """The folder's name, such as ``seed1`` or ``seed1-fold2``."""
        return f"seed{self.seed}" if self.fold is None else f"seed{self.seed}-fold{self.fold}"


def planned_repeats(seed: int, repeats: int, folds: int | None) -> list[tuple[int, int | None]]:
    """Return (seed, fold) of each training, in order.

    A further repeat only adds to the end, so that the earlier ones stay as they are.
    """
    parts: list[int | None] = [None] if folds is None else list(range(folds))
    return [(seed + number, part) for number in range(repeats) for part in parts]


def repeat_fingerprint(settings: dict[str, Any], repeat: Repeat, inputs: dict[str, Any]) -> str:
    """Return the hash of all that determines one training's result.

    Parameters
    ----------
    settings : dict
        The experiment's settings; how many repeats there are does not count.
    repeat : Repeat
        Which of them it is.
    inputs : dict
        Hashes of the examples, of the test examples and of the weights that it starts from.
    """
    stage = {key: value for key, value in sorted(settings["stage"].items()) if key != "repeats"}
    return fingerprint(
        {
            "version": settings["version"],
            "stage": json.dumps(stage),  # as text: the order of classes counts
            "repeat": [repeat.seed, repeat.fold],
            "inputs": inputs,
        }
    )
