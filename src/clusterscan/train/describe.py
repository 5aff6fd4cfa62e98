"""What a training was made from: its fingerprint before it, its card after it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch

from clusterscan import __version__
from clusterscan.core.fingerprint import fingerprint
from clusterscan.flow.versions import STAGE_VERSIONS
from clusterscan.measure.scores import prediction_metrics
from clusterscan.networks.card import read_card
from clusterscan.train.plan import stages
from clusterscan.train.prepare import Prepared, Task
from clusterscan.train.validation import score

# How often checkpoints are written cannot change the weights.
_NO_EFFECT = {"checkpoint_every_steps"}


def fingerprint_of(task: Task, data_sha256: str, device: torch.device) -> str:
    """Return a hash of all that determines a training's weights, for its checkpoints."""
    return fingerprint(
        {
            "network": task.network.model_dump(mode="json"),
            "settings": task.settings.model_dump(mode="json", exclude=_NO_EFFECT),
            "data": data_sha256,
            "device": device.type,
            "start_from": start_weights(task),
            "versions": versions(),
            "stage": STAGE_VERSIONS["train"],
        }
    )


def start_weights(task: Task) -> str | None:
    """Return the sha256 of the weights to start from."""
    if task.start_from is None:
        return None
    return str(read_card(task.start_from)["weights"]["sha256"])


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {
        "clusterscan": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "pytorch_lightning": version("pytorch-lightning"),
        "torch": torch.__version__,
    }


def card_of(
    prepared: Prepared,
    rates: Sequence[float],
    history: Sequence[dict[str, float]],
    predictions: pd.DataFrame,
    calibration: dict[str, Any] | None,
    data_sha256: str,
) -> dict[str, Any]:
    """Return the model card, but for what `save_model` adds.

    Parameters
    ----------
    prepared : Prepared
        What was trained.
    rates : sequence of float
        Peak learning rate of each stage.
    history : sequence of dict
        All epochs.
    predictions : DataFrame
        Of validation and test examples.
    calibration : dict or None
        Fitted on the validation examples.
    data_sha256 : str
        Of the examples.
    """
    task = prepared.task
    examples, settings = task.examples, task.settings
    done = [_stage(prepared, number, rate, history) for number, rate in enumerate(rates)]
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
            "stages": done,
            "best_epoch": done[-1]["best_epoch"],
            "epochs": len(history),
            "device": prepared.crops.device.type,
            "start_from": _start(prepared),
        },
        "seed": settings.seed,
        "metrics": {split: _numbers(part, examples.classes) for split, part in
                    predictions.groupby("split", sort=True)},
        "versions": versions(),
    }  # fmt: skip


def _stage(
    prepared: Prepared, number: int, rate: float, history: Sequence[dict[str, float]]
) -> dict[str, Any]:
    settings = prepared.task.settings
    stage = stages(settings)[number]
    rows = [row for row in history if row["stage"] == number]
    best = max(rows, key=lambda row: score(row, settings))
    return {
        "trainable": stage.trainable,
        "optimiser": stage.optimiser,
        "learning_rate": rate,
        "epochs": len(rows),
        "best_epoch": int(best["epoch"]),
    }


def _start(prepared: Prepared) -> dict[str, Any] | None:
    if prepared.copied is None:
        return None
    copied = prepared.copied
    return {
        "weights_sha256": start_weights(prepared.task),
        "copied": len(copied.copied),
        "adapted": sorted(copied.adapted),
        "new": dict(sorted(copied.new.items())),
    }


def _numbers(predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, float]:
    found = prediction_metrics(predictions, classes, bootstrap=0)
    return {key: value for key, value in found.items() if isinstance(value, int | float)}
