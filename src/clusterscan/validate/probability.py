"""Test the catalogue's probability on sky that nothing was fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.config.validation import ValidateSettings
from clusterscan.measure.labelled import labelled
from clusterscan.measure.reliability import (
    calibration_error_floor,
    expected_calibration_error,
    reliability,
    sample_thresholds,
    squared_error,
)
from clusterscan.validate.recovery import (
    Recovery,
    Region,
    completeness_at_purity,
    fraction,
    recovery,
)

THRESHOLDS = tuple(round(0.1 * k, 1) for k in range(1, 10))
WAYS = ("single_", "by_")  # columns of the ways to combine that were compared


def probability_report(
    objects: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    settings: ValidateSettings,
    in_region: Region,
    purities: Sequence[float],
    record: Mapping[str, Any],
) -> dict[str, Any]:
    """Compare the probability with the truth on the region.

    Parameters
    ----------
    objects : DataFrame
        The merged objects: ``prob``, ``prob_err``, ``prob_raw``, ``prob_listed``, ``known_row``,
        and the columns ``single_*`` and ``by_*`` of other ways.
    truth : DataFrame
        As `clusterscan.validate.validate` takes it.
    settings : ValidateSettings
    in_region : callable
        (ra_deg, dec_deg) -> bool ndarray: the test region.
    purities : sequence of float
        Of the catalogue's sub-samples.
    record : mapping
        The merge's record of the chosen combination and calibration.

    Returns
    -------
    dict
        ``n``, ``n_real``, ``mean_prob``; ``ece`` (15 equal bins), ``ece_floor`` (the value that
        perfect probabilities would have on so few objects), ``brier``, ``brier_base_rate`` (if
        every object had the share of real objects as its probability), ``reliability``;
        ``uncalibrated`` and ``listed`` (against the known catalogues): the same for these
        probabilities; ``purity`` above thresholds and of ``samples``, promised and true; ``ways``:
        short results for every combination; ``record``.
    """
    found = recovery(
        objects.assign(score=objects["prob"]), truth, settings=settings, in_region=in_region
    )
    inside = objects.iloc[found.rows]
    prob, real = inside["prob"].to_numpy(), found.is_true
    listed = inside["known_row"].to_numpy() >= 0
    # Thresholds come from the whole catalogue, as its sub-samples do; the test region then shows
    # whether they keep their promise.
    levels = sample_thresholds(objects["prob"].to_numpy(), purities)
    return {
        **measures(prob, real),
        "uncalibrated": measures(inside["prob_raw"].to_numpy(), real),
        "listed": measures(inside["prob_listed"].to_numpy(), listed),
        "purity": [_above(t, inside, real, settings) for t in THRESHOLDS],
        "samples": [
            {"purity": level, **_above(t, inside, real, settings)}
            | {"n_catalogue": int((objects["prob"].to_numpy() >= t).sum())}
            for level, t in zip(purities, levels, strict=True)
        ],
        "ways": [_way(name, objects, truth, settings, in_region) for name in _ways(objects)],
        "record": dict(record),
    }


def measures(probability: np.ndarray, real: np.ndarray) -> dict[str, Any]:
    """Measure how well probabilities (n,) predict real objects (n,); {} if all are unknown."""
    known = np.isfinite(probability)
    if not known.any():
        return {}
    p, y = np.asarray(probability, dtype=np.float64)[known], np.asarray(real)[known]
    data = labelled(y.astype(np.int64), np.clip(p, 0.0, 1.0), ("other", "real"))
    share = float(y.mean())
    return {
        "n": int(y.size),
        "n_real": int(y.sum()),
        "mean_prob": float(p.mean()),
        "ece": expected_calibration_error(data),
        "ece_floor": calibration_error_floor(data),
        "brier": float(squared_error(data).mean()),
        "brier_base_rate": share * (1 - share),
        "reliability": reliability(data),
    }


def _above(
    threshold: float, inside: pd.DataFrame, real: np.ndarray, settings: ValidateSettings
) -> dict[str, Any]:
    """Return the expected and the true purity of the sample at or above a threshold."""
    chosen = inside["prob"].to_numpy() >= threshold  # NaN: no sample
    count = int(chosen.sum())
    promised = inside["prob"].to_numpy()[chosen]
    error = inside["prob_err"].to_numpy()[chosen]
    return {
        "threshold": float(threshold),
        "expected": float(promised.mean()) if count else np.nan,
        # All objects share the error of the calibration: it does not average out.
        "expected_error": float(error.mean()) if count else np.nan,
        "true": fraction(int(real[chosen].sum()), count, settings.confidence),
    }


def _ways(objects: pd.DataFrame) -> list[str]:
    return [str(c) for c in objects if str(c).startswith(WAYS)]


def _way(
    column: str,
    objects: pd.DataFrame,
    truth: pd.DataFrame,
    settings: ValidateSettings,
    in_region: Region,
) -> dict[str, Any]:
    found: Recovery = recovery(
        # A model without a value cannot find the object: probability 0 ranks it last.
        objects.assign(score=objects[column].fillna(0.0)),
        truth,
        settings=settings,
        in_region=in_region,
    )
    judged = measures(found.score, found.is_true)
    at = completeness_at_purity(
        found.curve, settings.reference_purity, min_objects=settings.min_objects
    )
    return {
        "name": column.removeprefix("by_").replace("single_", "single:", 1),
        "average_precision": found.curve.average_precision,
        "completeness": at["completeness"],
        **{key: judged.get(key) for key in ("ece", "brier")},
    }
