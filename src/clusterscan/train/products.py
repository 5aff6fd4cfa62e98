"""The outcome of a training: its predictions, its model card and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clusterscan.core.atomic import write_json
from clusterscan.formats.tables import write_table
from clusterscan.measure.breakdown import recall_by_redshift
from clusterscan.measure.calibration import fit_temperature
from clusterscan.measure.labelled import calibrated, class_probability
from clusterscan.measure.scores import prediction_metrics
from clusterscan.networks.card import save_model
from clusterscan.networks.network import Network, turned_logits
from clusterscan.report import classifier_plots, training_plots
from clusterscan.train.batches import Crops, PlainBatches
from clusterscan.train.examples import Examples
from clusterscan.train.losses import class_probabilities, score
from clusterscan.train.prepare import Prepared, start_weights, versions
from clusterscan.train.range_test import RangeCurve
from clusterscan.train.recipe import stages

PREDICTED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class TrainResult:
    """The result of a training.

    Attributes
    ----------
    network : Network
        In evaluation mode, on the CPU.
    card : dict
        The model card, for `clusterscan.networks.card.save_model`.
    history : list of dict
        One row per epoch.
    range_curves : tuple of RangeCurve or None
        One per stage, None where the settings gave its learning rate.
    predictions : DataFrame
        Validation and test examples with their probabilities, uncalibrated.
    """

    network: Network
    card: dict[str, Any]
    history: list[dict[str, float]]
    range_curves: tuple[RangeCurve | None, ...]
    predictions: pd.DataFrame


@torch.inference_mode()
def logits_of(network: Network, crops: Crops, rows: np.ndarray) -> np.ndarray:
    """Compute the logits, float32 (n,) or (n, K), of examples in full precision.

    Images are taken as they are, and also turned and mirrored if the settings say so. The network
    is left in evaluation mode, on the crops' device.
    """
    network.to(crops.device).eval()
    answer = partial(turned_logits, network) if crops.settings.average_turns else network.of_views
    parts = [answer(b.views, b.present).cpu().numpy() for b in PlainBatches(crops, rows)]
    shape = (0,) if network.classes == 1 else (0, network.classes)
    return np.concatenate([np.empty(shape, np.float32), *parts])


def predict(network: Network, crops: Crops) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Predict the validation and test examples, and fit a calibration.

    Returns
    -------
    predictions : DataFrame
        See `prediction_table`; probabilities are not calibrated.
    calibration : dict or None
        The temperature that fits the validation examples.
    """
    examples = crops.examples
    rows = np.concatenate([examples.rows(split) for split in PREDICTED_SPLITS])
    logits = logits_of(network, crops, rows)
    # Not fitted to test examples, which must show how calibrated probabilities do on unseen ones.
    known = examples.split[rows] == "validation"
    calibration = fit_temperature(logits[known], examples.label[rows][known])
    return prediction_table(examples, rows, logits), calibration


def prediction_table(examples: Examples, rows: np.ndarray, logits: np.ndarray) -> pd.DataFrame:
    """Make a table of the examples in ``rows`` with the softmax probabilities of their logits.

    Returns
    -------
    DataFrame
        example_id, object_id, ra_deg, dec_deg, redshift, split, kind, label, weight,
        probability_<class> for each class, then the examples' other columns.
    """
    names = ("example_id", "object_id", "ra_deg", "dec_deg", "redshift", "split", "kind",
             "label", "weight")  # fmt: skip
    columns = {name: getattr(examples, name)[rows] for name in names}
    probability = class_probabilities(logits)
    columns |= {f"probability_{n}": probability[:, k] for k, n in enumerate(examples.classes)}
    extras = {n: v[rows] for n, v in examples.columns.items() if n not in columns}
    return pd.DataFrame(columns | extras)


def card_of(
    prepared: Prepared,
    rates: Sequence[float],
    history: Sequence[dict[str, float]],
    predictions: pd.DataFrame,
    calibration: dict[str, Any] | None,
    data_sha256: str,
) -> dict[str, Any]:
    """Describe a training in a model card, to which `save_model` adds network and weights."""
    task = prepared.task
    examples, settings = task.examples, task.settings
    stage_rows = []
    for stage, rate in zip(stages(settings), rates, strict=True):
        rows = [row for row in history if row["stage"] == stage.number]
        best = max(rows, key=lambda row: score(row, settings))
        stage_rows.append(
            {
                "trainable": stage.trainable,
                "optimiser": stage.optimiser,
                "learning_rate": rate,
                "epochs": len(rows),
                "best_epoch": int(best["epoch"]),
            }
        )
    start = None
    if prepared.copied is not None:
        start = {
            "weights_sha256": start_weights(task),
            "copied": len(prepared.copied.copied),
            "adapted": sorted(prepared.copied.adapted),
            "new": dict(sorted(prepared.copied.new.items())),
        }
    metrics = {}
    for split, part in predictions.groupby("split", sort=True):
        found = prediction_metrics(part, examples.classes, bootstrap=0)
        metrics[split] = {k: v for k, v in found.items() if isinstance(v, int | float)}
    return {
        "views": [
            {
                "survey": view.name,
                "bands": list(view.bands),
                "pixel_scale_arcsec": view.pixel_scale_arcsec,
                "unit": view.unit,
                "normalisation": normalisation.to_json(),
            }
            for view, normalisation in zip(examples.views, prepared.normalisations, strict=True)
        ],
        "classes": list(examples.classes),
        "calibration": calibration,
        "average_turns": settings.average_turns,
        "label": "probabilities of the classes of the object at the window's centre, for the "
        "class balance of the training examples",
        "training": {
            "settings": settings.model_dump(mode="json"),
            "data_sha256": data_sha256,
            "examples": examples.counts(),
            "learning_rate": rates[0],
            "stages": stage_rows,
            "best_epoch": stage_rows[-1]["best_epoch"],
            "epochs": len(history),
            "device": prepared.crops.device.type,
            "start_from": start,
        },
        "seed": settings.seed,
        "metrics": metrics,
        "versions": versions(),
    }


def write_model(folder: Path, result: TrainResult, *, bootstrap: int = 1000) -> dict[str, Any]:
    """Write a model with its history, measures, predictions and plots; return its card.

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
    _plot(folder, result, metrics)
    return save_model(folder, result.network, result.card)


def metrics_of(result: TrainResult, bootstrap: int = 1000) -> dict[str, Any]:
    """Measure each split, with the network's own probabilities and with calibrated ones.

    Returns
    -------
    dict
        By split: the measures of `clusterscan.measure.scores`; ``recall_by_redshift`` of the
        positives if they have redshifts; and under ``calibrated`` the Brier score, calibration
        error and reliability diagram of calibrated probabilities.
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


def _plot(folder: Path, result: TrainResult, metrics: dict[str, Any]) -> None:
    classes, training = result.card["classes"], result.card["training"]
    training_plots.plot_history(
        result.history, folder / "history.png", best_epoch=training["best_epoch"]
    )
    tested = []
    for curve, stage in zip(result.range_curves, training["stages"], strict=True):
        if curve is not None:
            alone = len(training["stages"]) == 1
            title = "" if alone else f"{stage['trainable']}, {stage['optimiser']}"
            tested.append({**asdict(curve), "stage": title})
    if tested:
        training_plots.plot_range_test(tested, folder / "range_test.png")
    classifier_plots.plot_roc_and_precision(metrics, folder / "roc_precision.png")
    # The first split by name: 'test' if there is one, else 'validation'.
    part = next(part for _, part in result.predictions.groupby("split", sort=True))
    split = str(part["split"].iloc[0])
    named = {"network": metrics[split], "calibrated": metrics[split]["calibrated"]}
    classifier_plots.plot_reliability(named, folder / f"reliability_{split}.png")
    classifier_plots.plot_confusion(metrics[split], folder / f"confusion_{split}.png")
    classifier_plots.plot_probabilities(
        part["label"].to_numpy(),
        class_probability(part, classes),
        classes,
        folder / f"probabilities_{split}.png",
    )
