"""The report's view of the catalogue's quality: completeness and purity of every finder."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from clusterscan.publish import figures
from clusterscan.publish.inputs import Picture, Section, Table
from clusterscan.publish.scores import Binned, Finder, Fraction, Scores

SCALES = {"m500c_msun": 1e14}  # numbers of another size are unreadable
#: How a column of the truth is called on an axis, its unit, and whether the axis is logarithmic.
AXES = {
    "z": ("Redshift", "", False),
    "m500c_msun": ("Mass M500c", "10¹⁴ solar masses", True),
    "rmag": ("r magnitude", "", False),
}
UNITS = ("mag", "deg", "arcmin", "arcsec", "msun", "mpc", "kpc")


def finding_section(scores: Scores, *, simulated: bool) -> Section:
    """Return the section on completeness and purity."""
    if not scores.finders:
        return Section(
            "finding",
            "Completeness and purity",
            notes=["There is no validation to show: validation.json is missing or empty."],
        )
    against = "true clusters" if simulated else "reference catalogue's objects"
    count = "" if scores.n_truth is None else f"{scores.n_truth:,} "
    lead = (
        f"Completeness is the share of the {count}{against} of the {scores.region} region that a "
        "finder finds, purity the share of its candidates that are real. The plain filters see "
        "the same images: the gap to them is what the networks add."
    )
    if np.isfinite(scores.confidence):
        lead += f" Intervals are at {scores.confidence:.0%} confidence."
    if scores.combined is not None and np.isfinite(scores.combined.chance_rate):
        lead += (
            f" Moved to other sky, {scores.combined.chance_rate:.0%} of the candidates match by "
            "chance; this raises the purity of all finders alike."
        )
    pictures: list[Picture | None] = [_completeness_purity(scores)]
    for column in dict.fromkeys(b.column for f in scores.finders for b in f.completeness_bins):
        pictures.append(_by_column(scores, column, "Completeness", lambda f: f.completeness_bins))
        pictures.append(_by_column(scores, column, "Purity", lambda f: f.purity_bins))
    tables = [
        _purity_table(scores),
        _comparison_table(scores),
        *_bin_tables(scores),
        _known_table(scores),
    ]
    return Section(
        "finding",
        "Completeness and purity",
        lead,
        [p for p in pictures if p is not None],
        [t for t in tables if t is not None and t.rows],
    )


def axis_of(column: str) -> tuple[str, str, bool]:
    """Return a column's name, unit and whether its axis is logarithmic."""
    if column in AXES:
        return AXES[column]
    parts = column.split("_")
    if len(parts) > 1 and parts[-1].lower() in UNITS:
        return " ".join(parts[:-1]), parts[-1], False
    return column.replace("_", " "), "", False


def _completeness_purity(scores: Scores) -> Picture:
    with figures.style():
        figure = figures.new_figure(5.6, 5.2)
        axes = figure.subplots()
        for finder, style in _styled(scores):
            axes.plot(finder.completeness, finder.purity, label=finder.label, **style)
            found = finder.at(scores.reference_purity)
            if found is not None and found.reached:
                at = found.completeness.value
                axes.plot(at, scores.reference_purity, "o", color=style["color"], markersize=5)
        axes.axhline(scores.reference_purity, color=figures.GREY, linestyle=":", linewidth=1)
        axes.set(xlabel="Completeness", ylabel="Purity", xlim=(0, 1.01), ylim=(0, 1.03))
        figure.legend(loc="outside lower center", ncols=2)
        return figures.svg(
            figure,
            "Purity against completeness of every network, their combination, and the filters",
            f"Dots mark the completeness at purity {scores.reference_purity:.0%}.",
        )


def _by_column(
    scores: Scores, column: str, what: str, bins_of: Callable[[Finder], object]
) -> Picture | None:
    name, unit, logarithmic = axis_of(column)
    drawn = False
    with figures.style():
        figure = figures.new_figure(4.6, 4.6)
        axes = figure.subplots()
        for finder, style in _styled(scores):
            binned = _of_column(bins_of(finder), column)
            at = finder.at(scores.reference_purity)
            # One that is never so pure would stand here at another threshold than the rest.
            if binned is None or (at is not None and not at.reached):
                continue
            middle, fractions = _points(binned, logarithmic)
            if middle.size:
                drawn = True
                _draw_binned(axes, middle, fractions, finder, style)
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=f"{name} [{unit}]" if unit else name, ylabel=what, ylim=(-0.02, 1.04))
        axes.set_title(f"{what}, threshold of purity {scores.reference_purity:.0%}")
        if not drawn:
            return None
        figure.legend(loc="outside lower center", ncols=2)
        return figures.svg(figure, f"{what} by {name} of every finder")


def _draw_binned(axes, middle: np.ndarray, fractions: list[Fraction], finder: Finder, style):
    value, low, high = (
        np.array([getattr(f, key) for f in fractions]) for key in ("value", "low", "high")
    )
    axes.plot(middle, value, marker="o", markersize=4, label=finder.label, **style)
    if finder.name in ("networks", "filters"):
        axes.fill_between(middle, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _points(binned: Binned, logarithmic: bool) -> tuple[np.ndarray, list[Fraction]]:
    edges = binned.edges / SCALES.get(binned.column, 1.0)
    low, high = edges[:-1], edges[1:]
    middle = np.sqrt(low * high) if logarithmic else (low + high) / 2
    good = [n for n, f in enumerate(binned.fractions) if np.isfinite(f.value) and n < middle.size]
    return middle[good], [binned.fractions[n] for n in good]


def _of_column(bins, column: str) -> Binned | None:
    return next((b for b in bins if b.column == column), None)


def _styled(scores: Scores) -> list[tuple[Finder, dict]]:
    styled, networks, filters = [], 0, 0
    for finder in scores.finders:
        if finder.kind == "combined":
            style = {"color": figures.INK, "linestyle": "-", "linewidth": 2.8}
        elif finder.is_filter:
            line = "--" if finder.name == "filters" else figures.LINES[2 + filters % 2]
            wide = 2.4 if finder.name == "filters" else 1.3
            style = {"color": figures.FILTER_COLOUR, "linestyle": line, "linewidth": wide}
            filters += finder.name != "filters"
        else:
            colour = figures.COLOURS[networks % len(figures.COLOURS)]
            style = {"color": colour, "linestyle": "-", "linewidth": 1.4}
            networks += 1
        styled.append((finder, style))
    return styled


def _purity_table(scores: Scores) -> Table:
    purities = sorted({a.purity for f in scores.finders for a in f.at_purity})
    rows = []
    for finder in scores.finders:
        cells = [finder.label]
        for purity in purities:
            found = finder.at(purity)
            cells.append(_text(found.completeness) if found and found.reached else "not reached")
        rows.append(cells)
    header = ["Finder", *(f"at purity {p:.0%}" for p in purities)]
    return Table(header, rows, "Completeness at fixed purity")


def _comparison_table(scores: Scores) -> Table:
    labels = {f.name: f.label for f in scores.finders}
    rows = [
        [
            f"{labels.get(c.first, c.first)} – {labels.get(c.second, c.second)}",
            f"{c.purity:.0%}",
            f"{c.difference.value:+.1%} ({c.difference.low:+.1%} to {c.difference.high:+.1%})",
            f"{c.ratio:.2f}" if np.isfinite(c.ratio) else "–",
            f"{c.p_better:.1%}" if np.isfinite(c.p_better) else "–",
        ]
        for c in scores.comparisons
        if c.first == "networks" or abs(c.purity - scores.reference_purity) < 1e-6
    ]
    header = (
        "Compared",
        "Purity",
        "Difference in completeness",
        "Ratio",
        "Chance that first leads",
    )
    return Table(header, rows, "Networks against plain filters, errors from resampled sky")


def _bin_tables(scores: Scores) -> list[Table]:
    """Return completeness and purity in bins, of all networks and of all filters together."""
    shown = [f for f in (scores.combined, scores.finder("filters")) if f is not None]
    tables = []
    for binned in shown[0].completeness_bins if shown else ():
        name, unit, _ = axis_of(binned.column)
        edges = binned.edges / SCALES.get(binned.column, 1.0)
        bins = list(enumerate(pairwise(edges)))
        first = f"{name} [{unit}]" if unit else name
        by = f"by {name[0].lower()}{name[1:]} at purity {scores.reference_purity:.0%}"
        complete = [_of_column(f.completeness_bins, binned.column) for f in shown]
        rows = [
            [
                _range(low, high),
                f"{binned.fractions[n].n:,}",
                *(_text_in_bin(c, n) for c in complete),
            ]
            for n, (low, high) in bins
        ]
        labels = [_label_in_bins(f, scores) for f in shown]
        header = [first, "In reference", *labels]
        tables.append(Table(header, rows, f"Completeness {by}"))
        pure = [_of_column(f.purity_bins, binned.column) for f in shown]
        if not any(pure):
            continue
        rows = [
            [_range(low, high), *(_text_in_bin(p, n, counted=True) for p in pure)]
            for n, (low, high) in bins
        ]
        caption = (
            f"Purity {by}. A false candidate counts in the bin of the reference object next to "
            "it; those with none near are in no bin, but count in the purity of the whole."
        )
        tables.append(Table([first, *labels], rows, caption))
    return tables


def _label_in_bins(finder: Finder, scores: Scores) -> str:
    """Return a finder's label, saying so where its bins are at another purity than asked for."""
    at = finder.at(scores.reference_purity)
    if at is None or at.reached:
        return finder.label
    return f"{finder.label} (never so pure: best balance)"


def _range(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}"


def _text_in_bin(binned: Binned | None, n: int, *, counted: bool = False) -> str:
    if binned is None or n >= len(binned.fractions):
        return "–"
    fraction = binned.fractions[n]
    return _text(fraction) + (f" of {fraction.n}" if counted and fraction.n else "")


def _known_table(scores: Scores) -> Table | None:
    combined = scores.combined
    if combined is None:
        return None
    rows = [[name, f"{f.n:,}", _text(f)] for name, f in combined.known.items()]
    header = ("Known catalogue", "Listed", "Found again by all networks")
    return Table(header, rows, f"Known objects of the {scores.region} region")


def _text(fraction: Fraction) -> str:
    if not np.isfinite(fraction.value):
        return "–"
    text = f"{fraction.value:.1%}"
    if np.isfinite(fraction.low) and np.isfinite(fraction.high):
        text += f" ({fraction.low:.1%} to {fraction.high:.1%})"
    return text
