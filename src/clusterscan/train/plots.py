"""Figures of one training run; the same numbers give the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clusterscan.train.range_test import RangeCurve

_BLUE, _ORANGE, _GREY = "#1f5f99", "#d9730d", "#8a8a8a"


def plot_history(history: list[dict[str, float]], path: Path) -> None:
    """Draw the losses and the validation scores of each epoch."""
    figure = _figure(8.0, 3.4)
    losses, scores = figure.subplots(1, 2)
    epoch = [row["epoch"] for row in history]
    losses.plot(epoch, [row["loss"] for row in history], color=_BLUE, label="training")
    losses.plot(
        epoch, [row["validation_loss"] for row in history], color=_ORANGE, label="validation"
    )
    losses.set(xlabel="Epoch", ylabel="Cross entropy")
    losses.legend(frameon=False)
    for key, label, colour in (
        ("validation_average_precision", "average precision", _ORANGE),
        ("validation_roc_auc", "ROC area", _BLUE),
    ):
        scores.plot(epoch, [row[key] for row in history], color=colour, label=label)
    scores.set(xlabel="Epoch", ylabel="Validation score", ylim=(None, 1.01))
    scores.legend(frameon=False, loc="lower right")
    _save(figure, path)


def plot_range_test(curve: RangeCurve, path: Path) -> None:
    """Draw the range test's smoothed loss and mark the learning rate chosen from it."""
    figure = _figure(5.0, 3.4)
    axes = figure.subplots()
    axes.semilogx(curve.learning_rate, curve.loss, color=_BLUE)
    axes.axvline(curve.chosen, color=_ORANGE, label=f"chosen: {curve.chosen:.1e}")
    top = curve.loss[0] + 1.0 * (curve.loss[0] - min(curve.loss))
    axes.set(xlabel="Learning rate", ylabel="Smoothed loss")
    axes.set_ylim(None, max(top, min(curve.loss) * 1.05))
    axes.legend(frameon=False)
    _save(figure, path)


def plot_roc_and_precision(metrics: dict[str, Any], path: Path) -> None:
    """Draw ROC and precision-recall curves of the splits that have both classes."""
    figure = _figure(8.0, 3.8)
    roc, precision = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
    for split, colour in (("validation", _BLUE), ("test", _ORANGE)):
        values = metrics.get(split, {})
        if not values.get("roc"):
            continue
        roc.plot(
            values["roc"]["false_positive_rate"],
            values["roc"]["true_positive_rate"],
            color=colour,
            label=f"{split}: area {values['roc_auc']:.3f}",
        )
        precision.plot(
            values["precision_recall"]["recall"],
            values["precision_recall"]["precision"],
            color=colour,
            label=f"{split}: average {values['average_precision']:.3f}",
        )
    roc.set(xlabel="False positive rate", ylabel="True positive rate")
    precision.set(xlabel="Recall", ylabel="Precision", ylim=(0, 1.02))
    for axes in (roc, precision):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, loc="lower right" if axes is roc else "lower left")
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The version and date that matplotlib writes by default would change the bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
