"""The report's view of the networks: training, learning rates, and telling examples apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusterscan.publish import figures
from clusterscan.publish.columns import FILTER
from clusterscan.publish.inputs import Picture, ReportInputs, Section, Table


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
        if history.get("range_test"):
            pictures.append(_range_test(history["range_test"], title))
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
    measures = {
        (survey, model): read_json(inputs.root / "models" / f"{survey}-{model}" / "metrics.json")
        for survey, model in _networks(inputs)
    }
    tests = {key: value.get("test") or {} for key, value in measures.items()}
    tests = {key: value for key, value in tests.items() if value.get("examples")}
    pictures = [
        p
        for p in (_roc(tests), _precision_recall(tests), _recall_by_redshift(tests))
        if p is not None
    ]
    rows = [
        [
            f"{model} on {survey}",
            f"{value['examples']:,}",
            f"{value.get('positives', 0):,}",
            *(
                _figure_text(value.get(key))
                for key in ("roc_auc", "average_precision", "precision", "recall", "brier")
            ),
        ]
        for (survey, model), value in tests.items()
    ]
    header = (
        "Network", "Examples", "Positives", "ROC area", "Average precision",
        "Precision at 0.5", "Recall at 0.5", "Brier score",
    )  # fmt: skip
    return Section(
        "examples",
        "Telling examples apart",
        "Labelled examples of the test region, which no network has seen. Their share of "
        "positives is that of the examples, not of the sky: completeness and purity above say "
        "what this means for a catalogue.",
        pictures,
        [Table(header, rows)] if rows else [],
        notes=[
            f"Nearly all positives of {survey} are model clusters injected into its images, as "
            "real ones are too few there: these curves say how well injections are told from "
            "other sky. Completeness and purity above count true objects alone."
            for survey in inputs.surveys
            if inputs.survey_settings(survey).get("sample", {}).get("inject")
        ],
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
        epoch = [row["epoch"] for row in epochs]
        for key, label, colour in (
            ("loss", "training loss", figures.COLOURS[0]),
            ("validation_loss", "validation loss", figures.COLOURS[1]),
        ):
            if key in epochs[0]:
                axes.plot(epoch, [_value(row, key) for row in epochs], color=colour, label=label)
        axes.set(xlabel="Epoch", ylabel="Cross entropy", title=title)
        axes.set_ylim(bottom=0)
        handles, labels = axes.get_legend_handles_labels()
        key, green = "validation_average_precision", figures.COLOURS[2]
        if any(row.get(key) is not None for row in epochs):
            other = axes.twinx()
            other.grid(visible=False)
            other.spines["right"].set_visible(True)
            other.set(ylabel="Average precision", ylim=(0, 1.02))
            scores = [_value(row, key) for row in epochs]
            (line,) = other.plot(epoch, scores, color=green, linestyle="--")
            handles, labels = [*handles, line], [*labels, "validation average precision"]
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return figures.svg(figure, f"Loss and average precision of {title} by epoch")


def _range_test(curve: Mapping[str, Any], title: str) -> Picture:
    rate, loss, chosen = curve["learning_rate"], curve["loss"], curve["chosen"]
    with figures.style():
        figure = figures.new_figure()
        axes = figure.subplots()
        axes.semilogx(rate, loss, color=figures.COLOURS[0])
        axes.axvline(
            chosen, color=figures.COLOURS[1], linestyle="--", label=f"chosen: {chosen:.1e}"
        )
        top = loss[0] + (loss[0] - min(loss))
        axes.set_ylim(None, max(top, min(loss) * 1.05))
        axes.set(xlabel="Learning rate", ylabel="Smoothed loss", title=f"Range test: {title}")
        axes.legend()
        return figures.svg(figure, f"Learning rate range test of {title}")


def _roc(tests: Mapping[tuple[str, str], Mapping[str, Any]]) -> Picture | None:
    return _curves(
        tests, "roc", ("false_positive_rate", "true_positive_rate"),
        ("False positive rate", "True positive rate"), ("roc_auc", "area"), "ROC curves",
    )  # fmt: skip


def _precision_recall(tests: Mapping[tuple[str, str], Mapping[str, Any]]) -> Picture | None:
    return _curves(
        tests, "precision_recall", ("recall", "precision"), ("Recall", "Precision"),
        ("average_precision", "average"), "Precision and recall",
    )  # fmt: skip


def _curves(tests, key, columns, labels, measure, title) -> Picture | None:
    drawn = {name: value for name, value in tests.items() if value.get(key)}
    if not drawn:
        return None
    with figures.style():
        figure = figures.new_figure(4.6, 4.2)
        axes = figure.subplots()
        if key == "roc":
            axes.plot([0, 1], [0, 1], color=figures.GREY, linestyle=":", linewidth=1)
        for n, ((survey, model), value) in enumerate(drawn.items()):
            colour, _ = figures.model_colour(n, False)
            label = f"{model} on {survey}: {measure[1]} {value[measure[0]]:.3f}"
            x, y = (value[key][column] for column in columns)
            axes.plot(x, y, color=colour, linestyle=figures.LINES[n % 4], label=label)
        axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        figure.legend(loc="outside lower center", ncols=1)
        return figures.svg(figure, f"{title} on the test region's examples")


def _recall_by_redshift(tests: Mapping[tuple[str, str], Mapping[str, Any]]) -> Picture | None:
    key = "recall_by_redshift"
    drawn = {name: value[key] for name, value in tests.items() if value.get(key)}
    if not drawn:
        return None
    with figures.style():
        figure = figures.new_figure(4.6, 4.2)
        axes = figure.subplots()
        for n, ((survey, model), bins) in enumerate(drawn.items()):
            bins = [b for b in bins if b["recall"] is not None]
            colour, _ = figures.model_colour(n, False)
            axes.plot(
                [(b["z_low"] + b["z_high"]) / 2 for b in bins],
                [b["recall"] for b in bins],
                color=colour,
                linestyle=figures.LINES[n % 4],
                marker="o",
                label=f"{model} on {survey}",
            )
        axes.set(xlabel="Redshift", ylabel="Recall at probability 0.5", title="Recall by redshift")
        axes.set(xlim=(0, None), ylim=(-0.02, 1.04))
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


def _figure_text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "–"
