"""Predictions as a table: what training, studies and classify hand to the measures.

Columns: example_id, object_id (empty where no catalogued object is shown), label (class number),
split, and probability_<class> for each class; any others may split the examples into groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core.errors import ProductError
from clusterscan.measure.arrays import THRESHOLD, Labelled, labelled
from clusterscan.measure.calibration import apply_to_probability
from clusterscan.measure.metrics import metrics_of


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
    """Return what is to be measured; views of one object_id belong together.

    Parameters
    ----------
    predictions : DataFrame
        See the module.
    classes : sequence of str
        Names of label 0 to K - 1.
    positive, threshold
        As of `clusterscan.measure.arrays.labelled`.
    weight : str, optional
        Column of weights. Weights meant for training do not belong into a measure.

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
    """Return each row's object: its object_id, its example_id where that is empty.

    Named objects rather than row numbers make bootstrap intervals independent of the order of
    the rows.
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
    """Return predictions with calibrated probabilities; the rest is unchanged."""
    found = apply_to_probability(calibration, class_probability(predictions, classes))
    return predictions.assign(**dict(zip(probability_columns(classes), found.T, strict=True)))


def prediction_metrics(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    positive: int = 1,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    threshold: float = THRESHOLD,
) -> dict[str, Any]:
    """Return the measures of predictions; see `clusterscan.measure.metrics`.

    Parameters
    ----------
    predictions : DataFrame
        The rows to measure, of one split.
    classes, positive, threshold
        As of `to_labelled`.
    bootstrap, seed : int
        As of `clusterscan.measure.scores.classification_scores`.

    Raises
    ------
    ProductError
        If a column is missing, or labels or probabilities are impossible.
    """
    data = to_labelled(predictions, classes, positive, threshold=threshold)
    return metrics_of(data, bootstrap=bootstrap, seed=seed)


def _require(predictions: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in predictions]
    if missing:
        there = ", ".join(map(str, predictions.columns))
        raise ProductError(
            f"predictions: no column {', '.join(missing)} among {there}; do the classes fit the "
            "model that made them?"
        )
