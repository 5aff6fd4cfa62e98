"""The loss of a step (cross entropy, smoothed and weighted) and the scores of an epoch.

A network of two classes may have one logit (of class 1) or two; both give the same loss for the
same probabilities.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ConfigError


def cross_entropy(
    logits: torch.Tensor,
    label: torch.Tensor,
    weight: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Compute the weighted mean cross entropy.

    Parameters
    ----------
    logits : float tensor, shape (B,) or (B, K)
        One logit, or one per class.
    label : int64 tensor, shape (B,)
        True classes.
    weight : float tensor, shape (B,), optional
        Weight of each example; if all are 0 the loss is 0.
    smoothing : float
        Share of the target that goes from the true class to the others, in equal parts.

    Returns
    -------
    float32 tensor, shape ()

    References
    ----------
    Szegedy et al. 2016, CVPR, 2818 (their epsilon is smoothing * K / (K - 1)).
    """
    each = cross_entropies(logits, label, smoothing)
    if weight is None:
        return each.mean()
    total = weight.sum()
    return (each * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))


def cross_entropies(
    logits: torch.Tensor, label: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Return each example's cross entropy, shape (B,); see `cross_entropy`."""
    logits = logits.float()  # halves of a mixed-precision network would lose small losses
    if logits.ndim == 1:
        target = label.to(logits.dtype) * (1 - 2 * smoothing) + smoothing
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    classes = logits.shape[1]
    # torch spreads its share over all classes, the true one included; ours goes to the others
    # alone.
    epsilon = smoothing * classes / (classes - 1)
    return functional.cross_entropy(logits, label, reduction="none", label_smoothing=epsilon)


def example_weights(
    label: np.ndarray, weight: np.ndarray, learnt: np.ndarray, classes: int, settings: TrainSettings
) -> np.ndarray:
    """Multiply each example's weight by the weight of its class.

    Parameters
    ----------
    label, weight : ndarray, shape (n,)
        Classes and weights of the examples.
    learnt : bool ndarray, shape (n,)
        True for training examples; 'balanced' weights come from their numbers.
    classes : int
        Number of classes K.
    settings : TrainSettings
        Its class_weights.

    Returns
    -------
    float32 ndarray, shape (n,)

    Raises
    ------
    ConfigError
        If the numbers of class weights and of classes differ.
    """
    wanted = settings.class_weights
    if wanted == "none":
        return weight.astype(np.float32)
    if wanted == "balanced":
        counts = np.bincount(label[learnt], minlength=classes)
        # N / (K n_k): every class has the same total weight, and the mean weight of an example
        # stays 1.
        of_class = learnt.sum() / (classes * counts)
    else:
        if len(wanted) != classes:
            raise ConfigError(
                f"train.class_weights has {len(wanted)} numbers for {classes} classes; give one "
                "per class, 'balanced' or 'none'"
            )
        of_class = np.array(wanted, dtype=float)
    return (weight * of_class[label]).astype(np.float32)


def class_probabilities(logits: np.ndarray) -> np.ndarray:
    """Compute softmax probabilities (n, K) of logits (n,) or (n, K); one logit means K = 2."""
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim == 1:
        values = np.stack([np.zeros_like(values), values], axis=1)
    # The highest logit becomes 0, so that no exponential overflows.
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def epoch_scores(
    logits: torch.Tensor,
    label: np.ndarray,
    weight: np.ndarray,
    classes: int,
    settings: TrainSettings,
) -> dict[str, float]:
    """Score the validation examples after an epoch, for the history.

    Parameters
    ----------
    logits : float tensor, shape (n,) or (n, K)
        Logits of the validation examples.
    label : int ndarray, shape (n,)
        Their classes; every class has a member.
    weight : float ndarray, shape (n,)
        Their weights in the loss, with class weights.
    classes : int
        Number of classes K >= 2.
    settings : TrainSettings
        Class balance of the training.

    Returns
    -------
    dict
        ``validation_loss``, weighted like the training's loss so that the two are comparable: the
        mean over classes if training balances them (by class weights or by drawing negatives),
        else over examples; ``validation_accuracy``; ``validation_roc_auc`` and
        ``validation_average_precision`` of class 1, or means of each class against the rest.
    """
    from sklearn import metrics as sk

    each = cross_entropies(logits, torch.from_numpy(label)).double().numpy()
    # In a pool with few positives a mean over examples would judge the negatives alone.
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
    """Return the most probable class (n,) of probabilities (n, K); class 1 if two are equal."""
    if probability.shape[1] == 2:
        return (probability[:, 1] >= 0.5).astype(np.int64)
    return probability.argmax(axis=1)


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average(values, weights=weight)) if weight.sum() > 0 else float(values.mean())


def score(row: dict[str, float], settings: TrainSettings) -> float:
    """Return the score by which ``keep_best_by`` judges an epoch; higher is better."""
    by = settings.keep_best_by
    if by == "last":
        return float(row["epoch"])
    if by == "loss":
        return -row["validation_loss"]
    return row[f"validation_{by}"]
