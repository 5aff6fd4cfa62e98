"""Training: from examples and settings to a network with its history and measures.

The same examples, settings and versions give the same weights to the last bit on a CPU, whatever
the machine's number of cores.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from clusterscan import __version__
from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.networks.device import channels_last, choose_device, fixed_threads
from clusterscan.networks.network import ScanNetwork
from clusterscan.networks.normalise import Normalisation, measure
from clusterscan.networks.registry import build
from clusterscan.train.batches import augment, crops_with_margin, epoch_rows
from clusterscan.train.dataset import Examples
from clusterscan.train.metrics import classification_metrics, recall_by_redshift
from clusterscan.train.range_test import RangeCurve, range_test

Progress = Callable[[float, float, str], None]

REDSHIFT_EDGES = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 3.0])
# The part of the work that the range test and the final measures are worth, for the progress.
_PREPARATION, _MEASURES = 0.05, 0.03


@dataclass(frozen=True)
class TrainResult:
    """What training leaves: a network in evaluation mode on the CPU, and all about it."""

    network: ScanNetwork
    card: dict[str, Any]
    history: list[dict[str, float]]
    range_curve: RangeCurve | None
    metrics: dict[str, Any]


def train(
    examples: Examples,
    network_settings: NetworkSettings,
    train_settings: TrainSettings,
    *,
    progress: Progress | None = None,
) -> TrainResult:
    """Train one network.

    Parameters
    ----------
    examples : Examples
        All splits; 'train' is learnt from, 'validation' chooses the epoch, 'test' is only
        measured.
    network_settings, train_settings : NetworkSettings, TrainSettings
        What to train and how.
    progress : callable, optional
        Called with (done, total, text).

    Returns
    -------
    TrainResult

    Raises
    ------
    ModelError
        If the network cannot be built, a band is constant, or the range test diverges.
    """
    tell = progress or (lambda done, total, text: None)
    with fixed_threads(train_settings.threads), _deterministic(train_settings.seed):
        trainer = _Trainer(examples, network_settings, train_settings)
        tell(0, 1, "choosing the learning rate")
        rate, curve = trainer.learning_rate()
        history = trainer.run(rate, tell)
        tell(1 - _MEASURES, 1, "measuring")
        metrics = trainer.measure()
    card = _card(examples, trainer, rate, history, metrics)
    tell(1, 1, "trained")
    return TrainResult(trainer.network.cpu().eval(), card, history, curve, metrics)


class _Trainer:
    """The state of one training run."""

    def __init__(self, examples: Examples, network: NetworkSettings, settings: TrainSettings):
        self.examples = examples
        self.settings = settings
        self.device = choose_device(settings.device)
        self.normalisation: Normalisation = measure(
            examples.images[examples.rows("train")], settings.normalisation
        )
        self.images = crops_with_margin(
            examples, self.normalisation, network, settings.augmentation
        )
        self.label = torch.from_numpy(examples.label.astype(np.float32))
        network_on_cpu = build(network, len(examples.bands), settings.seed)
        self.network = channels_last(network_on_cpu.to(self.device))

    def learning_rate(self) -> tuple[float, RangeCurve | None]:
        """Return the peak learning rate, and the range test it comes from if there was one."""
        wanted = self.settings.learning_rate
        if wanted != "range_test":
            return float(wanted), None
        rng = np.random.default_rng([self.settings.seed, 1])
        batches = self._endless(rng)
        self.network.train()
        curve = range_test(
            self.network,
            self.make_optimiser,
            lambda: next(batches),
            self.loss,
            self.settings.range_test,
        )
        return curve.chosen, curve

    def make_optimiser(self, rate: float) -> torch.optim.Optimizer:
        """Return a fresh optimiser; biases and batch norms do not decay."""
        named = [p for p in self.network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in named if p.ndim > 1]},
            {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
        ]
        decay = self.settings.weight_decay
        if self.settings.optimiser == "sgd":
            return torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True, weight_decay=decay)
        return torch.optim.AdamW(groups, rate, weight_decay=decay)

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Return the cross entropy with smoothed labels."""
        e = self.settings.label_smoothing
        return functional.binary_cross_entropy_with_logits(logits, label * (1 - 2 * e) + e)

    def run(self, rate: float, tell: Progress) -> list[dict[str, float]]:
        """Train; leave the best epoch's weights in the network; return the history."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, 2])
        optimiser = self.make_optimiser(rate)
        steps = len(list(self._epoch_batches(np.random.default_rng(0))))
        total = steps * settings.epochs
        history: list[dict[str, float]] = []
        best, best_state, since = -np.inf, None, 0
        averaged = self._averaged()
        for epoch in range(settings.epochs):
            losses = []
            for step, rows in enumerate(self._epoch_batches(rng)):
                done = epoch * steps + step
                now = scheduled(settings.schedule, rate, done / total)
                losses.append(self._step(optimiser, now, rows, rng))
                averaged.update_parameters(self.network)
                share = _PREPARATION + (1 - _PREPARATION - _MEASURES) * (done + 1) / total
                tell(share, 1, f"epoch {epoch + 1} of {settings.epochs}")
            row = {"epoch": epoch + 1, "learning_rate": now, "loss": float(np.mean(losses))}
            row |= self._validate(averaged.module)
            history.append(row)
            score = _score(row, settings.keep_best_by)
            if score > best:
                best, since = score, 0
                best_state = copy.deepcopy(averaged.module.state_dict())
            else:
                since += 1
            if settings.patience and since >= settings.patience:
                break
        if best_state is not None:
            self.network.load_state_dict(best_state)
        return history

    def _averaged(self) -> AveragedModel:
        """Return a running mean of the network's weights and batch statistics.

        References
        ----------
        Polyak & Juditsky 1992, SIAM J. Control Optim. 30, 838.
        """
        decay = 1 - 1 / max(self.settings.average_over_steps, 1)
        return AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )

    def _step(
        self,
        optimiser: torch.optim.Optimizer,
        rate: float,
        rows: np.ndarray,
        rng: np.random.Generator,
    ) -> float:
        self.network.train()
        for group in optimiser.param_groups:
            group["lr"] = rate
        images, label = self._batch(rows, rng)
        optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.network(images), label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        optimiser.step()
        return float(loss.detach())

    def _epoch_batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        rows = epoch_rows(self.examples, self.settings, rng)
        size = self.settings.batch_size
        # A last batch of a few examples has useless batch statistics, so it is left out.
        for start in range(0, len(rows), size):
            if len(rows) - start >= size // 2 or start == 0:
                yield rows[start : start + size]

    def _endless(self, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            for rows in self._epoch_batches(rng):
                yield self._batch(rows, rng)

    def _batch(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        picked = self.images[torch.from_numpy(rows)]
        crops = augment(picked, self.network.size_px, self.settings.augmentation, rng)
        return self._to_device(crops), self.label[torch.from_numpy(rows)].to(self.device)

    def _to_device(self, crops: torch.Tensor) -> torch.Tensor:
        return crops.to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def predict(self, rows: np.ndarray, network: torch.nn.Module) -> np.ndarray:
        """Return logits (n,) of examples as they are, without augmentation."""
        network.eval()
        N = self.network.size_px
        first = (self.images.shape[-1] - N) // 2
        out = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), 64):
            picked = self.images[torch.from_numpy(rows[start : start + 64])]
            crops = picked[..., first : first + N, first : first + N].float()
            out[start : start + 64] = network(self._to_device(crops)).cpu().numpy()
        return out

    def _validate(self, network: torch.nn.Module) -> dict[str, float]:
        rows = self.examples.rows("validation")
        logits = torch.from_numpy(self.predict(rows, network))
        label = self.label[torch.from_numpy(rows)]
        # Both classes weigh the same, so that the many negatives do not hide the positives.
        positive = label > 0.5
        each = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
        loss = (each[positive].mean() + each[~positive].mean()) / 2
        measured = classification_metrics(label.numpy(), torch.sigmoid(logits).numpy())
        return {
            "validation_loss": float(loss),
            "validation_accuracy": measured["accuracy"],
            "validation_roc_auc": measured["roc_auc"],
            "validation_average_precision": measured["average_precision"],
        }

    def measure(self) -> dict[str, Any]:
        """Return the measures of the validation and test examples."""
        out: dict[str, Any] = {}
        for split in ("validation", "test"):
            rows = self.examples.rows(split)
            probability = torch.sigmoid(torch.from_numpy(self.predict(rows, self.network))).numpy()
            label = self.examples.label[rows]
            out[split] = classification_metrics(label, probability)
            redshift = self.examples.redshift[rows][label == 1]
            if np.isfinite(redshift).any():
                out[split]["recall_by_redshift"] = recall_by_redshift(
                    redshift, probability[label == 1], REDSHIFT_EDGES
                )
        return out


def scheduled(schedule: str, peak: float, done: float) -> float:
    """Return the learning rate when a share ``done`` of the training is over.

    'one_cycle' rises along a cosine from peak / 25 during the first 30 % and falls to
    peak / 1e4; 'cosine' falls from the peak to 0.

    References
    ----------
    Smith & Topin 2018 (arXiv:1708.07120); Loshchilov & Hutter 2017, ICLR.
    """
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return _cosine(peak, 0.0, done)
    if done < 0.3:
        return _cosine(peak / 25, peak, done / 0.3)
    return _cosine(peak, peak / 1e4, (done - 0.3) / 0.7)


def _cosine(start: float, end: float, share: float) -> float:
    return float(end + (start - end) * (1 + np.cos(np.pi * share)) / 2)


def _score(row: dict[str, float], keep_best_by: str) -> float:
    if keep_best_by == "last":
        return row["epoch"]
    if keep_best_by == "loss":
        return -row["validation_loss"]
    return row["validation_average_precision"]


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    # Some GPU kernels have no deterministic form: there a warning is all one can have.
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)


def _card(
    examples: Examples,
    trainer: _Trainer,
    rate: float,
    history: list[dict[str, float]],
    metrics: dict[str, Any],
) -> dict[str, Any]:
    settings = trainer.settings
    best = max(history, key=lambda row: _score(row, settings.keep_best_by))
    return {
        "bands": list(examples.bands),
        "pixel_scale_arcsec": examples.pixel_scale_arcsec,
        "normalisation": trainer.normalisation.to_json(),
        "label": "probability that an object of the positive class is at the window's centre, "
        "for the class balance of the training examples",
        "training": {
            "settings": settings.model_dump(mode="json"),
            "data_sha256": examples.sha256(),
            "examples": examples.counts(),
            "learning_rate": rate,
            "best_epoch": int(best["epoch"]),
            "epochs": len(history),
            "device": trainer.device.type,
        },
        "seed": settings.seed,
        "metrics": {
            split: {k: v for k, v in values.items() if isinstance(v, int | float)}
            for split, values in metrics.items()
        },
        "versions": {
            "clusterscan": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def range_curve_json(curve: RangeCurve | None) -> dict[str, Any] | None:
    """Return a range test as plain numbers."""
    return None if curve is None else asdict(curve)
