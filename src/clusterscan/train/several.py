"""Training on several devices: a script of its own, of which Lightning starts one per device.

Lightning repeats the command line of the process that trains, once for each further device. So
that it is this module alone that is repeated, and not whatever called `train`, the task is handed
to a new process in a folder, and the result comes back in it.
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
from typing import Any

import numpy as np

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core import errors
from clusterscan.core.atomic import write_json
from clusterscan.formats.tables import read_table, write_table
from clusterscan.networks.card import load_model, save_model
from clusterscan.train.examples import Examples, View
from clusterscan.train.loop import Progress, TrainResult, train_here
from clusterscan.train.prepare import Task
from clusterscan.train.range_test import RangeCurve

_TASK, _RESULT, _FAULT = "task.json", "result.json", "fault.json"


def train_on_several(task: Task, tell: Progress, checkpoint: Path | None) -> TrainResult:
    """Train on ``settings.devices`` devices of this machine; see `clusterscan.train.loop.train`.

    Raises
    ------
    ClusterscanError
        As training raises.
    RuntimeError
        If the processes fail otherwise, with the end of what they said.
    """
    with tempfile.TemporaryDirectory(prefix="clusterscan-train-") as name:
        folder = Path(name)
        write_task(folder, task, checkpoint)
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        }
        environment["OMP_NUM_THREADS"] = str(task.settings.threads)
        with open(folder / "said", "w+", encoding="utf-8") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "clusterscan.train.several", name],
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=environment,
            )
            assert process.stdout is not None
            for line in process.stdout:
                _forward(line, tell)
            if process.wait():
                said.seek(0)
                raise_fault(folder, said.read())
        return read_result(folder)


def _forward(line: str, tell: Progress) -> None:
    try:
        done, text = json.loads(line)
    except (ValueError, TypeError):
        return  # a library's own chatter
    tell(done, 1, text)


def raise_fault(folder: Path, said: str) -> None:
    """Raise the error that ended the training, or what the processes said at last."""
    if (folder / _FAULT).is_file():
        fault = json.loads((folder / _FAULT).read_text(encoding="utf-8"))
        raise getattr(errors, fault["kind"])(fault["message"])
    raise RuntimeError(f"training on several devices failed:\n{said[-4000:]}")


def write_task(folder: Path, task: Task, checkpoint: Path | None) -> None:
    """Write a task into a folder."""
    examples = task.examples
    for name, array in _arrays(examples).items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    views = [{f.name: getattr(v, f.name) for f in fields(v)} for v in examples.views]
    write_json(
        folder / _TASK,
        {
            "fusion": isinstance(task.network, FusionSettings),
            "network": task.network.model_dump(mode="json"),
            "settings": task.settings.model_dump(mode="json"),
            "start_from": _text(task.start_from),
            "checkpoint": _text(checkpoint),
            "classes": examples.classes,
            "columns": list(examples.columns),
            "views": [
                {k: v for k, v in view.items() if not isinstance(v, np.ndarray)} for view in views
            ],
        },
    )


def _arrays(examples: Examples) -> dict[str, np.ndarray]:
    own = {f.name: getattr(examples, f.name) for f in fields(examples)}
    found = {name: value for name, value in own.items() if isinstance(value, np.ndarray)}
    for i, view in enumerate(examples.views):
        found |= {f"view{i}-images": view.images, f"view{i}-present": view.present}
    return found | {f"column{i}": v for i, v in enumerate(examples.columns.values())}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


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
        **{
            f.name: array(f.name)
            for f in fields(Examples)
            if f.name not in ("views", "classes", "columns")
        },
    )
    kind = FusionSettings if content["fusion"] else NetworkSettings
    start, checkpoint = (
        None if content[key] is None else Path(content[key]) for key in ("start_from", "checkpoint")
    )
    settings = TrainSettings(**content["settings"])
    return Task(examples, kind(**content["network"]), settings, start), checkpoint


def write_result(folder: Path, result: TrainResult) -> None:
    """Write what training left."""
    save_model(folder / "model", result.network, result.card)
    write_table(folder / "predictions.parquet", result.predictions)
    curves = [None if curve is None else asdict(curve) for curve in result.range_curves]
    write_json(folder / _RESULT, {"card": result.card, "history": result.history, "curves": curves})


def read_result(folder: Path) -> TrainResult:
    """Read what training left."""
    content = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
    return TrainResult(
        network=load_model(folder / "model")[0],
        card=content["card"],
        history=content["history"],
        range_curves=tuple(c and RangeCurve(**c) for c in content["curves"]),
        predictions=read_table(folder / "predictions.parquet"),
    )


def _main(folder: Path) -> None:
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    tell: Callable[..., Any] = _print_progress if first else lambda done, total, text: None
    task, checkpoint = read_task(folder)
    try:
        result = train_here(task, tell, checkpoint)
    except errors.ClusterscanError as error:
        if first:
            fault = {"kind": type(error).__name__, "message": str(error)}
            write_json(folder / _FAULT, fault)
        raise
    if first:
        write_result(folder, result)


def _print_progress(done: float, total: float, text: str) -> None:
    print(json.dumps([done / total, text]), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
