"""The learning rate range test, which chooses the peak learning rate of a stage.

The rate rises exponentially from batch to batch while the loss is recorded. A rule then reads a
rate from the smoothed curve, and the network gets its old weights back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from clusterscan.config.train import RangeTestSettings
from clusterscan.core.errors import ModelError

_SMOOTHING = 0.9  # of the moving average, which so remembers about ten batches
_DIVERGED = 4.0  # times the lowest loss
_SKIPPED = 5  # the losses of the first batches are too noisy to choose from


@dataclass(frozen=True)
class RangeCurve:
    """Learning rates, smoothed losses, and the rate that was chosen from them."""

    learning_rate: list[float]
    loss: list[float]
    chosen: float
    rule: str


def range_test(
    network: torch.nn.Module,
    make_optimiser: Callable[[float], torch.optim.Optimizer],
    next_loss: Callable[[], torch.Tensor],
    settings: RangeTestSettings,
) -> RangeCurve:
    """Sweep the learning rate; choose one; restore the network.

    Parameters
    ----------
    network : nn.Module
        In training mode; its weights and buffers are restored afterwards.
    make_optimiser : callable
        Makes a fresh optimiser of the network with a given learning rate.
    next_loss : callable
        Computes the network's loss on the next batch.
    settings : RangeTestSettings
        The sweep and the rule.

    Raises
    ------
    ModelError
        If the loss is not finite from the start.

    References
    ----------
    Smith 2017, WACV, 464 (arXiv:1506.01186).
    """
    # state_dict refers to the weights themselves, which the sweep is about to spoil.
    saved = copy.deepcopy(network.state_dict())
    # Evenly spaced in logarithm: good rates of different networks differ by orders of magnitude.
    rates = np.geomspace(settings.lowest, settings.highest, settings.steps)
    optimiser = make_optimiser(settings.lowest)
    losses: list[float] = []
    try:
        for rate in rates:
            for group in optimiser.param_groups:
                group["lr"] = float(rate)
            optimiser.zero_grad(set_to_none=True)
            loss = next_loss()
            losses.append(float(loss.detach()))
            # Beyond this point a loss says nothing more about lower rates.
            if not np.isfinite(losses[-1]) or _has_diverged(losses):
                break
            loss.backward()
            optimiser.step()
    finally:
        network.load_state_dict(saved)
    losses = [value for value in losses if np.isfinite(value)]
    if len(losses) < 2 * _SKIPPED:
        raise ModelError(
            f"the learning rate range test diverged after {len(losses)} batches, at a rate of "
            f"{rates[len(losses) - 1] if losses else rates[0]:.1e}; lower range_test.lowest, or "
            "look for impossible pixel values in the examples"
        )
    smooth = smoothed(np.array(losses))
    chosen = choose(rates[: len(smooth)], smooth, settings.rule)
    return RangeCurve(rates[: len(smooth)].tolist(), smooth.tolist(), chosen, settings.rule)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Compute the exponential moving average of losses, corrected for its start at 0."""
    out, mean = np.empty(len(losses)), 0.0
    for i, loss in enumerate(losses):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        out[i] = mean / (1 - _SMOOTHING ** (i + 1))
    return out


def choose(rates: np.ndarray, loss: np.ndarray, rule: str) -> float:
    """Choose a learning rate from a sweep.

    Parameters
    ----------
    rates, loss : float ndarray, shape (n,)
        Learning rates, equally spaced in logarithm, and smoothed losses.
    rule : 'valley', 'steepest' or 'tenth_of_minimum'
        The middle of the longest descent, which repeats best between seeds; the rate where the
        loss falls fastest before its minimum, averaged over a decade of the rate; or a tenth of
        the rate of the minimum.

    References
    ----------
    Smith 2017, WACV, 464 (the sweep); Howard & Gugger 2020, Information 11, 108 (the rules).
    """
    first = min(_SKIPPED, len(loss) - 2)
    lowest = first + int(np.argmin(loss[first:]))
    # A minimum at the very first judged rates means that the curve showed no descent. The result is
    # then far too low a rate: the sweep was too short for the smoothing, give it more steps.
    if rule == "tenth_of_minimum" or lowest <= first + 1:
        return float(rates[lowest]) / 10
    if rule == "valley":
        start, end = _longest_descent(loss)
        return float(rates[(start + end) // 2])
    # Over a decade of rates, because the slope between neighbouring batches is mostly noise.
    half_decade = max(1, round(0.5 / np.log10(rates[1] / rates[0])))
    middle = np.arange(first, lowest + 1)
    before = np.maximum(middle - half_decade, 0)
    after = np.minimum(middle + half_decade, len(loss) - 1)
    slope = (loss[after] - loss[before]) / np.log(rates[after] / rates[before])
    return float(rates[middle[int(np.argmin(slope))]])


def _longest_descent(loss: np.ndarray) -> tuple[int, int]:
    """Find the start and end of the longest decreasing subsequence of the losses."""
    length = np.ones(len(loss), dtype=int)
    start = np.arange(len(loss))
    for i in range(1, len(loss)):
        # Dynamic programming: the longest descent to i extends the longest one to any higher loss
        # before.
        higher = np.flatnonzero(loss[:i] > loss[i])
        if higher.size:
            previous = higher[int(np.argmax(length[higher]))]
            length[i] = length[previous] + 1
            start[i] = start[previous]
    end = int(np.argmax(length))
    return int(start[end]), end


def _has_diverged(losses: list[float]) -> bool:
    if len(losses) < 2 * _SKIPPED:
        return False
    smooth = smoothed(np.array(losses))
    return bool(smooth[-1] > _DIVERGED * smooth[_SKIPPED:].min())
