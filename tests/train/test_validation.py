"""The validation loss falls where the training's own does."""

import numpy as np
import pytest
import torch

from clusterscan.config.train import TrainSettings
from clusterscan.train.losses import epoch_scores

LABEL = np.repeat([0, 1, 2], [80, 10, 10])
WEIGHT = np.ones(100, np.float32)


def loss(probability, **settings):
    logits = torch.log(torch.tensor(probability)).expand(100, 3)
    settings = TrainSettings(negatives_per_positive=None, **settings)
    return epoch_scores(logits, LABEL, WEIGHT, 3, settings)["validation_loss"]


def test_a_network_that_learnt_the_classes_shares_is_better_than_one_that_knows_nothing():
    knows, guesses = [0.8, 0.1, 0.1], [1 / 3] * 3
    assert loss(knows) < loss(guesses)
    assert loss(knows) == pytest.approx(-(0.8 * np.log(0.8) + 0.2 * np.log(0.1)))


def test_where_training_balances_the_classes_their_shares_are_worth_nothing():
    knows, guesses = [0.8, 0.1, 0.1], [1 / 3] * 3
    assert loss(knows, class_weights="balanced") > loss(guesses, class_weights="balanced")
