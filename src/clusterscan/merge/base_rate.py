"""The share of positives at which a network learnt, from its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def training_rate(card: Mapping[str, Any]) -> float:
    """Return the share of positives that a network's training saw, 1/2 where the card is silent.

    Parameters
    ----------
    card : mapping
        A model card: ``training.examples.train`` counts the examples of each class, and
        ``training.settings`` says how they were balanced.
    """
    training = card.get("training") or {}
    counts = (training.get("examples") or {}).get("train") or {}
    names = list(card.get("classes") or counts)
    if len(names) != 2 or not all(counts.get(n, 0) > 0 for n in names):
        return 0.5
    settings = training.get("settings") or {}
    weights = settings.get("class_weights", "none")
    if weights == "balanced":
        return 0.5
    other, positive = (float(counts[n]) for n in names)
    ratio = settings.get("negatives_per_positive")
    if ratio is not None:
        other = min(other, float(ratio) * positive)
    if isinstance(weights, list | tuple) and len(weights) == 2:
        other, positive = other * float(weights[0]), positive * float(weights[1])
    return positive / (positive + other)
