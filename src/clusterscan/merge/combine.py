"""Combine several models into one score, and choose between ways by cross-validation.

A score is a logit (of a probability at some base rate) or a signal-to-noise ratio; values may be
missing. `clusterscan.merge.calibrate` turns scores into probabilities.

Cross-validation leaves out cells of sky, not objects: neighbouring objects share noise, depth and
clusters. Of several ways the simplest one wins whose loss lies within one standard error of the
best loss. The standard error is that of the *difference*, from its scatter over cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError

MIN_EXAMPLES = 8  # of real and of other objects; with fewer, the mean of the logits replaces a fit
PENALTY = 1.0  # L2 penalty on the weights of the models


@dataclass(frozen=True)
class Combiner:
    """A rule that combines the values of several models into one score.

    Attributes
    ----------
    names : tuple of str
        The models.
    kind : {"single", "mean", "logit_mean", "logistic"}
        "single": the value of the model whose weight is 1; where it is missing, the mean of the
        others. "mean": the logit of the mean probability. "logit_mean": the mean
        value. "logistic": ``intercept + sum_m weight_m (x_m - centre_m) / width_m``, a missing
        x_m adding ``missing_m`` instead.
    centre, width, weight, missing : tuple of float
        One number per model.
    intercept : float
    n_known, n_other : int
        Numbers of real and of other objects in the fit; 0 without a fit.
    """

    names: tuple[str, ...]
    kind: str
    centre: tuple[float, ...]
    width: tuple[float, ...]
    weight: tuple[float, ...]
    missing: tuple[float, ...]
    intercept: float
    n_known: int
    n_other: int

    def to_dict(self) -> dict[str, object]:
        """Return the fitted numbers as a dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> Combiner:
        """Rebuild a combiner from `to_dict`."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list | tuple) else v for k, v in numbers.items()
        }
        return cls(**values)


def plain_combiner(names: Sequence[str], kind: str, single: str = "") -> Combiner:
    """Make a combination that needs no fit: a mean, or the one model named ``single``."""
    if kind == "single" and single not in names:
        raise CatalogueError(f"there is no model {single!r} to stand alone; there are {names}")
    zero, one = (0.0,) * len(names), (1.0,) * len(names)
    weight = tuple(float(n == single) for n in names) if kind == "single" else one
    return Combiner(tuple(names), kind, zero, one, weight, zero, 0.0, 0, 0)


def fit_combiner(
    features: np.ndarray,
    is_known: np.ndarray,
    names: Sequence[str],
) -> Combiner:
    """Fit the weights of stacking on objects of the validation region.

    Weights are kept from turning negative. Networks agree so closely that a free fit may set one
    against another; then a higher probability would lower the result (Breiman 1996).

    Parameters
    ----------
    features : float ndarray, shape (n, n_models)
        Logits (or S/N), NaN where missing.
    is_known : bool ndarray, shape (n,)
        True for objects that are real according to the reference.
    names : sequence of str
        Of the models.

    Returns
    -------
    Combiner
        "logistic", or "logit_mean" if there are too few objects to fit.

    Raises
    ------
    CatalogueError
        If shapes do not fit.

    References
    ----------
    Breiman 1996, Machine Learning 24, 49 (stacked regressions).
    """
    x = np.asarray(features, dtype=np.float64).reshape(-1, len(names))
    y = np.asarray(is_known, dtype=bool)
    if len(x) != len(y):
        raise CatalogueError(f"{len(x)} rows of features for {len(y)} labels; they must agree")
    there = np.isfinite(x)
    usable = there.any(axis=1)
    x, y, there = x[usable], y[usable], there[usable]
    known, other = int(y.sum()), int((~y).sum())
    if min(known, other) < MIN_EXAMPLES:
        return plain_combiner(names, "logit_mean")
    # A missing value is 0 after standardising, that is the mean, and its own term `missing`
    # carries the information that it is missing.
    centre, width = _standard(x, there)
    z = np.where(there, (x - centre) / width, 0.0)
    theta = _fit(z, (~there).astype(float), y, PENALTY)
    count = len(names)
    # Model columns come first, then the terms for missing values, then the intercept, in the order
    # in which `_fit` stacks its design matrix.
    weight, missing = theta[:count], theta[count : 2 * count]
    return Combiner(
        tuple(names), "logistic", _floats(centre), _floats(width), _floats(weight),
        _floats(missing), _floats(theta[-1:])[0], known, other,
    )  # fmt: skip


def scores(combiner: Combiner, features: np.ndarray) -> np.ndarray:
    """Return the combined score of each object, -inf where every model is missing.

    Parameters
    ----------
    combiner : Combiner
    features : float ndarray, shape (n, n_models)
        In the order of ``combiner.names``, NaN where missing.

    Returns
    -------
    score : float64 ndarray, shape (n,)
    """
    x = np.asarray(features, dtype=np.float64).reshape(-1, len(combiner.names))
    there = np.isfinite(x)
    if combiner.kind == "logistic":
        z = np.where(there, (x - np.array(combiner.centre)) / np.array(combiner.width), 0.0)
        # Column by column: a matrix product's last bit depends on how many rows there are.
        total = np.full(len(x), combiner.intercept)
        for m in range(x.shape[1]):
            total += combiner.weight[m] * z[:, m] + combiner.missing[m] * ~there[:, m]
    elif combiner.kind == "mean":
        total = logit(np.clip(_mean(expit(x), there), 1e-12, 1 - 1e-12))
    else:
        total = _mean(x, there)
    if combiner.kind == "single":
        # A model can be masked where others are not. The mean of the others is a poor substitute,
        # but an object without a score would be dropped from the comparison.
        own = x[:, combiner.weight.index(1.0)]
        total = np.where(np.isfinite(own), own, total)
    return np.where(there.any(axis=1), total, -np.inf)


def combine(combiner: Combiner, features: np.ndarray) -> np.ndarray:
    """Return the uncalibrated probability, expit of `scores`; 0 where every model is missing."""
    return expit(scores(combiner, features))


def _mean(x: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.where(there, x, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)


def _standard(x: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = np.maximum(there.sum(axis=0), 1)
    centre = np.where(there, x, 0).sum(axis=0) / count
    width = np.sqrt((np.where(there, x - centre, 0) ** 2).sum(axis=0) / count)
    return centre, np.where(width > 0, width, 1.0)


def _fit(z: np.ndarray, absent: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Fit weights, missing terms and intercept by penalised maximum likelihood."""
    design = np.hstack([z, absent, np.ones((len(z), 1))])
    shrink = np.full(design.shape[1], penalty)
    shrink[-1] = 0.0  # the intercept is free
    sign = np.where(y, 1.0, -1.0)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ theta)
        value = np.logaddexp(0, -margin).sum() + 0.5 * (shrink * theta**2).sum()
        return value, -design.T @ (sign * expit(-margin)) + shrink * theta

    free: tuple[float | None, float | None] = (None, None)
    # Only the models' weights are bounded below by 0. A missing value may count for or against an
    # object, so its term is free, and so is the intercept.
    bounds = [(0.0, None)] * z.shape[1] + [free] * (absent.shape[1] + 1)
    start = np.zeros(design.shape[1])
    options = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x


def _floats(values: np.ndarray) -> tuple[float, ...]:
    # Ten digits: the last ones depend on the machine's linear algebra.
    return tuple(float(f"{v:.10g}") for v in values)


Fit = Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""Fits on some rows; returns a function that gives the probabilities of other rows."""

_CERTAIN = 1e-6  # a probability of exactly 0 that comes true must not cost infinitely much


@dataclass(frozen=True)
class Trial:
    """The result of cross-validation for one way to combine or calibrate.

    Attributes
    ----------
    name : str
    parameters : int
        Number of fitted parameters, the measure of simplicity.
    loss : float
        Mean log loss of the objects in left-out cells.
    behind, behind_error : float
        Its loss minus the best loss, and the standard error of this difference.
    chosen : bool
    """

    name: str
    parameters: int
    loss: float
    behind: float
    behind_error: float
    chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """Return all fields for JSON, floats to six digits."""
        rounded = {k: float(f"{v:.6g}") for k, v in asdict(self).items() if type(v) is float}
        return asdict(self) | rounded


def sky_folds(
    ra_deg: np.ndarray, dec_deg: np.ndarray, *, cell_order: int, folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Assign positions to cells of sky, and cells to the folds of a cross-validation.

    Cells are dealt out to the folds in random order, so that all folds hold equally many.

    Returns
    -------
    cell, fold : int64 ndarray, shape (n,)
        Both numbered from 0; there are fewer folds if there are fewer cells.
    """
    if not len(ra_deg):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    cells, cell = np.unique(sky.owning_cell(ra_deg, dec_deg, cell_order), return_inverse=True)
    # A permutation modulo the number of folds deals the cells out like cards: the folds differ by
    # at most one cell, which independent draws would not guarantee for a few dozen cells.
    place = np.random.default_rng([seed, cell_order]).permutation(cells.size)
    return cell, place[cell] % min(folds, cells.size)


def log_loss(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return each object's log loss, shape (n,)."""
    p = np.clip(probability, _CERTAIN, 1 - _CERTAIN)
    return -np.where(label, np.log(p), np.log1p(-p))


def left_out_loss(fit: Fit, label: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return each object's log loss, shape (n,), from a fit that leaves out its fold."""
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
    """Rank the ways by their loss, and choose one.

    Parameters
    ----------
    losses : mapping of name to float ndarray, shape (n,)
        `left_out_loss` of every way, on the same objects.
    parameters : mapping of name to int
        Number of parameters that each way fits.
    cell : int ndarray, shape (n,)
        The objects' sky cells.
    errors : float
        Losses within this many standard errors of the best count as equal; 0: choose the best.

    Returns
    -------
    list of Trial
        Best first. The chosen way has the fewest parameters of those that count as equal to the
        best, and the lowest loss of several such.

    References
    ----------
    Breiman et al. 1984, Classification and Regression Trees, ch. 3.4 (one-standard-error rule).
    """
    ranked = sorted(losses, key=lambda name: (float(losses[name].mean()), name))
    best = losses[ranked[0]]
    behind = {name: float((losses[name] - best).mean()) for name in ranked}
    error = {name: _error_of_mean(losses[name] - best, cell) for name in ranked}
    # All ways are judged on the same objects, so most of the scatter of their losses is common. The
    # error of the difference is therefore much smaller than the error of either loss, and it is the
    # one that says whether two ways can be told apart.
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
    # Objects of a cell are correlated, cells are not: the scatter of the cells' sums gives the
    # error of the mean without assuming independent objects.
    sums = np.bincount(cell, values - values.mean())
    count = np.count_nonzero(np.bincount(cell))
    if count < 2:
        return 0.0
    return float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(values))
