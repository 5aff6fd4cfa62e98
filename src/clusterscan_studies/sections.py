"""The sections of a study's page that are tables: results, gaps, what is reduced, data, costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from clusterscan.core.display import clock
from clusterscan.measure.combined_table import LEGEND, TITLES, cells
from clusterscan.publish.inputs import Section, Table
from clusterscan_studies.measures import ENSEMBLES, Tables, differences
from clusterscan_studies.results import Outcome


def result_section(parts: Tables, measures: Sequence[str]) -> Section:
    """Return the combined table, that of the seeds' means, and of what others start from."""
    tables = [Table(*cells(parts.experiments, measures))]
    if len(parts.ensembles):
        tables.append(Table(*cells(parts.ensembles, measures), caption=ENSEMBLES))
    if len(parts.others):
        caption = "Networks that others only start from"
        tables.append(Table(*cells(parts.others, measures), caption=caption))
    lead = f"{LEGEND} Precision, recall and F1 are of the class looked for, unless macro."
    return Section("result", "Result beside the published one", lead, tables=tables)


def gap_section(
    table: pd.DataFrame, gaps: Sequence[Mapping[str, Any]], measures: Sequence[str]
) -> Section:
    """Return each experiment's differences to the published figures, with their explanation."""
    rows, unexplained = [], []
    general = [gap["text"] for gap in gaps if gap["experiments"] is None]
    for record in table.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        found = differences(row, measures)
        if not found:
            continue
        own = [g["text"] for g in gaps if row["experiment"] in (g["experiments"] or ())]
        texts = []
        for one in found:
            sigma = f", {abs(one.difference) / one.sigma:.1f} σ" if one.sigma > 0 else ""
            name = TITLES.get(one.measure, one.measure).lower()
            texts.append(f"{name} {one.difference:+.3f}{sigma}".replace("-", "−"))
        if any(one.is_large for one in found) and not (own or general):
            unexplained.append(row["title"])
        rows.append([_named(row), "; ".join(texts), " ".join(own) or ("–" if general else "")])
    lead = (
        "Ours minus published. σ adds the spread over seeds, half the bootstrap interval and the "
        "published standard deviation in quadrature; differences below 2 σ may be chance."
    )
    notes = [*general]
    if unexplained:
        notes.append(f"Not explained yet: {', '.join(unexplained)}.")
    header = ("Experiment", "Differences", "Why, besides what is said above")
    tables = [Table(header, rows, numeric=False)] if rows else []
    return Section("gaps", "Gaps, explained", lead, tables=tables, notes=notes)


def reduced_section(reduced: Sequence[Sequence[str]]) -> Section:
    """Return what the reduced form changes; empty in the full form."""
    lead = (
        "The reduced form is for a machine without a GPU. Each setting that it changes, beside "
        "that of the study proper:"
    )
    tables = [Table(("Setting", "Full form", "Here"), reduced, numeric=False)] if reduced else []
    return Section("reduced", "What is reduced", lead, tables=tables)


def data_section(datasets: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Section:
    """Return how many examples each data set has.

    Parameters
    ----------
    datasets : mapping
        Name -> (title, manifest of its examples).
    """
    rows = []
    for title, manifest in datasets.values():
        bands, counts = ", ".join(manifest["bands"]), manifest["counts"]
        for name in manifest["classes"]:
            numbers = [f"{counts[part][name]:,}" for part in ("train", "validation", "test")]
            rows.append([title, bands, name, *numbers])
    header = ("Data set", "Bands", "Class", "Training", "Validation", "Test")
    return Section(
        "data",
        "Data",
        "Examples of each class in each part, before augmentation.",
        tables=[Table(header, rows)],
    )


def cost_section(outcomes: Iterable[Outcome]) -> Section:
    """Return how long each experiment took, and on what."""
    rows: list[list[str]] = []
    machines: dict[str, None] = {}
    for outcome in outcomes:
        records = [training.record for training in outcome.trainings]
        seconds = [record["seconds"] for record in records]
        mean = sum(seconds) / len(seconds)
        machine = records[0]["machine"]
        machines[" · ".join(f"{key} {value}" for key, value in sorted(machine.items()))] = None
        rows.append(
            [
                outcome.label,
                str(len(records)),
                clock(mean),
                clock(sum(seconds)),
                machine.get("accelerator", "processor"),
            ]
        )
    header = ("Experiment", "Trainings", "One of them", "All", "On")
    return Section(
        "costs",
        "Machine and time",
        "Minutes and seconds (hours, where there are three numbers) of training and testing.",
        tables=[Table(header, rows)],
        notes=list(machines),
    )


def _named(row: Mapping[str, Any]) -> str:
    return ", ".join(part for part in (row["title"], row["survey"]) if part)
