"""Measures of every seed, the combined table, and the differences to the published figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from clusterscan.core.atomic import atomic_path
from clusterscan.formats.tables import write_table
from clusterscan.measure.combined_table import Run, combined_table, runs_table
from clusterscan.measure.scores import prediction_metrics
from clusterscan.report.combined_text import to_markdown
from clusterscan_studies.results import Outcome

Metrics = Mapping[int, Mapping[str, Any]]
"""Seed -> measures of its test part."""

ENSEMBLES = "All seeds of an experiment together: the mean of their probabilities."


def measured(outcome: Outcome, bootstrap: int) -> Metrics:
    """Compute the measures of each seed of an experiment, from calibrated probabilities."""
    return {
        seed: prediction_metrics(table, outcome.classes, bootstrap=bootstrap, seed=0)
        for seed, table in outcome.tested.items()
    }


def runs_of(outcome: Outcome, metrics: Metrics) -> list[Run]:
    """Return an experiment's rows of the table of runs, one a seed."""
    return [
        Run(
            experiment=outcome.key,
            title=outcome.title,
            survey=outcome.survey,
            network=outcome.network,
            seed=seed,
            metrics=values,
            published=outcome.settings["published"],
            facts={"parameters": int(outcome.first.card["weights"]["parameters"])},
        )
        for seed, values in metrics.items()
    ]


def together(outcome: Outcome, bootstrap: int) -> list[tuple[int, Run]]:
    """Measure the mean of all seeds: (number of seeds, row); empty for one seed."""
    if outcome.together is None:
        return []
    values = prediction_metrics(outcome.together, outcome.classes, bootstrap=bootstrap, seed=0)
    return [(len(outcome.tested), replace(runs_of(outcome, {0: values})[0], seed=0))]


@dataclass(frozen=True)
class Tables:
    """The combined table's parts.

    Attributes
    ----------
    experiments : DataFrame
        The study's experiments, each training by itself.
    ensembles : DataFrame
        The same for the mean probability of the seeds; ``seeds`` is their number.
    others : DataFrame
        Networks that only provide starting weights.
    """

    experiments: pd.DataFrame
    ensembles: pd.DataFrame
    others: pd.DataFrame


def write_tables(
    folder: Path,
    runs: Sequence[Run],
    ensembles: Sequence[tuple[int, Run]],
    others: Sequence[Run],
    measures: Sequence[str],
    caption: str,
) -> Tables:
    """Write the combined table and the table of runs; return the former's parts.

    Parameters
    ----------
    folder : Path
        Gets table.parquet, .csv, .md, table_ensembles.csv where there are any,
        table_runs.parquet and .csv.
    runs, others : sequence of Run
        The study's experiments, and those that only provide starting weights.
    ensembles : sequence of (int, Run)
        From `together`.
    measures : sequence of str
        The columns.
    caption : str
        Text above the table in Markdown.
    """
    table, rest = (combined_table(part, measures) for part in (runs, others))
    means = combined_table([run for _, run in ensembles], measures)
    means = means.assign(seeds=[seeds for seeds, _ in ensembles])
    parts = [table.assign(auxiliary=False)]
    if others:
        parts.append(rest.assign(auxiliary=True))
    both = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    for stem, frame in (("table", both), ("table_runs", runs_table([*runs, *others]))):
        write_table(folder / f"{stem}.parquet", frame)
        _write(folder / f"{stem}.csv", frame.to_csv(index=False, float_format="%.6g"))
    text = to_markdown(table, measures, caption=caption)
    if ensembles:
        _write(folder / "table_ensembles.csv", means.to_csv(index=False, float_format="%.6g"))
        text += "\n" + to_markdown(means, measures, caption=ENSEMBLES)
    if others:
        text += "\n" + to_markdown(rest, measures, caption="Networks that others start from.")
    _write(folder / "table.md", text)
    return Tables(table, means, rest)


@dataclass(frozen=True)
class Difference:
    """One of our figures and the published one.

    Attributes
    ----------
    measure : str
        Name of the measure.
    value, published : float
        Ours (mean over seeds) and theirs.
    sigma : float
        Standard deviation of the difference; NaN where neither side has one.
    """

    measure: str
    value: float
    published: float
    sigma: float

    @property
    def difference(self) -> float:
        """Our figure minus the published one."""
        return self.value - self.published

    @property
    def is_large(self) -> bool:
        """True if the difference exceeds two sigma (0.02 if sigma is unknown)."""
        # Papers seldom give an error with a figure; without any, two per cent is taken as a
        # difference that a reader would notice.
        limit = 2 * self.sigma if math.isfinite(self.sigma) and self.sigma > 0 else 0.02
        return abs(self.difference) > limit


def differences(row: Mapping[str, Any], measures: Sequence[str]) -> list[Difference]:
    """Return the differences of a row of the combined table to the published figures."""
    found = []
    for name in measures:
        value, published = row.get(name, math.nan), row.get(f"{name}_published", math.nan)
        if math.isfinite(value) and math.isfinite(published):
            half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
            # Three independent errors: the finite test sample (half the bootstrap interval), the
            # scatter of our seeds, and the scatter that the paper gives.
            spreads = (half, row[f"{name}_std"], row[f"{name}_published_std"])
            known = [s for s in spreads if math.isfinite(s)]
            sigma = math.sqrt(sum(s**2 for s in known)) if known else math.nan
            found.append(Difference(name, value, published, sigma))
    return found


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
