"""The report's sections on the selection function and on positions.

Injected clusters, null skies and random positions, the map of the mass limit, and the separations
of candidates from their clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.ticker import ScalarFormatter

from clusterscan.core import sky
from clusterscan.report import look
from clusterscan.report.document import Picture, Section, Table
from clusterscan.report.sky_frame import SkyFrame, sky_figure, sky_frames, tile_values
from clusterscan.selection.completeness import PIVOT_Z, Completeness

Measured = Mapping[str, Any]

NULLS = {
    "inverted": "sign inverted",
    "scrambled": "phases drawn at random",
    "shuffled": "bands exchanged",
    "empty": "simulated without clusters",
}
_UNIT = 1e14
MOST_TILES = 100


def selection_section(measured: Measured) -> Section:
    """Build the section on injections, null skies and random positions, if they were measured."""
    injection, nulls = measured.get("injection") or {}, measured.get("nulls") or {}
    pictures: list[Picture] = []
    tables: list[Table] = []
    lead = ""
    if injection.get("bins"):
        lead = (
            f"SIMULATED clusters were added to the actual images of {len(injection['tiles'])} "
            f"tiles, which were then scanned, detected and merged. Of {injection['n_injected']:,} "
            f"injected clusters {injection['n_there_before']:,} lie on an object of the catalogue "
            f"({injection['chance_rate']:.1%}, the rate of chance matches) and are left out. Found "
            f"means: in the sample of expected purity {measured['purity']:.0%} (prob ≥ "
            f"{injection['threshold']:.2f}). Injections never enter the catalogue. "
        )
        pictures.append(_completeness(injection))
        pictures += mass_map_pictures(injection.get("mass_map") or {})
        tables += [
            _completeness_table(injection),
            _limits_table(injection),
            _tiles_table(injection),
        ]
    if nulls:
        lead += (
            "Null skies contain no cluster, so everything found there by the same networks with "
            "the same calibration is false. Phase-scrambled infrared images have lost their "
            "galaxies too, and exchanged bands resemble nothing the networks were trained on; the "
            "sky without clusters is closest to the contamination of the catalogue. "
        )
        pictures += [p for p in [_null_picture(nulls)] if p is not None]
        tables.append(_nulls_table(nulls))
    randoms = measured.get("randoms") or {}
    if randoms.get("n"):
        tables.append(_randoms_table(randoms))
    reason = injection.get("reason")
    notes = [f"Injected clusters are not shown: {reason}."] if reason else []
    return Section("selection", "Selection function", lead, pictures, tables, notes=notes)


def _completeness(injection: Measured) -> Picture:
    bins, fit = injection["bins"], Completeness(**injection["fit"])
    edges = np.array(bins["m500c_edges_msun"])
    middle = np.sqrt(edges[:-1] * edges[1:])
    value, low, high = (np.array(bins[k], dtype=float) for k in ("value", "low", "high"))
    fine = np.geomspace(edges[0], edges[-1], 100)
    with look.style():
        figure = look.new_figure(5.6, 4.9)
        axes = figure.subplots()
        for n, (z_low, z_high) in enumerate(pairwise(bins["z_edges"])):
            colour = look.COLOURS[n % len(look.COLOURS)]
            # Slightly shifted, so that the error bars of one mass do not overlap.
            x = middle * (1 + 0.03 * (n - len(bins["z_edges"]) / 2)) / _UNIT
            errors = np.maximum([value[:, n] - low[:, n], high[:, n] - value[:, n]], 0)
            axes.errorbar(x, value[:, n], yerr=errors, fmt="o", markersize=4, color=colour,
                          label=f"z {z_low:g} to {z_high:g}")  # fmt: skip
            axes.plot(fine / _UNIT, fit.at(fine, (z_low + z_high) / 2), color=colour, linewidth=1.2)
        look.log_x_axis(axes)
        axes.set(xlabel="Mass M500c [10¹⁴ solar masses]", ylabel="Completeness", ylim=(-0.02, 1.04))
        axes.set_title("Injected clusters (SIMULATED) found")
        look.legend_below(figure, axes, columns=3)
        return look.svg_picture(
            figure, "Share of injected simulated clusters found, by mass and redshift",
            "Points: bins with intervals. Lines: the smooth fit at the middle of each redshift "
            "bin.",
        )  # fmt: skip


def _null_picture(nulls: Measured) -> Picture | None:
    shown = {
        name: null["finders"].get("networks")
        for name, null in nulls.items()
        if null["finders"].get("networks")
    }
    if not shown:
        return None
    with look.style():
        figure = look.new_figure(4.8, 4.9)
        axes = figure.subplots()
        for n, (name, counts) in enumerate(sorted(shown.items())):
            null = nulls[name]
            at, colour = null["thresholds"], look.COLOURS[n % len(look.COLOURS)]
            axes.plot(at, counts["null_per_deg2"], color=colour, marker="o", markersize=4,
                      label=f"null: {NULLS[name]}")  # fmt: skip
            # Null skies have different tiles, so each has its own real sky to compare with.
            axes.plot(at, counts["real_per_deg2"], color=colour, linestyle="--", linewidth=1.2,
                      label="real sky, the same tiles")  # fmt: skip
        # Null skies may have no candidate at all, which a logarithmic axis cannot show.
        axes.set_yscale("symlog", linthresh=0.3)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.set(xlabel="Threshold of prob", ylabel="Candidates per deg² at or above it")
        axes.set_title("Null skies beside the real one")
        look.legend_below(figure, axes)
        return look.svg_picture(
            figure, "Candidates per square degree against threshold on null skies and the real one"
        )


def _completeness_table(injection: Measured) -> Table:
    bins = injection["bins"]
    header = ["M500c [10¹⁴ solar masses]"]
    header += [f"z {low:g} to {high:g}" for low, high in pairwise(bins["z_edges"])]
    rows = []
    for n, (low, high) in enumerate(pairwise(bins["m500c_edges_msun"])):
        cells = zip(*(bins[k][n] for k in ("k", "n", "value", "low", "high")), strict=True)
        rows.append(
            [f"{low / _UNIT:g} to {high / _UNIT:g}", *(_share_text(*cell) for cell in cells)]
        )
    return Table(header, rows, "Completeness of injected (SIMULATED) clusters")


def _share_text(k: int, n: int, value: float | None, low: float, high: float) -> str:
    return "–" if value is None else f"{value:.0%} ({low:.0%} to {high:.0%}), {k} of {n}"


def _limits_table(injection: Measured) -> Table:
    rows = [
        [f"{row['z']:.2f}", f"{row['fraction']:.0%}", _mass_text(row["m500c_msun"]),
         f"{_mass_text(row['low'])} to {_mass_text(row['high'])}"]
        for row in injection["limits"]
    ]  # fmt: skip
    return Table(
        ("Redshift", "Completeness", "M500c [10¹⁴ solar masses]", "68 % interval"), rows,
        "Mass limits from injected (SIMULATED) clusters; a dash marks limits outside the injected "
        "masses",
    )  # fmt: skip


def _tiles_table(injection: Measured) -> Table:
    rows = [
        [str(t["tile"]),
         _share_text(t["n_found"], t["n"], t["found"], t["found_low"], t["found_high"]),
         _mass_text(t["m50_msun"]), _mass_text(t["m90_msun"]), f"{t['ln_error_50']:.0%}"]
        for t in injection["tiles"][:MOST_TILES]
    ]  # fmt: skip
    return Table(
        ("Tile", "Found, all masses", "50 % [10¹⁴ solar masses]", "90 %", "Error"), rows,
        f"Mass limits of each probed tile at z = {PIVOT_Z:g} (selection/mass_limits.fits and "
        ".parquet, which also list the tiles that were not probed). The fewer clusters a tile has, "
        "the closer its limits are to those of the footprint.",
    )  # fmt: skip


def _nulls_table(nulls: Measured) -> Table:
    rows = []
    for name, null in nulls.items():
        at = [null["thresholds"].index(t) for t in (0.2, 0.5, 0.7)]
        for finder, counts in null["finders"].items():
            label = "all networks" if finder == "networks" else finder
            cells = [f"{counts['null'][i]:,} / {counts['real'][i]:,}" for i in at]
            note = "as many without clusters" if counts["told_on"] else ""
            rows.append([NULLS[name], label, f"{null['area_deg2']:.1f}", *cells, note])
    header = ("Null sky", "Finder", "deg²", "prob ≥ 0.2", "≥ 0.5", "≥ 0.7", "Flagged")
    return Table(
        header, rows,
        "Candidates on null skies / on the real sky of the same tiles. A finder is flagged if, at "
        "any threshold of 0.5 or higher, the null sky yields at least half as many candidates as "
        "the real sky.",
    )  # fmt: skip


def _randoms_table(randoms: Measured) -> Table:
    rows = [
        [label, f"{count:,}", f"{test['cells']}", f"{test['chi2']:.0f}", _p_text(test["p_value"]),
         f"{test['outside']:,}"]
        for label, count, test in (
            ("random positions", randoms["n"], randoms["randoms"]),
            ("the sample itself", randoms["n_sample"], randoms["sample"]),
        )
    ]  # fmt: skip
    if randoms.get("n_expected"):
        caption = (
            "Test of positions against the mask and the completeness of each tile "
            "(selection/randoms.parquet, with redshifts and masses). A mass function (Tinker et "
            "al. 2008) times the completeness predicts "
            f"{randoms['n_expected']:,.0f} found clusters on {randoms['area_deg2']:.1f} deg², "
            "within the injected masses and redshifts"
        )
    else:
        caption = "Test of positions against the searched sky (selection/randoms.parquet)"
    return Table(("Positions", "Number", "Cells", "χ²", "p", "Off the searched sky"), rows, caption)


def _mass_text(value: float | None) -> str:
    return "–" if value is None else f"{value / _UNIT:.2f}"


def _p_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


_UNIT = 1e14
_MOST_LABELS = 40  # with more tiles the limits are not written on them
_PIXELS = 420


def mass_map_pictures(measured: Mapping[str, Any]) -> list[Picture]:
    """Draw the mass limits on each patch of the footprint; empty if no tile was probed.

    Parameters
    ----------
    measured : mapping
        From `clusterscan.selection.completeness.for_the_report`, read back from JSON.
    """
    tile = np.array(measured.get("tile") or [], dtype=np.int64)
    limit = np.array(measured.get("m50_msun") or [], dtype=np.float64) / _UNIT  # None: NaN
    probed = np.array(measured.get("probed") or [], dtype=bool)
    own = probed & np.isfinite(limit)
    if not own.any():
        return []
    order = int(measured["tile_order"])
    # Colours span at least 10 %, so that noise does not look like a pattern.
    low, high = limit[own].min(), limit[own].max()
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05 * (low + high) / 2)
    return [
        _limits_picture(
            frame, tile, limit, own, order, (middle - half, middle + half), measured["z"]
        )
        for frame in sky_frames(tile, order, pixels=_PIXELS)
    ]


# Tiles without injections of their own are drawn pale instead of in the footprint's value: a
# uniform colour would look like a measurement of each of them.
def _limits_picture(
    frame: SkyFrame,
    tile: np.ndarray,
    limit: np.ndarray,
    own: np.ndarray,
    order: int,
    span: tuple[float, float],
    z: float,
) -> Picture:
    """Draw the limits [10^14 solar masses] of the tiles in ``own``, the others pale."""
    with look.style():
        figure, axes = sky_figure(frame)
        rest = tile_values(frame, tile, np.where(own, np.nan, 1.0), order)
        axes.imshow(rest, origin="lower", cmap="Greys", vmin=0, vmax=5, interpolation="nearest")
        image = axes.imshow(
            tile_values(frame, tile, np.where(own, limit, np.nan), order),
            origin="lower", cmap=look.MAP_COLOURS, vmin=span[0], vmax=span[1],
            interpolation="nearest",
        )  # fmt: skip
        figure.colorbar(image, ax=axes, label="M500c [10¹⁴ solar masses]", shrink=0.75, pad=0.02)
        if own.sum() <= _MOST_LABELS:
            ra, dec = sky.cell_centres(tile[own], order)
            x, y = frame.wcs.world_to_pixel_values(ra, dec)
            inside = frame.contains(ra, dec)
            for i, j, value in zip(x[inside], y[inside], limit[own][inside], strict=True):
                colour = "#ffffff" if value < sum(span) / 2 else look.INK
                axes.text(i, j, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
        axes.set_title(f"Mass at 50 % completeness, z = {z:g}")
        return look.png_picture(
            figure, "Map of the mass at 50 % completeness of each tile",
            "From injected (SIMULATED) clusters. Pale tiles had no injections; the limit of the "
            "footprint applies to them.", dpi=130,
        )  # fmt: skip


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
    """Return the section on separations; empty with too few of them."""
    fit = measured.get("fit") or {}
    if fit.get("sigma_arcsec") is None:
        return Section("positions", "Positions")
    lead = (
        f"Separations of {fit['n']:,} real candidates of the test region, above the threshold of "
        "the reference purity, from their clusters: a Rayleigh core of "
        f"{fit['sigma_arcsec']:.1f} ± {fit['sigma_error_arcsec']:.1f} arcsec along each axis, "
        f"and a tail of {fit['tail']:.0%} ± {fit['tail_error']:.0%} spread uniformly over the "
        "search disc: chance matches and wrong centres. The position errors in the catalogue "
        f"have a median of {measured['claimed_sigma_arcsec']:.1f} arcsec."
    )
    if injected and injected.get("sigma_arcsec") is not None:
        lead += (
            f" For {injected['n']:,} injected (SIMULATED) clusters the core is "
            f"{injected['sigma_arcsec']:.1f} ± {injected['sigma_error_arcsec']:.1f} arcsec, the "
            f"tail {injected['tail']:.0%} ± {injected['tail_error']:.0%}."
        )
    pictures = [_histogram(measured)]
    by = {name: rows for name, rows in measured["by"].items() if rows}
    if by:
        pictures.append(_dependence(by))
    tables = [_dependence_table(by)] if by else []
    if measured.get("networks"):
        tables.append(_networks_table(measured["networks"]))
    return Section("positions", "Positions", lead, pictures, tables)


def _histogram(measured: Measured) -> Picture:
    edges = np.array(measured["edges_arcsec"])
    core, tail = (np.array(measured[k], dtype=float) for k in ("core", "tail"))
    middle = (edges[:-1] + edges[1:]) / 2
    with look.style():
        figure = look.new_figure(4.6, 4.6)
        axes = figure.subplots()
        axes.stairs(measured["counts"], edges, fill=True, color=look.COLOURS[5], label="found")
        axes.plot(middle, core + tail, color=look.INK, label="core and tail")
        axes.plot(middle, tail, color=look.COLOURS[1], linestyle="--", label="tail")
        axes.set(xlabel="Separation [arcsec]", ylabel="Candidates", title="Separations")
        look.legend_below(figure, axes, columns=3)
        return look.svg_picture(figure, "Histogram of separations with the fitted core and tail")


def _dependence(by: Measured) -> Picture:
    across = min(len(by), _PANELS)
    down = -(-len(by) // across)
    with look.style():
        figure = look.new_figure(9.6, 0.5 + 2.4 * down)
        panels = figure.subplots(down, across, sharey=True, squeeze=False)
        most = max(max(r["median_arcsec"], r["sigma_arcsec"]) for rows in by.values() for r in rows)
        for axes, (name, rows) in zip(panels.flat, by.items(), strict=False):
            _draw_dependence(axes, name, rows)
        for axes in panels[:, 0]:
            axes.set(ylabel="[arcsec]", ylim=(0, 1.25 * most))
        for axes in panels.flat[len(by) :]:
            axes.set_axis_off()
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        return look.svg_picture(
            figure, "Core and median of the separations in bins of other columns",
            "Bins of equal numbers; bars across span a bin.", wide=True,
        )  # fmt: skip


def _draw_dependence(axes: Any, name: str, rows: Sequence[Measured]) -> None:
    title, unit, _ = _axis_of(name)
    at, low, high = (
        np.array([r[k] for r in rows], dtype=float) / unit for k in ("middle", "low", "high")
    )
    sigma, error, median = (
        np.array([r[k] for r in rows], dtype=float)
        for k in ("sigma_arcsec", "sigma_error_arcsec", "median_arcsec")
    )
    axes.errorbar(at, sigma, xerr=[at - low, high - at], yerr=error, fmt="o", markersize=4,
                  color=look.COLOURS[0], label="core, each axis")  # fmt: skip
    axes.plot(at, median, "x", color=look.COLOURS[1], label="median separation")
    axes.set_xlabel(title)


def _axis_of(name: str) -> tuple[str, float, str]:
    if name.startswith("noise_"):
        return f"Pixel noise, {name.removeprefix('noise_')}", 1.0, ".4g"
    return NAMES.get(name, (name, 1.0, ".3g"))


def _dependence_table(by: Measured) -> Table:
    rows = []
    for name, bins in by.items():
        title, unit, form = _axis_of(name)
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


def _networks_table(rows: Sequence[Measured]) -> Table:
    header = ("Network", "Other network", "Seen by both", "Median apart [arcsec]",
              "Each axis [arcsec]")  # fmt: skip
    cells = [
        [r["first"], r["second"], f"{r['n']:,}", f"{r['median_arcsec']:.1f}",
         f"{r['sigma_arcsec']:.1f}"]
        for r in rows
    ]  # fmt: skip
    return Table(
        header, cells,
        "Separations of the same real objects as seen by two networks. Networks of one survey see "
        "the same pixels and differ only by their architecture and seed.",
    )  # fmt: skip
