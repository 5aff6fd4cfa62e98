"""How the learning rate runs over a stage: functions of the step and of the losses so far.

They keep no state of their own, so a training goes on from a checkpoint as if never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clusterscan.config.train import Schedule


def rate_at(
    schedule: Schedule,
    peak: float,
    step: int,
    steps_per_epoch: int,
    epochs: int,
    *,
    factor: float,
    every_epochs: int,
    validation_losses: Sequence[float] = (),
) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    schedule : str
        'constant'; 'one_cycle' rises along a cosine from peak / 25 during the first 30 % and
        falls to peak / 1e4; 'cosine' falls from the peak to 0; 'step' and 'exponential' fall by
        ``factor`` every ``every_epochs`` epochs, at once or a little after each epoch; 'plateau'
        falls when the validation loss has not done so for ``every_epochs`` epochs.
    peak : float
        Highest rate.
    step, steps_per_epoch, epochs : int
        Steps done in this stage, and how many there will be.
    factor, every_epochs : float, int
        Of the last three.
    validation_losses : sequence of float
        One for each finished epoch of the stage.

    References
    ----------
    Smith & Topin 2018 (arXiv:1708.07120); Loshchilov & Hutter 2017, ICLR.
    """
    done, epoch = step / (steps_per_epoch * epochs), step // steps_per_epoch
    if schedule == "one_cycle":
        if done < 0.3:
            return _cosine(peak / 25, peak, done / 0.3)
        return _cosine(peak, peak / 1e4, (done - 0.3) / 0.7)
    if schedule == "cosine":
        return _cosine(peak, 0.0, done)
    if schedule == "step":
        return float(peak * factor ** (epoch // every_epochs))
    if schedule == "exponential":
        return float(peak * factor ** (epoch / every_epochs))
    if schedule == "plateau":
        return float(peak * factor ** plateaus(validation_losses, every_epochs))
    return peak


def plateaus(losses: Sequence[float], patience: int) -> int:
    """Return how often the losses did not fall below their lowest for ``patience`` epochs."""
    count, lowest, since = 0, np.inf, 0
    for loss in losses:
        if loss < lowest:
            lowest, since = loss, 0
        else:
            since += 1
        if since >= patience:
            count, since = count + 1, 0
    return count


def _cosine(start: float, end: float, share: float) -> float:
    return float(end + (start - end) * (1 + np.cos(np.pi * share)) / 2)
