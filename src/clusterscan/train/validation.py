"""How well the network does on the validation examples after an epoch."""

from __future__ import annotations

import numpy as np
import torch

from clusterscan.config.train import TrainSettings
from clusterscan.train.losses import class_probabilities, cross_entropies


def epoch_scores(
    logits: torch.Tensor,
    label: np.ndarray,
    weight: np.ndarray,
    classes: int,
    settings: TrainSettings,
) -> dict[str, float]:
    """Return the validation columns of the history.

    Parameters
    ----------
    logits : float tensor, shape (n,) or (n, K)
        Of the validation examples.
    label : int ndarray, shape (n,)
        Their classes; every class has a member.
    weight : float ndarray, shape (n,)
        Their weights, which count in the loss, class weights among them.
    classes : int
        Number of classes K >= 2.
    settings : TrainSettings
        How the training weighs classes.

    Returns
    -------
    dict
        ``validation_loss``: of the classes as the training weighs them, so that it falls as
        the training's own does: a mean over the classes where that balances them, by weights or
        by drawing negatives, and else over the examples; ``validation_accuracy``;
        ``validation_roc_auc`` and ``validation_average_precision``: of class 1, or means of each
        class against the rest.
    """
    from sklearn import metrics as sk

    each = cross_entropies(logits, torch.from_numpy(label)).double().numpy()
    balanced = settings.negatives_per_positive is not None or settings.class_weights == "balanced"
    parts = [label == k for k in range(classes)] if balanced else [np.full(label.shape, True)]
    losses = [_mean(each[part], weight[part]) for part in parts]
    probability = class_probabilities(logits.numpy())
    judged = [1] if classes == 2 else range(classes)
    areas = [sk.roc_auc_score(label == k, probability[:, k]) for k in judged]
    precisions = [sk.average_precision_score(label == k, probability[:, k]) for k in judged]
    return {
        "validation_loss": float(np.mean(losses)),
        "validation_accuracy": float(np.mean(decided(probability) == label)),
        "validation_roc_auc": float(np.mean(areas)),
        "validation_average_precision": float(np.mean(precisions)),
    }


def decided(probability: np.ndarray) -> np.ndarray:
    """Return the class (n,) that probabilities (n, K) speak for; of two equal ones class 1."""
    if probability.shape[1] == 2:
        return (probability[:, 1] >= 0.5).astype(np.int64)
    return probability.argmax(axis=1)


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average(values, weights=weight)) if weight.sum() > 0 else float(values.mean())


def score(row: dict[str, float], settings: TrainSettings) -> float:
    """Return what `keep_best_by` judges an epoch by; higher is better."""
    by = settings.keep_best_by
    if by == "last":
        return float(row["epoch"])
    if by == "loss":
        return -row["validation_loss"]
    return row[f"validation_{by}"]
