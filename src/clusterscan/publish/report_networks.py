"""The report's sections on the networks: training, and classification of the test examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusterscan.measure.combined_table import Run
from clusterscan.publish.report_inputs import ReportInputs
from clusterscan.report import look
from clusterscan.report.classifier_plots import (
    draw_precision_recall,
    draw_recall,
    draw_reliability,
    draw_roc,
)
from clusterscan.report.combined_text import write_combined_table
from clusterscan.report.document import Picture, Section, Table
from clusterscan.report.training_plots import (
    as_range_tests,
    draw_losses,
    draw_range_test,
    measure_by_epoch,
)

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
    """Return the section on training: losses and range tests of each network."""
    pictures: list[Picture] = []
    notes: list[str] = []
    rows: list[list[str]] = []
    for survey, model in inputs.networks:
        title = f"{model} on {survey}"
        folder = inputs.model_folder(survey, model)
        history = read_json(folder / "history.json")
        epochs = history.get("epochs") or []
        if not epochs:
            notes.append(f"There is no training history of {title}.")
            continue
        pictures.append(_losses(epochs, title))
        # A training in stages has one range test for each stage.
        tests = as_range_tests(history.get("range_tests") or history.get("range_test"))
        for number, test in enumerate(tests, start=1):
            stage = f", stage {number}" if len(tests) > 1 else ""
            with look.style():
                figure = look.new_figure()
                axes = figure.subplots()
                draw_range_test(axes, test)
                axes.set_title(f"Range test: {title}{stage}")
                alt = f"Learning rate range test of {title}{stage}"
                pictures.append(look.svg_picture(figure, alt))
        rows.append(_training_row(title, read_json(folder / "model.json"), epochs))
    header = ("Network", "Parameters", "Examples", "Epochs", "Best", "Learning rate")
    return Section(
        "training",
        "Training",
        "The range test raises the learning rate until the loss diverges and picks the rate to "
        "train with. The epoch with the best result on the validation region is kept.",
        pictures,
        [Table(header, rows)] if rows else [],
        notes=notes,
    )


def _losses(epochs: list[Mapping[str, Any]], title: str) -> Picture:
    with look.style():
        figure = look.new_figure()
        axes = figure.subplots()
        draw_losses(axes, epochs)
        axes.set_title(title)
        panels = [axes]
        key = "validation_average_precision"
        if any(row.get(key) is not None for row in epochs):
            other = axes.twinx()
            other.grid(visible=False)
            other.spines["right"].set_visible(True)
            other.set(ylabel="Average precision", ylim=(0, 1.02))
            epoch = [row["epoch"] for row in epochs]
            other.plot(
                epoch, measure_by_epoch(epochs, key), color=look.COLOURS[2], linestyle="-.",
                label="validation average precision",
            )  # fmt: skip
            panels.append(other)
        look.legend_below(figure, *panels)
        return look.svg_picture(figure, f"Loss and average precision of {title} by epoch")


def _training_row(
    title: str, card: Mapping[str, Any], epochs: list[Mapping[str, Any]]
) -> list[str]:
    training = card.get("training", {})
    parameters = card.get("weights", {}).get("parameters")
    examples = training.get("examples", {})
    count = examples.get("train") if isinstance(examples, Mapping) else None
    # A card counts the examples of each class, or all of them together.
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


def examples_section(inputs: ReportInputs) -> Section:
    """Return the section on the classification of the test region's examples."""
    tests = {run.title: run.metrics for run in network_runs(inputs)}
    rows = [
        [
            title,
            f"{value['examples']:,}",
            f"{value['positives']:,}" if "positives" in value else "–",
            *(_value_and_error(value, key) for key in EXAMPLE_MEASURES),
            _value_and_error(value.get("calibrated") or {}, "ece"),
        ]
        for title, value in tests.items()
    ]
    header = ("Network", "Examples", "Positives", *EXAMPLE_MEASURES.values(), "… calibrated")
    caption = (
        "± half of the 68 % interval from a bootstrap over objects; precision, recall, F1 and "
        "accuracy at probability 0.5. More measures: models/networks.csv, .parquet."
    )
    notes = [
        f"Nearly all positives of {survey} are model clusters injected into its images, because "
        "it has too few real ones. These curves show how well injections are told from other "
        "sky. Completeness and purity above count true objects alone."
        for survey in inputs.surveys
        if inputs.survey_settings(survey).get("sample", {}).get("inject")
    ]
    return Section(
        "examples",
        "Telling examples apart",
        "Labelled examples of the test region, which no network has seen. Their share of "
        "positives is that of the examples, not of the sky: completeness and purity above "
        "describe the catalogue.",
        _example_pictures(tests),
        [Table(header, rows, caption)] if rows else [],
        notes=notes,
    )


def _example_pictures(tests: Mapping[str, Mapping[str, Any]]) -> list[Picture]:
    """Draw ROC and precision-recall curves, reliability and recall by redshift."""

    def having(key: str) -> dict[str, Mapping[str, Any]]:
        return {name: values for name, values in tests.items() if values.get(key)}

    pictures = []
    with look.style():
        for key, title, draw in (
            ("roc", "ROC curves", draw_roc),
            ("precision_recall", "Precision and recall", draw_precision_recall),
        ):
            drawn = having(key)
            if drawn:
                figure = look.new_figure(4.6, 4.4 + 0.2 * len(drawn))
                axes = figure.subplots()
                draw(axes, list(drawn.items()))
                axes.set_title(title)
                pictures.append(look.svg_picture(figure, f"{title} on the test region's examples"))
        drawn = having("reliability")
        if drawn:
            figure = look.new_figure(4.6, 4.4 + 0.2 * len(drawn))
            axes = figure.subplots()
            draw_reliability(axes, drawn)
            axes.set_title("Reliability")
            look.legend_below(figure, axes, columns=1)
            caption = (
                "ECE: expected calibration error on these examples, and the one that perfect "
                "probabilities would show. The share of positives is that of the examples."
            )
            alt = "True share of positives against predicted probability"
            pictures.append(look.svg_picture(figure, alt, caption))
        drawn = having("recall_by_redshift")
        if drawn:
            figure = look.new_figure(4.6, 4.2)
            axes = figure.subplots()
            draw_recall(axes, {name: v["recall_by_redshift"] for name, v in drawn.items()})
            axes.set(
                xlabel="Redshift", ylabel="Recall at probability 0.5", title="Recall by redshift"
            )
            axes.set_xlim(left=0)
            look.legend_below(figure, axes)
            alt = "Recall of the test region's clusters by redshift"
            pictures.append(look.svg_picture(figure, alt))
    return pictures


def _value_and_error(metrics: Mapping[str, Any], key: str) -> str:
    value = metrics.get(key)
    if not isinstance(value, int | float):
        return "–"
    low, high = (metrics.get("intervals") or {}).get(key, (None, None))
    return f"{value:.3f}" + ("" if low is None else f" ± {(high - low) / 2:.3f}")


def network_runs(inputs: ReportInputs) -> list[Run]:
    """Return the measures of each network on the test examples, for the combined table."""
    runs = []
    for survey, model in inputs.networks:
        folder = inputs.model_folder(survey, model)
        test = read_json(folder / "metrics.json").get("test") or {}
        # A region may hold no example of a survey, for instance on a small footprint.
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
    """Write ``models/networks.*``, the combined table of all networks on the test examples."""
    sky = "Simulated sky. " if inputs.release.simulated else ""
    write_combined_table(
        inputs.root / "models",
        network_runs(inputs),
        tuple(EXAMPLE_MEASURES),
        name="networks",
        caption=f"{sky}Labelled examples of the test region, which no network has seen.",
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, {} if the file is missing or holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
