"""Choosing by cross-validation over cells of sky, with a rule against noise.

Cells, not objects, are left out: neighbouring objects share noise, depth and clusters. Of several
ways the simplest whose loss lies within one standard error of the best one's is taken. The
standard error is that of the *difference*, from the scatter over cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clusterscan.core import sky

Fit = Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""Rows to learn from -> what gives the probabilities of rows."""

_CERTAIN = 1e-6  # a probability of exactly 0 that comes true must not cost infinitely much


@dataclass(frozen=True)
class Trial:
    """What cross-validation says of one way.

    Attributes
    ----------
    name : str
    parameters : int
        Numbers that are fitted: the measure of simplicity.
    loss : float
        Mean log loss of objects of left-out cells.
    behind, behind_error : float
        Its loss less the best one's, and the standard error of that.
    chosen : bool
    """

    name: str
    parameters: int
    loss: float
    behind: float
    behind_error: float
    chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, floats to six digits, for JSON."""
        rounded = {k: float(f"{v:.6g}") for k, v in asdict(self).items() if type(v) is float}
        return asdict(self) | rounded


def sky_folds(
    ra_deg: np.ndarray, dec_deg: np.ndarray, *, cell_order: int, folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sky cell of each position, numbered from 0, and its fold.

    Cells are dealt out to the folds in an order drawn from the seed, so folds hold equally many.

    Returns
    -------
    cell, fold : int64 ndarray, shape (n,)
        Fewer folds where there are fewer cells.
    """
    if not len(ra_deg):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    cells, cell = np.unique(sky.owning_cell(ra_deg, dec_deg, cell_order), return_inverse=True)
    place = np.random.default_rng([seed, cell_order]).permutation(cells.size)
    return cell, place[cell] % min(folds, cells.size)


def log_loss(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return each object's log loss, shape (n,)."""
    p = np.clip(probability, _CERTAIN, 1 - _CERTAIN)
    return -np.where(label, np.log(p), np.log1p(-p))


def left_out_loss(fit: Fit, label: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return each object's log loss when its fold is left out of the fit, shape (n,)."""
    loss = np.empty(len(label))
    for number in np.unique(fold):
        out = fold == number
        predict = fit(np.flatnonzero(~out))
        loss[out] = log_loss(predict(np.flatnonzero(out)), label[out])
    return loss


def choose(
    losses: Mapping[str, np.ndarray],
    parameters: Mapping[str, int],
    cell: np.ndarray,
    *,
    errors: float = 1.0,
) -> list[Trial]:
    """Return what is known of each way, and which is chosen.

    Parameters
    ----------
    losses : mapping of name to float ndarray, shape (n,)
        `left_out_loss` of every way, on the same objects.
    parameters : mapping of name to int
        Numbers that each way fits.
    cell : int ndarray, shape (n,)
        The objects' sky cells.
    errors : float
        How many standard errors behind the best still count as equal; 0: the best is chosen.

    Returns
    -------
    list of Trial
        Best first. Of the ways within so many standard errors of the best the one with the fewest
        parameters is chosen, of several such the one with the lowest loss.

    References
    ----------
    Breiman et al. 1984, Classification and Regression Trees, ch. 3.4 (one-standard-error rule).
    """
    ranked = sorted(losses, key=lambda name: (float(losses[name].mean()), name))
    best = losses[ranked[0]]
    behind = {name: float((losses[name] - best).mean()) for name in ranked}
    error = {name: _error_of_mean(losses[name] - best, cell) for name in ranked}
    near = [name for name in ranked if behind[name] <= errors * error[name]]
    chosen = min(near, key=lambda name: (parameters[name], ranked.index(name)))
    return [
        Trial(
            name,
            parameters[name],
            float(losses[name].mean()),
            behind[name],
            error[name],
            name == chosen,
        )
        for name in ranked
    ]


def _error_of_mean(values: np.ndarray, cell: np.ndarray) -> float:
    """Return the standard error of a mean over objects whose cells are independent."""
    sums = np.bincount(cell, values - values.mean())
    count = np.count_nonzero(np.bincount(cell))
    if count < 2:
        return 0.0
    return float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(values))
