"""Figures of a classifier: curves, reliability, confusion, probabilities, recall by a quantity.

A ``plot_`` function writes a file; a ``draw_`` function draws on given axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from clusterscan.report import look


def plot_roc_and_precision(metrics: Mapping[str, Any], path: Path) -> None:
    """Draw ROC and precision-recall curves.

    Parameters
    ----------
    metrics : mapping
        Measures of `clusterscan.measure.scores` by name (of a split, a model ...). With more
        than two classes there is one curve per class.
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
            # The dotted line is the precision of guessing: the share of positives.
            share = values["positives"] / values["examples"]
            axes.axhline(share, color=_line(n)["color"], linewidth=0.8, linestyle=":")
    _square(axes, "Recall (completeness)", "Precision (purity)")
    _legend_under(axes)


def plot_reliability(named: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw reliability diagrams above the number of examples in each bin.

    Parameters
    ----------
    named : mapping
        Measures with ``reliability``, ``ece``, ``brier`` by name (before, after; a split ...).
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
                # Empty bins are not in the list; they are put back with a count of 0.
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
        # Intervals are asymmetric near 0 and 1, as those of a binomial share are.
        errors = [true - [r["true_low"] for r in rows], [r["true_high"] for r in rows] - true]
        label = f"{name}: ECE {_with_interval(values, 'ece')}"
        if values.get("ece_floor") is not None:
            label += f", {values['ece_floor']:.3f} if perfect"
        x = [r["claimed"] for r in rows]
        axes.errorbar(
            x, true, yerr=np.maximum(errors, 0), marker=look.MARKERS[n % 6], label=label, **_line(n)
        )
    binary = any(values.get("positive") is not None for values in named.values())
    _square(
        axes, "Mean predicted probability", f"Share that is {'positive' if binary else 'correct'}"
    )


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
        Marked by a line if there are two classes.
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
    """Return the named curves in one set of measures: one with two classes, else one per class."""
    if values.get("roc"):
        return [(name, values)]
    found: list[tuple[str, Mapping[str, Any]]] = []
    for cls, curves in (values.get("curves") or {}).items():
        if curves.get("roc"):
            of = values["per_class"][cls]
            # With more than two classes each curve is that of one class against all others.
            plain = {key: of[key]["value"] for key in ("roc_auc", "average_precision")}
            ends = {key: [of[key]["low"], of[key]["high"]] for key in plain}
            found.append((f"{name}, {cls}", {**curves, **plain, "intervals": ends}))
    return found


def _with_interval(values: Mapping[str, Any], key: str) -> str:
    """Format a measure with its errors, '0.912 (+0.010 −0.012)', or '0.912' without interval."""
    value = values.get(key)
    if value is None:
        return "–"
    low, high = (values.get("intervals") or {}).get(key, (None, None))
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} (+{max(high - value, 0):.3f} −{max(value - low, 0):.3f})"


def _line(n: int) -> dict[str, Any]:
    # Line styles shift after each round of colours, so that the first 24 lines all differ.
    return {"color": look.COLOURS[n % 6], "linestyle": look.LINES[(n + n // 6) % 4]}


def _square(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_aspect("equal")


def _legend_under(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8.5)


def _decades(axes: Axes) -> None:
    """Make the y axis of counts logarithmic, with ticks at whole decades only."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_ylim(
        0.7, max(axes.get_ylim()[1], 10)
    )  # before the scale is set, as there may be no data
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


Rows = Sequence[Mapping[str, Any]]


def plot_recall(named: Mapping[str, Rows], path: Path, *, title: str, log: bool = False) -> None:
    """Draw recall by redshift, mass, magnitude or group, and the numbers of positives.

    Parameters
    ----------
    named : mapping
        Rows of `clusterscan.measure.breakdown.recall_by` by name (of a model ...); all in bins
        or all in groups. The counts are those of the first, by its ``parts`` if it has any.
    path : Path
        PNG, SVG or PDF.
    title : str
        Label of the x axis with its unit, e.g. "Redshift" or "r [mag]".
    log : bool
        Use a logarithmic x axis.
    """
    rows = [row for one in named.values() for row in one]
    groups = list(dict.fromkeys(row["name"] for row in rows if "name" in row))
    width = max(5.4, 1.2 + 0.5 * len(groups) * max(len(named), 1)) if groups else 5.4
    with look.style():
        figure = look.new_figure(width, 4.8)
        if not rows:
            look.nothing_to_show(figure.subplots(), "nothing to measure")
        else:
            top, below = figure.subplots(2, 1, height_ratios=[3.2, 1], sharex=True)
            if groups:
                _recall_of_groups(top, named, groups)
            else:
                draw_recall(top, named, log=log)
            _draw_positives(below, next(iter(named.values())), groups)
            top.set(ylabel="Recall", ylim=(-0.02, 1.04))
            below.set(xlabel=title, ylabel="Positives")
            look.legend_below(figure, top, below, columns=min(max(len(named), 1), 3))
        look.save(figure, path)


def draw_recall(axes: Axes, named: Mapping[str, Rows], *, log: bool = False) -> None:
    """Draw recall in bins: points at the middles, bars across the bins, 68 % intervals."""
    if log:
        axes.set_xscale("log")
    for n, (name, rows) in enumerate(named.items()):
        rows = [r for r in rows if r["recall"] is not None]
        if not rows:
            continue
        low, high = _bin_edges(rows)
        share = (
            0.5 + (n - (len(named) - 1) / 2) * 0.06
        )  # side by side, so that error bars do not overlap
        middle = low ** (1 - share) * high**share if log else low + share * (high - low)
        value = np.array([r["recall"] for r in rows])
        axes.errorbar(
            middle, value, yerr=_errors(rows, value), xerr=[middle - low, high - middle],
            linestyle="none", marker=look.MARKERS[n % 6], color=look.COLOURS[n % 6], label=name,
            capsize=0, elinewidth=1.3,
        )  # fmt: skip
        axes.plot(middle, value, color=look.COLOURS[n % 6], linewidth=0.8, alpha=0.6)
    axes.set_ylim(-0.02, 1.04)


def _draw_positives(axes: Axes, rows: Rows, groups: Sequence[str]) -> None:
    """Draw the number of positives in each bin or group, divided into their parts."""
    parts = list(dict.fromkeys(name for row in rows for name in row.get("parts", {}))) or [None]
    if groups:
        low, high = np.arange(len(rows)) - 0.4, np.arange(len(rows)) + 0.4
    else:
        low, high = _bin_edges(rows)
    base = np.zeros(len(rows))
    for n, part in enumerate(parts):
        share = np.array([1.0 if part is None else row["parts"].get(part, 0.0) for row in rows])
        count = share * [row["positives"] for row in rows]
        axes.bar(
            low, count, high - low, bottom=base, align="edge", label=part, edgecolor="white",
            linewidth=0.6, color=look.GREY if part is None else look.COLOURS[-1 - n % 6],
            hatch=look.HATCHES[n % 6],
        )  # fmt: skip
        base += count
    axes.set_ylim(0, max(1.0, 1.1 * base.max(initial=0)))


def _recall_of_groups(axes: Axes, named: Mapping[str, Rows], groups: Sequence[str]) -> None:
    place = {name: k for k, name in enumerate(groups)}
    width = 0.8 / max(len(named), 1)
    for n, (name, rows) in enumerate(named.items()):
        rows = [r for r in rows if r["recall"] is not None]
        if not rows:
            continue
        x = np.array([place[r["name"]] for r in rows]) + (n - (len(named) - 1) / 2) * width
        value = np.array([r["recall"] for r in rows])
        axes.bar(
            x, value, 0.9 * width, yerr=_errors(rows, value), label=name,
            color=look.COLOURS[n % 6], hatch=look.HATCHES[n % 6], edgecolor="white",
            error_kw={"ecolor": look.INK, "elinewidth": 1.2},
        )  # fmt: skip
        if len(named) == 1:
            for at, row in zip(x, rows, strict=True):
                text = f"{row['found']}/{row['positives']}"
                axes.text(at, 0.02, text, ha="center", va="bottom", color="white", fontsize=8.5)
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(visible=False, axis="x")


def _bin_edges(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    names = ("low", "high") if "low" in rows[0] else ("z_low", "z_high")
    return np.array([r[names[0]] for r in rows]), np.array([r[names[1]] for r in rows])


def _errors(rows: Rows, value: np.ndarray) -> np.ndarray:
    """Return the lengths of the error bars below and above, 0 without an interval."""
    ends = np.array([[_number(r.get(k)) for r in rows] for k in ("recall_low", "recall_high")])
    return np.nan_to_num(np.maximum([value - ends[0], ends[1] - value], 0))


def _number(value: float | None) -> float:
    return np.nan if value is None else value
