"""Training: from examples and settings to a network with its history and predictions.

The same examples, settings and versions give the same weights to the last bit on a CPU, whatever
the machine's number of cores, and however often the training was killed on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.networks.device import fixed_threads
from clusterscan.networks.network import Network
from clusterscan.networks.torchvision_repair import repair
from clusterscan.train.examples import Examples
from clusterscan.train.prepare import Task, device_of, make_task, prepare
from clusterscan.train.range_test import RangeCurve

Progress = Callable[[float, float, str], None]

# The parts of the work that preparation and predictions are worth, for the progress.
_PREPARATION, _PREDICTIONS = 0.05, 0.03


@dataclass(frozen=True)
class TrainResult:
    """What training leaves.

    Attributes
    ----------
    network : Network
        In evaluation mode, on the CPU.
    card : dict
        All about it, for `clusterscan.networks.card.save_model`.
    history : list of dict
        One row an epoch.
    range_curves : tuple of RangeCurve or None
        One a stage, None where its learning rate was given.
    predictions : DataFrame
        Validation and test examples with their probabilities, uncalibrated.
    """

    network: Network
    card: dict[str, Any]
    history: list[dict[str, float]]
    range_curves: tuple[RangeCurve | None, ...]
    predictions: pd.DataFrame


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
        All splits; 'train' is learnt from, 'validation' chooses the epoch, 'test' is only
        predicted. A fusion's views are found by the names of its branches.
    network_settings : NetworkSettings or FusionSettings
        What to train.
    train_settings : TrainSettings
        How.
    progress : callable, optional
        Called with (done, total, text).
    start_from : Path, optional
        Folder of a trained model whose weights, but for the head, to start from.
    checkpoint : Path, optional
        Folder for checkpoints. If it holds one of this very training, that is gone on from; the
        caller removes it when the result is safe (`clusterscan.train.checkpoint.discard`).

    Returns
    -------
    TrainResult

    Raises
    ------
    ProductError
        If the examples are unsound.
    ConfigError, ModelError
        If the settings do not fit the examples, the network cannot be built, a band is constant,
        or the training diverges.
    """
    task = make_task(examples, network_settings, train_settings, start_from)
    tell = progress or (lambda done, total, text: None)
    if train_settings.devices > 1:
        from clusterscan.train.several import train_on_several

        return train_on_several(task, tell, checkpoint)
    return train_here(task, tell, checkpoint)


def train_here(task: Task, tell: Progress, checkpoint: Path | None) -> TrainResult:
    """Train in this process; see `train`."""
    repair()  # Lightning, which these imports bring, needs torchvision to be importable
    from clusterscan.train.describe import card_of, fingerprint_of
    from clusterscan.train.predictions import predict
    from clusterscan.train.stages import run_stages

    share = 1 - _PREPARATION - _PREDICTIONS
    device = device_of(task.settings)
    with fixed_threads(task.settings.threads), deterministic(task.settings.seed, device):
        tell(0, 1, "preparing")
        prepared = prepare(task)
        sha256 = task.examples.sha256()
        history, curves, rates = run_stages(
            prepared,
            lambda done, text: tell(_PREPARATION + share * done, 1, text),
            checkpoint,
            fingerprint_of(task, sha256, device),
        )
        tell(1 - _PREDICTIONS, 1, "predicting")
        predictions, calibration = predict(prepared.network, prepared.crops)
        card = card_of(prepared, rates, history, predictions, calibration, sha256)
    tell(1, 1, "trained")
    network = prepared.network.cpu().eval()
    return TrainResult(network, card, history, tuple(curves), predictions)


@contextmanager
def deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch compute the same each time, from a seed; afterwards it is as it was before."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.manual_seed(seed)
        # Some GPU kernels have no deterministic form: there a warning is all one can have.
        torch.use_deterministic_algorithms(True, warn_only=on_gpu)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark
