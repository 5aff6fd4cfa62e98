"""Whether probabilities mean what they say: reliability diagram, calibration error, Brier score.

With two classes the probability of the positive class is compared with the share of positives;
with more the probability of the most probable class with the share of right answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clusterscan.measure.arrays import Labelled
from clusterscan.measure.resample import wilson

BINS = 15


def claimed_and_true(data: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability claimed (n,) and whether the claim came true (n,), 0 or 1."""
    if data.is_binary:
        return data.probability[:, data.positive], (data.label == data.positive).astype(float)
    return data.probability.max(axis=1, initial=0.0), (data.label == data.predicted).astype(float)


def bin_of(claimed: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the bin of each probability among equal ones from 0 to 1, the last closed."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.minimum(np.searchsorted(edges, claimed, side="right") - 1, bins - 1)


def excess_by_object(data: Labelled, bins: int = BINS) -> np.ndarray:
    """Return each object's sum of (claimed - true) in each bin, shape (n_objects, bins)."""
    claimed, true = claimed_and_true(data)
    cell = data.object * bins + bin_of(claimed, bins)
    flat = np.bincount(cell, data.weight * (claimed - true), minlength=data.n_objects * bins)
    return flat.reshape(data.n_objects, bins)


def expected_calibration_error(data: Labelled, bins: int = BINS) -> float:
    """Return the mean distance between claimed and true shares, weighted by each bin's examples.

    References
    ----------
    Naeini, Cooper & Hauskrecht 2015, AAAI, 2901; Guo et al. 2017, ICML, 1321.
    """
    total = data.weight.sum()
    if not total > 0:
        return float("nan")
    return float(np.abs(excess_by_object(data, bins).sum(axis=0)).sum() / total)


def calibration_error_floor(data: Labelled, bins: int = BINS) -> float:
    """Return the calibration error that perfect probabilities would show on these examples.

    Finite samples scatter about their probabilities, so that the error is never 0. The sum of
    (claimed - true) in a bin is nearly Gaussian with the variance of its Bernoulli draws, one an
    object; the mean of its absolute value follows.

    References
    ----------
    Brocker & Smith 2007, Weather Forecast. 22, 651 (consistency of reliability diagrams).
    """
    total = data.weight.sum()
    if not total > 0:
        return float("nan")
    claimed, _ = claimed_and_true(data)
    cell = data.object * bins + bin_of(claimed, bins)
    size = data.n_objects * bins
    weight = np.bincount(cell, data.weight, minlength=size)
    mean = np.bincount(cell, data.weight * claimed, minlength=size)
    mean = np.divide(mean, weight, out=np.zeros(size), where=weight > 0)
    variance = (weight**2 * mean * (1 - mean)).reshape(data.n_objects, bins).sum(axis=0)
    return float(np.sqrt(2 / np.pi * variance).sum() / total)


def squared_error(data: Labelled) -> np.ndarray:
    """Return each example's part of the Brier score, shape (n,).

    With two classes (p - y)^2 of the positive one, from 0 to 1; with more the sum over classes,
    from 0 to 2.

    References
    ----------
    Brier 1950, Mon. Weather Rev. 78, 1.
    """
    if data.is_binary:
        claimed, true = claimed_and_true(data)
        return (claimed - true) ** 2
    one_hot = np.eye(len(data.classes))[data.label]
    return ((data.probability - one_hot) ** 2).sum(axis=1)


def reliability(data: Labelled, bins: int = 10) -> list[dict[str, Any]]:
    """Return the reliability diagram: for each bin with examples what was claimed and what held.

    Returns
    -------
    list of dict
        low, high (of the bin), examples, objects, claimed (mean probability), true (share),
        true_low, true_high (68 % Wilson interval with the number of objects).
    """
    claimed, true = claimed_and_true(data)
    cell = bin_of(claimed, bins)
    rows = []
    for b in range(bins):
        inside = cell == b
        weight = data.weight[inside]
        if not weight.sum() > 0:
            continue
        share = float(np.average(true[inside], weights=weight))
        objects = len(np.unique(data.object[inside]))
        low, high = wilson(share * objects, objects)
        rows.append(
            {
                "low": b / bins,
                "high": (b + 1) / bins,
                "examples": int(inside.sum()),
                "objects": objects,
                "claimed": float(np.average(claimed[inside], weights=weight)),
                "true": share,
                "true_low": low,
                "true_high": high,
            }
        )
    return rows
