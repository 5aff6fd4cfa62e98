"""Train several tasks, uninterrupted and killed again and again; print what became of each.

Each training is a process of its own, forked here so that libraries are imported once, and is
ended by SIGKILL: at a random step by itself, in the middle of writing a checkpoint, or at a
random moment by this process.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.networks.card import WEIGHTS, save_model
from clusterscan.train.loop import train

spec = importlib.util.spec_from_file_location("given", Path(__file__).with_name("conftest.py"))
given = importlib.util.module_from_spec(spec)
spec.loader.exec_module(given)

torch.set_num_threads(1)
NETWORK = NetworkSettings(size_px=16, window_px=8, output_stride=4, dropout=0.3)
SHARED = {
    "batch_size": 8,
    "range_test": {"steps": 10},
    "normalisation": {"kind": "standard"},
    "device": "cpu",
    "checkpoint_every_steps": 2,
}


def plain():
    """AdamW, one cycle, dropout, a running mean; an early epoch is the best."""
    settings = TrainSettings(
        **SHARED, epochs=4, average_over_steps=3, keep_best_by="average_precision"
    )
    return given.make_examples(96), NETWORK, settings


def stages():
    """Three classes; a new head first, then the last layers, by other optimisers."""
    settings = TrainSettings(
        **SHARED,
        negatives_per_positive=None,
        class_weights="balanced",
        average_over_steps=0,
        schedule="plateau",
        schedule_every_epochs=1,
        patience=2,
        keep_best_by="accuracy",
        transfer=[
            {"trainable": "head", "epochs": 2, "optimiser": "adam"},
            {"trainable": 3, "epochs": 4, "optimiser": "sgd", "learning_rate": 0.003},
        ],
    )
    network = NETWORK.model_copy(update={"form": "whole", "classes": 3, "window_px": 16})
    return given.make_examples(96, classes=("empty", "small", "large")), network, settings


def fusion():
    """Two surveys, of which one is missing at some places and dropped at random at others."""
    examples = given.make_examples(80)
    second = given.make_view(examples.label, seed=2, name="act", scale=11.0, bands=1)
    present = np.arange(80) % 5 != 0
    second = dataclasses.replace(second, present=present)
    settings = TrainSettings(
        **SHARED,
        epochs=2,
        optimiser="nadam",
        augmentation={"rotation": "any", "flips": "horizontal", "shift_px": 2},
    )
    network = FusionSettings(branches={"unwise": NETWORK, "act": NETWORK}, hidden=8)
    return dataclasses.replace(examples, views=(*examples.views, second)), network, settings


TASKS = {"plain": plain, "stages": stages, "fusion": fusion}


def in_a_child(task, folder, *, kill_at_step=None, kill_in_checkpoint=None, kill_after_s=None):
    """Train in a process of its own; return whether it got to the end."""
    pid = os.fork()
    if pid == 0:
        try:
            _train(task, folder, kill_at_step, kill_in_checkpoint)
        finally:
            os._exit(1)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        sys.exit(f"a training of {task} failed")
    return not os.WIFSIGNALED(status)


def _train(task, folder, kill_at_step, kill_in_checkpoint):
    examples, network, settings = TASKS[task]()
    steps = 0

    def progress(done, total, text):
        nonlocal steps
        steps += text.startswith("epoch")
        if steps == kill_at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    if kill_in_checkpoint is not None:
        replace, calls = os.replace, 0

        def dying_replace(source, target):
            nonlocal calls
            calls += str(target).endswith("checkpoint.safetensors")
            if calls == kill_in_checkpoint:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = dying_replace
    result = train(examples, network, settings, progress=progress, checkpoint=folder / "checkpoint")
    save_model(folder, result.network, result.card)
    (folder / "history.json").write_text(json.dumps(result.history))
    result.predictions.to_parquet(folder / "predictions.parquet")
    (folder / "steps").write_text(str(steps))
    os._exit(0)


def digest(folder):
    names = (WEIGHTS, "model.json", "history.json", "predictions.parquet")
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


def main():
    root, seed = Path(sys.argv[1]), int(sys.argv[2])
    rng = np.random.default_rng(seed)
    for task in sys.argv[3:] or TASKS:
        started = time.monotonic()
        assert in_a_child(task, root / task / "whole")
        took = time.monotonic() - started
        expected = digest(root / task / "whole")
        steps = int((root / task / "whole" / "steps").read_text())
        folder = root / task / "killed"
        kills = [{"kill_at_step": int(n)} for n in rng.integers(1, steps // 2, size=2)]
        kills += [{"kill_in_checkpoint": 2}, {"kill_after_s": float(rng.uniform(0.3, 1)) * took}]
        killed = 0
        for kill in kills:
            if in_a_child(task, folder, **kill):
                break
            killed += 1
        done_before = (folder / "model.json").exists()
        if not done_before:
            assert in_a_child(task, folder)
        resumed = int((folder / "steps").read_text())
        print(json.dumps({
            "task": task, "kills": killed, "steps": steps, "last_steps": resumed,
            "same": digest(folder) == expected, "took_s": round(took, 2),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
