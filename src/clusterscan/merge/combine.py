"""One probability from several models: stacked logistic regression with missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from clusterscan.config.merge import MergeSettings
from clusterscan.errors import CatalogueError


@dataclass(frozen=True)
class Combiner:
    """Weights that turn the models' logits into one.

    ``logit(p) = intercept + sum_m weight_m (x_m - centre_m) / width_m``, a missing x_m adding
    ``missing_m`` instead. Where ``kind`` is "mean" there was too little to fit, and the logit
    is the mean of the models that are there.
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


def fit_combiner(
    features: np.ndarray,
    is_known: np.ndarray,
    names: Sequence[str],
    *,
    settings: MergeSettings,
) -> Combiner:
    """Fit how models combine, on objects of the validation region.

    Weights of models are kept from turning negative: networks agree so closely that a free fit
    may set one against another, and a higher probability would lower the result (Breiman 1996).

    Parameters
    ----------
    features : float ndarray, shape (n, n_models)
        Logits (or S/N), NaN where missing.
    is_known : bool ndarray, shape (n,)
        Whether the object is a catalogue-listed cluster. The catalogues are incomplete, so the
        fitted probability is that of being listed.
    names : sequence of str
        Of the models.
    settings : MergeSettings
        ``combiner_penalty`` and ``combiner_min_examples``.

    Returns
    -------
    Combiner

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
    plain = (0.0,) * len(names)
    fewest = settings.combiner_min_examples
    if min(known, other) < fewest:
        ones = (1.0,) * len(names)
        return Combiner(tuple(names), "mean", plain, ones, ones, plain, 0.0, known, other)
    centre, width = _standard(x, there)
    z = np.where(there, (x - centre) / width, 0.0)
    theta = _fit(z, (~there).astype(float), y, settings.combiner_penalty)
    count = len(names)
    weight, missing = theta[:count], theta[count : 2 * count]
    return Combiner(
        tuple(names), "logistic", _floats(centre), _floats(width), _floats(weight),
        _floats(missing), _floats(theta[-1:])[0], known, other,
    )  # fmt: skip


def combine(combiner: Combiner, features: np.ndarray) -> np.ndarray:
    """Return the combined probability of each object, 0 where every model is missing.

    Parameters
    ----------
    combiner : Combiner
        From `fit_combiner`.
    features : float ndarray, shape (n, n_models)
        In the order of ``combiner.names``, NaN where missing.

    Returns
    -------
    probability : float64 ndarray, shape (n,)
    """
    x = np.asarray(features, dtype=np.float64).reshape(-1, len(combiner.names))
    there = np.isfinite(x)
    if combiner.kind == "mean":
        total = np.where(there, x, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    else:
        z = np.where(there, (x - np.array(combiner.centre)) / np.array(combiner.width), 0.0)
        # Column by column: a matrix product's last bit depends on how many rows there are.
        total = np.full(len(x), combiner.intercept)
        for m in range(x.shape[1]):
            total += combiner.weight[m] * z[:, m] + combiner.missing[m] * ~there[:, m]
    return np.where(there.any(axis=1), expit(total), 0.0)


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
