"""Figures of a classifier: curves, calibration, probabilities and confusion.

The figures of training and of recall by redshift and the like are named here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from clusterscan.report import look
from clusterscan.report.recall_plots import draw_recall, plot_recall
from clusterscan.report.training_plots import plot_history, plot_range_test


def plot_roc_and_precision(metrics: Mapping[str, Any], path: Path) -> None:
    """Draw ROC and precision-recall curves.

    Parameters
    ----------
    metrics : mapping
        Name (of a split, a model ...) -> measures of `clusterscan.measure.scores`. With more
        than two classes one curve a class.
    path : Path
        PNG, SVG or PDF.
    """
    drawn = [item for name, values in metrics.items() for item in _curves(name, values)]
    with look.style():
        figure = look.new_figure(8.6, 4.2 + 0.1 * len(drawn))
        left, right = figure.subplots(1, 2)
        draw_roc(left, drawn)
        draw_precision_recall(right, drawn)
        look.save(figure, path)


def draw_roc(axes: Axes, named: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Draw named ROC curves: (name, {roc, roc_auc, intervals})."""
    axes.plot([0, 1], [0, 1], color=look.GREY, linewidth=1, linestyle=":")
    for n, (name, values) in enumerate(named):
        curve = values["roc"]
        label = f"{name}: area {_with_interval(values, 'roc_auc')}"
        x, y = curve["false_positive_rate"], curve["true_positive_rate"]
        axes.plot(x, y, label=label, **_line(n))
    _square(axes, "False positive rate (fall-out)", "True positive rate (recall)")
    _legend_under(axes)


def draw_precision_recall(axes: Axes, named: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Draw named precision-recall curves: (name, {precision_recall, average_precision, ...})."""
    for n, (name, values) in enumerate(named):
        curve = values["precision_recall"]
        label = f"{name}: average {_with_interval(values, 'average_precision')}"
        # A precision holds from its recall down to the next lower one: a step, not a slope.
        axes.step(curve["recall"], curve["precision"], where="post", label=label, **_line(n))
        if values.get("positives") and values.get("examples"):
            share = values["positives"] / values["examples"]
            axes.axhline(share, color=_line(n)["color"], linewidth=0.8, linestyle=":")
    _square(axes, "Recall (completeness)", "Precision (purity)")
    _legend_under(axes)


def plot_reliability(named: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw reliability diagrams with the number of examples in each bin below.

    Parameters
    ----------
    named : mapping
        Name (before, after; a split ...) -> measures with ``reliability``, ``ece``, ``brier``.
    path : Path
        PNG, SVG or PDF.
    """
    with look.style():
        figure = look.new_figure(4.6, 5.8)
        top, below = figure.subplots(2, 1, height_ratios=[3.6, 1], sharex=True)
        draw_reliability(top, named)
        top.set_aspect("auto")  # as wide as the counts below
        for n, values in enumerate(named.values()):
            rows = values.get("reliability") or []
            if rows:
                width = rows[0]["high"] - rows[0]["low"]
                count = np.zeros(round(1 / width))
                count[[round(r["low"] / width) for r in rows]] = [r["examples"] for r in rows]
                edges = np.linspace(0, 1, len(count) + 1)
                below.stairs(count, edges, baseline=0.5, linewidth=1.6, **_line(n))
        below.set(xlabel=top.get_xlabel(), ylabel="Examples")
        _decades(below)
        top.set_xlabel("")
        look.legend_below(figure, top, columns=1)
        look.save(figure, path)


def draw_reliability(axes: Axes, named: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the true share of each probability bin with its 68 % interval."""
    axes.plot([0, 1], [0, 1], color=look.GREY, linewidth=1, linestyle=":")
    for n, (name, values) in enumerate(named.items()):
        rows = values.get("reliability") or []
        if not rows:
            continue
        true = np.array([r["true"] for r in rows])
        errors = [true - [r["true_low"] for r in rows], [r["true_high"] for r in rows] - true]
        label = f"{name}: ECE {_with_interval(values, 'ece')}"
        if values.get("ece_floor") is not None:
            label += f", {values['ece_floor']:.3f} if perfect"
        x = [r["claimed"] for r in rows]
        axes.errorbar(
            x, true, yerr=np.maximum(errors, 0), marker=look.MARKERS[n % 6], label=label, **_line(n)
        )
    binary = any(values.get("positive") is not None for values in named.values())
    _square(axes, "Mean probability given", f"Share that is {'positive' if binary else 'right'}")


def plot_probabilities(
    label: np.ndarray,
    probability: np.ndarray,
    classes: Sequence[str],
    path: Path,
    *,
    of: int = 1,
    threshold: float | None = 0.5,
    bins: int = 25,
) -> None:
    """Draw histograms of one class's probability, one for each true class.

    Parameters
    ----------
    label : int ndarray, shape (n,)
    probability : float ndarray, shape (n, K) or (n,)
    classes : sequence of str
    path : Path
        PNG, SVG or PDF.
    of : int
        The class whose probability is shown.
    threshold : float, optional
        Marked.
    bins : int
    """
    chance = np.asarray(probability, dtype=float)
    chance = chance if chance.ndim == 1 else chance[:, of]
    with look.style():
        figure = look.new_figure(5.4, 3.9)
        axes = figure.subplots()
        edges = np.linspace(0, 1, bins + 1)
        for c, name in enumerate(classes):
            values = chance[np.asarray(label) == c]
            count, _ = np.histogram(values, edges)
            text = f"{name} ({len(values):,})"
            axes.stairs(
                count, edges, label=text, fill=c == of, alpha=0.35 if c == of else 1.0,
                linewidth=1.8, **_line(c),
            )  # fmt: skip
            if c == of:
                axes.stairs(count, edges, linewidth=1.8, **_line(c))
        if threshold is not None and len(classes) == 2:
            axes.axvline(threshold, color=look.GREY, linestyle=":", linewidth=1.2)
        axes.set(xlabel=f"Probability of {classes[of]}", ylabel="Examples", xlim=(-0.01, 1.01))
        _decades(axes)
        look.legend_below(figure, axes, columns=min(len(classes), 3))
        look.save(figure, path)


def plot_confusion(metrics: Mapping[str, Any], path: Path) -> None:
    """Draw the confusion matrix: counts, and shares of each true class with 68 % intervals.

    Parameters
    ----------
    metrics : mapping
        Measures of `clusterscan.measure.scores`: classes, confusion_matrix,
        confusion_normalised.
    path : Path
        PNG, SVG or PDF.
    """
    classes = metrics["classes"]
    counts = np.array(metrics["confusion_matrix"], dtype=float)
    shares = metrics["confusion_normalised"]
    side = 1.9 + (0.78 if len(classes) < 4 else 0.58) * len(classes)
    with look.style():
        figure = look.new_figure(2 * side + 1.4, side + 0.5)
        left, right = figure.subplots(1, 2)
        total = counts.max() if counts.size else 1.0
        _matrix(left, counts / max(total, 1.0), [[f"{v:,.6g}" for v in row] for row in counts])
        normal = np.array(
            [[np.nan if v is None else v for v in row] for row in shares["normalised"]]
        )
        _matrix(right, normal, _share_texts(shares))
        for axes, title in ((left, "Examples"), (right, "Share of the true class")):
            _name_classes(axes, classes)
            axes.set_title(title)
        look.save(figure, path)


def _curves(name: str, values: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what can be drawn of one set of measures: itself, or one curve a class."""
    if values.get("roc"):
        return [(name, values)]
    found: list[tuple[str, Mapping[str, Any]]] = []
    for cls, curves in (values.get("curves") or {}).items():
        if curves.get("roc"):
            of = values["per_class"][cls]
            plain = {key: of[key]["value"] for key in ("roc_auc", "average_precision")}
            ends = {key: [of[key]["low"], of[key]["high"]] for key in plain}
            found.append((f"{name}, {cls}", {**curves, **plain, "intervals": ends}))
    return found


def _with_interval(values: Mapping[str, Any], key: str) -> str:
    """Return a measure with its interval as errors, '0.912 (+0.010 −0.012)' or '0.912'."""
    value = values.get(key)
    if value is None:
        return "–"
    low, high = (values.get("intervals") or {}).get(key, (None, None))
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} (+{max(high - value, 0):.3f} −{max(value - low, 0):.3f})"


def _line(n: int) -> dict[str, Any]:
    # Shifted after each round of colours, so that no two of the first 24 look alike.
    return {"color": look.COLOURS[n % 6], "linestyle": look.LINES[(n + n // 6) % 4]}


def _square(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_aspect("equal")


def _legend_under(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8.5)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _decades(axes: Axes) -> None:
    """Count on a logarithmic axis with ticks at whole decades only."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_ylim(0.7, max(axes.get_ylim()[1], 10))  # before the scale: there may be no data
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _matrix(axes: Axes, shade: np.ndarray, texts: Sequence[Sequence[str]]) -> None:
    axes.imshow(np.nan_to_num(shade), cmap=look.SHADES, vmin=0, vmax=1.15)
    size = 10 if len(shade) < 4 else 7.5
    for (i, j), value in np.ndenumerate(shade):
        colour = "white" if value > 0.6 else look.INK
        axes.text(j, i, texts[i][j], ha="center", va="center", color=colour, fontsize=size)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _share_texts(shares: Mapping[str, Any]) -> list[list[str]]:
    out = []
    for values, lows, highs in zip(
        shares["normalised"], shares["low"], shares["high"], strict=True
    ):
        row = []
        for value, low, high in zip(values, lows, highs, strict=True):
            text = "–" if value is None else f"{value:.3f}"
            if low is not None and value is not None and len(values) < 4:
                text += f"\n+{max(high - value, 0):.3f}\n−{max(value - low, 0):.3f}"
            row.append(text)
        out.append(row)
    return out


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    long = max(map(len, classes)) > 8 or len(classes) > 4
    turned: dict[str, Any] = (
        {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if long else {}
    )
    axes.set_xticks(range(len(classes)), classes, **turned)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="Predicted class", ylabel="True class")


__all__ = [
    "draw_precision_recall",
    "draw_recall",
    "draw_reliability",
    "draw_roc",
    "plot_confusion",
    "plot_history",
    "plot_probabilities",
    "plot_range_test",
    "plot_recall",
    "plot_reliability",
    "plot_roc_and_precision",
]
