"""Which examples an epoch shows, in which steps."""

from __future__ import annotations

import numpy as np

from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ConfigError
from clusterscan.train.examples import Examples


def epoch_rows(examples: Examples, settings: TrainSettings, rng: np.random.Generator) -> np.ndarray:
    """Draw the rows that one epoch shows, in random order.

    Every positive appears equally often; the negatives are drawn without repeats as long as
    there are enough, so that epochs walk through a larger pool. Without
    ``negatives_per_positive`` every training example appears equally often. The number of rows
    is the same in all epochs.

    Raises
    ------
    ConfigError
        If negatives are to be drawn for positives where there are more than two classes.
    """
    if settings.negatives_per_positive is None:
        rows = examples.rows("train")
        return rng.permutation(np.tile(rows, _rounds(len(rows), settings)))
    if len(examples.classes) > 2:
        raise ConfigError(
            f"train.negatives_per_positive = {settings.negatives_per_positive:g} has no meaning "
            f"for the {len(examples.classes)} classes {', '.join(examples.classes)}; set it to "
            "null, and class_weights: balanced if some are rare"
        )
    positive, negative = examples.rows("train", 1), examples.rows("train", 0)
    rounds = _rounds(len(positive) * (1 + settings.negatives_per_positive), settings)
    count = max(1, round(rounds * len(positive) * settings.negatives_per_positive))
    drawn = np.concatenate([np.tile(positive, rounds), _draw(negative, count, rng)])
    return rng.permutation(drawn)


def _rounds(examples_per_round: float, settings: TrainSettings) -> int:
    return max(1, int(np.ceil(settings.least_examples_per_epoch / examples_per_round)))


def _draw(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    rounds = int(np.ceil(count / len(rows)))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:count]


def steps(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return an epoch's rows step by step.

    A last step of fewer than half a batch has useless batch statistics, so it is left out.
    """
    starts = range(0, len(rows), batch_size)
    return [
        rows[start : start + batch_size]
        for start in starts
        if len(rows) - start >= batch_size // 2 or start == 0
    ]
