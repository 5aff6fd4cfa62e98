"""The report's section on whether the catalogue's probability means what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clusterscan.publish import figures
from clusterscan.publish.inputs import Picture, Section, Table
from clusterscan.report.plots import draw_reliability

Measured = Mapping[str, Any]


def probability_section(measured: Measured, *, simulated: bool, region: str = "test") -> Section:
    """Return the section; empty where validation.json holds no ``probability``."""
    record = measured.get("record") or {}
    if not measured.get("reliability") or not record:
        return Section("probability", "What the probability means")
    label = "matches a true (simulated) cluster" if simulated else "is in the reference catalogue"
    fitted = record.get("method")
    how = (
        f"The networks are combined by {_way(record['combination'])} and calibrated by the method "
        f"'{fitted}', both chosen and fitted on the validation region. "
        if fitted
        else "There were too few real objects on the validation region to calibrate with. "
    )
    lead = (
        f"{how}Shown here is the {region} region, of which nothing was fitted: of "
        f"{measured['n']:,} objects {measured['n_real']:,} are real, where an object is real that "
        f"{label}. Expected calibration error {_number(measured['ece'], 3)} (perfect "
        f"probabilities would show about {_number(measured['ece_floor'], 3)} on so few objects), "
        f"Brier score {_number(measured['brier'], 3)} (the base rate alone: "
        f"{_number(measured['brier_base_rate'], 3)})."
    )
    tables = [
        _purity_table(measured, region),
        _samples_table(measured, region),
        _ways_table(measured, record, region),
        _methods_table(record),
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
    with figures.style():
        figure = figures.new_figure(4.6, 5.0)
        axes = figure.subplots()
        draw_reliability(axes, drawn)
        axes.set(title="Reliability", ylabel="Share that is real (or listed)")
        figure.legend(loc="outside lower center", ncols=1)
        return figures.svg(
            figure, "Share of real objects against the probability given",
            "Calibrated: prob against what is real. In known catalogues: prob_listed against "
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
    with figures.style():
        figure = figures.new_figure(4.6, 5.0)
        axes = figure.subplots()
        axes.plot(at, expected, color=figures.COLOURS[0], label="expected: mean of prob")
        axes.fill_between(at, expected - error, expected + error, color=figures.COLOURS[0],
                          alpha=0.2, linewidth=0)  # fmt: skip
        axes.errorbar(at, true, yerr=[true - low, high - true], fmt="o", markersize=4,
                      color=figures.INK, label="true")  # fmt: skip
        axes.set(xlabel="Threshold of prob", ylabel="Purity above it", ylim=(0, 1.03))
        axes.set_title("Purity promised and kept")
        figure.legend(loc="outside lower center", ncols=2)
        return figures.svg(
            figure, "Expected and true purity of the candidates above each threshold",
            "The band is the calibration's standard error, the bars the true purity's interval.",
        )  # fmt: skip


def _purity_table(measured: Measured, region: str) -> Table:
    rows = [
        [f"{r['threshold']:.1f}", f"{r['true']['n']:,}", _promised(r), _kept(r)]
        for r in measured["purity"]
        if r["true"]["n"]
    ]
    header = ("prob at least", f"Objects, {region} region", "Expected purity", "True purity")
    return Table(header, rows, "Purity promised and kept")


def _samples_table(measured: Measured, region: str) -> Table:
    rows = []
    for r in measured["samples"]:
        reached = r["threshold"] is not None
        rows.append(
            [
                f"{r['purity']:.0%}",
                _number(r["threshold"], 3) if reached else "not reached",
                f"{r['n_catalogue']:,}",
                f"{r['true']['n']:,}",
                _promised(r),
                _kept(r),
            ]
        )
    header = ("Sample", "prob at least", "Objects", f"In the {region} region", "Expected", "True")
    return Table(
        header, rows, "Sub-samples of fixed expected purity (column purity_sample of the catalogue)"
    )


def _ways_table(measured: Measured, record: Measured, region: str) -> Table:
    trials = {t["name"]: t for t in record.get("combinations") or ()}
    rows = [
        [
            _way(w["name"]) + (" (used)" if w["name"] == record["combination"] else ""),
            _behind(trials.get(w["name"], {})),
            _number(w["average_precision"], 3),
            f"{w['completeness']:.1%}" if w["completeness"] else "not reached",
            _number(w["ece"], 3),
            _number(w["brier"], 4),
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
        "Ways to combine the networks. The simplest within one standard error of the best on "
        "left-out cells of the validation sky is used; the other columns played no part.",
    )  # fmt: skip


def _methods_table(record: Measured) -> Table:
    rows = [
        [
            t["name"] + (" (used)" if t["chosen"] else ""),
            _number(t["loss"], 5),
            _behind(t),
        ]
        for t in record.get("methods") or ()
    ]
    return Table(
        ("Calibration", "Left-out log loss", "Behind the best"), rows, "Calibrations compared"
    )


def _way(name: str) -> str:
    kind, _, model = name.partition(":")
    words = {
        "mean": "the mean probability",
        "logit_mean": "the mean logit",
        "stacking": "stacking (logistic regression)",
    }
    return f"{model} alone" if model else words.get(kind, kind)


def _behind(trial: Measured) -> str:
    if not trial:
        return "–"
    if not trial["behind"]:
        return "best"
    return f"{trial['behind']:.4f} ± {trial['behind_error']:.4f}"


def _promised(row: Measured) -> str:
    if row["expected"] is None:
        return "–"
    error = f" ± {row['expected_error']:.1%}" if row["expected_error"] is not None else ""
    return f"{row['expected']:.1%}{error}"


def _kept(row: Measured) -> str:
    true = row["true"]
    if true["value"] is None:
        return "–"
    return f"{true['value']:.1%} ({true['low']:.1%} to {true['high']:.1%})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


__all__: Sequence[str] = ["probability_section"]
