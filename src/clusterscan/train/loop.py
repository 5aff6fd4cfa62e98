"""Train one network: from examples and settings to the network, its history and its predictions.

The same examples, settings and versions give the same weights to the last bit on a CPU, whatever
the machine's number of cores, and however often the training was killed on the way.

With ``train.devices`` above 1 Lightning starts one process per device by repeating the command
line of the process that trains. So that it repeats this module alone, and not whatever called
`train`, `several_devices` hands the task to ``python -m clusterscan.train.loop FOLDER``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ClusterscanError
from clusterscan.networks.device import fixed_threads
from clusterscan.train import checkpoint as checkpoints
from clusterscan.train.batches import TrainBatches, range_test_batches
from clusterscan.train.examples import Examples
from clusterscan.train.fit import StageProgress, StageStart, fit, precision
from clusterscan.train.losses import cross_entropy
from clusterscan.train.prepare import Prepared, Task, device_of, fingerprint_of, make_task, prepare
from clusterscan.train.products import TrainResult, card_of, predict
from clusterscan.train.range_test import RangeCurve, range_test
from clusterscan.train.recipe import (
    Draw,
    Stage,
    freeze,
    frozen_norms,
    make_optimiser,
    seed_torch,
    stages,
)
from clusterscan.train.several_devices import (
    read_task,
    train_on_several,
    write_error,
    write_result,
)

Progress = Callable[[float, float, str], None]

# Shares of the progress bar that preparation and predictions take.
_PREPARATION, _PREDICTIONS = 0.05, 0.03


def train(
    examples: Examples,
    network_settings: NetworkSettings | FusionSettings,
    train_settings: TrainSettings,
    *,
    progress: Progress | None = None,
    start_from: Path | None = None,
    checkpoint: Path | None = None,
) -> TrainResult:
    """Train one network.

    Parameters
    ----------
    examples : Examples
        All splits: the network learns from 'train', 'validation' chooses the epoch, and 'test' is
        only predicted. A fusion finds its views by the names of its branches.
    network_settings : NetworkSettings or FusionSettings
        The network.
    train_settings : TrainSettings
        The recipe.
    progress : callable, optional
        Called with (done, total, text).
    start_from : Path, optional
        Folder of a trained model to start from; all its weights but the head's are copied.
    checkpoint : Path, optional
        Folder for checkpoints. A checkpoint of this very training is resumed. The caller removes
        it when the result is safe (`clusterscan.train.checkpoint.discard`).

    Raises
    ------
    ProductError
        If the examples are unsound.
    ConfigError, ModelError
        If the settings do not fit the examples, the network cannot be built, a band is constant,
        or the training diverges.
    """
    task = make_task(examples, network_settings, train_settings, start_from)
    progress = progress or (lambda done, total, text: None)
    if train_settings.devices > 1:
        return train_on_several(task, progress, checkpoint)
    return train_here(task, progress, checkpoint)


def train_here(task: Task, progress: Progress, checkpoint: Path | None) -> TrainResult:
    """Train in this process; see `train`."""
    share = 1 - _PREPARATION - _PREDICTIONS
    device = device_of(task.settings)
    # Threads come from the settings, not from the machine: sums over another number of parts round
    # differently.
    with fixed_threads(task.settings.threads), deterministic(task.settings.seed, device):
        progress(0, 1, "preparing")
        prepared = prepare(task)
        sha256 = task.examples.sha256()
        history, curves, rates = run_stages(
            prepared,
            lambda done, text: progress(_PREPARATION + share * done, 1, text),
            checkpoint,
            fingerprint_of(task, sha256, device),
        )
        progress(1 - _PREDICTIONS, 1, "predicting")
        predictions, calibration = predict(prepared.network, prepared.crops)
        card = card_of(prepared, rates, history, predictions, calibration, sha256)
    progress(1, 1, "trained")
    network = prepared.network.cpu().eval()
    return TrainResult(network, card, history, tuple(curves), predictions)


@contextmanager
def deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Make torch compute the same each time, from a seed; restore its state afterwards."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    # Forked, so that a training inside a larger program leaves that program's random state alone.
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.manual_seed(seed)
        # Some GPU kernels have no deterministic form, and torch can only warn about those.
        torch.use_deterministic_algorithms(True, warn_only=on_gpu)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark


def run_stages(
    prepared: Prepared,
    progress: Callable[[float, str], None],
    checkpoint: Path | None,
    fingerprint: str,
) -> tuple[list[dict[str, float]], list[RangeCurve | None], list[float]]:
    """Run the stages one after the other; leave the last stage's best weights in the network.

    ``progress`` is called with (share of all steps, text). ``fingerprint`` is that of this
    training, for the checkpoints in the folder ``checkpoint``.

    Returns
    -------
    history, curves, rates : list
        All epochs; each stage's range test, None where there was none; its peak learning rate.
    """
    plan = stages(prepared.task.settings)
    steps = len(TrainBatches(prepared.crops, 0))
    epochs = sum(stage.epochs for stage in plan)
    curves: list[RangeCurve | None] = []
    rates: list[float] = []
    history: list[dict[str, float]] = []
    first = 0
    # A checkpoint lies within a stage. It holds the history of the stages before it and all range
    # tests so far, its own stage's too, so a resumed stage does not choose its rate again.
    state = None if checkpoint is None else checkpoints.read(checkpoint, fingerprint)
    if state is not None:
        first = int(state["training"]["stage"])
        curves = [None if value is None else RangeCurve(**value) for value in state["curves"]]
        rates, history = state["rates"], state["training"]["earlier"]
    for stage in plan[first:]:
        before = sum(s.epochs for s in plan[: stage.number])
        prepared.network.to(prepared.crops.device)
        # Before the range test, which must move only the weights that this stage trains.
        freeze(prepared.network, stage.trainable)
        # A resumed stage has its rate already; a second range test would choose from other weights.
        if len(rates) == stage.number:
            progress(before / epochs, "choosing the learning rate")
            curve = choose_rate(prepared, stage)
            curves.append(curve)
            rates.append(float(stage.learning_rate) if curve is None else curve.chosen)
        history = fit(
            prepared.network,
            prepared.crops,
            stage,
            rates[-1],
            history,
            StageStart(
                folder=checkpoint,
                fingerprint=fingerprint,
                more={"curves": [c and asdict(c) for c in curves], "rates": rates},
                loaded=state,
            ),
            StageProgress(
                lambda done, text: progress(done / (steps * epochs), text),
                steps_before=steps * before,
                epochs_before=before,
                epochs=epochs,
            ),
        )
        state = None
    return history, curves, rates


def choose_rate(prepared: Prepared, stage: Stage) -> RangeCurve | None:
    """Run the range test that chooses a stage's learning rate; None if the settings give it."""
    if stage.learning_rate != "range_test":
        return None
    network, crops = prepared.network, prepared.crops
    settings = crops.settings
    batches = range_test_batches(crops, stage.number)
    network.train()
    for norm in frozen_norms(network):
        norm.eval()
    # The arithmetic is that of the training, except for 16-bit floats, which need a loss scale.
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


def _train_in_folder(folder: Path) -> None:
    """Train the task in a folder as one of several processes; the first one writes the result."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"

    def report(done: float, total: float, text: str) -> None:
        if first:
            print(json.dumps([done / total, text]), flush=True)

    # Every process trains and gets the same weights; files are written by the first one alone.
    task, checkpoint = read_task(folder)
    try:
        result = train_here(task, report, checkpoint)
    except ClusterscanError as error:
        if first:
            write_error(folder, error)
        raise
    if first:
        write_result(folder, result)


if __name__ == "__main__":
    _train_in_folder(Path(sys.argv[1]))
