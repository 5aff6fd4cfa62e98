"""Recall by redshift, mass, magnitude, or any column of the examples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core.errors import ProductError
from clusterscan.measure.intervals import wilson
from clusterscan.measure.labelled import THRESHOLD, object_names, to_labelled

REDSHIFT_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 3.0)


def recall_by(
    predictions: pd.DataFrame,
    column: str,
    classes: Sequence[str],
    positive: int = 1,
    *,
    edges: int | Sequence[float] | None = None,
    categories: Sequence[Any] | None = None,
    parts: str | None = None,
    threshold: float = THRESHOLD,
) -> list[dict[str, Any]]:
    """Return the recall of a class in bins or groups of a column.

    Parameters
    ----------
    predictions : DataFrame
        Columns as described in `clusterscan.measure.labelled`.
    column : str
        Redshift, mass, magnitude ... (with ``edges``) or a group (with ``categories``).
    classes : sequence of str
        Names of labels 0 to K - 1.
    positive : int
        The class whose recall is computed.
    edges : int or sequence of float, optional
        Rising bin edges, the last bin closed; or the number of bins with equally many positives.
    categories : sequence, optional
        Values in the order to list; by default all values, sorted.
    parts : str, optional
        A column whose shares among the positives are listed in each row, e.g. the redshift type.
    threshold : float
        Lowest probability that counts as found if there are two classes.

    Returns
    -------
    list of dict
        low and high (bins) or name (categories); positives (examples), objects, found, recall
        (None without positives), recall_low, recall_high (68 % Wilson interval with the number
        of objects); parts: name -> share. Positives without a value are left out.

    Raises
    ------
    ProductError
        If a column is missing, or labels or probabilities are impossible.
    """
    _require(predictions, [column, *([parts] if parts else [])])
    data = to_labelled(predictions, classes, positive, threshold=threshold)
    rows = data.label == positive
    names = object_names(predictions)
    return recall_rows(
        data.predicted[rows] == positive,
        predictions[column].to_numpy()[rows],
        edges=edges,
        categories=categories,
        groups=None if names is None else names[rows],
        parts=predictions[parts].to_numpy()[rows] if parts else None,
    )


def recall_rows(
    found: np.ndarray,
    values: np.ndarray,
    *,
    edges: int | Sequence[float] | np.ndarray | None = None,
    categories: Sequence[Any] | None = None,
    groups: np.ndarray | None = None,
    parts: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return the recall of positives in bins or groups of a value; see `recall_by`.

    Parameters
    ----------
    found : bool ndarray, shape (n,)
        True for each positive that is found.
    values, groups, parts : ndarray, shape (n,)
        Of each positive: the value to split by, its object, its part.
    edges, categories
        As for `recall_by`.
    """
    found = np.asarray(found, dtype=bool)
    rows = []
    for name, inside in _members(np.asarray(values), edges, categories):
        count, hits = int(inside.sum()), int(found[inside].sum())
        # Views of one object are found or missed together, so the interval counts objects.
        objects = count if groups is None else len(np.unique(np.asarray(groups)[inside]))
        row = {**name, "positives": count, "objects": objects, "found": hits}
        row |= {"recall": None, "recall_low": None, "recall_high": None}
        if count:
            share = hits / count
            low, high = wilson(share * objects, objects)
            row |= {"recall": share, "recall_low": low, "recall_high": high}
        if parts is not None:
            kinds, each = np.unique(np.asarray(parts)[inside].astype(str), return_counts=True)
            row["parts"] = {str(k): float(n / count) for k, n in zip(kinds, each, strict=True)}
        rows.append(row)
    return rows


def recall_by_redshift(
    redshift: np.ndarray,
    probability: np.ndarray,
    edges: Sequence[float] | np.ndarray = REDSHIFT_EDGES,
    *,
    groups: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return the recall of positives by redshift, at a probability of 0.5.

    Parameters
    ----------
    redshift, probability : float ndarray, shape (n,)
        Of the positives; NaN redshifts are left out.
    edges : sequence of float
        Bin edges, rising; the last bin includes its upper edge.
    groups : ndarray, shape (n,), optional
        Object that each example shows.

    Returns
    -------
    list of dict
        z_low, z_high, positives, objects, found, recall, recall_low, recall_high.
    """
    found = np.asarray(probability) >= THRESHOLD
    rows = recall_rows(found, redshift, edges=edges, groups=groups)
    return [{"z_low": row.pop("low"), "z_high": row.pop("high"), **row} for row in rows]


def _members(
    values: np.ndarray,
    edges: int | Sequence[float] | np.ndarray | None,
    categories: Sequence[Any] | None,
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Return the name of each bin or category and a mask of its members."""
    missing = pd.isna(values)
    if edges is None:
        if categories is None:
            categories = sorted(set(values[~missing].tolist()))
        return [({"name": str(c)}, (values == c) & ~missing) for c in categories]
    number = values.astype(np.float64)
    bounds = _edges(number, edges)
    out = []
    for k, (low, high) in enumerate(pairwise(bounds)):
        # Closed above, or the largest value would lie in no bin.
        last = k == len(bounds) - 2
        inside = (number >= low) & ((number <= high) if last else (number < high))
        out.append(({"low": float(low), "high": float(high)}, inside))
    return out


def _edges(values: np.ndarray, edges: int | Sequence[float] | np.ndarray) -> np.ndarray:
    if isinstance(edges, int):
        known = values[np.isfinite(values)]
        if not known.size:
            return np.empty(0)
        # Quantiles of many equal values coincide; an empty bin between them is left out.
        return np.unique(np.quantile(known, np.linspace(0, 1, edges + 1)))
    bounds = np.asarray(edges, dtype=np.float64)
    if bounds.ndim != 1 or len(bounds) < 2 or not (np.diff(bounds) > 0).all():
        raise ProductError(f"edges = {bounds.tolist()}: needs two or more rising numbers")
    return bounds


def _require(predictions: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in predictions]
    if missing:
        raise ProductError(
            f"predictions: no column {', '.join(missing)} to split by; there are "
            f"{', '.join(map(str, predictions.columns))}"
        )
