"""From the models' values at each object to one calibrated probability with an error.

A `ProbabilityModel` is a combination (`clusterscan.merge.combine`) followed by a calibration
(`clusterscan.measure.calibration`). Both are chosen and fitted on objects of the validation sky
whose reality is known (`clusterscan.merge.choose` states the rule). The probability then has the
base rate of the sky's candidates: what the training's balance of examples was does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from clusterscan.config.merge import MergeSettings
from clusterscan.measure import calibration
from clusterscan.measure.calibration import fit_beta, fit_isotonic
from clusterscan.merge.choose import Trial, choose, left_out_loss, sky_folds
from clusterscan.merge.combine import Combiner, fit_combiner, plain_combiner, scores

PARAMETERS = {"temperature": 1, "platt": 2, "beta": 5, "isotonic": 10}  # steps: about ten
_JUDGED_WITH = "platt"  # combinations are compared after the same calibration


@dataclass(frozen=True)
class ProbabilityModel:
    """A combination and its calibration; None: the logistic function of the score as it is."""

    combiner: Combiner
    calibration: Mapping[str, Any] | None

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the combined score of each object, shape (n,); -inf without any value."""
        return scores(self.combiner, features)

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Return each object's probability, shape (n,), of features (n, n_models)."""
        return calibrated(self.calibration, self.scores(features))

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, for JSON."""
        return {"combiner": self.combiner.to_dict(), "calibration": self.calibration}

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> ProbabilityModel:
        """Rebuild a model from `to_dict`."""
        return cls(Combiner.from_dict(numbers["combiner"]), numbers["calibration"])


@dataclass(frozen=True)
class Examples:
    """Objects of the validation sky whose reality is known.

    Attributes
    ----------
    features : float ndarray, shape (n, n_models)
        Logits or S/N of every model, NaN where missing; each row has at least one.
    label : bool ndarray, shape (n,)
        Whether the object is real.
    cell, fold : int ndarray, shape (n,)
        Sky cell, and part for the cross-validation.
    """

    features: np.ndarray
    label: np.ndarray
    cell: np.ndarray
    fold: np.ndarray

    def rows(self, rows: np.ndarray) -> Examples:
        """Return some rows, in the order given."""
        return Examples(self.features[rows], self.label[rows], self.cell[rows], self.fold[rows])


def examples_of(
    features: np.ndarray,
    label: np.ndarray,
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    *,
    settings: MergeSettings,
    seed: int,
) -> Examples:
    """Return the examples among objects of the validation sky; see `Examples`."""
    usable = np.isfinite(features).any(axis=1)
    how = settings.calibration
    cell, fold = sky_folds(
        ra_deg[usable], dec_deg[usable], cell_order=how.cell_order, folds=how.folds, seed=seed
    )
    return Examples(features[usable], np.asarray(label, dtype=bool)[usable], cell, fold)


def calibrated(how: Mapping[str, Any] | None, score: np.ndarray) -> np.ndarray:
    """Return the probability of combined scores, shape (n,); 0 where the score is -inf."""
    if how is None:
        return expit(score)
    return calibration.apply_to_logits(how, score)[:, 1]


def combination_names(
    models: Sequence[str], settings: MergeSettings, *, scale: str = "probability"
) -> list[str]:
    """Return the combinations to compare; each model alone goes by ``single:<model>``."""
    wanted = settings.calibration.combinations
    names = [f"single:{m}" for m in models] if "single" in wanted or len(models) == 1 else []
    if len(models) == 1:
        return names
    if "mean" in wanted and scale == "probability":
        names.append("mean")  # signal-to-noise ratios are no logits of probabilities
    return names + [n for n in ("logit_mean", "stacking") if n in wanted]


def fit_combination(
    name: str, examples: Examples, models: Sequence[str], settings: MergeSettings
) -> Combiner:
    """Return a combination by its name, fitted where it needs a fit."""
    if name == "stacking":
        return fit_combiner(examples.features, examples.label, models, settings=settings)
    kind, _, single = name.partition(":")
    return plain_combiner(models, kind, single)


def fit_method(
    name: str, score: np.ndarray, label: np.ndarray, training_rate: float
) -> dict[str, Any] | None:
    """Return a calibration by its name; None where there is only one class of labels.

    A score that falls where it should rise says nothing: it is given the slope 0.
    """
    truth = np.asarray(label).astype(np.int64)
    if name == "temperature":
        return calibration.fit_temperature_and_rate(score, truth, training_rate)
    platt = calibration.fit_platt(score, truth)
    if platt is not None and platt["slope"] < 0:
        share = (truth.sum() + 1) / (len(truth) + 2)
        platt |= {"slope": 0.0, "offset": round(float(logit(share)), 6)}
    if name == "platt" or platt is None:
        return platt
    if name == "beta":
        return fit_beta(score, truth, slope=platt["slope"], offset=platt["offset"])
    return fit_isotonic(score, truth, end_slope=platt["slope"])


def training_rate_of(combiner: Combiner, examples: Examples, rates: Mapping[str, float]) -> float:
    """Return the base rate at which a combination's logits are probabilities.

    Stacking is fitted on the sky itself; otherwise it is the models' own, the mean of the logits
    where they differ. Models without one (filters) count as 1/2.
    """
    if combiner.kind == "logistic":
        return float((examples.label.sum() + 1) / (len(examples.label) + 2))
    used = [n for n, w in zip(combiner.names, combiner.weight, strict=True) if w > 0]
    return float(expit(np.mean([logit(rates.get(n, 0.5)) for n in used])))


def fit_probability(
    examples: Examples,
    models: Sequence[str],
    combination: str,
    method: str,
    *,
    settings: MergeSettings,
    rates: Mapping[str, float],
) -> ProbabilityModel:
    """Fit one combination and its calibration on the examples."""
    combiner = fit_combination(combination, examples, models, settings)
    rate = training_rate_of(combiner, examples, rates)
    score = scores(combiner, examples.features)
    return ProbabilityModel(combiner, fit_method(method, score, examples.label, rate))


@dataclass(frozen=True)
class Choice:
    """Which combination and calibration were chosen, and what was known of the others."""

    combination: str
    method: str
    combinations: tuple[Trial, ...]
    methods: tuple[Trial, ...]


def can_fit(examples: Examples, settings: MergeSettings) -> bool:
    """Return whether there are enough examples of both kinds, on two cells of sky or more."""
    fewest = min(int(examples.label.sum()), int((~examples.label).sum()))
    return fewest >= settings.combiner_min_examples and len(np.unique(examples.fold)) > 1


def choose_model(
    examples: Examples,
    models: Sequence[str],
    *,
    settings: MergeSettings,
    rates: Mapping[str, float],
    scale: str = "probability",
) -> Choice:
    """Choose the combination, then its calibration, by left-out sky.

    Of the combinations the simplest within the noise is taken, of the calibrations the best: a
    curve too stiff misses the purity of the few most probable objects, which the mean loss of
    all hardly sees, and left-out sky punishes one too free.

    Parameters
    ----------
    examples : Examples
        Enough for a fit (`can_fit`).
    models : sequence of str
        Names of the features' columns.
    settings : MergeSettings
    rates : mapping of model to float
        Share of positives in each network's training.
    scale : {"probability", "snr"}
        Whether features are logits of probabilities.
    """

    def loss(combination: str, method: str) -> np.ndarray:
        def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            model = fit_probability(
                examples.rows(rows), models, combination, method, settings=settings, rates=rates
            )
            return lambda out: model.probability(examples.features[out])

        return left_out_loss(fit, examples.label, examples.fold)

    names = combination_names(models, settings, scale=scale)
    fitted = {name: 2 * len(models) + 1 if name == "stacking" else 0 for name in names}
    combinations = choose({n: loss(n, _JUDGED_WITH) for n in names}, fitted, examples.cell)
    combination = next(t.name for t in combinations if t.chosen)
    methods = choose(
        {m: loss(combination, m) for m in settings.calibration.methods},
        PARAMETERS,
        examples.cell,
        errors=0.0,
    )
    method = next(t.name for t in methods if t.chosen)
    return Choice(combination, method, tuple(combinations), tuple(methods))


def bootstrap_error(
    examples: Examples,
    features: np.ndarray,
    models: Sequence[str],
    choice: Choice,
    *,
    settings: MergeSettings,
    rates: Mapping[str, float],
    seed: int,
) -> np.ndarray:
    """Return the standard error of each object's probability, from resampled cells of sky.

    Combination and calibration are fitted anew on each draw of cells with replacement: the error
    is that of knowing the probability, not the scatter of what comes true.

    Parameters
    ----------
    examples : Examples
    features : float ndarray, shape (n, n_models)
        Of all objects.
    models : sequence of str
    choice : Choice
    settings : MergeSettings
    rates : mapping of model to float
    seed : int

    Returns
    -------
    error : float64 ndarray, shape (n,)
        NaN where ``n_bootstrap`` is below 2.
    """
    draws = settings.calibration.n_bootstrap
    total, squares, count = np.zeros(len(features)), np.zeros(len(features)), 0
    cells = np.unique(examples.cell)
    members = [np.flatnonzero(examples.cell == c) for c in cells]
    rng = np.random.default_rng([seed, 71])
    for _ in range(draws):
        rows = np.concatenate([members[c] for c in rng.integers(cells.size, size=cells.size)])
        if len(np.unique(examples.label[rows])) < 2:
            continue
        model = fit_probability(
            examples.rows(rows), models, choice.combination, choice.method,
            settings=settings, rates=rates,
        )  # fmt: skip
        drawn = model.probability(features)
        total, squares, count = total + drawn, squares + drawn**2, count + 1
    if count < 2:
        return np.full(len(features), np.nan)
    variance = (squares - total**2 / count) / (count - 1)
    return np.sqrt(np.maximum(variance, 0.0))
