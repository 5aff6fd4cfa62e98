"""The loss: cross entropy with smoothed labels, class weights and example weights.

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
    """Return the weighted mean cross entropy.

    Parameters
    ----------
    logits : float tensor, shape (B,) or (B, K)
        One logit, or one per class.
    label : int64 tensor, shape (B,)
        True classes.
    weight : float tensor, shape (B,), optional
        Of each example. Where all are 0 the loss is 0.
    smoothing : float
        Share of the target that goes from the true class to the others in equal parts.

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
    epsilon = smoothing * classes / (classes - 1)
    return functional.cross_entropy(logits, label, reduction="none", label_smoothing=epsilon)


def example_weights(
    label: np.ndarray, weight: np.ndarray, learnt: np.ndarray, classes: int, settings: TrainSettings
) -> np.ndarray:
    """Return each example's weight times its class's.

    Parameters
    ----------
    label, weight : ndarray, shape (n,)
        Classes and weights of the examples.
    learnt : bool ndarray, shape (n,)
        The training examples, whose numbers 'balanced' weights come from.
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
        If there is another number of class weights than classes.
    """
    wanted = settings.class_weights
    if wanted == "none":
        return weight.astype(np.float32)
    if wanted == "balanced":
        counts = np.bincount(label[learnt], minlength=classes)
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
    """Return softmax probabilities (n, K) of logits (n,) or (n, K); one logit means K = 2."""
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim == 1:
        values = np.stack([np.zeros_like(values), values], axis=1)
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)
