"""One stage of a training in Lightning's loop, without the litter that it leaves by default."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment

from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.network import Network
from clusterscan.train.batches import Crops, PlainBatches, TrainBatches
from clusterscan.train.callbacks import SafeTensorsIO, Tell, watchers
from clusterscan.train.checkpoint import FILE
from clusterscan.train.module import Training
from clusterscan.train.plan import Stage

_LOGGERS = ("pytorch_lightning", "lightning_fabric")
# Each of these is about how Lightning is used here, and meant so.
_MEANT = (
    ".*module\\(s\\) in eval mode at the start of training.*",  # frozen batch norms
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*LeafSpec.*",  # between Lightning and torch
    ".*`srun` command is available.*",  # processes are started here, not by SLURM
    ".*weights_only.*",  # checkpoints are no pickles
    ".*find_unused_parameters=True was specified.*",  # a branch may be unused in a step
)
# What Lightning does of itself, and here is done elsewhere or not at all.
_SWITCHED_OFF: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}


@dataclass(frozen=True)
class Keep:
    """Where checkpoints go and what they hold besides the stage; None: nowhere."""

    folder: Path | None
    fingerprint: str
    more: dict[str, Any]
    loaded: dict[str, Any] | None = None


def fit(
    network: Network,
    crops: Crops,
    stage: Stage,
    rate: float,
    tell: Tell,
    keep: Keep,
    history: Sequence[dict[str, float]],
) -> list[dict[str, float]]:
    """Run one stage, leave the best epoch's weights in the network, and return the history.

    Parameters
    ----------
    network : Network
        On the crops' device, with the stage's frozen parts.
    crops : Crops
        The examples.
    stage : Stage
        What to do.
    rate : float
        Peak learning rate.
    tell : Tell
        Progress.
    keep : Keep
        Checkpoints, and the one to go on from.
    history : sequence of dict
        Of the earlier stages.

    Raises
    ------
    ModelError
        If the loss becomes infinite.
    """
    settings, examples = crops.settings, crops.examples
    batches = TrainBatches(crops, stage.number)
    module = Training(
        network,
        stage,
        settings,
        rate,
        steps_per_epoch=len(batches),
        classes=len(examples.classes),
        history=history,
    )
    callbacks, best = watchers(settings, tell, checkpoints=keep.folder is not None)
    checkpoint_io = SafeTensorsIO(keep.folder, keep.fingerprint, keep.more, keep.loaded)
    with quiet():
        trainer = Trainer(
            **hardware(settings, crops.device, unused=len(examples.views) > 1),
            max_epochs=stage.epochs,
            gradient_clip_val=settings.clip_norm or None,
            # Some GPU kernels have no deterministic form: there a warning is all one can have.
            deterministic="warn" if crops.device.type == "cuda" else True,
            callbacks=callbacks,
            plugins=[checkpoint_io, LightningEnvironment()],
            **_SWITCHED_OFF,
        )
        trainer.fit(
            module,
            batches,
            PlainBatches(crops, examples.rows("validation")),
            ckpt_path=None if keep.loaded is None else FILE,
        )
    network.load_state_dict(best.weights)
    return module.history


def hardware(settings: TrainSettings, device: torch.device, *, unused: bool) -> dict[str, Any]:
    """Return the Trainer's arguments for the device, the number of them, and the arithmetic."""
    on_gpu = device.type == "cuda"
    one: Any = [device.index or 0] if on_gpu else 1
    several = settings.devices > 1
    shared = "ddp_find_unused_parameters_true" if unused else "ddp"
    return {
        "accelerator": "gpu" if on_gpu else "cpu",
        "devices": settings.devices if several else one,
        "strategy": shared if several else "auto",
        # Torch's shared batch norms would drop the activation that timm's carry along.
        "sync_batchnorm": False,
        "precision": precision(settings, device),
    }


def precision(settings: TrainSettings, device: torch.device) -> Any:
    """Return Lightning's name of the arithmetic.

    Raises
    ------
    ModelError
        If 16-mixed is asked for on a CPU, which has no such training.
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
    """Let Lightning say nothing but what is wrong."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in _MEANT:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
