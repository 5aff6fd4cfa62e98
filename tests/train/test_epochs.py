import dataclasses

import numpy as np
import pytest

from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ConfigError
from clusterscan.train.batches import epoch_rows, steps


def rng():
    return np.random.default_rng(1)


def test_an_epoch_shows_every_positive_once_and_walks_through_the_negatives(made_examples):
    examples = made_examples(400)
    keep = (examples.label == 0) | (np.arange(400) % 16 == 1)
    examples = dataclasses.replace(examples, split=np.where(keep, examples.split, "test"))
    positive, negative = examples.rows("train", 1), examples.rows("train", 0)
    rows = epoch_rows(examples, TrainSettings(negatives_per_positive=2), rng())
    assert sorted(r for r in rows if r in positive) == sorted(positive)
    drawn = [r for r in rows if r in negative]
    assert len(drawn) == 2 * len(positive) == len(set(drawn))
    longer = epoch_rows(examples, TrainSettings(least_examples_per_epoch=3 * len(rows)), rng())
    assert len(longer) == 3 * len(rows)
    assert not set(longer) & set(examples.rows("validation"))
    assert not set(longer) & set(examples.rows("test"))


def test_without_a_ratio_an_epoch_shows_every_training_example_once(made_examples):
    examples = made_examples(240, classes=("a", "b", "c"))
    settings = TrainSettings(negatives_per_positive=None)
    rows = epoch_rows(examples, settings, rng())
    assert sorted(rows) == examples.rows("train").tolist()
    assert rows.tolist() != sorted(rows)
    longer = settings.model_copy(update={"least_examples_per_epoch": len(rows) + 1})
    np.testing.assert_array_equal(np.bincount(epoch_rows(examples, longer, rng()))[rows], 2)


def test_a_ratio_of_negatives_has_no_meaning_for_three_classes(made_examples):
    with pytest.raises(ConfigError, match="3 classes a, b, c; set it to null"):
        epoch_rows(made_examples(240, classes=("a", "b", "c")), TrainSettings(), rng())


@pytest.mark.parametrize(
    ("examples", "sizes"), [(32, [16, 16]), (40, [16, 16, 8]), (39, [16, 16]), (5, [5])]
)
def test_a_last_small_step_is_left_out(examples, sizes):
    assert [len(rows) for rows in steps(np.arange(examples), 16)] == sizes
