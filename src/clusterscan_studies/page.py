"""Write the report of a study: measures of all experiments, tables, figures, and sections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from clusterscan import __version__
from clusterscan.core.atomic import write_json
from clusterscan.core.display import clock
from clusterscan.measure.combined_table import TITLES
from clusterscan.report.combined_text import DASH, LEGEND, cells, figure
from clusterscan.report.document import (
    Banner,
    Details,
    Document,
    Picture,
    Section,
    Table,
    to_html,
    to_markdown,
    write_text,
)
from clusterscan_studies.config.study import Study
from clusterscan_studies.examples import read_for_experiment, read_manifest
from clusterscan_studies.figures import experiment_figures, gallery_figure, recall_figure
from clusterscan_studies.measures import (
    ENSEMBLES,
    Metrics,
    Tables,
    differences,
    measured,
    runs_of,
    together,
    write_tables,
)
from clusterscan_studies.results import Outcome, read_outcomes

#: Sections of report.md, the page's tables and explanations for other documents.
MARKDOWN_SECTIONS = ("result", "gaps", "reduced", "data", "costs")

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
        Called with (done, total, text).

    Raises
    ------
    ClusterscanError
        If the output of an experiment is missing or damaged.
    """
    study = Study.model_validate(stage["study"])
    outcomes = read_outcomes(root, study)
    metrics = {}
    for number, outcome in enumerate(outcomes):
        progress(number, 2 * len(outcomes), f"measuring {outcome.label}")
        metrics[outcome.key] = measured(outcome, study.bootstrap)
    # Auxiliary experiments only train weights for others; they have no row among the results.
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
        result_section(tables, study.measures),
        gap_section(tables.experiments, gaps, study.measures),
        reduced_section(stage["reduced"]),
        data_section(data_sets(root, study)),
        recall_section(root, study, shown),
        gallery_section(root, study, shown, metrics, progress),
        *(extra_section(root, name) for name in study.extras.names()),
        cost_section(outcomes),
    ]
    details = []
    for number, outcome in enumerate(outcomes):
        progress(len(outcomes) + number, 2 * len(outcomes), f"drawing {outcome.label}")
        details.append(experiment_details(root, outcome, metrics[outcome.key], len(outcomes)))
    document = study_document(stage, shown_sections, details)
    write_text(root / "report.html", to_html(document))
    write_text(root / "report.md", to_markdown(document, MARKDOWN_SECTIONS))
    write_json(root / "summary.json", summary(study, stage, metrics, tables.experiments))


def data_sets(root: Path, study: Study) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return title and manifest of each data set used for training or testing."""
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
    """Return the caption of the tables: study, form, simulated or real."""
    form = "Reduced form (--quick)." if stage["quick"] else "Full form."
    kind = "Simulated images." if study.simulated else "Real images."
    return f"**{study.title}.** {form} {kind} {study.data_note}"


def study_document(
    stage: Mapping[str, Any], sections: Sequence[Section], experiments: Sequence[Details]
) -> Document:
    """Return the page of a study.

    Parameters
    ----------
    stage : mapping
        From `StudySettings.report`: name, study, quick and reduced.
    sections : sequence of Section
    experiments : sequence of Details
        The figures of each experiment.
    """
    study, quick = stage["study"], stage["quick"]
    paper = study["paper"]
    kind = ("simulated", "SIMULATED IMAGES") if study["simulated"] else ("observed", "REAL IMAGES")
    banners = [Banner(*kind, study["data_note"])]
    if quick:
        text = (
            f"This is the study with --quick: {len(stage['reduced'])} settings differ from those "
            "of the full study."
        )
        banners.append(
            Banner("reduced", "REDUCED FORM", text, ("reduced", "They are listed below."))
        )
    form = "reduced form" if quick else "full form"
    settings = yaml.safe_dump(dict(study), sort_keys=False, allow_unicode=True)
    return Document(
        title=study["title"],
        kicker=f"clusterscan {__version__} · study {stage['name']} · {form} · seed {study['seed']}",
        banners=banners,
        leads=[
            study["about"],
            f"Repeats {paper['authors']} ({paper['year']}), “{paper['title']}”, "
            f"{paper['reference']}.",
        ],
        sections=[
            *sections,
            Section(
                "experiments",
                "Experiments",
                "Training curves, range tests with the chosen rate, ROC and precision-recall "
                "curves, reliability, confusion matrices and probabilities of each experiment.",
                details=experiments,
            ),
            Section(
                "settings",
                "Settings",
                details=[Details("The whole study as YAML, in this form", text=settings)],
            ),
        ],
        footer=f"Made by clusterscan {__version__}. Intervals are 68 %. Numbers for machines: "
        "table.parquet, table.csv and summary.json beside this page.",
    )


def experiment_details(root: Path, outcome: Outcome, metrics: Metrics, count: int) -> Details:
    """Return the figures of one of ``count`` experiments; open if there are few."""
    card = outcome.first.card
    training = card["training"]
    facts = (
        f"{outcome.network}, {card['weights']['parameters']:,} parameters; "
        f"{len(outcome.trainings)} trainings; kept: epoch {training['best_epoch']} of "
        f"{training['epochs']} in the first."
    )
    pictures = experiment_figures(outcome, metrics, root / "plots" / outcome.key)
    return Details(outcome.label, facts, pictures, is_open=count <= 3)


def recall_section(root: Path, study: Study, outcomes: list[Outcome]) -> Section:
    """Return the section with recall by redshift and other columns."""
    pictures: list[Picture] = []
    surveys = dict.fromkeys(outcome.survey for outcome in outcomes)
    for number, settings in enumerate(study.recall_by, start=1):
        for place, survey in enumerate(surveys, start=1):
            of_survey = [outcome for outcome in outcomes if outcome.survey == survey]
            name = f"{number}_{place}" if len(surveys) > 1 else str(number)
            drawn = recall_figure(of_survey, settings, root / "plots", name)
            if drawn is not None:
                pictures.append(drawn)
    lead = "Share of the positives of the test part that are found, with 68 % intervals."
    return Section("recall", "Recall", lead, pictures)


def gallery_section(
    root: Path,
    study: Study,
    outcomes: list[Outcome],
    metrics: dict[str, Metrics],
    progress: Progress,
) -> Section:
    """Return the section with the galleries of the experiments from `in_gallery`."""
    pictures = []
    for outcome in in_gallery(study, outcomes, metrics) if study.gallery.per_kind else []:
        progress(len(outcomes), 2 * len(outcomes), f"gallery of {outcome.label}")
        experiment = study.experiments[outcome.key]
        folder = root / "examples"
        test = None if experiment.test_on is None else folder / f"{experiment.test_on}.json"
        own = folder / f"{experiment.dataset}.json"
        examples = read_for_experiment(root, own, test, outcome.settings)
        file = root / "plots" / outcome.key / "gallery.png"
        pictures.append(gallery_figure(outcome, examples, study.gallery.per_kind, file))
    lead = "The most confident correct and wrong predictions of a network."
    return Section("gallery", "Most confident predictions", lead, pictures)


def in_gallery(study: Study, outcomes: list[Outcome], metrics: dict[str, Metrics]) -> list[Outcome]:
    """Return the experiments to show: those in the settings, or each data set's most accurate."""
    if study.gallery.experiments is not None:
        return [o for o in outcomes if o.key in study.gallery.experiments]

    def accuracy(outcome: Outcome) -> float:
        values = metrics[outcome.key].values()
        return sum(value["accuracy"] or 0.0 for value in values) / len(values)

    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        dataset = outcome.settings["dataset"]
        # Strictly better: of equals the first in the study's order stays.
        if dataset not in best or accuracy(outcome) > accuracy(best[dataset]):
            best[dataset] = outcome
    return list(best.values())


def extra_section(root: Path, name: str) -> Section:
    """Return the section with the pictures and the table of an extra."""
    content = json.loads((root / "extras" / f"{name}.json").read_text(encoding="utf-8"))
    pictures = [Picture(**values) for values in content["pictures"]]
    rows = [["–" if v is None else str(v) for v in row] for row in content["rows"]]
    tables = [Table(content["header"], rows)] if rows else []
    return Section(name, content["title"], content["lead"], pictures, tables)


def result_section(parts: Tables, measures: Sequence[str]) -> Section:
    """Return the combined table, the ensembles' table, and that of networks others start from."""
    tables = [Table(*cells(parts.experiments, measures))]
    if len(parts.ensembles):
        tables.append(Table(*cells(parts.ensembles, measures), caption=ENSEMBLES))
    if len(parts.others):
        caption = "Networks that others only start from"
        tables.append(Table(*cells(parts.others, measures), caption=caption))
    lead = f"{LEGEND} Precision, recall and F1 are of the class of interest, unless macro."
    return Section("result", "Result and published values", lead, tables=tables)


def gap_section(
    table: pd.DataFrame, gaps: Sequence[Mapping[str, Any]], measures: Sequence[str]
) -> Section:
    """Return each experiment's differences to the published values with their explanation."""
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
        # A difference above 2 sigma without an explanation in the study's file is listed, so that
        # it cannot be overlooked.
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
    header = ("Experiment", "Differences", "Explanation, besides the above")
    tables = [Table(header, rows, numeric=False)] if rows else []
    return Section("gaps", "Gaps, explained", lead, tables=tables, notes=notes)


def reduced_section(reduced: Sequence[Sequence[str]]) -> Section:
    """Return the list of settings changed by the reduced form; empty in the full form."""
    lead = (
        "The reduced form is for a machine without a GPU. Each setting that it changes, beside "
        "that of the full study:"
    )
    tables = [Table(("Setting", "Full form", "Here"), reduced, numeric=False)] if reduced else []
    return Section("reduced", "What is reduced", lead, tables=tables)


def data_section(datasets: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Section:
    """Return the number of examples in each data set.

    Parameters
    ----------
    datasets : mapping
        Title and manifest of the examples by name.
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
    """Return the training time of each experiment and its machine."""
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


def summary(
    study: Study, stage: Mapping[str, Any], metrics: dict[str, Metrics], table: pd.DataFrame
) -> dict[str, Any]:
    """Return the content of summary.json, with the lines that the command prints."""
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
