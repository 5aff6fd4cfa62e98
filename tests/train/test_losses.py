import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ConfigError
from clusterscan.train.losses import class_probabilities, cross_entropy, example_weights

LABEL = torch.tensor([0, 1, 1, 0, 1])
LOGIT = torch.tensor([0.3, -1.2, 2.0, -0.5, 0.0])


def test_one_logit_and_two_give_the_same_loss_whatever_the_smoothing():
    """Two logits (0, x) have the softmax probabilities of the one logit x."""
    two = torch.stack([torch.zeros(5), LOGIT], dim=1)
    weight = torch.tensor([1.0, 2.0, 0.5, 0.0, 3.0])
    for smoothing in (0.0, 0.02, 0.3):
        one = cross_entropy(LOGIT, LABEL, weight, smoothing)
        torch.testing.assert_close(one, cross_entropy(two, LABEL, weight, smoothing))


def test_smoothing_moves_part_of_the_target_to_the_other_classes():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    label = torch.tensor([0, 3, 2, 1, 3])
    target = torch.full((5, 4), 0.03).scatter_(1, label[:, None], 0.91)
    expected = functional.cross_entropy(logits, target)
    torch.testing.assert_close(cross_entropy(logits, label, smoothing=0.09), expected)


def test_example_weights_make_a_weighted_mean():
    """An example of weight 2 counts as if it were there twice, one of weight 0 not at all."""
    weight = torch.tensor([2.0, 1.0, 0.0, 1.0, 1.0])
    twice = torch.tensor([0, 0, 1, 3, 4])
    expected = cross_entropy(LOGIT[twice], LABEL[twice])
    torch.testing.assert_close(cross_entropy(LOGIT, LABEL, weight), expected)
    assert cross_entropy(LOGIT, LABEL, torch.zeros(5)) == 0


def test_balanced_class_weights_are_scikit_learns():
    label = np.array([0] * 6 + [1] * 3 + [2] * 1 + [2] * 5)
    learnt = np.arange(15) < 10
    settings = TrainSettings(class_weights="balanced")
    found = example_weights(label, np.full(15, 2.0), learnt, 3, settings)
    of_class = compute_class_weight("balanced", classes=np.arange(3), y=label[learnt])
    np.testing.assert_allclose(found, 2 * of_class[label], rtol=1e-6)


def test_class_weights_may_be_given_one_by_one():
    label, learnt = np.array([0, 1, 1]), np.ones(3, bool)
    settings = TrainSettings(class_weights=[1, 4])
    assert example_weights(label, np.ones(3), learnt, 2, settings).tolist() == [1, 4, 4]
    with pytest.raises(ConfigError, match="2 numbers for 3 classes"):
        example_weights(label, np.ones(3), learnt, 3, settings)


def test_probabilities_of_one_logit_are_those_of_a_softmax():
    found = class_probabilities(LOGIT.numpy())
    np.testing.assert_allclose(found[:, 1], torch.sigmoid(LOGIT), rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    logits = np.array([[1000.0, 0.0, -1000.0]])
    np.testing.assert_allclose(class_probabilities(logits), [[1, 0, 0]])
