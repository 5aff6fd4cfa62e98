"""The scored columns of the merged objects, and the record of how they were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clusterscan.config.merge import MergeSettings
from clusterscan.merge.calibrate import (
    Choice,
    Examples,
    ProbabilityModel,
    bootstrap_error,
    calibrated,
    can_fit,
    choose_model,
    combination_names,
    examples_of,
    fit_method,
    fit_probability,
)
from clusterscan.merge.combine import plain_combiner, scores

_SINGLE = "single:"  # opens the name of a combination that is one model alone

IsReal = Callable[[np.ndarray], np.ndarray]
"""Scores of all objects -> which of them are real."""


@dataclass(frozen=True)
class Scored:
    """Columns of shape (n,) to add to the objects, and a JSON-able record."""

    columns: dict[str, np.ndarray]
    record: dict[str, Any]


def fit_scores(
    features: np.ndarray,
    names: Sequence[str],
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    *,
    is_real: IsReal,
    is_listed: np.ndarray,
    rows: np.ndarray,
    settings: MergeSettings,
    scale: str,
    rates: Mapping[str, float],
    seed: int,
) -> Scored:
    """Choose, fit and apply the probability; `clusterscan.merge.objects` says what of.

    What is real depends on the objects' order, that on the combination, and the combination is
    fitted to what is real: so all ways are compared on one order, that of the mean value, and the
    chosen one is fitted once more with its own.
    """

    def examples(label: np.ndarray) -> Examples:
        return examples_of(
            features[rows], label[rows], ra_deg[rows], dec_deg[rows], settings=settings, seed=seed
        )

    start = plain_combiner(names, "logit_mean")
    first = examples(is_real(scores(start, features)))
    if not can_fit(first, settings):
        return _unfitted(ProbabilityModel(start, None), features)
    choice = choose_model(first, names, settings=settings, rates=rates, scale=scale)

    def fit(on: Examples, combination: str) -> ProbabilityModel:
        return fit_probability(
            on, names, combination, choice.method, settings=settings, rates=rates
        )

    real = is_real(fit(first, choice.combination).scores(features))
    final = examples(real)
    model = fit(final, choice.combination)
    score = model.scores(features)
    listed = examples(is_listed)
    of_listed = fit_method("platt", scores(model.combiner, listed.features), listed.label, 0.5)
    columns = _columns(model, features) | {
        "prob_err": bootstrap_error(
            final, features, names, choice, settings=settings, rates=rates, seed=seed
        ).astype(np.float32),
        "prob_listed": (
            np.full(len(features), np.nan)
            if of_listed is None
            else calibrated(of_listed, score).astype(np.float32)
        ),
    }
    ways = {name: fit(final, name) for name in combination_names(names, settings, scale=scale)}
    record = _record(choice, final, of_listed) | {"singles": _singles(ways)}
    return Scored(columns | _by_each_way(ways, names, features), model.to_dict() | record)


def _columns(model: ProbabilityModel, features: np.ndarray) -> dict[str, np.ndarray]:
    score = model.scores(features)
    return {
        "score": score,
        "prob_raw": calibrated(None, score).astype(np.float32),
        "prob": model.probability(features),
    }


def _by_each_way(
    ways: Mapping[str, ProbabilityModel], names: Sequence[str], features: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the probability by every way to combine; of one model alone NaN where it has none."""
    columns = {}
    for way, model in ways.items():
        values = model.probability(features).astype(np.float32)
        column = f"by_{way}"
        if way.startswith(_SINGLE):
            tag = way.removeprefix(_SINGLE)
            values[~np.isfinite(features[:, list(names).index(tag)])] = np.nan
            column = f"single_{tag}"
        columns[column] = values
    return columns


def _singles(ways: Mapping[str, ProbabilityModel]) -> dict[str, Mapping[str, Any] | None]:
    """Return the calibrations of each model alone."""
    return {
        way.removeprefix(_SINGLE): model.calibration
        for way, model in ways.items()
        if way.startswith(_SINGLE)
    }


def _unfitted(model: ProbabilityModel, features: np.ndarray) -> Scored:
    unknown = np.full(len(features), np.nan, dtype=np.float32)
    columns = _columns(model, features) | {"prob_err": unknown, "prob_listed": unknown}
    return Scored(columns, model.to_dict() | {"combination": "logit_mean", "method": None})


def _record(
    choice: Choice, examples: Examples, of_listed: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "combination": choice.combination,
        "method": choice.method,
        "combinations": [t.to_dict() for t in choice.combinations],
        "methods": [t.to_dict() for t in choice.methods],
        "examples": len(examples.label),
        "real": int(examples.label.sum()),
        "listed_calibration": of_listed,
    }
