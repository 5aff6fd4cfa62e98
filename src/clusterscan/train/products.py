"""The files of a trained model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from clusterscan.core.atomic import write_json
from clusterscan.formats.tables import write_table
from clusterscan.measure.breakdown import recall_by_redshift
from clusterscan.measure.labelled import calibrated, class_probability
from clusterscan.measure.scores import prediction_metrics
from clusterscan.networks.card import save_model
from clusterscan.report import plots
from clusterscan.train.loop import TrainResult


def write_model(folder: Path, result: TrainResult, *, bootstrap: int = 1000) -> dict[str, Any]:
    """Write a model with all about it; return its card.

    Parameters
    ----------
    folder : Path
        Made if missing. The card, ``model.json``, is written last.
    result : TrainResult
        From training.
    bootstrap : int
        Draws for the measures' intervals.
    """
    curves = [None if curve is None else asdict(curve) for curve in result.range_curves]
    history = {"epochs": result.history, "range_test": curves[0], "range_tests": curves}
    write_json(folder / "history.json", history)
    metrics = metrics_of(result, bootstrap)
    write_json(folder / "metrics.json", metrics)
    write_table(folder / "predictions.parquet", result.predictions)
    _draw(folder, result, metrics)
    return save_model(folder, result.network, result.card)


def metrics_of(result: TrainResult, bootstrap: int = 1000) -> dict[str, Any]:
    """Return the measures of each split, as the network's own and as calibrated probabilities.

    Returns
    -------
    dict
        By split: `clusterscan.measure.scores`, with ``recall_by_redshift`` of the positives
        where they have redshifts, and under ``calibrated`` the measures of whether
        probabilities mean what they say, after calibration.
    """
    classes, seed = result.card["classes"], result.card["seed"]
    out: dict[str, Any] = {}
    for split, part in result.predictions.groupby("split", sort=True):
        values = prediction_metrics(part, classes, bootstrap=bootstrap, seed=seed)
        after = prediction_metrics(
            calibrated(part, classes, result.card["calibration"]), classes, bootstrap=0
        )
        values["calibrated"] = {key: after[key] for key in ("brier", "ece", "reliability")}
        positive = part[part["label"] == 1]
        if len(classes) == 2 and positive["redshift"].notna().any():
            values["recall_by_redshift"] = recall_by_redshift(
                positive["redshift"].to_numpy(), class_probability(positive, classes)[:, 1]
            )
        out[str(split)] = values
    return out


def _draw(folder: Path, result: TrainResult, metrics: dict[str, Any]) -> None:
    classes, training = result.card["classes"], result.card["training"]
    plots.plot_history(result.history, folder / "history.png", best_epoch=training["best_epoch"])
    if any(result.range_curves):
        tested = [
            {**asdict(curve), "stage": _name(stage, len(training["stages"]))}
            for curve, stage in zip(result.range_curves, training["stages"], strict=True)
            if curve is not None
        ]
        plots.plot_range_test(tested, folder / "range_test.png")
    plots.plot_roc_and_precision(metrics, folder / "roc_precision.png")
    for split, part in _by_split(result.predictions)[:1]:  # 'test' where there is one
        named = {"network": metrics[split], "calibrated": metrics[split]["calibrated"]}
        plots.plot_reliability(named, folder / f"reliability_{split}.png")
        plots.plot_confusion(metrics[split], folder / f"confusion_{split}.png")
        plots.plot_probabilities(
            part["label"].to_numpy(),
            class_probability(part, classes),
            classes,
            folder / f"probabilities_{split}.png",
        )


def _name(stage: dict[str, Any], count: int) -> str:
    return "" if count == 1 else f"{stage['trainable']}, {stage['optimiser']}"


def _by_split(predictions: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(split), part) for split, part in predictions.groupby("split", sort=True)]
