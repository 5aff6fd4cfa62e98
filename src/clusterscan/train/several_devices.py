"""Hand a training to processes of its own, one per device, and read their result back.

The task goes to ``python -m clusterscan.train.loop FOLDER`` in a folder of plain files (arrays,
JSON, Parquet; no pickles), and the result or the error comes back in the same folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core import errors
from clusterscan.core.atomic import write_json
from clusterscan.formats.tables import read_table, write_table
from clusterscan.networks.card import load_model, save_model
from clusterscan.train.examples import ARRAYS, Examples, View
from clusterscan.train.prepare import Task
from clusterscan.train.products import TrainResult
from clusterscan.train.range_test import RangeCurve

_TASK, _RESULT, _ERROR = "task.json", "result.json", "error.json"


def train_on_several(
    task: Task, progress: Callable[[float, float, str], None], checkpoint: Path | None
) -> TrainResult:
    """Train on ``settings.devices`` devices of this machine; see `clusterscan.train.loop.train`.

    Raises
    ------
    ClusterscanError
        The error of the training.
    RuntimeError
        If the processes fail otherwise, with the end of their output.
    """
    with tempfile.TemporaryDirectory(prefix="clusterscan-train-") as name:
        folder = Path(name)
        write_task(folder, task, checkpoint)
        # Lightning must not believe that this process is already one of several.
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        }
        environment["OMP_NUM_THREADS"] = str(task.settings.threads)
        # A file rather than a pipe: nobody reads it while the training runs, and a full pipe would
        # stop it.
        with open(folder / "stderr", "w+", encoding="utf-8") as stderr:
            # One process here; Lightning in it starts the others by repeating its command line.
            process = subprocess.Popen(
                [sys.executable, "-m", "clusterscan.train.loop", name],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )
            assert process.stdout is not None
            for line in process.stdout:
                try:
                    done, text = json.loads(line)
                except (ValueError, TypeError):
                    continue  # other libraries print too
                progress(done, 1, text)
            if process.wait():
                stderr.seek(0)
                raise_error(folder, stderr.read())
        return read_result(folder)


def write_error(folder: Path, error: errors.ClusterscanError) -> None:
    """Write the error that ended a training."""
    write_json(folder / _ERROR, {"kind": type(error).__name__, "message": str(error)})


def raise_error(folder: Path, stderr: str) -> None:
    """Raise the error that ended a training, or else the end of the processes' output."""
    if (folder / _ERROR).is_file():
        error = json.loads((folder / _ERROR).read_text(encoding="utf-8"))
        raise getattr(errors, error["kind"])(error["message"])
    raise RuntimeError(f"training on several devices failed:\n{stderr[-4000:]}")


def write_task(folder: Path, task: Task, checkpoint: Path | None) -> None:
    """Write a task into a folder."""
    examples = task.examples
    arrays = {name: getattr(examples, name) for name in ARRAYS}
    for i, view in enumerate(examples.views):
        arrays |= {f"view{i}-images": view.images, f"view{i}-present": view.present}
    arrays |= {f"column{i}": values for i, values in enumerate(examples.columns.values())}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    write_json(
        folder / _TASK,
        {
            "fusion": isinstance(task.network, FusionSettings),
            "network": task.network.model_dump(mode="json"),
            "settings": task.settings.model_dump(mode="json"),
            "start_from": task.start_from and str(task.start_from.absolute()),
            "checkpoint": checkpoint and str(checkpoint.absolute()),
            "classes": examples.classes,
            "columns": list(examples.columns),
            "views": [
                {
                    f.name: getattr(view, f.name)
                    for f in fields(view)
                    if f.name not in ("images", "present")
                }
                for view in examples.views
            ],
        },
    )


def read_task(folder: Path) -> tuple[Task, Path | None]:
    """Read a task, and the folder of its checkpoints."""
    content = json.loads((folder / _TASK).read_text(encoding="utf-8"))

    def array(name: str) -> np.ndarray:
        return np.load(folder / f"{name}.npy", allow_pickle=False)

    views = tuple(
        View(**{**view, "bands": tuple(view["bands"])},
             images=array(f"view{i}-images"), present=array(f"view{i}-present"))
        for i, view in enumerate(content["views"])
    )  # fmt: skip
    examples = Examples(
        views=views,
        classes=tuple(content["classes"]),
        columns={name: array(f"column{i}") for i, name in enumerate(content["columns"])},
        **{name: array(name) for name in ARRAYS},
    )
    kind = FusionSettings if content["fusion"] else NetworkSettings
    start, checkpoint = (
        None if content[key] is None else Path(content[key]) for key in ("start_from", "checkpoint")
    )
    settings = TrainSettings(**content["settings"])
    return Task(examples, kind(**content["network"]), settings, start), checkpoint


def write_result(folder: Path, result: TrainResult) -> None:
    """Write the result of a training into a folder."""
    save_model(folder / "model", result.network, result.card)
    write_table(folder / "predictions.parquet", result.predictions)
    curves = [None if curve is None else asdict(curve) for curve in result.range_curves]
    write_json(folder / _RESULT, {"card": result.card, "history": result.history, "curves": curves})


def read_result(folder: Path) -> TrainResult:
    """Read the result of a training."""
    content = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
    return TrainResult(
        network=load_model(folder / "model")[0],
        card=content["card"],
        history=content["history"],
        range_curves=tuple(c and RangeCurve(**c) for c in content["curves"]),
        predictions=read_table(folder / "predictions.parquet"),
    )
