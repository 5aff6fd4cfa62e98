"""A study's results: measures of all experiments, tables, figures and the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from clusterscan.core.atomic import write_json
from clusterscan.measure.combined_table import DASH, figure
from clusterscan.publish.inputs import Picture, Section, Table
from clusterscan_studies import sections
from clusterscan_studies.config.study import Study
from clusterscan_studies.document import write_document
from clusterscan_studies.examples import read_for_experiment, read_manifest
from clusterscan_studies.figures import experiment_figures, recall_figure
from clusterscan_studies.gallery import gallery_figure
from clusterscan_studies.measures import Metrics, measured, runs_of, together, write_tables
from clusterscan_studies.report import Page, Part, embedded, write_page
from clusterscan_studies.results import Outcome, read_outcomes

Progress = Callable[[float, float, str], None]


def write_results(root: Path, stage: Mapping[str, Any], progress: Progress) -> None:
    """Write the tables, the figures, the page and the summary of a study.

    Parameters
    ----------
    root : Path
        The study's folder, with all experiments in it.
    stage : mapping
        From `StudySettings.report`.
    progress : callable
        Told (done, total, text).

    Raises
    ------
    ClusterscanError
        If something that an experiment leaves is missing or damaged.
    """
    study = Study.model_validate(stage["study"])
    outcomes = read_outcomes(root, study)
    metrics = {}
    for number, outcome in enumerate(outcomes):
        progress(number, 2 * len(outcomes), f"measuring {outcome.label}")
        metrics[outcome.key] = measured(outcome, study.bootstrap)
    shown = [outcome for outcome in outcomes if not outcome.settings["auxiliary"]]
    others = [outcome for outcome in outcomes if outcome.settings["auxiliary"]]
    tables = write_tables(
        root,
        [run for outcome in shown for run in runs_of(outcome, metrics[outcome.key])],
        [row for outcome in shown for row in together(outcome, study.bootstrap)],
        [run for outcome in others for run in runs_of(outcome, metrics[outcome.key])],
        study.measures,
        caption(study, stage),
    )
    gaps = [gap.model_dump() for gap in study.gaps]
    shown_sections = [
        sections.result_section(tables, study.measures),
        sections.gap_section(tables.experiments, gaps, study.measures),
        sections.reduced_section(stage["reduced"]),
        sections.data_section(data_sets(root, study)),
        recall_section(root, study, shown),
        gallery_section(root, study, shown, metrics, progress),
        *(extra_section(root, name) for name in study.extras.names()),
        sections.cost_section(outcomes),
    ]
    parts = []
    for number, outcome in enumerate(outcomes):
        progress(len(outcomes) + number, 2 * len(outcomes), f"drawing {outcome.label}")
        parts.append(experiment_part(root, outcome, metrics[outcome.key]))
    page = Page(
        stage["name"], stage["study"], stage["quick"], stage["reduced"], shown_sections, parts
    )
    write_page(root / "report.html", page)
    write_document(root / "report.md", page)
    write_json(root / "summary.json", summary(study, stage, metrics, tables.experiments))


def data_sets(root: Path, study: Study) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return title and manifest of the data sets that an experiment trains or tests on."""
    found = (name for e in study.experiments.values() for name in (e.dataset, e.test_on))
    return {
        name: (
            getattr(study.datasets[name], "title", name),
            read_manifest(root / "examples" / f"{name}.json"),
        )
        for name in dict.fromkeys(found)
        if name is not None
    }


def caption(study: Study, stage: Mapping[str, Any]) -> str:
    """Return what the table is: the study, its form, what is simulated."""
    form = "Reduced form (--quick)." if stage["quick"] else "Full form."
    kind = "Simulated images." if study.simulated else "Real images."
    return f"**{study.title}.** {form} {kind} {study.data_note}"


def experiment_part(root: Path, outcome: Outcome, metrics: Metrics) -> Part:
    """Return the page's part of one experiment."""
    card = outcome.first.card
    training = card["training"]
    facts = (
        f"{outcome.network}, {card['weights']['parameters']:,} parameters; "
        f"{len(outcome.trainings)} trainings; kept: epoch {training['best_epoch']} of "
        f"{training['epochs']} in the first."
    )
    drawn = experiment_figures(outcome, metrics, root / "plots" / outcome.key)
    return Part(outcome.label, facts, [embedded(one) for one in drawn])


def recall_section(root: Path, study: Study, outcomes: list[Outcome]) -> Section:
    """Return the plots of recall by columns."""
    pictures: list[Picture] = []
    surveys = dict.fromkeys(outcome.survey for outcome in outcomes)
    for number, settings in enumerate(study.recall_by, start=1):
        for place, survey in enumerate(surveys, start=1):
            of_survey = [outcome for outcome in outcomes if outcome.survey == survey]
            name = f"{number}_{place}" if len(surveys) > 1 else str(number)
            drawn = recall_figure(of_survey, settings, root / "plots", name)
            if drawn is not None:
                pictures.append(embedded(drawn))
    lead = "Share of the positives of the test part that are found, with 68 % intervals."
    return Section("recall", "Recall", lead, pictures)


def gallery_section(
    root: Path,
    study: Study,
    outcomes: list[Outcome],
    metrics: dict[str, Metrics],
    progress: Progress,
) -> Section:
    """Return the galleries: of the experiments named, or of each data set's most accurate."""
    pictures = []
    for outcome in in_gallery(study, outcomes, metrics) if study.gallery.per_kind else []:
        progress(len(outcomes), 2 * len(outcomes), f"gallery of {outcome.label}")
        experiment = study.experiments[outcome.key]
        folder = root / "examples"
        test = None if experiment.test_on is None else folder / f"{experiment.test_on}.json"
        own = folder / f"{experiment.dataset}.json"
        examples = read_for_experiment(root, own, test, outcome.settings)
        file = root / "plots" / outcome.key / "gallery.png"
        pictures.append(
            embedded(gallery_figure(outcome, examples, study.gallery.per_kind, file), 256)
        )
    lead = "The examples that a network is most sure of, rightly and wrongly."
    return Section("gallery", "Most confident answers", lead, pictures)


def in_gallery(study: Study, outcomes: list[Outcome], metrics: dict[str, Metrics]) -> list[Outcome]:
    """Return the experiments whose galleries are shown."""
    if study.gallery.experiments is not None:
        return [o for o in outcomes if o.key in study.gallery.experiments]

    def accuracy(outcome: Outcome) -> float:
        values = metrics[outcome.key].values()
        return sum(value["accuracy"] or 0.0 for value in values) / len(values)

    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        dataset = outcome.settings["dataset"]
        if dataset not in best or accuracy(outcome) > accuracy(best[dataset]):
            best[dataset] = outcome
    return list(best.values())


def extra_section(root: Path, name: str) -> Section:
    """Return an extra's pictures and table."""
    content = json.loads((root / "extras" / f"{name}.json").read_text(encoding="utf-8"))
    pictures = [Picture(**values) for values in content["pictures"]]
    rows = [["–" if v is None else str(v) for v in row] for row in content["rows"]]
    tables = [Table(content["header"], rows)] if rows else []
    return Section(name, content["title"], content["lead"], pictures, tables)


def summary(
    study: Study, stage: Mapping[str, Any], metrics: dict[str, Metrics], table: pd.DataFrame
) -> dict[str, Any]:
    """Return the numbers for machines, and the lines that the command prints."""
    first = study.measures[0]
    lines = []
    for row in table.to_dict("records"):
        text = figure(row[first], row[f"{first}_std"])
        theirs = figure(row.get(f"{first}_published"), row.get(f"{first}_published_std"))
        if theirs != DASH:
            text += f" (published {theirs})"
        name = ", ".join(part for part in (row["title"], row["survey"]) if part)
        lines.append(f"{name}: {first.replace('_', ' ')} {text}")
    experiments = {
        key: {str(seed): {m: values.get(m) for m in study.measures} for seed, values in of.items()}
        for key, of in metrics.items()
    }
    return {
        "name": stage["name"],
        "quick": stage["quick"],
        "simulated": study.simulated,
        "headline": lines,
        "experiments": experiments,
    }
