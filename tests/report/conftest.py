"""Made-up classifiers whose quality is known."""

import numpy as np
import pytest
from scipy.special import expit, softmax


@pytest.fixture
def binary():
    """Return labels and calibrated probabilities of 600 examples, a quarter positive or so."""
    rng = np.random.default_rng(11)
    probability = expit(rng.normal(-1.2, 2.0, 600))
    return (rng.random(600) < probability).astype(int), probability


@pytest.fixture
def four_classes():
    """Return labels and probabilities (500, 4) of unequal classes, with many equal scores."""
    rng = np.random.default_rng(12)
    label = rng.choice(4, 500, p=[0.5, 0.3, 0.15, 0.05])
    logits = rng.normal(size=(500, 4))
    logits[np.arange(500), label] += 1.2
    return label, softmax(np.round(logits), axis=1)
