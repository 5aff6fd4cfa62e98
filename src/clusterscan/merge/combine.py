"""One score from several models: one of them, a mean, or stacking; values may be missing.

Scores are logits (of probabilities at some base rate) or signal-to-noise ratios; calibration
turns them into probabilities (`clusterscan.merge.calibrate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from clusterscan.config.merge import MergeSettings
from clusterscan.core.errors import CatalogueError


@dataclass(frozen=True)
class Combiner:
    """How the models' values make one score.

    Attributes
    ----------
    names : tuple of str
        The models.
    kind : {"single", "mean", "logit_mean", "logistic"}
        "single": the value of the model whose weight is 1, where it is missing the mean of
        those that are there. "mean": the logit of the mean probability. "logit_mean": the mean
        value. "logistic": ``intercept + sum_m weight_m (x_m - centre_m) / width_m``, a missing
        x_m adding ``missing_m`` instead.
    centre, width, weight, missing : tuple of float
        One of each a model.
    intercept : float
    n_known, n_other : int
        Real and other objects that it was fitted on; 0 where nothing was fitted.
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
        """Return all numbers, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> Combiner:
        """Rebuild a combiner from `to_dict`."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list | tuple) else v for k, v in numbers.items()
        }
        return cls(**values)


def plain_combiner(names: Sequence[str], kind: str, single: str = "") -> Combiner:
    """Return a combination that needs no fit: a mean, or the one model named ``single``."""
    if kind == "single" and single not in names:
        raise CatalogueError(f"there is no model {single!r} to stand alone; there are {names}")
    zero, one = (0.0,) * len(names), (1.0,) * len(names)
    weight = tuple(float(n == single) for n in names) if kind == "single" else one
    return Combiner(tuple(names), kind, zero, one, weight, zero, 0.0, 0, 0)


def fit_combiner(
    features: np.ndarray,
    is_known: np.ndarray,
    names: Sequence[str],
    *,
    settings: MergeSettings,
) -> Combiner:
    """Fit how models combine by stacking, on objects of the validation region.

    Weights of models are kept from turning negative: networks agree so closely that a free fit
    may set one against another, and a higher probability would lower the result (Breiman 1996).

    Parameters
    ----------
    features : float ndarray, shape (n, n_models)
        Logits (or S/N), NaN where missing.
    is_known : bool ndarray, shape (n,)
        Whether the object is real by the reference that the probability is to mean.
    names : sequence of str
        Of the models.
    settings : MergeSettings
        ``combiner_penalty`` and ``combiner_min_examples``.

    Returns
    -------
    Combiner
        "logistic"; where there is too little to fit, "logit_mean".

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
    if min(known, other) < settings.combiner_min_examples:
        return plain_combiner(names, "logit_mean")
    centre, width = _standard(x, there)
    z = np.where(there, (x - centre) / width, 0.0)
    theta = _fit(z, (~there).astype(float), y, settings.combiner_penalty)
    count = len(names)
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
        own = x[:, combiner.weight.index(1.0)]
        total = np.where(np.isfinite(own), own, total)
    return np.where(there.any(axis=1), total, -np.inf)


def combine(combiner: Combiner, features: np.ndarray) -> np.ndarray:
    """Return the logistic function of `scores`: 0 where every model is missing."""
    return expit(scores(combiner, features))


def _mean(x: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.where(there, x, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)


def _standard(x: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = np.maximum(there.sum(axis=0), 1)
    centre = np.where(there, x, 0).sum(axis=0) / count
    width = np.sqrt((np.where(there, x - centre, 0) ** 2).sum(axis=0) / count)
    return centre, np.where(width > 0, width, 1.0)


def _fit(z: np.ndarray, absent: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Return weights, missing terms and intercept of the penalised maximum likelihood."""
    design = np.hstack([z, absent, np.ones((len(z), 1))])
    shrink = np.full(design.shape[1], penalty)
    shrink[-1] = 0.0  # the intercept is free
    sign = np.where(y, 1.0, -1.0)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ theta)
        value = np.logaddexp(0, -margin).sum() + 0.5 * (shrink * theta**2).sum()
        return value, -design.T @ (sign * expit(-margin)) + shrink * theta

    free: tuple[float | None, float | None] = (None, None)
    bounds = [(0.0, None)] * z.shape[1] + [free] * (absent.shape[1] + 1)
    start = np.zeros(design.shape[1])
    options = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x


def _floats(values: np.ndarray) -> tuple[float, ...]:
    # Ten digits: the last ones depend on the machine's linear algebra.
    return tuple(float(f"{v:.10g}") for v in values)
