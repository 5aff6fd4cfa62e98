"""The look of figures: colours, fonts, and files that are the same bytes for the same numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clusterscan.core.atomic import atomic_path

#: Okabe & Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "D", "^", "v", "P")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo")
INK, GREY, PALE = "#1d2733", "#7b8794", "#e4e8ed"
SHADES = "Blues"  # of confusion matrices: darker is more, in print too
DPI = 150

#: What the report's own figures (`clusterscan.publish.figures`) share with these.
COMMON_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "clusterscan",  # identifiers in the SVG are random otherwise
}
_STYLE = COMMON_STYLE | {
    "axes.titlesize": 10.5,
    "lines.markersize": 5,
    "errorbar.capsize": 2.5,
    "hatch.linewidth": 0.6,
}
#: What matplotlib writes by default (version, date) would change the bytes.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def style():
    """Return the context in which figures are drawn and saved."""
    return mpl.rc_context(_STYLE)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure [inches] outside pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF by the path's suffix, atomically."""
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata=METADATA.get(kind))
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


# Width of a legend's mark with the space around it, and of a letter at its font size [inch].
_HANDLE_IN, _LETTER_IN = 0.6, 0.075


def legend_below(figure: Figure, *axes: Axes, columns: int = 2) -> None:
    """Put one legend of all axes under them, in as many columns as fit and at most so many."""
    found: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        fitting = int(figure.get_figwidth() / (_HANDLE_IN + _LETTER_IN * max(map(len, found))))
        columns = max(1, min(columns, fitting))
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns)


def nothing_to_show(axes: Axes, text: str) -> None:
    """Say on empty axes why they are."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)
