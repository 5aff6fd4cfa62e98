"""The report's sections on the catalogue's quality.

Completeness and purity of every finder, and the agreement of the catalogue's probability with the
share of real objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from clusterscan.publish.report_inputs import Binned, Finder, Fraction, Scores
from clusterscan.report import look
from clusterscan.report.classifier_plots import draw_reliability
from clusterscan.report.document import Picture, Section, Table

SCALES = {"m500c_msun": 1e14}  # columns are divided by this
#: Name of a column of the truth on an axis, its unit, and True for a logarithmic axis.
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
        "the same images, so the difference to them is the gain by the networks."
    )
    if np.isfinite(scores.confidence):
        lead += f" Intervals are at {scores.confidence:.0%} confidence."
    if scores.combined is not None and np.isfinite(scores.combined.chance_rate):
        lead += (
            f" If candidates are shifted to other sky, {scores.combined.chance_rate:.0%} of them "
            "still match by chance, which raises the purity of all finders equally."
        )
    pictures: list[Picture | None] = [_completeness_purity(scores)]
    for column in dict.fromkeys(b.column for f in scores.finders for b in f.completeness_bins):
        pictures.append(_by_column(scores, column, "Completeness", lambda f: f.completeness_bins))
        pictures.append(_by_column(scores, column, "Purity", lambda f: f.purity_bins))
    tables = [
        _completeness_table(scores),
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
    """Return the name and unit of a column, and True for a logarithmic axis."""
    if column in AXES:
        return AXES[column]
    parts = column.split("_")
    if len(parts) > 1 and parts[-1].lower() in UNITS:
        return " ".join(parts[:-1]), parts[-1], False
    return column.replace("_", " "), "", False


def _completeness_purity(scores: Scores) -> Picture:
    with look.style():
        figure = look.new_figure(5.6, 5.2)
        axes = figure.subplots()
        for finder, style in _finder_styles(scores):
            axes.plot(finder.completeness, finder.purity, label=finder.label, **style)
            found = finder.at(scores.reference_purity)
            if found is not None and found.reached:
                at = found.completeness.value
                axes.plot(at, scores.reference_purity, "o", color=style["color"], markersize=5)
        axes.axhline(scores.reference_purity, color=look.GREY, linestyle=":", linewidth=1)
        axes.set(xlabel="Completeness", ylabel="Purity", xlim=(0, 1.01), ylim=(0, 1.03))
        look.legend_below(figure, axes)
        return look.svg_picture(
            figure,
            "Purity against completeness of every network, their combination, and the filters",
            f"Dots mark the completeness at purity {scores.reference_purity:.0%}.",
        )


def _by_column(
    scores: Scores, column: str, what: str, bins_of: Callable[[Finder], object]
) -> Picture | None:
    name, unit, logarithmic = axis_of(column)
    drawn = False
    with look.style():
        figure = look.new_figure(4.6, 4.6)
        axes = figure.subplots()
        for finder, style in _finder_styles(scores):
            binned = _binned_by(bins_of(finder), column)
            at = finder.at(scores.reference_purity)
            # A finder that never reaches the purity would be shown at a different threshold.
            if binned is None or (at is not None and not at.reached):
                continue
            middle, fractions = _points(binned, logarithmic)
            if middle.size:
                drawn = True
                _draw_fractions(axes, middle, fractions, finder, style)
        if logarithmic:
            look.log_x_axis(axes)
        axes.set(xlabel=f"{name} [{unit}]" if unit else name, ylabel=what, ylim=(-0.02, 1.04))
        axes.set_title(f"{what}, threshold of purity {scores.reference_purity:.0%}")
        if not drawn:
            return None
        look.legend_below(figure, axes)
        return look.svg_picture(figure, f"{what} by {name} of every finder")


def _draw_fractions(axes, middle: np.ndarray, fractions: list[Fraction], finder: Finder, style):
    value, low, high = (
        np.array([getattr(f, key) for f in fractions]) for key in ("value", "low", "high")
    )
    axes.plot(middle, value, marker="o", markersize=4, label=finder.label, **style)
    # Bands of all finders would cover one another; only the two that are compared have one.
    if finder.name in ("networks", "filters"):
        axes.fill_between(middle, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _points(binned: Binned, logarithmic: bool) -> tuple[np.ndarray, list[Fraction]]:
    edges = binned.edges / SCALES.get(binned.column, 1.0)
    low, high = edges[:-1], edges[1:]
    # The geometric mean is the middle of a bin on a logarithmic axis.
    middle = np.sqrt(low * high) if logarithmic else (low + high) / 2
    good = [n for n, f in enumerate(binned.fractions) if np.isfinite(f.value) and n < middle.size]
    return middle[good], [binned.fractions[n] for n in good]


def _binned_by(bins, column: str) -> Binned | None:
    return next((b for b in bins if b.column == column), None)


def _finder_styles(scores: Scores) -> list[tuple[Finder, dict]]:
    styled, networks, filters = [], 0, 0
    for finder in scores.finders:
        if finder.kind == "combined":
            style = {"color": look.INK, "linestyle": "-", "linewidth": 2.8}
        elif finder.is_filter:
            # Filters are grey and broken, networks coloured and solid: the comparison is seen
            # without reading the legend, and in print.
            line = "--" if finder.name == "filters" else look.LINES[2 + filters % 2]
            wide = 2.4 if finder.name == "filters" else 1.3
            style = {"color": look.FILTER_COLOUR, "linestyle": line, "linewidth": wide}
            filters += finder.name != "filters"
        else:
            colour = look.COLOURS[networks % len(look.COLOURS)]
            style = {"color": colour, "linestyle": "-", "linewidth": 1.4}
            networks += 1
        styled.append((finder, style))
    return styled


def _completeness_table(scores: Scores) -> Table:
    purities = sorted({a.purity for f in scores.finders for a in f.at_purity})
    rows = []
    for finder in scores.finders:
        cells = [finder.label]
        for purity in purities:
            found = finder.at(purity)
            cells.append(
                _fraction_text(found.completeness) if found and found.reached else "not reached"
            )
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
        # All purities for the combination, the reference purity alone for single networks.
        if c.first == "networks" or abs(c.purity - scores.reference_purity) < 1e-6
    ]
    header = (
        "Compared",
        "Purity",
        "Difference in completeness",
        "Ratio",
        "Chance that the first is better",
    )
    return Table(header, rows, "Networks against plain filters, with errors from resampled sky")


def _bin_tables(scores: Scores) -> list[Table]:
    """Return completeness and purity in bins, of all networks and of all filters combined."""
    shown = [f for f in (scores.combined, scores.finder("filters")) if f is not None]
    tables = []
    for binned in shown[0].completeness_bins if shown else ():
        name, unit, _ = axis_of(binned.column)
        edges = binned.edges / SCALES.get(binned.column, 1.0)
        bins = list(enumerate(pairwise(edges)))
        first = f"{name} [{unit}]" if unit else name
        by = f"by {name[0].lower()}{name[1:]} at purity {scores.reference_purity:.0%}"
        complete = [_binned_by(f.completeness_bins, binned.column) for f in shown]
        rows = [
            [
                _range(low, high),
                f"{binned.fractions[n].n:,}",
                *(_bin_text(c, n) for c in complete),
            ]
            for n, (low, high) in bins
        ]
        labels = [_label_in_bins(f, scores) for f in shown]
        header = [first, "In reference", *labels]
        tables.append(Table(header, rows, f"Completeness {by}"))
        pure = [_binned_by(f.purity_bins, binned.column) for f in shown]
        if not any(pure):
            continue
        rows = [
            [_range(low, high), *(_bin_text(p, n, counted=True) for p in pure)]
            for n, (low, high) in bins
        ]
        caption = (
            f"Purity {by}. A false candidate counts in the bin of the reference object next to "
            "it; candidates without such an object are in no bin but count in the total purity."
        )
        tables.append(Table([first, *labels], rows, caption))
    return tables


def _label_in_bins(finder: Finder, scores: Scores) -> str:
    """Return the label of a finder, with a remark if its bins are at another purity."""
    at = finder.at(scores.reference_purity)
    if at is None or at.reached:
        return finder.label
    return f"{finder.label} (purity not reached: best balance)"


def _range(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}"


def _bin_text(binned: Binned | None, n: int, *, counted: bool = False) -> str:
    if binned is None or n >= len(binned.fractions):
        return "–"
    fraction = binned.fractions[n]
    return _fraction_text(fraction) + (f" of {fraction.n}" if counted and fraction.n else "")


def _known_table(scores: Scores) -> Table | None:
    combined = scores.combined
    if combined is None:
        return None
    rows = [[name, f"{f.n:,}", _fraction_text(f)] for name, f in combined.known.items()]
    header = ("Known catalogue", "Listed", "Found by all networks")
    return Table(header, rows, f"Known objects of the {scores.region} region")


def _fraction_text(fraction: Fraction) -> str:
    if not np.isfinite(fraction.value):
        return "–"
    text = f"{fraction.value:.1%}"
    if np.isfinite(fraction.low) and np.isfinite(fraction.high):
        text += f" ({fraction.low:.1%} to {fraction.high:.1%})"
    return text


Measured = Mapping[str, Any]


def probability_section(measured: Measured, *, simulated: bool, region: str = "test") -> Section:
    """Return the section on the meaning of ``prob``; empty if it was not validated."""
    record = measured.get("record") or {}
    if not measured.get("reliability") or not record:
        return Section("probability", "What the probability means")
    label = "matches a true (simulated) cluster" if simulated else "is in the reference catalogue"
    fitted = record.get("method")
    how = (
        f"The networks are combined by {_combination_text(record['combination'])} and calibrated "
        f"by the method '{fitted}', both chosen and fitted on the validation region. "
        if fitted
        else "The validation region has too few real objects for a calibration. "
    )
    lead = (
        f"{how}This section shows the {region} region, on which nothing was fitted. Of its "
        f"{measured['n']:,} objects {measured['n_real']:,} are real; an object is real if it "
        f"{label}. Expected calibration error {_decimal(measured['ece'], 3)} (perfect "
        f"probabilities would show about {_decimal(measured['ece_floor'], 3)} on so few objects), "
        f"Brier score {_decimal(measured['brier'], 3)} (the base rate alone: "
        f"{_decimal(measured['brier_base_rate'], 3)})."
    )
    tables = [
        _purity_table(measured, region),
        _samples_table(measured, region),
        _combinations_table(measured, record, region),
        _calibrations_table(record),
    ]
    return Section(
        "probability",
        "What the probability means",
        lead,
        [_reliability(measured), _purity(measured)],
        [t for t in tables if t.rows],
    )


def _reliability(measured: Measured) -> Picture:
    named = {"calibrated": measured, "in known catalogues": measured.get("listed") or {}}
    drawn = {name: value for name, value in named.items() if value.get("reliability")}
    with look.style():
        figure = look.new_figure(4.6, 5.0)
        axes = figure.subplots()
        draw_reliability(axes, drawn)
        axes.set(title="Reliability", ylabel="Share that is real (or listed)")
        look.legend_below(figure, axes, columns=1)
        return look.svg_picture(
            figure, "Share of real objects against the predicted probability",
            "Calibrated: prob against real objects. In known catalogues: prob_listed against "
            "matches with them. Bars are 68 % intervals.",
        )  # fmt: skip


def _purity(measured: Measured) -> Picture:
    rows = [r for r in measured["purity"] if r["expected"] is not None]
    at = np.array([r["threshold"] for r in rows])
    expected, error = (
        np.array([np.nan if r[k] is None else r[k] for r in rows], dtype=float)
        for k in ("expected", "expected_error")
    )
    true, low, high = (
        np.array([r["true"][k] for r in rows], dtype=float) for k in ("value", "low", "high")
    )
    with look.style():
        figure = look.new_figure(4.6, 5.0)
        axes = figure.subplots()
        axes.plot(at, expected, color=look.COLOURS[0], label="expected: mean of prob")
        axes.fill_between(at, expected - error, expected + error, color=look.COLOURS[0],
                          alpha=0.2, linewidth=0)  # fmt: skip
        axes.errorbar(at, true, yerr=[true - low, high - true], fmt="o", markersize=4,
                      color=look.INK, label="true")  # fmt: skip
        axes.set(xlabel="Threshold of prob", ylabel="Purity above it", ylim=(0, 1.03))
        axes.set_title("Expected and true purity")
        look.legend_below(figure, axes)
        return look.svg_picture(
            figure, "Expected and true purity of the candidates above each threshold",
            "The band is the calibration's standard error, the bars the true purity's interval.",
        )  # fmt: skip


def _purity_table(measured: Measured, region: str) -> Table:
    rows = [
        [f"{r['threshold']:.1f}", f"{r['true']['n']:,}", _expected_text(r), _true_text(r)]
        for r in measured["purity"]
        if r["true"]["n"]
    ]
    header = ("prob at least", f"Objects, {region} region", "Expected purity", "True purity")
    return Table(header, rows, "Expected and true purity")


def _samples_table(measured: Measured, region: str) -> Table:
    rows = []
    for r in measured["samples"]:
        reached = r["threshold"] is not None
        rows.append(
            [
                f"{r['purity']:.0%}",
                _decimal(r["threshold"], 3) if reached else "not reached",
                f"{r['n_catalogue']:,}",
                f"{r['true']['n']:,}",
                _expected_text(r),
                _true_text(r),
            ]
        )
    header = ("Sample", "prob at least", "Objects", f"In the {region} region", "Expected", "True")
    return Table(
        header, rows, "Sub-samples of fixed expected purity (column purity_sample of the catalogue)"
    )


def _combinations_table(measured: Measured, record: Measured, region: str) -> Table:
    trials = {t["name"]: t for t in record.get("combinations") or ()}
    rows = [
        [
            _combination_text(w["name"])
            + (" (used)" if w["name"] == record["combination"] else ""),
            _loss_text(trials.get(w["name"], {})),
            _decimal(w["average_precision"], 3),
            f"{w['completeness']:.1%}" if w["completeness"] else "not reached",
            _decimal(w["ece"], 3),
            _decimal(w["brier"], 4),
        ]
        for w in measured["ways"]
    ]
    header = (
        "Combination", "Left-out loss behind the best, validation",
        f"Average precision, {region}", "Completeness at the reference purity",
        "Calibration error", "Brier score",
    )  # fmt: skip
    return Table(
        header, rows,
        "Combinations of the networks. The simplest one within one standard error of the best on "
        "left-out cells of the validation sky is used; the other columns did not matter.",
    )  # fmt: skip


def _calibrations_table(record: Measured) -> Table:
    rows = [
        [
            t["name"] + (" (used)" if t["chosen"] else ""),
            _decimal(t["loss"], 5),
            _loss_text(t),
        ]
        for t in record.get("methods") or ()
    ]
    return Table(
        ("Calibration", "Left-out log loss", "Behind the best"), rows, "Calibrations compared"
    )


def _combination_text(name: str) -> str:
    kind, _, model = name.partition(":")
    words = {
        "mean": "the mean probability",
        "logit_mean": "the mean logit",
        "stacking": "stacking (logistic regression)",
    }
    return f"{model} alone" if model else words.get(kind, kind)


def _loss_text(trial: Measured) -> str:
    if not trial:
        return "–"
    if not trial["behind"]:
        return "best"
    return f"{trial['behind']:.4f} ± {trial['behind_error']:.4f}"


def _expected_text(row: Measured) -> str:
    if row["expected"] is None:
        return "–"
    error = f" ± {row['expected_error']:.1%}" if row["expected_error"] is not None else ""
    return f"{row['expected']:.1%}{error}"


def _true_text(row: Measured) -> str:
    true = row["true"]
    if true["value"] is None:
        return "–"
    return f"{true['value']:.1%} ({true['low']:.1%} to {true['high']:.1%})"


def _decimal(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
