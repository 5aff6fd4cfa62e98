"""Figures of a training: losses and scores by epoch, and the learning rate range test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from clusterscan.report import look

SCORES = {
    "validation_average_precision": "average precision",
    "validation_roc_auc": "ROC area",
    "validation_accuracy": "accuracy",
    "validation_balanced_accuracy": "balanced accuracy",
}


def plot_history(
    history: Sequence[Mapping[str, Any]], path: Path, *, best_epoch: int | None = None
) -> None:
    """Draw the losses, the validation scores and the learning rate of each epoch.

    Parameters
    ----------
    history : sequence of mapping
        Per epoch: epoch, loss, and if known validation_loss, learning_rate, stage (changes are
        marked) and the scores in ``SCORES``.
    path : Path
        PNG, SVG or PDF.
    best_epoch : int, optional
        The epoch whose weights were kept; it is marked.
    """
    with look.style():
        figure = look.new_figure(10.2, 3.5)
        losses, scores, rates = figure.subplots(1, 3)
        draw_losses(losses, history)
        draw_epoch_scores(scores, history)
        _draw_rates(rates, history)
        for axes in (losses, scores, rates):
            _mark_epochs(axes, history, best_epoch)
        look.legend_below(figure, losses, scores, rates, columns=4)
        look.save(figure, path)


def draw_losses(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw the training and validation losses by epoch."""
    epoch = [row["epoch"] for row in history]
    marker = "o" if len(history) < 3 else None
    for key, label, colour, line in (
        ("loss", "training loss", look.COLOURS[0], "-"),
        ("validation_loss", "validation loss", look.COLOURS[1], "--"),
    ):
        values = measure_by_epoch(history, key)
        if np.isfinite(values).any():
            axes.plot(epoch, values, color=colour, linestyle=line, marker=marker, label=label)
    axes.set(xlabel="Epoch", ylabel="Cross entropy [nat]")
    axes.set_ylim(bottom=0)
    _whole_epochs(axes)


def draw_epoch_scores(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw the validation scores by epoch."""
    epoch = [row["epoch"] for row in history]
    marker = "o" if len(history) < 3 else None
    drawn = False
    for n, (key, label) in enumerate(SCORES.items()):
        values = measure_by_epoch(history, key)
        if np.isfinite(values).any():
            colour, line = look.COLOURS[(n + 2) % 6], look.LINES[n % 4]
            axes.plot(epoch, values, color=colour, linestyle=line, marker=marker, label=label)
            drawn = True
    if not drawn:
        look.nothing_to_show(axes, "no validation scores")
        return
    axes.set(xlabel="Epoch", ylabel="Validation score", ylim=(None, 1.01))
    _whole_epochs(axes)


def plot_range_test(
    curves: Any, path: Path, *, used: float | Sequence[float | None] | None = None
) -> None:
    """Draw one or several learning rate range tests with the chosen rates.

    Parameters
    ----------
    curves : a range test or a sequence of them
        Each a mapping or dataclass of learning_rate, loss (smoothed), chosen, and stage (a
        name) if the training has several stages.
    path : Path
        PNG, SVG or PDF.
    used : float or sequence of float, optional
        The rates given to the optimiser; marked if they differ from the chosen ones.
    """
    tests = as_range_tests(curves)
    rates = list(used) if isinstance(used, Sequence) else [used] * len(tests)
    with look.style():
        figure = look.new_figure(max(4.4 * len(tests), 4.8), 3.5)
        panels = figure.subplots(1, max(len(tests), 1), squeeze=False)[0]
        if not tests:
            look.nothing_to_show(panels[0], "no range test was run")
        for axes, test, rate in zip(panels, tests, rates, strict=False):
            draw_range_test(axes, test, used=rate)
            if test.get("stage") not in (None, ""):
                axes.set_title(f"stage: {test['stage']}")
        look.save(figure, path)


def draw_range_test(axes: Axes, test: Mapping[str, Any], *, used: float | None = None) -> None:
    """Draw the smoothed loss against learning rate, and the chosen rate."""
    rate = np.asarray(test["learning_rate"], dtype=float)
    loss = np.asarray(test["loss"], dtype=float)
    chosen = float(test["chosen"])
    axes.semilogx(rate, loss, color=look.COLOURS[0])
    axes.axvline(chosen, color=look.COLOURS[1], linestyle="--", label=f"chosen: {chosen:.2g}")
    if rate[0] <= chosen <= rate[-1]:
        at = np.interp(np.log(chosen), np.log(rate), loss)
        axes.plot(chosen, at, "o", color=look.COLOURS[1])
    # The settings may fix a rate; then the test is shown beside the rate that was really used.
    if used is not None and not np.isclose(used, chosen, rtol=1e-6):
        axes.axvline(used, color=look.INK, linestyle=":", label=f"used: {used:.2g}")
    # The divergence at the end would flatten the rest of the curve.
    low, top = loss.min(), max(loss[0] + 0.5 * (loss[0] - loss.min()), loss.min() * 1.05)
    axes.set_ylim(low - 0.06 * (top - low), top)
    axes.set(xlabel="Learning rate", ylabel="Smoothed loss [nat]")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)


def as_range_tests(curves: Any) -> list[dict[str, Any]]:
    """Return one or several range tests, mappings or dataclasses, as a list of mappings."""
    if curves is None:
        return []
    many = curves if isinstance(curves, list | tuple) else [curves]
    return [asdict(c) if is_dataclass(c) else dict(c) for c in many if c is not None]  # type: ignore[arg-type]


def _draw_rates(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    rates = measure_by_epoch(history, "learning_rate")
    if not (rates > 0).any():
        look.nothing_to_show(axes, "no learning rates")
        return
    epoch = [row["epoch"] for row in history]
    axes.semilogy(epoch, rates, color=look.INK, marker="o" if len(history) < 3 else None)
    axes.set(xlabel="Epoch", ylabel="Learning rate at the epoch's end")
    _whole_epochs(axes)


def _mark_epochs(axes: Axes, history: Sequence[Mapping[str, Any]], best_epoch: int | None) -> None:
    if not axes.axison:
        return
    if best_epoch is not None:
        label = f"epoch kept: {best_epoch}"
        axes.axvline(best_epoch, color=look.GREY, linestyle=":", linewidth=1.2, label=label)
    stages = [row.get("stage") for row in history]
    for before, row in zip(stages, history[1:], strict=False):
        if row.get("stage") != before:
            axes.axvline(row["epoch"] - 0.5, color=look.INK, linewidth=0.9, label="next stage")


def _whole_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def measure_by_epoch(history: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Return a measure by epoch, NaN (a gap in the line) if it is unknown."""
    found = [row.get(key) for row in history]
    return np.array([np.nan if value is None else float(value) for value in found])
