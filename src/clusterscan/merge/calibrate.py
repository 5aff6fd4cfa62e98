"""Turn the models' values into one calibrated probability: choose a combination, fit and apply it.

It is the probability that an object is real according to the reference of `is_real`. Both the
combination of the models and the calibration curve are chosen by cross-validation
(`clusterscan.merge.combine`) on the objects of the validation region.
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
from clusterscan.merge.combine import (
    MIN_EXAMPLES,
    Combiner,
    Trial,
    choose,
    fit_combiner,
    left_out_loss,
    plain_combiner,
    scores,
    sky_folds,
)


# A network's logit contains the log odds of its training base rate. The sky has thousands of empty
# positions for each cluster and the training set a handful, so probabilities from the network are
# far too high on the sky until the rates are exchanged.
def training_rate(card: Mapping[str, Any]) -> float:
    """Return the share of positives in a network's training, 1/2 if the card does not say.

    Parameters
    ----------
    card : mapping
        A model card: ``training.examples.train`` counts the examples of each class, and
        ``training.settings`` holds their balancing.
    """
    training = card.get("training") or {}
    counts = (training.get("examples") or {}).get("train") or {}
    names = list(card.get("classes") or counts)
    if len(names) != 2 or not all(counts.get(n, 0) > 0 for n in names):
        return 0.5
    settings = training.get("settings") or {}
    weights = settings.get("class_weights", "none")
    if weights == "balanced":
        return 0.5
    other, positive = (float(counts[n]) for n in names)
    # Training may drop negatives (a fixed number for each positive) or weight the classes. Either
    # way the network learns the base rate of what it saw, not that of the files.
    ratio = settings.get("negatives_per_positive")
    if ratio is not None:
        other = min(other, float(ratio) * positive)
    if isinstance(weights, list | tuple) and len(weights) == 2:
        other, positive = other * float(weights[0]), positive * float(weights[1])
    return positive / (positive + other)


PARAMETERS = {"temperature": 1, "platt": 2, "beta": 5, "isotonic": 10}  # steps: about ten
_JUDGED_WITH = "platt"  # combinations are compared after the same calibration


@dataclass(frozen=True)
class ProbabilityModel:
    """A combination and its calibration; without one, the logistic function of the score."""

    combiner: Combiner
    calibration: Mapping[str, Any] | None

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the combined score of each object, shape (n,); -inf without any value."""
        return scores(self.combiner, features)

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Return each object's probability, shape (n,), of features (n, n_models)."""
        return calibrated(self.calibration, self.scores(features))

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted numbers as a dictionary for JSON."""
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
        True for real objects.
    cell, fold : int ndarray, shape (n,)
        Sky cell, and part for the cross-validation.
    """

    features: np.ndarray
    label: np.ndarray
    cell: np.ndarray
    fold: np.ndarray

    def rows(self, rows: np.ndarray) -> Examples:
        """Return a subset of the rows, in the given order."""
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
    """Build `Examples` from the objects for which at least one model has a value."""
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
    """List the combinations to compare by name; ``single:<model>`` is one model alone."""
    wanted = settings.calibration.combinations
    names = [f"single:{m}" for m in models] if "single" in wanted or len(models) == 1 else []
    if len(models) == 1:
        return names
    if "mean" in wanted and scale == "probability":
        names.append("mean")  # signal-to-noise ratios are no logits of probabilities
    return names + [n for n in ("logit_mean", "stacking") if n in wanted]


def fit_combination(name: str, examples: Examples, models: Sequence[str]) -> Combiner:
    """Build the combination with this name; fit it if it has free parameters."""
    if name == "stacking":
        return fit_combiner(examples.features, examples.label, models)
    kind, _, single = name.partition(":")
    return plain_combiner(models, kind, single)


def fit_method(
    name: str, score: np.ndarray, label: np.ndarray, training_rate: float
) -> dict[str, Any] | None:
    """Fit a calibration by its name; None if all labels are alike.

    A negative slope means that the score carries no information on these examples, so the slope is
    set to 0 and every object gets the share of real examples.
    """
    truth = np.asarray(label).astype(np.int64)
    if name == "temperature":
        return calibration.fit_temperature_and_rate(score, truth, training_rate)
    # Beta and isotonic start from Platt's line: it fixes their ends, where there are few objects.
    platt = calibration.fit_platt(score, truth)
    if platt is not None and platt["slope"] < 0:
        # Laplace's rule of succession keeps the share off 0 and 1, whose logits are infinite.
        share = (truth.sum() + 1) / (len(truth) + 2)
        platt |= {"slope": 0.0, "offset": round(float(logit(share)), 6)}
    if name == "platt" or platt is None:
        return platt
    if name == "beta":
        return fit_beta(score, truth, slope=platt["slope"], offset=platt["offset"])
    return fit_isotonic(score, truth, end_slope=platt["slope"])


def training_rate_of(combiner: Combiner, examples: Examples, rates: Mapping[str, float]) -> float:
    """Return the base rate at which a combination's logits are probabilities.

    For stacking, which is fitted on the sky itself, it is the share of real examples. Otherwise it
    is the share of positives in the models' training, averaged in logit. Filters count as 1/2.
    """
    if combiner.kind == "logistic":
        return float((examples.label.sum() + 1) / (len(examples.label) + 2))
    # The mean of logits has the mean of their base-rate offsets, so the rates are averaged in
    # logit. Without a known rate 1/2 adds no offset.
    used = [n for n, w in zip(combiner.names, combiner.weight, strict=True) if w > 0]
    return float(expit(np.mean([logit(rates.get(n, 0.5)) for n in used])))


def fit_probability(
    examples: Examples,
    models: Sequence[str],
    combination: str,
    method: str,
    *,
    rates: Mapping[str, float],
) -> ProbabilityModel:
    """Fit one combination and its calibration on the examples."""
    combiner = fit_combination(combination, examples, models)
    rate = training_rate_of(combiner, examples, rates)
    score = scores(combiner, examples.features)
    return ProbabilityModel(combiner, fit_method(method, score, examples.label, rate))


@dataclass(frozen=True)
class Choice:
    """The chosen combination and calibration, and the trials that led to the choice."""

    combination: str
    method: str
    combinations: tuple[Trial, ...]
    methods: tuple[Trial, ...]


def can_fit(examples: Examples) -> bool:
    """Return True if both kinds have enough examples, and they span at least two folds."""
    fewest = min(int(examples.label.sum()), int((~examples.label).sum()))
    return fewest >= MIN_EXAMPLES and len(np.unique(examples.fold)) > 1


def choose_model(
    examples: Examples,
    models: Sequence[str],
    *,
    settings: MergeSettings,
    rates: Mapping[str, float],
    scale: str = "probability",
) -> Choice:
    """Choose the combination, then its calibration, by cross-validation over cells of sky.

    The simplest combination within the noise wins, but the best calibration. A calibration that
    is too stiff misses the purity of the few most probable objects, which hardly changes the mean
    loss, while cross-validation already punishes one that is too flexible.

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
        The unit of the features: logits of probabilities, or S/N.
    """

    def loss(combination: str, method: str) -> np.ndarray:
        def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            model = fit_probability(examples.rows(rows), models, combination, method, rates=rates)
            return lambda out: model.probability(examples.features[out])

        return left_out_loss(fit, examples.label, examples.fold)

    names = combination_names(models, settings, scale=scale)
    # Stacking fits a weight and a missing term for each model, and an intercept.
    fitted = {name: 2 * len(models) + 1 if name == "stacking" else 0 for name in names}
    combinations = choose({n: loss(n, _JUDGED_WITH) for n in names}, fitted, examples.cell)
    # Two steps instead of all pairs: a search over every combination with every curve would pick
    # the luckiest of many on a validation region of perhaps a hundred clusters.
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

    Combination and calibration are fitted again on each draw of cells with replacement. The error
    is the uncertainty of the probability itself, not the scatter of outcomes.

    ``features`` (n, n_models) are those of all objects.

    Returns
    -------
    error : float64 ndarray, shape (n,)
        NaN where ``n_bootstrap`` is below 2.
    """
    # Cells of sky are drawn, not objects: neighbours share noise and depth, and drawing them one by
    # one would make the error too small.
    draws = settings.calibration.n_bootstrap
    total, squares, count = np.zeros(len(features)), np.zeros(len(features)), 0
    cells = np.unique(examples.cell)
    members = [np.flatnonzero(examples.cell == c) for c in cells]
    rng = np.random.default_rng([seed, 71])
    for _ in range(draws):
        rows = np.concatenate([members[c] for c in rng.integers(cells.size, size=cells.size)])
        if len(np.unique(examples.label[rows])) < 2:
            continue  # nothing can be fitted to this draw
        model = fit_probability(
            examples.rows(rows), models, choice.combination, choice.method, rates=rates,
        )  # fmt: skip
        drawn = model.probability(features)
        total, squares, count = total + drawn, squares + drawn**2, count + 1
    if count < 2:
        return np.full(len(features), np.nan)
    # Running sums instead of all draws: the memory does not grow with the number of draws.
    # Round-off may leave a variance just below 0.
    variance = (squares - total**2 / count) / (count - 1)
    return np.sqrt(np.maximum(variance, 0.0))


_SINGLE = "single:"  # opens the name of a combination that is one model alone

IsReal = Callable[[np.ndarray], np.ndarray]
"""Takes the scores of all objects and returns True for the real ones."""


@dataclass(frozen=True)
class Scored:
    """Columns of shape (n,) to add to the objects, and a record for JSON of how they came about."""

    columns: dict[str, np.ndarray]
    record: dict[str, Any]


def fit_scores(
    features: np.ndarray,
    names: Sequence[str],
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    *,
    is_real: IsReal,
    is_listed: np.ndarray,
    rows: np.ndarray,
    settings: MergeSettings,
    scale: str,
    rates: Mapping[str, float],
    seed: int,
) -> Scored:
    """Choose, fit and apply the probability; see `clusterscan.merge.objects.score_objects`.

    Which objects are real depends on their order, the order depends on the combination, and the
    combination is fitted to the real objects. To break this circle all ways are compared with one
    order, that of the mean value, and the chosen way is fitted once more with its own order.
    """

    def examples(label: np.ndarray) -> Examples:
        return examples_of(
            features[rows], label[rows], ra_deg[rows], dec_deg[rows], settings=settings, seed=seed
        )

    start = plain_combiner(names, "logit_mean")
    # Round 1: labels from the order of the plain mean, the same for every combination.
    first = examples(is_real(scores(start, features)))
    if not can_fit(first):
        return _unfitted(ProbabilityModel(start, None), features)
    choice = choose_model(first, names, settings=settings, rates=rates, scale=scale)

    def fit(on: Examples, combination: str) -> ProbabilityModel:
        return fit_probability(on, names, combination, choice.method, rates=rates)

    # Round 2: labels from the order of the chosen combination. More rounds hardly change a label.
    real = is_real(fit(first, choice.combination).scores(features))
    final = examples(real)
    model = fit(final, choice.combination)
    score = model.scores(features)
    listed = examples(is_listed)
    # A second curve over the same score answers another question: is the object in a known
    # catalogue? These catalogues are incomplete, so this probability is lower at the same score.
    of_listed = fit_method("platt", scores(model.combiner, listed.features), listed.label, 0.5)
    columns = _columns(model, features) | {
        "prob_err": bootstrap_error(
            final, features, names, choice, settings=settings, rates=rates, seed=seed
        ).astype(np.float32),
        "prob_listed": (
            np.full(len(features), np.nan)
            if of_listed is None
            else calibrated(of_listed, score).astype(np.float32)
        ),
    }
    ways = {name: fit(final, name) for name in combination_names(names, settings, scale=scale)}
    record = _record(choice, final, of_listed) | {"singles": _singles(ways)}
    return Scored(columns | _by_each_way(ways, names, features), model.to_dict() | record)


def _columns(model: ProbabilityModel, features: np.ndarray) -> dict[str, np.ndarray]:
    score = model.scores(features)
    return {
        "score": score,
        "prob_raw": calibrated(None, score).astype(np.float32),
        "prob": model.probability(features),
    }


def _by_each_way(
    ways: Mapping[str, ProbabilityModel], names: Sequence[str], features: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the probability by every combination; NaN where a single model has no value."""
    columns = {}
    for way, model in ways.items():
        values = model.probability(features).astype(np.float32)
        column = f"by_{way}"
        if way.startswith(_SINGLE):
            tag = way.removeprefix(_SINGLE)
            values[~np.isfinite(features[:, list(names).index(tag)])] = np.nan
            column = f"single_{tag}"
        columns[column] = values
    return columns


def _singles(ways: Mapping[str, ProbabilityModel]) -> dict[str, Mapping[str, Any] | None]:
    """Return the calibrations of each model alone."""
    return {
        way.removeprefix(_SINGLE): model.calibration
        for way, model in ways.items()
        if way.startswith(_SINGLE)
    }


def _unfitted(model: ProbabilityModel, features: np.ndarray) -> Scored:
    unknown = np.full(len(features), np.nan, dtype=np.float32)
    columns = _columns(model, features) | {"prob_err": unknown, "prob_listed": unknown}
    return Scored(columns, model.to_dict() | {"combination": "logit_mean", "method": None})


def _record(
    choice: Choice, examples: Examples, of_listed: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "combination": choice.combination,
        "method": choice.method,
        "combinations": [t.to_dict() for t in choice.combinations],
        "methods": [t.to_dict() for t in choice.methods],
        "examples": len(examples.label),
        "real": int(examples.label.sum()),
        "listed_calibration": of_listed,
    }
