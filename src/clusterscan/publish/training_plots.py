"""The report's view of the networks: training, learning rates, and telling examples apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusterscan.formats.catalogue_columns import FILTER
from clusterscan.measure.combined_table import Run, write_combined_table
from clusterscan.publish import figures
from clusterscan.publish.inputs import Picture, ReportInputs, Section, Table
from clusterscan.report.plots import draw_precision_recall, draw_recall, draw_reliability, draw_roc
from clusterscan.report.training_plots import as_range_tests, draw_losses, draw_range_test

Tests = Mapping[str, Mapping[str, Any]]
"""Measures on the test region's examples by the network's title."""

EXAMPLE_MEASURES = {
    "roc_auc": "ROC area",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "Calibration error",
}


def training_section(inputs: ReportInputs) -> Section:
    """Return the section on training, one row of figures per network."""
    pictures: list[Picture] = []
    notes: list[str] = []
    rows: list[list[str]] = []
    for survey, model in _networks(inputs):
        title = f"{model} on {survey}"
        folder = inputs.root / "models" / f"{survey}-{model}"
        history = read_json(folder / "history.json")
        epochs = history.get("epochs") or []
        if not epochs:
            notes.append(f"There is no training history of {title}.")
            continue
        pictures.append(_losses(epochs, title))
        tests = as_range_tests(history.get("range_tests") or history.get("range_test"))
        for number, test in enumerate(tests, start=1):
            stage = f", stage {number}" if len(tests) > 1 else ""
            pictures.append(_range_test(test, f"{title}{stage}"))
        rows.append(_row(title, read_json(folder / "model.json"), epochs))
    header = ("Network", "Parameters", "Examples", "Epochs", "Best", "Learning rate")
    return Section(
        "training",
        "Training",
        "The range test raises the learning rate until the loss diverges and picks the rate to "
        "train with. The epoch that does best on the validation region is kept.",
        pictures,
        [Table(header, rows)] if rows else [],
        notes=notes,
    )


def examples_section(inputs: ReportInputs) -> Section:
    """Return the section on how well the test region's examples are told apart."""
    tests = {run.title: run.metrics for run in network_runs(inputs)}
    pictures = [
        p
        for p in (
            _curves(tests, "roc", "ROC curves"),
            _curves(tests, "precision_recall", "Precision and recall"),
            _reliability(tests),
            _recall_by_redshift(tests),
        )
        if p is not None
    ]
    rows = [
        [
            title,
            f"{value['examples']:,}",
            f"{value['positives']:,}" if "positives" in value else "–",
            *(_measure_text(value, key) for key in EXAMPLE_MEASURES),
            _measure_text(value.get("calibrated") or {}, "ece"),
        ]
        for title, value in tests.items()
    ]
    header = ("Network", "Examples", "Positives", *EXAMPLE_MEASURES.values(), "… calibrated")
    caption = (
        "± half of the 68 % interval from a bootstrap over objects; precision, recall, F1 and "
        "accuracy at probability 0.5. With more measures: models/networks.csv, .parquet."
    )
    return Section(
        "examples",
        "Telling examples apart",
        "Labelled examples of the test region, which no network has seen. Their share of "
        "positives is that of the examples, not of the sky: completeness and purity above say "
        "what this means for a catalogue.",
        pictures,
        [Table(header, rows, caption)] if rows else [],
        notes=_notes_on_injections(inputs),
    )


def _notes_on_injections(inputs: ReportInputs) -> list[str]:
    """Return what to know of each survey whose positives are mostly injected."""
    return [
        f"Nearly all positives of {survey} are model clusters injected into its images, as "
        "real ones are too few there: these curves say how well injections are told from "
        "other sky. Completeness and purity above count true objects alone."
        for survey in inputs.surveys
        if inputs.survey_settings(survey).get("sample", {}).get("inject")
    ]


def network_runs(inputs: ReportInputs) -> list[Run]:
    """Return the networks' measures on the test region's examples, for the combined table."""
    runs = []
    for survey, model in _networks(inputs):
        folder = inputs.root / "models" / f"{survey}-{model}"
        test = read_json(folder / "metrics.json").get("test") or {}
        if not test.get("examples"):
            continue
        card = read_json(folder / "model.json")
        runs.append(
            Run(
                experiment=f"{survey}-{model}",
                metrics=test,
                seed=int(card.get("seed") or 0),
                survey=survey,
                network=model,
                title=f"{model} on {survey}",
                facts={"parameters": card.get("weights", {}).get("parameters")},
            )
        )
    return runs


def write_networks_table(inputs: ReportInputs) -> None:
    """Write ``models/networks.*``: all networks of all surveys beside each other, on test sky."""
    sky = "Simulated sky. " if inputs.release.simulated else ""
    write_combined_table(
        inputs.root / "models",
        network_runs(inputs),
        tuple(EXAMPLE_MEASURES),
        name="networks",
        caption=f"{sky}Labelled examples of the test region, which no network has seen.",
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, {} where the file is missing or is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _networks(inputs: ReportInputs) -> list[tuple[str, str]]:
    return [(survey, model) for survey, model in inputs.models if model != FILTER]


def _losses(epochs: list[Mapping[str, Any]], title: str) -> Picture:
    with figures.style():
        figure = figures.new_figure()
        axes = figure.subplots()
        draw_losses(axes, epochs)
        axes.set_title(title)
        handles, labels = axes.get_legend_handles_labels()
        key, green = "validation_average_precision", figures.COLOURS[2]
        if any(row.get(key) is not None for row in epochs):
            other = axes.twinx()
            other.grid(visible=False)
            other.spines["right"].set_visible(True)
            other.set(ylabel="Average precision", ylim=(0, 1.02))
            scores = [_value(row, key) for row in epochs]
            epoch = [row["epoch"] for row in epochs]
            (line,) = other.plot(epoch, scores, color=green, linestyle="-.")
            handles, labels = [*handles, line], [*labels, "validation average precision"]
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return figures.svg(figure, f"Loss and average precision of {title} by epoch")


def _range_test(test: Mapping[str, Any], title: str) -> Picture:
    with figures.style():
        figure = figures.new_figure()
        axes = figure.subplots()
        draw_range_test(axes, test)
        axes.set_title(f"Range test: {title}")
        return figures.svg(figure, f"Learning rate range test of {title}")


def _curves(tests: Tests, key: str, title: str) -> Picture | None:
    drawn = [(name, value) for name, value in tests.items() if value.get(key)]
    if not drawn:
        return None
    with figures.style():
        figure = figures.new_figure(4.6, 4.4 + 0.2 * len(drawn))
        axes = figure.subplots()
        (draw_roc if key == "roc" else draw_precision_recall)(axes, drawn)
        axes.set_title(title)
        return figures.svg(figure, f"{title} on the test region's examples")


def _reliability(tests: Tests) -> Picture | None:
    drawn = {name: value for name, value in tests.items() if value.get("reliability")}
    if not drawn:
        return None
    with figures.style():
        figure = figures.new_figure(4.6, 4.4 + 0.2 * len(drawn))
        axes = figure.subplots()
        draw_reliability(axes, drawn)
        axes.set_title("Reliability")
        figure.legend(loc="outside lower center", ncols=1)
        return figures.svg(
            figure, "True share of positives by the probability given",
            "ECE: expected calibration error on these examples, and what perfect probabilities "
            "would show on as many. The share of positives is that of the examples.",
        )  # fmt: skip


def _recall_by_redshift(tests: Tests) -> Picture | None:
    key = "recall_by_redshift"
    drawn = {name: value[key] for name, value in tests.items() if value.get(key)}
    if not drawn:
        return None
    with figures.style():
        figure = figures.new_figure(4.6, 4.2)
        axes = figure.subplots()
        draw_recall(axes, drawn)
        axes.set(xlabel="Redshift", ylabel="Recall at probability 0.5", title="Recall by redshift")
        axes.set_xlim(left=0)
        figure.legend(loc="outside lower center", ncols=2)
        return figures.svg(figure, "Recall of the test region's clusters by redshift")


def _row(title: str, card: Mapping[str, Any], epochs: list[Mapping[str, Any]]) -> list[str]:
    training = card.get("training", {})
    parameters = card.get("weights", {}).get("parameters")
    examples = training.get("examples", {})
    count = examples.get("train") if isinstance(examples, Mapping) else None
    if isinstance(count, Mapping):
        count = sum(v for v in count.values() if isinstance(v, int))
    return [
        title,
        f"{parameters:,}" if parameters else "–",
        f"{count:,}" if isinstance(count, int) else "–",
        str(len(epochs)),
        str(training.get("best_epoch", "–")),
        f"{training['learning_rate']:.1e}" if "learning_rate" in training else "–",
    ]


def _value(row: Mapping[str, Any], key: str) -> float:
    """Return a measure of an epoch, NaN (a gap in the line) where there is none."""
    value = row.get(key)
    return float("nan") if value is None else float(value)


def _measure_text(metrics: Mapping[str, Any], key: str) -> str:
    value = metrics.get(key)
    if not isinstance(value, int | float):
        return "–"
    low, high = (metrics.get("intervals") or {}).get(key, (None, None))
    return f"{value:.3f}" + ("" if low is None else f" ± {(high - low) / 2:.3f}")
