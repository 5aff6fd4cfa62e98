"""Run all trainings of one experiment, each in its own folder; finished ones are skipped."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core.atomic import write_json
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.train.examples import Examples
from clusterscan_studies.examples import fold_parts


@dataclass(frozen=True)
class Repeat:
    """One training of an experiment.

    Attributes
    ----------
    seed : int
        Seed of everything random in it.
    fold : int or None
        The fold of the sky that it is tested on, 0 ...; None for the data set's own split.
    """

    seed: int
    fold: int | None = None

    @property
    def name(self) -> str:
        """The folder's name, such as ``seed1`` or ``seed1-fold2``."""
        return f"seed{self.seed}" if self.fold is None else f"seed{self.seed}-fold{self.fold}"


def planned_repeats(seed: int, repeats: int, folds: int | None) -> list[tuple[int, int | None]]:
    """Return (seed, fold) of each training, in order.

    A further repeat only adds to the end, so that the earlier ones stay as they are.
    """
    parts: list[int | None] = [None] if folds is None else list(range(folds))
    return [(seed + number, part) for number in range(repeats) for part in parts]


def repeat_fingerprint(settings: dict[str, Any], repeat: Repeat, inputs: dict[str, Any]) -> str:
    """Return the hash of all that determines one training's result.

    Parameters
    ----------
    settings : dict
        The experiment's settings; the number of repeats does not enter the hash.
    repeat : Repeat
        The training.
    inputs : dict
        Hashes of the examples, of the test examples and of the weights that it starts from.
    """
    stage = {key: value for key, value in sorted(settings["stage"].items()) if key != "repeats"}
    return fingerprint(
        {
            "version": settings["version"],
            "stage": json.dumps(stage),  # as text: the order of classes counts
            "repeat": [repeat.seed, repeat.fold],
            "inputs": inputs,
        }
    )


def machine(device: str) -> dict[str, str]:
    """Return the processor, the accelerator if one was used, and the software versions."""
    import torch

    found = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if device.startswith("cuda") and torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    known = [name for name in names if name and name.lower() != "unknown"]
    return known[0] if known else platform.processor() or platform.machine()


log = logging.getLogger(__name__)

Progress = Callable[[float, float, str], None]
RECORD = "record.json"
MANIFEST = "experiment.json"


@dataclass(frozen=True)
class Job:
    """One experiment.

    Attributes
    ----------
    folder : Path
        Where its repeats lie.
    settings : dict
        From `StudySettings.experiment`.
    inputs : dict
        Hashes of the examples and the test examples.
    start_from : Path or None
        The folder of the experiment whose weights it starts from.
    """

    folder: Path
    settings: dict[str, Any]
    inputs: dict[str, str]
    start_from: Path | None = None

    @property
    def stage(self) -> dict[str, Any]:
        """Settings that determine the result, besides the data."""
        return self.settings["stage"]

    @property
    def repeats(self) -> list[Repeat]:
        """The trainings, in order."""
        return [Repeat(*pair) for pair in self.stage["repeats"]]

    def start_of(self, repeat: Repeat) -> Path | None:
        """Return the model folder that a repeat starts from.

        It is the one with the same repeat number and the same fold (any, if the other experiment
        has no folds). If that experiment has fewer repeats, they are used in turn.
        """
        if self.start_from is None:
            return None
        listed = json.loads((self.start_from / MANIFEST).read_text(encoding="utf-8"))["repeats"]
        same_fold = [one["name"] for one in listed if one["fold"] in (repeat.fold, None)]
        number = [one for one in self.repeats if one.fold == repeat.fold].index(repeat)
        return self.start_from / same_fold[number % len(same_fold)]

    def fingerprint(self, repeat: Repeat) -> str:
        """Return the hash of all that determines a repeat."""
        inputs = dict(self.inputs)
        start = self.start_of(repeat)
        if start is not None:
            # The weights' hash, not the other experiment's settings: a retraining that gives the
            # same bytes costs nothing here.
            inputs["start_from"] = file_sha256(start / "weights.safetensors")
        return repeat_fingerprint(self.settings, repeat, inputs)


def run_experiment(job: Job, examples: Callable[[], Examples], progress: Progress) -> None:
    """Run the trainings that are not finished, and write the experiment's manifest.

    Parameters
    ----------
    job : Job
        The experiment.
    examples : callable
        Reads the examples; called only where there is something to train.
    progress : callable
        Called with (done, total, text).
    """
    marks = {repeat: job.fingerprint(repeat) for repeat in job.repeats}
    todo = [repeat for repeat, mark in marks.items() if not is_done(job.folder / repeat.name, mark)]
    log.info("%d of %d trainings to do", len(todo), len(marks))
    if todo:
        data = examples()
        for number, repeat in enumerate(todo):
            step = _Step(progress, number, len(todo), repeat.name)
            train_repeat(job, repeat, marks[repeat], data, step)
    done = [_done(job.folder / repeat.name, repeat, mark) for repeat, mark in marks.items()]
    write_json(job.folder / MANIFEST, {"repeats": done})


def is_done(folder: Path, mark: str) -> bool:
    """Return True if a folder holds the complete training with this fingerprint."""
    try:
        # Sizes instead of hashes: they catch truncated and missing files without reading gigabytes
        # of weights at every start.
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record["fingerprint"] == mark and all(
            (folder / name).stat().st_size == size for name, size in record["sizes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def train_repeat(
    job: Job, repeat: Repeat, mark: str, examples: Examples, progress: Progress
) -> None:
    """Train once and write the model folder and its record."""
    from clusterscan.train.loop import train
    from clusterscan.train.products import write_model

    folder = job.folder / repeat.name
    # The record is removed first and written last: a training that is killed in between has none,
    # so it counts as unfinished.
    (folder / RECORD).unlink(missing_ok=True)
    checkpoint = _checkpoint(job.folder, repeat, mark)
    started = time.monotonic()
    result = train(
        parted(examples, job.stage, repeat),
        network_settings(job.stage),
        TrainSettings(**{**job.stage["train"], "seed": repeat.seed}),
        progress=progress,
        start_from=job.start_of(repeat),
        checkpoint=checkpoint,
    )
    card = write_model(folder, result)
    shutil.rmtree(checkpoint, ignore_errors=True)
    kept = ("weights.safetensors", "model.json", "predictions.parquet", "history.json")
    record = {
        "fingerprint": mark,
        "sizes": {name: (folder / name).stat().st_size for name in kept},
        "seconds": round(time.monotonic() - started, 1),
        "machine": machine(card["training"]["device"]),
    }
    write_json(folder / RECORD, record)


def parted(examples: Examples, stage: dict[str, Any], repeat: Repeat) -> Examples:
    """Assign the examples to the parts of a repeat: training, validation and test."""
    if repeat.fold is None:
        return examples
    parts = fold_parts(
        examples,
        stage["folds"]["folds"],
        repeat.fold,
        radius_arcmin=stage["folds"]["radius_arcmin"],
        order=stage["folds"]["order"],
        seed=repeat.seed,
    )
    return replace(examples, split=parts)


def network_settings(stage: dict[str, Any]) -> NetworkSettings | FusionSettings:
    """Return the network's settings from the experiment's."""
    return (
        FusionSettings(**stage["network"])
        if stage["fusion"]
        else NetworkSettings(**stage["network"])
    )


def _checkpoint(folder: Path, repeat: Repeat, mark: str) -> Path:
    """Return the folder of a training's checkpoints; remove those of other settings."""
    # The fingerprint is part of the name: a checkpoint of other settings must not be continued.
    mine = folder / ".checkpoints" / f"{repeat.name}-{mark[:16]}"
    for other in folder.glob(f".checkpoints/{repeat.name}-*"):
        if other != mine and other.name.rpartition("-")[0] == repeat.name:
            shutil.rmtree(other, ignore_errors=True)
    return mine


def _done(folder: Path, repeat: Repeat, mark: str) -> dict[str, Any]:
    return {
        "name": repeat.name,
        "seed": repeat.seed,
        "fold": repeat.fold,
        "fingerprint": mark,
        "weights": file_sha256(folder / "weights.safetensors"),
    }


class _Step:
    """Reports the progress of one training as a share of the job's progress."""

    def __init__(self, tell: Progress, number: int, total: int, name: str):
        self._tell, self._number, self._total, self._name = tell, number, total, name

    def __call__(self, done: float, total: float, text: str = "") -> None:
        share = self._number + done / max(total, 1e-9)
        self._tell(share, self._total, f"{self._name} {text}".strip())
