"""What watches Lightning's loop: the running mean, the best weights, progress, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import Callback, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clusterscan.config.train import TrainSettings
from clusterscan.train.checkpoint import FILE, discard, write
from clusterscan.train.module import Training
from clusterscan.train.validation import score

State = dict[str, torch.Tensor]


class RunningMean(WeightAveraging):
    """Keep a running mean of the weights and batch statistics; validation uses it.

    Parameters
    ----------
    steps : int
        The mean's memory: a step's weights count 1 / steps.

    References
    ----------
    Polyak & Juditsky 1992, SIAM J. Control Optim. 30, 838.
    """

    def __init__(self, steps: int):
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / steps))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the mean where the weights will be: they are not there yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def mean(self) -> Training:
        """Return the mean's own module."""
        assert self._average_model is not None
        module = self._average_model.module
        assert isinstance(module, Training)
        return module


class BestWeights(Callback):
    """Keep the network's weights of the best epoch, and stop where none has been better for long.

    Parameters
    ----------
    settings : TrainSettings
        What is best, and how long is long.
    mean : RunningMean, optional
        Where the judged weights are, if not in the network itself.
    """

    def __init__(self, settings: TrainSettings, mean: RunningMean | None):
        self._settings = settings
        self._mean = mean
        self.score: float | None = None
        self.epoch = 0
        self.since = 0
        self.weights: State = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at an epoch."""
        assert isinstance(pl_module, Training)
        row = pl_module.history[-1]
        now = score(row, self._settings)
        self.since += 1
        if self.score is None or now > self.score:
            self.score, self.epoch, self.since = now, int(row["epoch"]), 0
            judged = pl_module if self._mean is None else self._mean.mean()
            self.weights = {k: v.clone() for k, v in judged.network.state_dict().items()}
        if self._settings.patience and self.since >= self._settings.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {key: getattr(self, key) for key in ("score", "epoch", "since", "weights")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what a checkpoint kept."""
        for key, value in state_dict.items():
            setattr(self, key, value)


class Tell(Callback):
    """Tell after each step how far the training is.

    Parameters
    ----------
    progress : callable
        Called with (steps done, text).
    steps_before, epochs_before, epochs : int
        Steps and epochs of the earlier stages, and epochs of all.
    """

    def __init__(
        self,
        progress: Callable[[int, str], None],
        steps_before: int,
        epochs_before: int,
        epochs: int,
    ):
        self._progress = progress
        self._steps_before = steps_before
        self._epochs_before = epochs_before
        self._epochs = epochs

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Tell."""
        if trainer.is_global_zero:
            epoch = self._epochs_before + trainer.current_epoch + 1
            done = self._steps_before + trainer.global_step
            self._progress(done, f"epoch {epoch} of {self._epochs}")


class Checkpoints(Callback):
    """Write a checkpoint every so many steps; it must be the last callback.

    Within an epoch that happens between two steps, at its end after validation. The end of a
    stage needs none: a training that is killed there repeats its last steps.
    """

    def __init__(self, every_steps: int):
        self._every = every_steps
        self._written = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from the checkpoint that the stage goes on from, if any."""
        self._written = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write, if it is time and the epoch goes on."""
        if batch_idx + 1 < trainer.num_training_batches:
            self._write_if_time(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write, if it is time and the stage goes on."""
        if not trainer.should_stop and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._write_if_time(trainer)

    def _write_if_time(self, trainer: pl.Trainer) -> None:
        if trainer.global_step - self._written >= self._every:
            self._written = trainer.global_step
            trainer.save_checkpoint(FILE)


class SafeTensorsIO(CheckpointIO):
    """Lets Lightning write and read its checkpoints as safetensors and JSON.

    Parameters
    ----------
    folder : Path or None
        Where the one checkpoint lies; None: nowhere.
    fingerprint : str
        Of all that determines the training.
    more : dict
        What else to keep in it.
    loaded : dict, optional
        What was read from it.
    """

    def __init__(
        self,
        folder: Path | None,
        fingerprint: str,
        more: dict[str, Any],
        loaded: dict[str, Any] | None,
    ):
        self._folder = folder
        self._fingerprint = fingerprint
        self._more = more
        self._loaded = loaded

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint into the folder, whatever path Lightning gives."""
        assert self._folder is not None
        write(self._folder, {**checkpoint, **self._more}, self._fingerprint)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return what was read."""
        assert self._loaded is not None
        return self._loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the folder's checkpoint."""
        assert self._folder is not None
        discard(self._folder)


def watchers(
    settings: TrainSettings, tell: Tell, *, checkpoints: bool
) -> tuple[list[Callback], BestWeights]:
    """Return all callbacks of a stage, in the order they need, and the one with the result."""
    mean = RunningMean(settings.average_over_steps) if settings.average_over_steps else None
    best = BestWeights(settings, mean)
    found: list[Callback] = [] if mean is None else [mean]
    found += [best, tell]
    if checkpoints and settings.checkpoint_every_steps:
        found.append(Checkpoints(settings.checkpoint_every_steps))
    return found, best
