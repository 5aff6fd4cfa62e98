"""The report's section on positions: separations, their core and tail, and what they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clusterscan.publish import figures
from clusterscan.publish.inputs import Picture, Section, Table

Measured = Mapping[str, Any]

NAMES = {
    "z": ("Redshift", 1.0, ".2f"),
    "m500c_msun": ("M500c [10¹⁴ solar masses]", 1e14, ".2f"),
    "galactic_latitude_deg": ("|b| [deg]", 1.0, ".1f"),
    "ecliptic_latitude_deg": ("Ecliptic latitude [deg]", 1.0, ".1f"),
    "snr_peak": ("Peak S/N", 1.0, ".1f"),
    "prob_scatter": ("Scatter of the networks' prob.", 1.0, ".2f"),
    "edge_distance_arcmin": ("To the tile's edge [arcmin]", 1.0, ".1f"),
}
_PANELS = 5  # beside each other


def positions_section(measured: Measured, *, injected: Measured | None = None) -> Section:
    """Return the section; empty with fewer than a handful of separations."""
    fit = measured.get("fit") or {}
    if fit.get("sigma_arcsec") is None:
        return Section("positions", "Positions")
    lead = (
        f"Separations of {fit['n']:,} real candidates of the test region, above the threshold of "
        "the reference purity, from the positions of their clusters: a Rayleigh core of "
        f"{fit['sigma_arcsec']:.1f} ± {fit['sigma_error_arcsec']:.1f} arcsec along each axis, "
        f"and a tail of {fit['tail']:.0%} ± {fit['tail_error']:.0%} spread evenly over the search "
        "disc: chance matches, and centres that are off for good. The catalogue's own errors "
        f"have a median of {measured['claimed_sigma_arcsec']:.1f} arcsec."
    )
    if injected and injected.get("sigma_arcsec") is not None:
        lead += (
            f" Of {injected['n']:,} injected (SIMULATED) clusters the core is "
            f"{injected['sigma_arcsec']:.1f} ± {injected['sigma_error_arcsec']:.1f} arcsec, the "
            f"tail {injected['tail']:.0%} ± {injected['tail_error']:.0%}."
        )
    pictures = [_histogram(measured)]
    by = {name: rows for name, rows in measured["by"].items() if rows}
    if by:
        pictures.append(_dependence(by))
    tables = [_table(by)] if by else []
    if measured.get("networks"):
        tables.append(_networks(measured["networks"]))
    return Section("positions", "Positions", lead, pictures, tables)


def _histogram(measured: Measured) -> Picture:
    edges = np.array(measured["edges_arcsec"])
    core, tail = (np.array(measured[k], dtype=float) for k in ("core", "tail"))
    middle = (edges[:-1] + edges[1:]) / 2
    with figures.style():
        figure = figures.new_figure(4.6, 4.6)
        axes = figure.subplots()
        axes.stairs(measured["counts"], edges, fill=True, color=figures.COLOURS[5], label="found")
        axes.plot(middle, core + tail, color=figures.INK, label="core and tail")
        axes.plot(middle, tail, color=figures.COLOURS[1], linestyle="--", label="tail")
        axes.set(xlabel="Separation [arcsec]", ylabel="Candidates", title="Separations")
        figure.legend(loc="outside lower center", ncols=3)
        return figures.svg(figure, "Histogram of separations with the fitted core and tail")


def _dependence(by: Measured) -> Picture:
    across = min(len(by), _PANELS)
    down = -(-len(by) // across)
    with figures.style():
        figure = figures.new_figure(9.6, 0.5 + 2.4 * down)
        panels = figure.subplots(down, across, sharey=True, squeeze=False)
        most = max(r["median_arcsec"] for rows in by.values() for r in rows)
        for axes, (name, rows) in zip(panels.flat, by.items(), strict=False):
            _panel(axes, name, rows)
        for axes in panels[:, 0]:
            axes.set(ylabel="[arcsec]", ylim=(0, 1.25 * most))
        for axes in panels.flat[len(by) :]:
            axes.set_axis_off()
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        return figures.svg(
            figure, "Core and median of the separations in bins of other columns",
            "Bins of equal numbers; bars across span a bin.", wide=True,
        )  # fmt: skip


def _panel(axes: Any, name: str, rows: Sequence[Measured]) -> None:
    title, unit, _ = _named(name)
    at, low, high = (
        np.array([r[k] for r in rows], dtype=float) / unit for k in ("middle", "low", "high")
    )
    sigma, error, median = (
        np.array([r[k] for r in rows], dtype=float)
        for k in ("sigma_arcsec", "sigma_error_arcsec", "median_arcsec")
    )
    axes.errorbar(at, sigma, xerr=[at - low, high - at], yerr=error, fmt="o", markersize=4,
                  color=figures.COLOURS[0], label="core, each axis")  # fmt: skip
    axes.plot(at, median, "x", color=figures.COLOURS[1], label="median separation")
    axes.set_xlabel(title)


def _named(name: str) -> tuple[str, float, str]:
    if name.startswith("noise_"):
        return f"Pixel noise, {name.removeprefix('noise_')}", 1.0, ".4g"
    return NAMES.get(name, (name, 1.0, ".3g"))


def _table(by: Measured) -> Table:
    rows = []
    for name, bins in by.items():
        title, unit, form = _named(name)
        for r in bins:
            rows.append(
                [
                    title,
                    f"{r['low'] / unit:{form}} to {r['high'] / unit:{form}}",
                    f"{r['n']:,}",
                    f"{r['median_arcsec']:.1f}",
                    f"{r['sigma_arcsec']:.1f} ± {r['sigma_error_arcsec']:.1f}",
                    f"{r['tail']:.0%} ± {r['tail_error']:.0%}",
                ]
            )
    header = ("By", "From, to", "Found", "Median [arcsec]", "Core, each axis [arcsec]", "Tail")
    return Table(header, rows, "Separations in bins of other columns")


def _networks(rows: Sequence[Measured]) -> Table:
    header = ("Network", "Other network", "Seen by both", "Median apart [arcsec]",
              "Each axis [arcsec]")  # fmt: skip
    cells = [
        [r["first"], r["second"], f"{r['n']:,}", f"{r['median_arcsec']:.1f}",
         f"{r['sigma_arcsec']:.1f}"]
        for r in rows
    ]  # fmt: skip
    return Table(
        header, cells,
        "How far apart two networks see the same real objects. Networks of one survey look at "
        "the same pixels: what they differ by is their architecture's and their seed's doing.",
    )  # fmt: skip
