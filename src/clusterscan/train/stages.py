"""The stages of a training, one after the other, from a checkpoint if there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from clusterscan.train import checkpoint as checkpoints
from clusterscan.train.batches import TrainBatches, range_test_batches
from clusterscan.train.callbacks import Tell
from clusterscan.train.fit import Keep, fit, precision
from clusterscan.train.losses import cross_entropy
from clusterscan.train.optimisers import freeze, make_optimiser, still
from clusterscan.train.plan import Draw, Stage, seed_torch, stages
from clusterscan.train.prepare import Prepared
from clusterscan.train.range_test import RangeCurve, range_test

History = list[dict[str, float]]
Curves = list[RangeCurve | None]


def run_stages(
    prepared: Prepared,
    progress: Callable[[float, str], None],
    checkpoint: Path | None,
    fingerprint: str,
) -> tuple[History, Curves, list[float]]:
    """Train; leave the last stage's best weights in the network.

    Parameters
    ----------
    prepared : Prepared
        What to train on what.
    progress : callable
        Called with (share of all steps, text).
    checkpoint : Path or None
        Folder of checkpoints.
    fingerprint : str
        Of this training, for its checkpoints.

    Returns
    -------
    history, curves, rates : list
        All epochs; each stage's range test, None where there was none; its peak learning rate.
    """
    plan = stages(prepared.task.settings)
    steps = len(TrainBatches(prepared.crops, 0))
    epochs = sum(stage.epochs for stage in plan)
    state = None if checkpoint is None else checkpoints.read(checkpoint, fingerprint)
    first = 0 if state is None else int(state["training"]["stage"])
    curves: Curves = [] if state is None else [_curve(value) for value in state["curves"]]
    rates: list[float] = [] if state is None else state["rates"]
    history: History = [] if state is None else state["training"]["earlier"]
    for stage in plan[first:]:
        before = sum(s.epochs for s in plan[: stage.number])
        prepared.network.to(prepared.crops.device)
        freeze(prepared.network, stage.trainable)
        if len(rates) == stage.number:
            progress(before / epochs, "choosing the learning rate")
            curves.append(choose_rate(prepared, stage))
            curve = curves[-1]
            rates.append(float(stage.learning_rate) if curve is None else curve.chosen)
        tell = Tell(lambda done, text: progress(done / (steps * epochs), text),
                    steps * before, before, epochs)  # fmt: skip
        more = {"curves": [c and asdict(c) for c in curves], "rates": rates}
        keep = Keep(checkpoint, fingerprint, more, state)
        history = fit(prepared.network, prepared.crops, stage, rates[-1], tell, keep, history)
        state = None
    return history, curves, rates


def choose_rate(prepared: Prepared, stage: Stage) -> RangeCurve | None:
    """Return the range test that a stage's learning rate comes from, None if it is given."""
    if stage.learning_rate != "range_test":
        return None
    network, crops = prepared.network, prepared.crops
    settings = crops.settings
    batches = range_test_batches(crops, stage.number)
    network.train()
    for norm in still(network):
        norm.eval()
    # As in the training itself, but for 16-bit floats, which would need a loss scale.
    halves = precision(settings, crops.device) == "bf16-mixed"

    def next_loss() -> torch.Tensor:
        batch = next(batches)
        with torch.autocast(crops.device.type, torch.bfloat16, enabled=halves):
            logits = network.of_views(batch.views, batch.present)
        return cross_entropy(logits, batch.label, batch.weight, settings.label_smoothing)

    seed_torch(settings.seed, int(Draw.RANGE_TEST), stage.number)
    return range_test(
        network,
        lambda rate: make_optimiser(network, stage, rate),
        next_loss,
        settings.range_test,
    )


def _curve(value: dict | None) -> RangeCurve | None:
    return None if value is None else RangeCurve(**value)
