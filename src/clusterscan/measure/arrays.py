"""What every measure starts from: labels, probabilities and objects that have been checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clusterscan.core.errors import ProductError

THRESHOLD = 0.5
_SLACK = 1e-4  # by which float16 and float32 softmax rows may miss the sum of 1


@dataclass(frozen=True)
class Labelled:
    """Examples with their true class and what a network says of them.

    Attributes
    ----------
    label : int64 ndarray, shape (n,)
        True class, 0 <= label < K.
    probability : float64 ndarray, shape (n, K)
        Rows add up to 1.
    classes : tuple of str
        Names of the K classes.
    weight : float64 ndarray, shape (n,)
        Of each example.
    object : int64 ndarray, shape (n,)
        Which object an example shows, 0 <= object < n_objects.
    n_objects : int
    positive : int
        The class that is looked for; means something with two classes only.
    threshold : float or None
        Probability from which an example counts as positive; None with more than two classes.
    predicted : int64 ndarray, shape (n,)
        With two classes the positive one where its probability reaches the threshold; with
        more the most probable one.
    """

    label: np.ndarray
    probability: np.ndarray
    classes: tuple[str, ...]
    weight: np.ndarray
    object: np.ndarray
    n_objects: int
    positive: int
    threshold: float | None
    predicted: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def is_binary(self) -> bool:
        """Whether there are two classes, one of them looked for."""
        return len(self.classes) == 2


def labelled(
    label: np.ndarray,
    probability: np.ndarray,
    classes: Sequence[str],
    positive: int = 1,
    *,
    weight: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    threshold: float = THRESHOLD,
) -> Labelled:
    """Check what is to be measured.

    Parameters
    ----------
    label : int ndarray, shape (n,)
        True class.
    probability : float ndarray, shape (n, K) or, with two classes, (n,)
        One column a class, or the probability of class 1 alone.
    classes : sequence of str
        Names of the K >= 2 classes.
    positive : int
        The class that is looked for, where there are two.
    weight : float ndarray, shape (n,), optional
        Of each example, not negative; one each by default.
    groups : ndarray, shape (n,), optional
        Names or numbers of the objects that the examples show; examples without one (empty
        text, None, NaN) are objects of their own. By default all are.
    threshold : float
        Probability from which an example counts as the positive class, where there are two.

    Raises
    ------
    ProductError
        If shapes do not fit, a label is no class, or a label, probability or weight is NaN or
        impossible.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ProductError(f"classes = {list(classes)}: needs two or more different names")
    if not 0 <= positive < len(classes):
        raise ProductError(f"positive = {positive}: not one of the {len(classes)} classes")
    chance = _probability(np.asarray(probability, dtype=np.float64), len(classes))
    true = _label(np.asarray(label), classes)
    if len(true) != len(chance):
        raise ProductError(f"{len(true)} labels, but probabilities of {len(chance)} examples")
    weights = np.ones(len(true)) if weight is None else np.asarray(weight, dtype=np.float64)
    if weights.shape != true.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ProductError(
            f"weight: needs {len(true)} finite numbers >= 0, one for each example; "
            f"got shape {weights.shape}"
        )
    which, count = _objects(groups, len(true))
    predicted = chance.argmax(axis=1) if len(chance) else true
    if len(classes) == 2:
        predicted = np.where(chance[:, positive] >= threshold, positive, 1 - positive)
    return Labelled(
        label=true,
        probability=chance,
        classes=tuple(classes),
        weight=weights,
        object=which,
        n_objects=count,
        positive=positive,
        threshold=threshold if len(classes) == 2 else None,
        predicted=predicted,
    )


def _probability(values: np.ndarray, classes: int) -> np.ndarray:
    if values.ndim == 1 and classes == 2:
        values = np.column_stack([1 - values, values])
    if values.ndim != 2 or values.shape[1] != classes:
        raise ProductError(
            f"probability: shape {values.shape} does not fit {classes} classes; needs one "
            "column a class"
        )
    inside = (values >= -_SLACK) & (values <= 1 + _SLACK)  # False for NaN
    bad = ~(inside.all(axis=1) & (np.abs(values.sum(axis=1) - 1) <= classes * _SLACK))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ProductError(
            f"probability: {bad.sum()} of {bad.size} rows are not finite, leave [0, 1] or do "
            f"not add up to 1, first {values[row].tolist()} at row {row}; a network that "
            "diverged gives NaN: train it again with a smaller learning rate"
        )
    return np.clip(values, 0.0, 1.0)


def _label(values: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ProductError(
            f"label: {values.flat[0]!r} ... are no class numbers; give 0 to {len(classes) - 1} "
            f"for {', '.join(classes)}"
        ) from error
    bad = ~((numbers >= 0) & (numbers < len(classes)) & (numbers == np.floor(numbers)))
    if numbers.ndim != 1 or bad.any():
        row = int(np.flatnonzero(bad)[0]) if bad.any() else 0
        raise ProductError(
            f"label: {bad.sum()} of {bad.size} are not one of 0 to {len(classes) - 1} "
            f"({', '.join(classes)}), first {values.flat[row] if values.size else values} at "
            f"row {row}; leave examples without a label out"
        )
    return numbers.astype(np.int64)


def _objects(groups: np.ndarray | None, count: int) -> tuple[np.ndarray, int]:
    """Return the object number of each example, and how many objects there are."""
    if groups is None:
        return np.arange(count), count
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ProductError(f"groups: {names.shape} does not fit {count} examples")
    alone = np.array([name is None or name == "" or name != name for name in names.tolist()], bool)
    _, which = np.unique(names[~alone].astype(str), return_inverse=True)
    known = int(which.max()) + 1 if which.size else 0
    out = np.empty(count, dtype=np.int64)
    out[~alone] = which
    out[alone] = known + np.arange(alone.sum())
    return out, known + int(alone.sum())
