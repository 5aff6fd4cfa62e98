"""Reliability of probabilities: diagram, calibration error, Brier score, expected purity.

With two classes the probability of the positive class is compared with the share of positives;
with more the probability of the most probable class with the share of correct predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clusterscan.measure.intervals import wilson
from clusterscan.measure.labelled import Labelled

BINS = 15


def claimed_and_true(data: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Return the claimed probability and the outcome (0 or 1) of each example, shape (n,)."""
    if data.is_binary:
        return data.probability[:, data.positive], (data.label == data.positive).astype(float)
    return data.probability.max(axis=1, initial=0.0), (data.label == data.predicted).astype(float)


def bin_of(claimed: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the number of the equal-width bin of each probability; the last bin includes 1."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.minimum(np.searchsorted(edges, claimed, side="right") - 1, bins - 1)


def excess_by_object(data: Labelled, bins: int = BINS) -> np.ndarray:
    """Return each object's sum of (claimed - true) in each bin, shape (n_objects, bins)."""
    claimed, true = claimed_and_true(data)
    cell = data.object * bins + bin_of(claimed, bins)
    flat = np.bincount(cell, data.weight * (claimed - true), minlength=data.n_objects * bins)
    return flat.reshape(data.n_objects, bins)


def expected_calibration_error(data: Labelled, bins: int = BINS) -> float:
    """Return the mean distance between claimed and true shares, weighted by examples per bin.

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

    Finite samples scatter about their probabilities, so the error is never 0. The sum of
    (claimed - true) in a bin is nearly Gaussian, with the variance of one Bernoulli draw per
    object; the mean of its absolute value follows from that.

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
    # One Bernoulli draw per object and bin, with the mean claim of its views there.
    mean = np.bincount(cell, data.weight * claimed, minlength=size)
    mean = np.divide(mean, weight, out=np.zeros(size), where=weight > 0)
    variance = (weight**2 * mean * (1 - mean)).reshape(data.n_objects, bins).sum(axis=0)
    # The mean absolute value of a Gaussian is sqrt(2 / pi) times its standard deviation.
    return float(np.sqrt(2 / np.pi * variance).sum() / total)


def squared_error(data: Labelled) -> np.ndarray:
    """Return the contribution of each example to the Brier score, shape (n,).

    With two classes (p - y)^2 of the positive class, from 0 to 1; with more the sum over all
    classes, from 0 to 2.

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
    """Return the reliability diagram: claimed and true share of each bin that has examples.

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
        # Objects, not examples: views of one object are not independent measurements.
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


def expected_purity(probability: np.ndarray) -> np.ndarray:
    """Return the mean probability of all objects at least as probable as each object.

    This is the purity that calibrated probabilities promise for the sample above a threshold.

    Parameters
    ----------
    probability : float ndarray, shape (n,)
        Calibrated; without NaN.

    Returns
    -------
    purity : float64 ndarray, shape (n,)
        Equal for equal probabilities; never rises as the probability falls.
    """
    p = np.asarray(probability, dtype=np.float64)
    # The sample above a threshold is a prefix of this order, its mean a cumulative sum.
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    # Objects of equal probability enter the sample together.
    last = np.flatnonzero(np.diff(ranked, append=-np.inf) != 0)
    mean = np.cumsum(ranked)[last] / (last + 1)
    purity = np.empty(p.size)
    purity[order] = np.repeat(mean, np.diff(last, prepend=-1))
    return purity


def sample_thresholds(probability: np.ndarray, purities: Sequence[float]) -> np.ndarray:
    """Return the lowest probability at which the expected purity reaches each level.

    Returns
    -------
    threshold : float64 ndarray, shape (k,)
        NaN if no sample is that pure.
    """
    p = np.asarray(probability, dtype=np.float64)
    expected = expected_purity(p)
    found = [p[expected >= level] for level in purities]
    return np.array([part.min() if part.size else np.nan for part in found])


def purest_sample(probability: np.ndarray, purities: Sequence[float]) -> np.ndarray:
    """Return the purity of the purest sample that contains each object, NaN if none does.

    Parameters
    ----------
    probability : float ndarray, shape (n,)
    purities : sequence of float
        Rising.
    """
    p = np.asarray(probability, dtype=np.float64)
    sample = np.full(p.size, np.nan)
    for level, threshold in zip(purities, sample_thresholds(p, purities), strict=True):
        sample[p >= threshold] = level
    return sample
