"""What Lightning's loop does with a network in each step and at the end of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.network import Network
from clusterscan.train.batches import Batch
from clusterscan.train.losses import cross_entropy
from clusterscan.train.optimisers import make_optimiser, still
from clusterscan.train.plan import Stage, seed_torch
from clusterscan.train.schedules import rate_at
from clusterscan.train.validation import epoch_scores


@dataclass
class EpochSoFar:
    """What is counted during an epoch."""

    loss: list[torch.Tensor | float] = field(default_factory=list)
    right: list[torch.Tensor | float] = field(default_factory=list)
    rate: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        """Return plain numbers for a checkpoint."""
        return {"loss": _floats(self.loss), "right": _floats(self.right), "rate": self.rate}


class Training(pl.LightningModule):
    """One stage of a training.

    Parameters
    ----------
    network : Network
        Trained in place; parts of it may be frozen.
    stage : Stage
        Which optimiser, schedule and epochs.
    settings : TrainSettings
        The rest.
    rate : float
        Peak learning rate.
    steps_per_epoch, classes : int
        Steps of an epoch, and number of classes.
    history : sequence of dict
        Of the earlier stages.
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
        """All epochs so far, of all stages."""
        return self.earlier + self.own

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser of what learns in this stage."""
        return make_optimiser(self.network, self.stage, self.rate)

    def on_train_start(self) -> None:
        """Set modes, and agree on the rate: a range test's last bit may differ between GPUs."""
        self.rate = float(self.trainer.strategy.broadcast(self.rate))
        self.network.train()
        for norm in still(self.network):
            norm.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the step's learning rate, and the random state that dropout draws from."""
        seed_torch(self.settings.seed, *batch.place)
        step = self.current_epoch * self.steps_per_epoch + batch_idx
        self.epoch_so_far.rate = self.rate_of(step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.epoch_so_far.rate

    def rate_of(self, step: int) -> float:
        """Return the learning rate of a step of this stage."""
        return rate_at(
            self.stage.schedule,
            self.rate,
            step,
            self.steps_per_epoch,
            self.stage.epochs,
            factor=self.settings.schedule_factor,
            every_epochs=self.settings.schedule_every_epochs,
            validation_losses=[row["validation_loss"] for row in self.own],
        )

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of a step."""
        logits = self.network.of_views(batch.views, batch.present)
        loss = cross_entropy(logits, batch.label, batch.weight, self.settings.label_smoothing)
        right = (_decided(logits.detach()) == batch.label).float().mean()
        # Kept as tensors: reading a number would make a GPU wait.
        self.epoch_so_far.loss.append(loss.detach())
        self.epoch_so_far.right.append(right)
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
                f"the loss is not finite in epoch {number} (learning rate {self.rate:.1e}); give "
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
        # Decisions follow from it, and must be the same in all processes to the last bit.
        self.own.append(self.trainer.strategy.broadcast(row))
        self.epoch_so_far = EpochSoFar()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what only this module knows."""
        checkpoint["training"] = {
            "stage": self.stage.number,
            "rate": self.rate,
            "earlier": self.earlier,
            "own": self.own,
            "epoch_so_far": self.epoch_so_far.to_plain(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with what was saved."""
        state = checkpoint["training"]
        self.rate, self.earlier, self.own = state["rate"], state["earlier"], state["own"]
        self.epoch_so_far = EpochSoFar(**state["epoch_so_far"])


def _decided(logits: torch.Tensor) -> torch.Tensor:
    return (logits > 0).long() if logits.ndim == 1 else logits.argmax(dim=1)


def _floats(values: Sequence[torch.Tensor | float]) -> list[float]:
    tensors = [v for v in values if isinstance(v, torch.Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(read) if isinstance(v, torch.Tensor) else v for v in values]
