"""Measure the cost of data pipeline and loop: training against the same steps on ready tensors.

The comparison is a bare loop over batches that lie in memory, already augmented, with the same
work in each step: forward, loss, backward, clipping, optimiser, running mean. Both take turns
within one training, a few steps at a time, so that a noisy machine slows both. Prints one JSON
object per line. Needs no arguments and about two minutes; `--full` adds heavier networks, and
`--device cuda` measures on a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from clusterscan.config.load import load_config
from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import AugmentationSettings, TrainSettings
from clusterscan.core.data_paths import PROJECT_ROOT
from clusterscan.networks.device import choose_device, fixed_threads
from clusterscan.networks.torchvision_repair import repair
from clusterscan.train.batches import Batch
from clusterscan.train.examples import Examples, View
from clusterscan.train.loop import deterministic
from clusterscan.train.losses import cross_entropy
from clusterscan.train.prepare import Prepared, make_task, prepare
from clusterscan.train.recipe import make_optimiser, stages

GOAL = 0.9
TURN = 4  # steps that either side does before it is the other's turn


@dataclass
class Case:
    """A network with the training that it is measured in."""

    name: str
    network: NetworkSettings
    settings: TrainSettings
    bands: int
    image_px: int
    turns: int


def cases(full: bool, device: str) -> list[Case]:
    """Return the cases to measure."""
    surveys = load_config([PROJECT_ROOT / "config.yaml"]).surveys
    shared = {"device": device, "learning_rate": 1e-3, "epochs": 1, "patience": 0}
    small = surveys["act"].models["baseline"]
    middle = surveys["unwise"].models["resnet18"]
    kosiba = TrainSettings(
        batch_size=8,
        augmentation=AugmentationSettings(rotation=15, flips="horizontal", shift_px=10),
        **shared,
    )
    custom = NetworkSettings(name="custom_net", size_px=128)
    found = [
        Case("baseline 32 px", small.network, small.train.model_copy(update=shared), 3, 34, 25),
        Case("resnet18 64 px", middle.network, middle.train.model_copy(update=shared), 2, 72, 10),
        Case("custom_net 128 px, any angle", custom, kosiba, 3, 128, 12),
    ]
    if full:
        big = kosiba.model_copy(update={"batch_size": 16})
        for name, size in (("custom_net", 356), ("densenet121", 128), ("vit_tiny", 224)):
            network = NetworkSettings(name=name, form="whole", size_px=size)
            found.append(Case(f"{name} {size} px, any angle", network, big, 3, size, 3))
    return found


def noise(case: Case) -> Examples:
    """Return examples of noise, enough for one epoch of all turns."""
    steps = case.turns * TURN
    train = case.settings.batch_size * steps
    pool = min(train, 256)
    count = pool + 16
    rng = np.random.default_rng(1)
    shape = (count, case.bands, case.image_px, case.image_px)
    images = rng.standard_normal(shape, dtype=np.float32).astype(np.float16)
    names = np.array([f"e{i}" for i in range(count)])
    unknown = np.full(count, np.nan)
    bands = tuple(f"b{i}" for i in range(case.bands))
    view = View("noise", images, bands, 1.0, "", np.ones(count, dtype=bool))
    return Examples(
        views=(view,),
        label=np.arange(count) % 2,
        classes=("other", "cluster"),
        split=np.where(np.arange(count) < pool, "train", "validation"),
        kind=np.full(count, "random"),
        example_id=names,
        object_id=np.full(count, ""),
        ra_deg=unknown,
        dec_deg=unknown,
        redshift=unknown,
        weight=np.ones(count, dtype=np.float32),
    )


class Memory:
    """The same step on tensors that lie in memory."""

    def __init__(self, prepared: Prepared):
        settings, crops = prepared.task.settings, prepared.crops
        rng = np.random.default_rng(2)
        rows = np.arange(settings.batch_size)
        self._settings = settings
        self._batches = [crops.on_device(crops.augmented(rows, rng)) for _ in range(4)]
        self._network = prepared.network.train()
        self._optimiser = make_optimiser(self._network, stages(settings)[0], 1e-3)
        decay = 1 - 1 / settings.average_over_steps
        self._mean = AveragedModel(
            self._network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )
        self._halves = crops.device.type == "cuda" and torch.cuda.is_bf16_supported()

    def steps(self) -> None:
        """Run one turn."""
        for number in range(TURN):
            self._step(self._batches[number % len(self._batches)])

    def _step(self, batch: Batch) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(batch.label.device.type, torch.bfloat16, enabled=self._halves):
            logits = self._network.of_views(batch.views, batch.present)
        loss = cross_entropy(logits, batch.label, batch.weight, self._settings.label_smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.clip_norm)
        self._optimiser.step()
        self._mean.update_parameters(self._network)


@dataclass
class Clock:
    """Lets the other side have its turns between training's steps, and times both."""

    memory: Memory
    device: torch.device
    ours: list[np.ndarray] = field(default_factory=list)
    other: list[np.ndarray] = field(default_factory=list)
    done: int = 0
    since: np.ndarray = field(default_factory=lambda: np.zeros(2))
    turn: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def __call__(self, steps: int, text: str) -> None:
        """Take the time after a step of training."""
        now = self._now()
        # The first step of a turn is not counted: its batch was made in the other's time.
        if self.done % (TURN + 1):
            self.turn += now - self.since
        self.done += 1
        if self.done % (TURN + 1) == 0:
            self.ours.append(self.turn)
            self.turn = np.zeros(2)
            started = self._now()
            self.memory.steps()
            self.other.append(self._now() - started)
        self.since = self._now()

    def _now(self) -> np.ndarray:
        """Return seconds of the wall's clock, and of all threads' work on the processors."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return np.array([time.perf_counter(), time.process_time()])


def measure(case: Case) -> dict:
    """Train once, with the other side's turns in between; return the line to print."""
    from clusterscan.train.fit import Keep, Tell, fit

    settings = case.settings.model_copy(
        update={
            "least_examples_per_epoch": case.settings.batch_size * case.turns * (TURN + 1),
            "checkpoint_every_steps": 0,
        }
    )
    task = make_task(noise(case), case.network, settings, None)
    device = choose_device(settings.device)
    with fixed_threads(settings.threads), deterministic(1, device):
        clock = Clock(Memory(prepare(task)), device)
        clock.memory.steps()  # what the first steps cost more is not the pipeline's fault
        ours = prepare(task)
        tell = Tell(clock, 0, 0, 1)
        fit(ours.network, ours.crops, stages(settings)[0], 1e-3, tell, Keep(None, "", {}), [])
    ours_s, other_s = np.array(clock.ours), np.array(clock.other)
    ratio, work = np.median(other_s / ours_s, axis=0)
    return {
        "measure": "training.pipeline_vs_memory",
        "case": f"{case.name}, batch {settings.batch_size}",
        "ours": round(TURN / float(np.median(ours_s[:, 0])), 3),
        "other": round(TURN / float(np.median(other_s[:, 0])), 3),
        "unit": "steps/s",
        "ratio": round(float(ratio), 3),
        "goal": GOAL,
        "conditions": {
            "threads": settings.threads,
            "device": _name(device),
            "turns": len(ours_s),
            # The same in processor seconds of all threads: what it would be on a single core.
            "ratio_of_work": round(float(work), 3),
            "torch": torch.__version__,
        },
    }


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    repair()
    for case in cases(args.full, args.device):
        print(json.dumps(measure(case)), flush=True)


if __name__ == "__main__":
    main()
