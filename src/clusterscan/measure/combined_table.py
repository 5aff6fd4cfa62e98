"""The combined table: experiments x surveys x seeds, mean and scatter, beside published values.

A run is one trained network, measured on one survey with one seed. Runs of the same experiment,
survey and network form one row: the mean over seeds, their sample standard deviation (what
another training would change), and the interval from the bootstrap (what other test objects
would change).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core.errors import ProductError

#: Heading of each measure's columns.
TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "f_beta": "F-beta",
    "fall_out": "Fall-out",
    "macro_precision": "Precision, macro",
    "macro_recall": "Recall, macro",
    "macro_f1": "F1, macro",
    "macro_f_beta": "F-beta, macro",
    "macro_fall_out": "Fall-out, macro",
    "roc_auc": "ROC area",
    "average_precision": "Average precision",
    "macro_roc_auc": "ROC area, macro",
    "macro_average_precision": "Average precision, macro",
    "brier": "Brier score",
    "ece": "Calibration error",
}
DEFAULT_MEASURES = ("accuracy", "precision", "recall", "f1", "roc_auc", "average_precision")
KEYS = ("experiment", "survey", "network")

Figure = float | Sequence[float]


@dataclass(frozen=True)
class Run:
    """One trained network and its measures.

    Attributes
    ----------
    experiment : str
        Key of the experiment.
    metrics : mapping
        From `clusterscan.measure.scores.metrics_of`.
    seed : int
    survey, network : str
        Given if the experiment covers several.
    title : str
        Title of the experiment for display; the key if empty.
    published : mapping of str to float or (float, float)
        Published value, or value and standard deviation, by measure. Equal for all seeds.
    facts : mapping
        Further columns, such as parameters or seconds; those of the first run are shown.
    """

    experiment: str
    metrics: Mapping[str, Any]
    seed: int = 0
    survey: str = ""
    network: str = ""
    title: str = ""
    published: Mapping[str, Figure] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def runs_table(runs: Sequence[Run], measures: Sequence[str] = tuple(TITLES)) -> pd.DataFrame:
    """Return a table with one row per run.

    Parameters
    ----------
    runs : sequence of Run
    measures : sequence of str
        Columns to include; those that no run has are left out.

    Returns
    -------
    DataFrame
        experiment, title, survey, network, seed, examples, objects, then for each measure its
        value, <measure>_low and <measure>_high (68 %), NaN if undefined, and the facts.

    Raises
    ------
    ProductError
        If two runs have the same experiment, survey, network and seed.
    """
    rows = []
    for run in runs:
        row: dict[str, Any] = {
            "experiment": run.experiment,
            "title": run.title or run.experiment,
            "survey": run.survey,
            "network": run.network,
            "seed": run.seed,
            "examples": int(run.metrics.get("examples", 0)),
            "objects": int(run.metrics.get("objects", run.metrics.get("examples", 0))),
        }
        for name in measures:
            value, low, high = value_and_interval(run.metrics, name)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | dict(run.facts))
    table = pd.DataFrame(rows, columns=None if rows else [*KEYS, "title", "seed"])
    # A run that counts twice would make the scatter between seeds too small.
    twice = table.duplicated([*KEYS, "seed"])
    if twice.any():
        raise ProductError(
            f"combined table: {table[twice].iloc[0][[*KEYS, 'seed']].to_dict()} occurs "
            "twice; give each training its own seed"
        )
    empty = [m for m in measures if m in table and table[m].isna().all()]
    return table.drop(columns=[c for m in empty for c in (m, f"{m}_low", f"{m}_high")])


def combined_table(runs: Sequence[Run], measures: Sequence[str] = DEFAULT_MEASURES) -> pd.DataFrame:
    """Return a table with one row per experiment, survey and network, in the order of the runs.

    Parameters
    ----------
    runs : sequence of Run
    measures : sequence of str
        Columns to include.

    Returns
    -------
    DataFrame
        experiment, title, survey, network, seeds (their number), examples and objects (of one
        seed), then for each measure: <measure> (mean over seeds), _std (sample standard
        deviation, NaN for one seed), _low and _high (68 % interval of the mean from the
        bootstrap), and if anything was published _published, _published_std and _difference
        (ours - published); the facts of the first run.

    Notes
    -----
    All seeds are tested on the same objects, so their sampling errors are the same and do not
    shrink with the number of seeds: distances of the interval's ends from the value are
    averaged in quadrature over seeds.
    """
    every = runs_table(runs, measures)
    # Reversed, so that of several seeds the first run's values stay.
    published = {(r.experiment, r.survey, r.network): r.published for r in reversed(list(runs))}
    shown = [m for m in measures if any(m in p for p in published.values())]
    rows = []
    for key, group in every.groupby(list(KEYS), sort=False) if len(every) else ():
        first = group.iloc[0]
        row: dict[str, Any] = {
            **{name: first[name] for name in ("experiment", "title", "survey", "network")},
            "seeds": len(group),
            "examples": first["examples"],
            "objects": first["objects"],
        }
        for name in measures:
            row |= _over_seeds(name, group)
            if name in shown:
                row |= _beside(name, row[name], published[key].get(name))  # type: ignore[index]
        names = [str(c) for c in group.columns]
        facts = [c for c in names if c not in row and not _is_measure(c, measures) and c != "seed"]
        rows.append(row | {c: first[c] for c in facts})
    return pd.DataFrame(rows, columns=None if rows else [*KEYS, "title", "seeds"])


def value_and_interval(metrics: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    """Return a measure with its interval, NaN if there is none.

    Parameters
    ----------
    metrics : mapping
        Plain numbers with ``intervals`` (a metrics.json), or {value, low, high} by name.
    name : str
        The measure.
    """
    entry = metrics.get(name)
    if isinstance(entry, Mapping):
        return _number(entry.get("value")), _number(entry.get("low")), _number(entry.get("high"))
    low, high = (metrics.get("intervals") or {}).get(name, (None, None))
    return _number(entry), _number(low), _number(high)


def _over_seeds(name: str, group: pd.DataFrame) -> dict[str, float]:
    """Return the mean, the scatter and the interval of a measure over seeds."""
    if name not in group:
        return {name: np.nan, f"{name}_std": np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
    value = group[name].to_numpy(dtype=float)
    known = np.isfinite(value)
    mean = float(value[known].mean()) if known.any() else np.nan
    ends = {}
    # Distances of the ends are averaged in quadrature but not divided by the number of seeds: all
    # seeds are tested on the same objects, so their sampling errors do not average out.
    for end, sign in (("low", -1), ("high", 1)):
        distance = group[f"{name}_{end}"].to_numpy(dtype=float) - value
        distance = distance[np.isfinite(distance)]
        rms = np.sqrt(np.mean(np.maximum(sign * distance, 0) ** 2)) if distance.size else np.nan
        ends[f"{name}_{end}"] = float(mean + sign * rms)
    std = float(value[known].std(ddof=1)) if known.sum() > 1 else np.nan
    return {name: mean, f"{name}_std": std, **ends}


def _beside(name: str, ours: float, published: Figure | None) -> dict[str, float]:
    values = [np.nan] if published is None else np.atleast_1d(np.asarray(published, dtype=float))
    return {
        f"{name}_published": float(values[0]),
        f"{name}_published_std": float(values[1]) if len(values) > 1 else np.nan,
        f"{name}_difference": float(ours - values[0]),
    }


def _is_measure(column: str, measures: Sequence[str]) -> bool:
    return any(column in (m, f"{m}_low", f"{m}_high") for m in measures)


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)
