"""The report's section on the selection function: injections, null skies, random positions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from clusterscan.publish import figures
from clusterscan.publish.inputs import Picture, Section, Table
from clusterscan.publish.mass_map_plot import mass_map_pictures
from clusterscan.selection.completeness import PIVOT_Z, Completeness

Measured = Mapping[str, Any]

NULLS = {
    "inverted": "sign turned",
    "scrambled": "phases drawn at random",
    "shuffled": "bands exchanged",
    "empty": "simulated without clusters",
}
_UNIT = 1e14
MOST_TILES = 100


def selection_section(measured: Measured) -> Section:
    """Return the section; only the random positions where nothing was injected."""
    injection, nulls = measured.get("injection") or {}, measured.get("nulls") or {}
    pictures: list[Picture] = []
    tables: list[Table] = []
    lead = ""
    if injection.get("bins"):
        lead = (
            f"SIMULATED clusters were added to the actual images of {len(injection['tiles'])} "
            f"tiles and went through scan, detection and merge; {injection['n_injected']:,} were "
            f"injected, {injection['n_there_before']:,} where the catalogue has an object anyway "
            f"({injection['chance_rate']:.1%}: the rate of chance matches) are left out. Found "
            f"means: in the sample of expected purity {measured['purity']:.0%} (prob ≥ "
            f"{injection['threshold']:.2f}). Nothing of this enters the catalogue. "
        )
        pictures.append(_completeness(injection))
        pictures += mass_map_pictures(injection.get("mass_map") or {})
        tables += [_bins(injection), _limits(injection), _tiles(injection)]
    if nulls:
        lead += (
            "Null skies hold no cluster that may be found: what the same networks find there, "
            "calibrated as on the real sky, is false. Phase-scrambled infrared images have lost "
            "their galaxies too, and exchanged bands are like nothing the networks know; the sky "
            "without clusters is the closest to what contaminates the catalogue. "
        )
        pictures += [p for p in [_null_picture(nulls)] if p is not None]
        tables.append(_nulls(nulls))
    randoms = measured.get("randoms") or {}
    if randoms.get("n"):
        tables.append(_randoms(randoms))
    reason = injection.get("reason")
    notes = [f"Nothing is said of the injected clusters: {reason}."] if reason else []
    return Section("selection", "Selection function", lead, pictures, tables, notes=notes)


def _completeness(injection: Measured) -> Picture:
    bins, fit = injection["bins"], Completeness(**injection["fit"])
    edges = np.array(bins["m500c_edges_msun"])
    middle = np.sqrt(edges[:-1] * edges[1:])
    value, low, high = (np.array(bins[k], dtype=float) for k in ("value", "low", "high"))
    fine = np.geomspace(edges[0], edges[-1], 100)
    with figures.style():
        figure = figures.new_figure(5.6, 4.9)
        axes = figure.subplots()
        for n, (z_low, z_high) in enumerate(pairwise(bins["z_edges"])):
            colour = figures.COLOURS[n % len(figures.COLOURS)]
            # A little apart, or the bars of one mass hide each other.
            x = middle * (1 + 0.03 * (n - len(bins["z_edges"]) / 2)) / _UNIT
            errors = np.maximum([value[:, n] - low[:, n], high[:, n] - value[:, n]], 0)
            axes.errorbar(x, value[:, n], yerr=errors, fmt="o", markersize=4, color=colour,
                          label=f"z {z_low:g} to {z_high:g}")  # fmt: skip
            axes.plot(fine / _UNIT, fit.at(fine, (z_low + z_high) / 2), color=colour, linewidth=1.2)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="Mass M500c [10¹⁴ solar masses]", ylabel="Completeness", ylim=(-0.02, 1.04))
        axes.set_title("Injected clusters (SIMULATED) found")
        figure.legend(loc="outside lower center", ncols=3)
        return figures.svg(
            figure, "Share of injected simulated clusters found, by mass and redshift",
            "Points: bins with intervals. Lines: the smooth fit at the middle of each redshift "
            "bin.",
        )  # fmt: skip


def _null_picture(nulls: Measured) -> Picture | None:
    shown = {
        name: sky["finders"].get("networks")
        for name, sky in nulls.items()
        if sky["finders"].get("networks")
    }
    if not shown:
        return None
    with figures.style():
        figure = figures.new_figure(4.8, 4.9)
        axes = figure.subplots()
        for n, (name, counts) in enumerate(sorted(shown.items())):
            sky = nulls[name]
            at, colour = sky["thresholds"], figures.COLOURS[n % len(figures.COLOURS)]
            axes.plot(at, counts["null_per_deg2"], color=colour, marker="o", markersize=4,
                      label=f"null: {NULLS[name]}")  # fmt: skip
            # Each null sky has its own tiles, and the real sky beside it the same ones.
            axes.plot(at, counts["real_per_deg2"], color=colour, linestyle="--", linewidth=1.2,
                      label="real sky, the same tiles")  # fmt: skip
        axes.set_yscale("symlog", linthresh=0.3)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.set(xlabel="Threshold of prob", ylabel="Candidates per deg² at or above it")
        axes.set_title("Null skies beside the real one")
        figure.legend(loc="outside lower center", ncols=2)
        return figures.svg(
            figure, "Candidates per square degree against threshold on null skies and the real one"
        )


def _bins(injection: Measured) -> Table:
    bins = injection["bins"]
    header = ["M500c [10¹⁴ solar masses]"]
    header += [f"z {low:g} to {high:g}" for low, high in pairwise(bins["z_edges"])]
    rows = []
    for n, (low, high) in enumerate(pairwise(bins["m500c_edges_msun"])):
        cells = zip(*(bins[k][n] for k in ("k", "n", "value", "low", "high")), strict=True)
        rows.append([f"{low / _UNIT:g} to {high / _UNIT:g}", *(_share(*cell) for cell in cells)])
    return Table(header, rows, "Completeness of injected (SIMULATED) clusters")


def _share(k: int, n: int, value: float | None, low: float, high: float) -> str:
    return "–" if value is None else f"{value:.0%} ({low:.0%} to {high:.0%}), {k} of {n}"


def _limits(injection: Measured) -> Table:
    rows = [
        [f"{row['z']:.2f}", f"{row['fraction']:.0%}", _mass(row["m500c_msun"]),
         f"{_mass(row['low'])} to {_mass(row['high'])}"]
        for row in injection["limits"]
    ]  # fmt: skip
    return Table(
        ("Redshift", "Completeness", "M500c [10¹⁴ solar masses]", "68 % interval"), rows,
        "Mass limits from injected (SIMULATED) clusters; a dash: outside the injected masses",
    )  # fmt: skip


def _tiles(injection: Measured) -> Table:
    rows = [
        [str(t["tile"]), _share(t["n_found"], t["n"], t["found"], t["found_low"], t["found_high"]),
         _mass(t["m50_msun"]), _mass(t["m90_msun"]), f"{t['ln_error_50']:.0%}"]
        for t in injection["tiles"][:MOST_TILES]
    ]  # fmt: skip
    return Table(
        ("Tile", "Found, all masses", "50 % [10¹⁴ solar masses]", "90 %", "Error"), rows,
        f"Mass limits of each probed tile at z = {PIVOT_Z:g} (selection/mass_limits.fits and "
        ".parquet, which also hold the tiles that were not probed). A tile's limits are drawn "
        "towards the footprint's as far as its own clusters do not say.",
    )  # fmt: skip


def _nulls(nulls: Measured) -> Table:
    rows = []
    for name, sky in nulls.items():
        at = [sky["thresholds"].index(t) for t in (0.2, 0.5, 0.7)]
        for finder, counts in sky["finders"].items():
            label = "all networks" if finder == "networks" else finder
            cells = [f"{counts['null'][i]:,} / {counts['real'][i]:,}" for i in at]
            note = "finds as much without clusters" if counts["told_on"] else ""
            rows.append([NULLS[name], label, f"{sky['area_deg2']:.1f}", *cells, note])
    header = ("Null sky", "Finder", "deg²", "prob ≥ 0.2", "≥ 0.5", "≥ 0.7", "Told on")
    return Table(
        header, rows,
        "Candidates on null skies / on the real sky of the same tiles. A finder is told on that "
        "has, at some threshold from 0.5 on, half as many candidates on the null sky or more.",
    )  # fmt: skip


def _randoms(randoms: Measured) -> Table:
    rows = [
        [label, f"{count:,}", f"{test['cells']}", f"{test['chi2']:.0f}", _p(test["p_value"]),
         f"{test['outside']:,}"]
        for label, count, test in (
            ("random positions", randoms["n"], randoms["randoms"]),
            ("the sample itself", randoms["n_sample"], randoms["sample"]),
        )
    ]  # fmt: skip
    if randoms.get("n_expected"):
        caption = (
            "Whether positions lie as the mask and the completeness of each tile lead one to "
            "expect (selection/randoms.parquet, with redshifts and masses). A mass function "
            "(Tinker et al. 2008) times the completeness gives "
            f"{randoms['n_expected']:,.0f} found clusters on {randoms['area_deg2']:.1f} deg², "
            "within the injected masses and redshifts"
        )
    else:
        caption = "Whether positions lie as the searched sky does (selection/randoms.parquet)"
    return Table(("Positions", "Number", "Cells", "χ²", "p", "Off the searched sky"), rows, caption)


def _mass(value: float | None) -> str:
    return "–" if value is None else f"{value / _UNIT:.2f}"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
