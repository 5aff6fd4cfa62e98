"""Figures of recall by redshift, mass, magnitude or group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from clusterscan.report import look

Rows = Sequence[Mapping[str, Any]]


def plot_recall(named: Mapping[str, Rows], path: Path, *, title: str, log: bool = False) -> None:
    """Draw recall by redshift, mass, magnitude or group, and how many positives it comes from.

    Parameters
    ----------
    named : mapping
        Name (of a model ...) -> rows of `clusterscan.measure.breakdown.recall_by`; bins for all
        or groups for all. The counts below are the first one's, by its ``parts`` if it has any.
    path : Path
        PNG, SVG or PDF.
    title : str
        What is binned, with its unit, e.g. "Redshift" or "r [mag]".
    log : bool
        Whether bins are on a logarithmic axis.
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
    """Draw recall in bins: points at the bins' middles, bars over bins and 68 % intervals."""
    if log:
        axes.set_xscale("log")
    for n, (name, rows) in enumerate(named.items()):
        rows = [r for r in rows if r["recall"] is not None]
        if not rows:
            continue
        low, high = _bin_edges(rows)
        share = 0.5 + (n - (len(named) - 1) / 2) * 0.06  # side by side, or bars would cover bars
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
    """Draw how many positives each bin or group has, by their parts."""
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
    """Return how far the interval reaches below and above, 0 where there is none."""
    ends = np.array([[_number(r.get(k)) for r in rows] for k in ("recall_low", "recall_high")])
    return np.nan_to_num(np.maximum([value - ends[0], ends[1] - value], 0))


def _number(value: float | None) -> float:
    return np.nan if value is None else value
