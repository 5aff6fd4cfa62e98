"""Labelled examples with a classifier's probabilities: checked arrays, and tables of predictions.

Every measure starts from `Labelled`, whose values have been checked once. Training, studies and
classification keep the same information as a table of predictions with the columns example_id,
object_id (empty if the example shows no catalogued object), label (class number), split, and
probability_<class> for each class. Further columns may divide the examples into groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core.errors import ProductError
from clusterscan.measure.calibration import apply_to_probability

THRESHOLD = 0.5
# Softmax rows computed in float16 or float32 add up to 1 only this well.
_SLACK = 1e-4


@dataclass(frozen=True)
class Labelled:
    """Examples with their true classes and predicted probabilities.

    Attributes
    ----------
    label : int64 ndarray, shape (n,)
        True class, 0 <= label < K.
    probability : float64 ndarray, shape (n, K)
        Rows add up to 1.
    classes : tuple of str
        Names of the K classes.
    weight : float64 ndarray, shape (n,)
        Weight of each example.
    object : int64 ndarray, shape (n,)
        Number of the object that an example shows, 0 <= object < n_objects.
    n_objects : int
    positive : int
        The class of interest; used with two classes only.
    threshold : float or None
        Lowest probability that counts as positive; None with more than two classes.
    predicted : int64 ndarray, shape (n,)
        With two classes the positive class if its probability reaches the threshold,
        otherwise the most probable class.
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
        """Return True if there are two classes, one of which is the class of interest."""
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
    """Check labels and probabilities, and number the objects that the examples show.

    Parameters
    ----------
    label : int ndarray, shape (n,)
        True class.
    probability : float ndarray, shape (n, K) or, with two classes, (n,)
        One column per class, or the probability of class 1 alone.
    classes : sequence of str
        Names of the K >= 2 classes.
    positive : int
        The class of interest if there are two.
    weight : float ndarray, shape (n,), optional
        Weight of each example, not negative; 1 by default.
    groups : ndarray, shape (n,), optional
        Names or numbers of the objects that the examples show. An example without one (empty
        text, None, NaN) counts as an object of its own, as do all examples by default.
    threshold : float
        Lowest probability that counts as positive if there are two classes.

    Raises
    ------
    ProductError
        If shapes do not agree, or a label, probability or weight is NaN or out of range.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ProductError(f"classes = {list(classes)}: give two or more different names")
    if not 0 <= positive < len(classes):
        raise ProductError(f"positive = {positive}: not one of the {len(classes)} classes")
    chance = _probability(np.asarray(probability, dtype=np.float64), len(classes))
    true = _label(np.asarray(label), classes)
    if len(true) != len(chance):
        raise ProductError(f"{len(true)} labels but probabilities of {len(chance)} examples")
    weights = np.ones(len(true)) if weight is None else np.asarray(weight, dtype=np.float64)
    if weights.shape != true.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ProductError(
            f"weight: expected {len(true)} finite numbers >= 0, one per example; "
            f"got shape {weights.shape}"
        )
    which, count = _objects(groups, len(true))
    # With two classes the threshold decides, with more the most probable class.
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
            f"probability: shape {values.shape} does not fit {classes} classes; expected "
            "one column per class"
        )
    # Softmax in float32 leaves [0, 1], and a sum of 1, by rounding.
    inside = (values >= -_SLACK) & (values <= 1 + _SLACK)  # False for NaN
    bad = ~(inside.all(axis=1) & (np.abs(values.sum(axis=1) - 1) <= classes * _SLACK))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ProductError(
            f"probability: {bad.sum()} of {bad.size} rows are not finite, lie outside [0, 1] or do "
            f"not add up to 1, first {values[row].tolist()} at row {row}; a network that "
            "diverged predicts NaN: train it again with a smaller learning rate"
        )
    return np.clip(values, 0.0, 1.0)


def _label(values: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ProductError(
            f"label: {values.flat[0]!r} ... are not class numbers; use 0 to {len(classes) - 1} "
            f"for {', '.join(classes)}"
        ) from error
    bad = ~((numbers >= 0) & (numbers < len(classes)) & (numbers == np.floor(numbers)))
    if numbers.ndim != 1 or bad.any():
        row = int(np.flatnonzero(bad)[0]) if bad.any() else 0
        raise ProductError(
            f"label: {bad.sum()} of {bad.size} are not one of 0 to {len(classes) - 1} "
            f"({', '.join(classes)}), first {values.flat[row] if values.size else values} at "
            f"row {row}; leave out examples without a label"
        )
    return numbers.astype(np.int64)


def _objects(groups: np.ndarray | None, count: int) -> tuple[np.ndarray, int]:
    """Return the object number of each example and the number of objects."""
    if groups is None:
        return np.arange(count), count
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ProductError(f"groups: {names.shape} does not fit {count} examples")
    # NaN is the only name that differs from itself. Examples without a name are separate objects:
    # as one object they would all be drawn together.
    alone = np.array([name is None or name == "" or name != name for name in names.tolist()], bool)
    # Sorted names number the objects, so that the numbers do not depend on the order of rows.
    _, which = np.unique(names[~alone].astype(str), return_inverse=True)
    known = int(which.max()) + 1 if which.size else 0
    out = np.empty(count, dtype=np.int64)
    out[~alone] = which
    out[alone] = known + np.arange(alone.sum())
    return out, known + int(alone.sum())


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Return the names of the probability columns."""
    return [f"probability_{name}" for name in classes]


def class_probability(predictions: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Return the probabilities, float64 ndarray, shape (n, K).

    Raises
    ------
    ProductError
        If a class has no column.
    """
    wanted = probability_columns(classes)
    _require(predictions, wanted)
    return predictions[wanted].to_numpy(dtype=np.float64)


def to_labelled(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    positive: int = 1,
    *,
    threshold: float = THRESHOLD,
    weight: str | None = None,
) -> Labelled:
    """Return the checked examples of a table; views of one object_id belong together.

    Parameters
    ----------
    predictions : DataFrame
        Columns as described at the top of this module.
    classes : sequence of str
        Names of labels 0 to K - 1.
    positive, threshold
        As for `labelled`.
    weight : str, optional
        Column of weights. Training weights do not belong in a measure.

    Raises
    ------
    ProductError
        If a column is missing, or labels or probabilities are impossible.
    """
    _require(predictions, ["label", *([weight] if weight else [])])
    return labelled(
        predictions["label"].to_numpy(),
        class_probability(predictions, classes),
        classes,
        positive,
        weight=predictions[weight].to_numpy() if weight else None,
        groups=object_names(predictions),
        threshold=threshold,
    )


def object_names(predictions: pd.DataFrame) -> np.ndarray | None:
    """Return the object_id of each row, or its example_id if the object_id is empty.

    Names, unlike row numbers, make bootstrap intervals independent of the order of the rows.
    """
    known = [key for key in ("object_id", "example_id") if key in predictions]
    if not known:
        return None
    text = [predictions[key].fillna("").astype(str).to_numpy() for key in known]
    if len(text) == 1:
        return text[0]
    own = np.array([f"example {name}" if name else "" for name in text[1]], dtype=object)
    return np.where(text[0] == "", own, text[0])


def calibrated(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    calibration: Mapping[str, Any] | None,
) -> pd.DataFrame:
    """Return the predictions with calibrated probabilities and all other columns unchanged."""
    found = apply_to_probability(calibration, class_probability(predictions, classes))
    return predictions.assign(**dict(zip(probability_columns(classes), found.T, strict=True)))


def _require(predictions: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in predictions]
    if missing:
        there = ", ".join(map(str, predictions.columns))
        raise ProductError(
            f"predictions: no column {', '.join(missing)} among {there}; are the classes "
            "those of the model that made them?"
        )
