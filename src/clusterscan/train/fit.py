"""Run one stage of a training in Lightning's loop.

`fit` sets the stage up. `Training` says what happens in each step and at the end of each epoch;
the callbacks keep the running mean and the best weights, report progress and write checkpoints.
No other module of clusterscan uses Lightning.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.network import Network
from clusterscan.networks.torchvision_repair import repair
from clusterscan.train.batches import Batch, Crops, PlainBatches, TrainBatches
from clusterscan.train.checkpoint import FILE, discard, write
from clusterscan.train.losses import cross_entropy, epoch_scores, score
from clusterscan.train.recipe import Stage, frozen_norms, make_optimiser, rate_at, seed_torch

repair()  # Lightning imports torchvision, which may need a repair before its first import

import pytorch_lightning as pl  # noqa: E402
from lightning_fabric.plugins import CheckpointIO  # noqa: E402
from pytorch_lightning.callbacks import Callback, WeightAveraging  # noqa: E402
from pytorch_lightning.plugins.environments import LightningEnvironment  # noqa: E402

# Warnings about things that are done here on purpose.
_INTENDED = (
    ".*module\\(s\\) in eval mode at the start of training.*",  # frozen batch norms
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*LeafSpec.*",  # between Lightning and torch
    ".*`srun` command is available.*",  # processes are started here, not by SLURM
    ".*weights_only.*",  # checkpoints are no pickles
    ".*find_unused_parameters=True was specified.*",  # a branch may be unused in a step
)
# Services of Lightning that clusterscan provides itself or does without.
_SWITCHED_OFF: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}


@dataclass(frozen=True)
class StageStart:
    """Where a stage starts from and where its checkpoints go.

    Attributes
    ----------
    folder : Path or None
        Folder of checkpoints; None: no checkpoints.
    fingerprint : str
        Of all that determines the training.
    more : dict
        Kept in each checkpoint besides Lightning's own state.
    loaded : dict or None
        Content of the checkpoint to resume from.
    """

    folder: Path | None
    fingerprint: str
    more: dict[str, Any]
    loaded: dict[str, Any] | None = None


def fit(
    network: Network,
    crops: Crops,
    stage: Stage,
    rate: float,
    history: Sequence[dict[str, float]],
    start: StageStart,
    progress: StageProgress,
) -> list[dict[str, float]]:
    """Run one stage, leave the best epoch's weights in the network, and return the history.

    Parameters
    ----------
    network : Network
        On the crops' device, with the stage's frozen parts.
    crops : Crops
        The examples.
    stage : Stage
        Its epochs, optimiser and schedule.
    rate : float
        Peak learning rate.
    history : sequence of dict
        Epochs of the earlier stages.
    start : StageStart
        The checkpoint to resume from, and where to write more.
    progress : StageProgress
        Callback that reports progress.

    Raises
    ------
    ModelError
        If the loss becomes infinite.
    """
    settings, device = crops.settings, crops.device
    several_views = len(crops.examples.views) > 1
    batches = TrainBatches(crops, stage.number)
    module = Training(
        network,
        stage,
        settings,
        rate,
        steps_per_epoch=len(batches),
        classes=len(crops.examples.classes),
        history=history,
    )
    mean = RunningMean(settings.average_over_steps) if settings.average_over_steps else None
    best = BestWeights(settings, mean)
    # The order matters: the mean is up to date before it is judged, and checkpoints come last,
    # so that they hold what the other callbacks did in the same step.
    callbacks: list[Callback] = [] if mean is None else [mean]
    callbacks += [best, progress]
    if start.folder is not None and settings.checkpoint_every_steps:
        callbacks.append(Checkpoints(settings.checkpoint_every_steps))
    with quiet():
        trainer = pl.Trainer(
            **hardware(settings, device, unused_branches=several_views),
            max_epochs=stage.epochs,
            gradient_clip_val=settings.clip_norm or None,
            # Some GPU kernels have no deterministic form, and torch can only warn about those.
            deterministic="warn" if device.type == "cuda" else True,
            callbacks=callbacks,
            plugins=[SafeTensorsIO(start), LightningEnvironment()],
            **_SWITCHED_OFF,
        )
        trainer.fit(
            module,
            batches,
            PlainBatches(crops, crops.examples.rows("validation")),
            ckpt_path=None if start.loaded is None else FILE,
        )
    # The last epoch is seldom the best one, and the next stage starts from these weights.
    network.load_state_dict(best.weights)
    return module.history


def hardware(
    settings: TrainSettings, device: torch.device, *, unused_branches: bool
) -> dict[str, Any]:
    """Return the Trainer's arguments for the device, the number of devices and the precision."""
    on_gpu = device.type == "cuda"
    one: Any = [device.index or 0] if on_gpu else 1
    several = settings.devices > 1
    # A step may lack all images of a survey. Its branch then gets no gradient, which plain ddp does
    # not allow.
    shared = "ddp_find_unused_parameters_true" if unused_branches else "ddp"
    return {
        "accelerator": "gpu" if on_gpu else "cpu",
        "devices": settings.devices if several else one,
        "strategy": shared if several else "auto",
        # Torch's shared batch norms would drop the activation inside timm's batch norms.
        "sync_batchnorm": False,
        "precision": precision(settings, device),
    }


def precision(settings: TrainSettings, device: torch.device) -> Any:
    """Return Lightning's name of the precision.

    Raises
    ------
    ModelError
        If 16-mixed is set for a CPU, which cannot train so.
    """
    on_gpu = device.type == "cuda"
    wanted = settings.precision
    if wanted == "16-mixed" and not on_gpu:
        raise ModelError(
            "train.precision = '16-mixed' needs a GPU, but training is on the CPU; set it to "
            "'auto' or '32'"
        )
    if wanted == "auto":
        wanted = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32"
    return f"{wanted}-true" if wanted == "32" else wanted


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning except for errors and unexpected warnings."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in _INTENDED:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@dataclass
class EpochSoFar:
    """Losses, accuracies and the last learning rate of the epoch that is under way."""

    loss: list[torch.Tensor | float] = field(default_factory=list)
    right: list[torch.Tensor | float] = field(default_factory=list)
    rate: float = 0.0


class Training(pl.LightningModule):
    """One stage of a training, as Lightning runs it.

    Parameters
    ----------
    network : Network
        Trained in place; parts of it may be frozen.
    stage : Stage
        Its optimiser, schedule and epochs.
    settings : TrainSettings
        All other settings.
    rate : float
        Peak learning rate.
    steps_per_epoch, classes : int
        Steps of an epoch, and number of classes.
    history : sequence of dict
        Epochs of the earlier stages.
    """

    def __init__(
        self,
        network: Network,
        stage: Stage,
        settings: TrainSettings,
        rate: float,
        *,
        steps_per_epoch: int,
        classes: int,
        history: Sequence[dict[str, float]] = (),
    ):
        super().__init__()
        self.network = network
        self.stage = stage
        self.settings = settings
        self.rate = rate
        self.steps_per_epoch = steps_per_epoch
        self.classes = classes
        self.earlier = list(history)
        self.own: list[dict[str, float]] = []
        self.epoch_so_far = EpochSoFar()
        self._validated: list[tuple[torch.Tensor, ...]] = []

    @property
    def history(self) -> list[dict[str, float]]:
        """Return all epochs so far, of all stages."""
        return self.earlier + self.own

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimiser of the weights that learn in this stage."""
        return make_optimiser(self.network, self.stage, self.rate)

    def on_train_start(self) -> None:
        """Set modes, and agree on the rate: a range test's last bit may differ between GPUs."""
        self.rate = float(self.trainer.strategy.broadcast(self.rate))
        self.network.train()
        for norm in frozen_norms(self.network):
            norm.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the step's learning rate, and the random state that dropout draws from.

        Both depend on the step alone, so a resumed training repeats them exactly.
        """
        seed_torch(self.settings.seed, *batch.place)
        rate = rate_at(
            self.stage.schedule,
            self.rate,
            self.current_epoch * self.steps_per_epoch + batch_idx,
            self.steps_per_epoch,
            self.stage.epochs,
            factor=self.settings.schedule_factor,
            every_epochs=self.settings.schedule_every_epochs,
            validation_losses=[row["validation_loss"] for row in self.own],
        )
        self.epoch_so_far.rate = rate
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Compute the loss of a step."""
        logits = self.network.of_views(batch.views, batch.present)
        loss = cross_entropy(logits, batch.label, batch.weight, self.settings.label_smoothing)
        found = logits.detach()
        # A single logit above 0 is a probability above 0.5.
        decided = (found > 0).long() if found.ndim == 1 else found.argmax(dim=1)
        # Kept as tensors: reading a number would make a GPU wait.
        self.epoch_so_far.loss.append(loss.detach())
        self.epoch_so_far.right.append((decided == batch.label).float().mean())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the logits of validation examples."""
        logits = self.network.of_views(batch.views, batch.present)
        self._validated.append((logits.float(), batch.label, batch.weight))

    def on_validation_epoch_end(self) -> None:
        """Add the epoch to the history."""
        logits, label, weight = (
            torch.cat(part).cpu() for part in zip(*self._validated, strict=True)
        )
        self._validated = []
        number = len(self.history) + 1
        so_far = self.epoch_so_far
        loss = float(np.mean(_floats(so_far.loss)))
        if not (np.isfinite(loss) and torch.isfinite(logits).all()):
            raise ModelError(
                f"the loss is not finite in epoch {number} (learning rate {self.rate:.1e}); set "
                "a lower train.learning_rate or range_test.highest, a smaller clip_norm, or look "
                "for impossible pixel values in the examples"
            )
        row: dict[str, float] = {
            "epoch": number,
            "stage": self.stage.number,
            "learning_rate": so_far.rate,
            "loss": loss,
            "accuracy": float(np.mean(_floats(so_far.right))),
        }
        row |= epoch_scores(logits, label.numpy(), weight.numpy(), self.classes, self.settings)
        # Decisions follow from the row, so it must be the same in all processes to the last bit.
        self.own.append(self.trainer.strategy.broadcast(row))
        self.epoch_so_far = EpochSoFar()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add this module's own state, in plain numbers."""
        so_far = self.epoch_so_far
        # Lightning saves weights, optimiser and counters. To go on with the same bytes a resumed
        # training also needs the chosen rate, the losses of finished epochs (schedules and the best
        # epoch follow from them) and those of the epoch under way, which enter its mean.
        checkpoint["training"] = {
            "stage": self.stage.number,
            "rate": self.rate,
            "earlier": self.earlier,
            "own": self.own,
            "epoch_so_far": {
                "loss": _floats(so_far.loss),
                "right": _floats(so_far.right),
                "rate": so_far.rate,
            },
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore this module's own state."""
        state = checkpoint["training"]
        self.rate, self.earlier, self.own = state["rate"], state["earlier"], state["own"]
        self.epoch_so_far = EpochSoFar(**state["epoch_so_far"])


def _floats(values: Sequence[torch.Tensor | float]) -> list[float]:
    """Read all tensors at once, so that a GPU waits only once."""
    tensors = [v for v in values if isinstance(v, torch.Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(read) if isinstance(v, torch.Tensor) else v for v in values]


class RunningMean(WeightAveraging):
    """Keep a running mean of the weights and batch statistics, which validation then uses.

    Parameters
    ----------
    steps : int
        Memory of the mean: the weights of one step count 1 / steps.

    References
    ----------
    Polyak & Juditsky 1992, SIAM J. Control Optim. 30, 838.
    """

    def __init__(self, steps: int):
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / steps))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the mean on the device where the weights will be: they are not there yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def mean(self) -> Training:
        """Return the module that holds the mean."""
        assert self._average_model is not None
        module = self._average_model.module
        assert isinstance(module, Training)
        return module


class BestWeights(Callback):
    """Keep the weights of the best epoch, and stop after ``patience`` epochs without a better one.

    Parameters
    ----------
    settings : TrainSettings
        ``keep_best_by`` and ``patience``.
    mean : RunningMean, optional
        Holds the weights to judge, if they are not those of the network itself.
    """

    def __init__(self, settings: TrainSettings, mean: RunningMean | None):
        self._settings = settings
        self._mean = mean
        self.score: float | None = None
        self.epoch = 0
        self.since = 0
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge an epoch."""
        assert isinstance(pl_module, Training)
        row = pl_module.history[-1]
        now = score(row, self._settings)
        self.since += 1
        # Of equal epochs the first one stays, so the choice does not depend on where training
        # stops.
        if self.score is None or now > self.score:
            self.score, self.epoch, self.since = now, int(row["epoch"]), 0
            judged = pl_module if self._mean is None else self._mean.mean()
            # Cloned, because state_dict refers to the weights that the next step changes.
            self.weights = {k: v.clone() for k, v in judged.network.state_dict().items()}
        if self._settings.patience and self.since >= self._settings.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint keeps."""
        return {key: getattr(self, key) for key in ("score", "epoch", "since", "weights")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        for key, value in state_dict.items():
            setattr(self, key, value)


class StageProgress(Callback):
    """Report progress after each step.

    Parameters
    ----------
    report : callable
        Called with (steps done, text).
    steps_before, epochs_before, epochs : int
        Steps and epochs of the earlier stages, and epochs of all stages.
    """

    def __init__(
        self,
        report: Callable[[int, str], None],
        *,
        steps_before: int,
        epochs_before: int,
        epochs: int,
    ):
        self._report = report
        self._steps_before = steps_before
        self._epochs_before = epochs_before
        self._epochs = epochs

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Report the step."""
        if trainer.is_global_zero:
            epoch = self._epochs_before + trainer.current_epoch + 1
            done = self._steps_before + trainer.global_step
            self._report(done, f"epoch {epoch} of {self._epochs}")


class Checkpoints(Callback):
    """Write a checkpoint every ``every_steps`` steps.

    It writes between two steps of an epoch, or after the validation at the end of an epoch, where
    the state is whole. The end of a stage needs none: a training that is killed there repeats its
    last steps.
    """

    def __init__(self, every_steps: int):
        self._every = every_steps
        self._written = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from the checkpoint that the stage resumes from, if any."""
        self._written = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write if it is time and the epoch goes on."""
        # The last step is left to `on_train_epoch_end`: a checkpoint between it and the validation
        # would resume without the epoch's row of history.
        if batch_idx + 1 < trainer.num_training_batches:
            self._write_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write if it is time and the stage goes on."""
        if not trainer.should_stop and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._write_if_due(trainer)

    def _write_if_due(self, trainer: pl.Trainer) -> None:
        if trainer.global_step - self._written >= self._every:
            self._written = trainer.global_step
            trainer.save_checkpoint(FILE)


class SafeTensorsIO(CheckpointIO):
    """Write and read Lightning's checkpoints as safetensors and JSON, in the stage's folder."""

    def __init__(self, start: StageStart):
        self._start = start

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint into the folder, whatever path Lightning gives."""
        assert self._start.folder is not None
        write(self._start.folder, {**checkpoint, **self._start.more}, self._start.fingerprint)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return the checkpoint that was read before the stage."""
        # Read before the stage, because its fingerprint decides whether to resume at all.
        assert self._start.loaded is not None
        return self._start.loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the folder's checkpoint."""
        assert self._start.folder is not None
        discard(self._start.folder)
