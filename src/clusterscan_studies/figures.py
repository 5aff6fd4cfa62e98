"""The figures of a study's report, as PNG files below ``plots``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.measure.breakdown import recall_by
from clusterscan.measure.labelled import class_probability
from clusterscan.report.plots import (
    plot_confusion,
    plot_history,
    plot_probabilities,
    plot_range_test,
    plot_recall,
    plot_reliability,
    plot_roc_and_precision,
)
from clusterscan_studies.colour_magnitude import REGIONS, colour_magnitude_regions
from clusterscan_studies.config.study import ColourMagnitude, RecallBy
from clusterscan_studies.results import Outcome

MOST_CURVES = 5  # of repeats in one figure
_REGION = "colour-magnitude region"


@dataclass(frozen=True)
class Drawn:
    """A figure's file, its words for those who cannot see it, and its caption."""

    file: Path
    alt: str
    caption: str
    wide: bool = False


def experiment_figures(
    outcome: Outcome, metrics: Mapping[int, Mapping[str, Any]], folder: Path
) -> list[Drawn]:
    """Draw the figures of one experiment.

    Parameters
    ----------
    outcome : Outcome
        What the experiment left.
    metrics : mapping of int to mapping
        Seed -> measures of its test part.
    folder : Path
        Where the figures go.
    """
    first = next(iter(metrics.values()))
    few = {f"repeat {n}": m for n, m in enumerate(list(metrics.values())[:MOST_CURVES], start=1)}
    drawn = [_history(outcome, folder)]
    if outcome.first.range_tests:
        drawn.append(_range_test(outcome, folder))
    title = outcome.title
    file = folder / "roc_precision.png"
    plot_roc_and_precision(few, file)
    drawn.append(
        Drawn(file, f"ROC and precision-recall curves of {title}", "Test part.", wide=True)
    )
    file = folder / "reliability.png"
    plot_reliability(few, file)
    drawn.append(
        Drawn(
            file, f"Reliability of {title}", "Probabilities given, and how often they were right."
        )
    )
    file = folder / "confusion.png"
    plot_confusion(first, file)
    drawn.append(Drawn(file, f"Confusion matrix of {title}", "Test part of the first repeat."))
    if len(outcome.classes) == 2:
        drawn.append(_probabilities(outcome, folder))
    return drawn


def _history(outcome: Outcome, folder: Path) -> Drawn:
    file = folder / "history.png"
    best = outcome.first.card["training"].get("best_epoch")
    plot_history(outcome.first.history["epochs"], file, best_epoch=best)
    caption = "First repeat; the epoch whose weights were kept is marked."
    return Drawn(file, f"Training of {outcome.title} by epoch", caption, wide=True)


def _range_test(outcome: Outcome, folder: Path) -> Drawn:
    file = folder / "range_test.png"
    plot_range_test(outcome.first.range_tests, file)
    chosen = ", ".join(f"{test['chosen']:.2g}" for test in outcome.first.range_tests)
    caption = f"Learning-rate range test; the optimiser got the rate chosen: {chosen}."
    return Drawn(file, f"Range test of {outcome.title}", caption)


def _probabilities(outcome: Outcome, folder: Path) -> Drawn:
    file = folder / "probabilities.png"
    seed, table = next(iter(outcome.tested.items()))
    probability = class_probability(table, outcome.classes)
    plot_probabilities(table["label"].to_numpy(), probability, outcome.classes, file)
    caption = f"Test part of the first repeat (seed {seed}), by true class."
    return Drawn(file, f"Histogram of probabilities of {outcome.title}", caption)


def recall_figure(
    outcomes: Sequence[Outcome], settings: RecallBy, folder: Path, name: str
) -> Drawn | None:
    """Draw the recall of experiments by a column; None where none of them has it."""
    named = {}
    for outcome in outcomes:
        _, table = next(iter(outcome.tested.items()))
        column = settings.column or _REGION
        if settings.regions is not None:
            table = _with_regions(table, settings.regions)
        if column in table.columns and len(outcome.classes) == 2:
            named[outcome.title] = recall_by(
                table,
                column,
                outcome.classes,
                edges=settings.edges,
                categories=None if settings.regions is None else REGIONS,
            )
    if not named:
        return None
    file = folder / f"recall_{name}.png"
    plot_recall(named, file, title=settings.title)
    alt = f"Recall by {settings.title} of {len(named)} experiments"
    survey = f", {outcomes[0].survey}" if outcomes[0].survey else ""
    text = f"Recall by {settings.title}{survey}; first repeat of each experiment."
    return Drawn(file, alt, text, wide=True)


def _with_regions(table: pd.DataFrame, settings: ColourMagnitude) -> pd.DataFrame:
    """Return a table with each example's colour-magnitude region, as it is without the columns."""
    if not {*settings.colour, settings.magnitude} <= set(table.columns):
        return table
    colour = np.zeros(len(table))
    for column, factor in settings.colour.items():
        colour += factor * table[column].to_numpy(float)
    magnitude = table[settings.magnitude].to_numpy(float)
    return table.assign(**{_REGION: colour_magnitude_regions(colour, magnitude, settings.sequence)})
