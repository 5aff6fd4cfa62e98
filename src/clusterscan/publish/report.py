"""Build report.html of a run: the order of its sections, its headline, and the short sections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from clusterscan.publish.report_gallery import gallery_section
from clusterscan.publish.report_inputs import ReportInputs, Scores, read_scores
from clusterscan.publish.report_networks import examples_section, training_section
from clusterscan.publish.report_quality import finding_section, probability_section
from clusterscan.publish.report_selection import positions_section, selection_section
from clusterscan.publish.report_sky import SkyViews
from clusterscan.publish.summary import stage_costs
from clusterscan.report.document import (
    Banner,
    Details,
    Document,
    HeadlineFigure,
    Section,
    Table,
    to_html,
    write_text,
)

MOST_PROBLEMS = 40
MOST_ROWS = 25
STAGES = (
    "sync", "catalogue", "fetch", "preprocess", "sample", "train", "scan", "detect", "merge",
    "validate", "probe", "selection", "publish",
)  # fmt: skip


def write_report(path: Path, inputs: ReportInputs, *, gallery_count: int = 8) -> None:
    """Write the report; equal inputs give equal bytes.

    Parameters
    ----------
    path : Path
        The HTML file, replaced atomically.
    inputs : ReportInputs
        Everything to show; sections with nothing to show are left out or replaced by a note.
    gallery_count : int
        Candidates of each kind in the gallery.
    """
    write_text(path, render_report(inputs, gallery_count=gallery_count))


def render_report(inputs: ReportInputs, *, gallery_count: int = 8) -> str:
    """Return the report's HTML; see `write_report`."""
    return render_reports(inputs, gallery_count=gallery_count)[0]


def render_reports(inputs: ReportInputs, *, gallery_count: int = 8) -> tuple[str, str]:
    """Return the report's HTML with and without the costs of the jobs.

    Time and memory differ between runs; the published folder must not, so it gets the second.
    """
    document = report_document(inputs, gallery_count)
    timeless = [section for section in document.sections if section.key != "costs"]
    return to_html(document), to_html(replace(document, sections=timeless))


def report_document(inputs: ReportInputs, gallery_count: int) -> Document:
    """Build the whole report of a run."""
    release, validation = inputs.release, inputs.validation
    scores = read_scores(validation)
    views = SkyViews(inputs, scores)
    if release.simulated:
        banner = Banner(
            "simulated",
            "SIMULATED SKY",
            "No object in this report exists: images, clusters and catalogues are simulated, so "
            "that the truth is known.",
        )
    else:
        banner = Banner(
            "observed",
            "REAL IMAGES",
            "Nothing here is simulated. Completeness and purity are measured against "
            f"{reference_text(inputs)}, which is not the whole truth.",
        )
    injected = (inputs.selection.get("injection") or {}).get("offsets")
    return Document(
        title=inputs.title,
        kicker=f"clusterscan {release.version} · configuration {release.config_name} · "
        f"seed {release.seed}",
        banners=[banner],
        headline=headline_figures(inputs, scores),
        sections=[
            # Warnings come first, then the quality of the catalogue, then the sky, the objects, and
            # last the networks and the run itself: in the order of a reader's questions.
            problems_section(inputs),
            finding_section(scores, simulated=release.simulated),
            probability_section(validation.get("probability") or {}, simulated=release.simulated),
            selection_section(inputs.selection),
            positions_section(validation.get("positions") or {}, injected=injected),
            views.coverage_section(),
            views.maps_section(),
            gallery_section(inputs, scores, gallery_count),
            catalogue_section(inputs),
            examples_section(inputs),
            training_section(inputs),
            cost_section(inputs),
            run_section(inputs),
        ],
        footer=f"Made by clusterscan {release.version}. Positions are ICRS. Numbers for machines: "
        "summary.json.",
    )


def headline_figures(inputs: ReportInputs, scores: Scores) -> list[HeadlineFigure]:
    """Return the figures at the top: area, candidates, and completeness of the best finders."""
    catalogue = inputs.catalogue
    above = np.asarray(catalogue["prob"]) >= scores.threshold
    new = np.asarray(catalogue["class"]) == "new"
    surveys = ", ".join(inputs.surveys)
    found = [
        HeadlineFigure(f"{inputs.release.area_text} deg²", "searched", f"in {surveys}"),
        HeadlineFigure(
            f"{above.sum():,}",
            "candidates",
            f"with probability ≥ {scores.threshold:.2f}, of {above.size:,} objects",
        ),
        HeadlineFigure(f"{(above & new).sum():,}", "of them new", "in no known catalogue"),
    ]
    for finder, label in ((scores.combined, "networks"), (scores.best_filter, "plain filter")):
        at = finder.at(scores.reference_purity) if finder else None
        if finder is None or at is None or not at.reached:
            continue
        found.append(
            HeadlineFigure(
                f"{at.completeness.value:.0%}",
                f"completeness, {label}",
                f"at purity {scores.reference_purity:.0%}, {scores.region} region"
                + (f" ({finder.label})" if finder.is_filter else ""),
            )
        )
    return found


def reference_text(inputs: ReportInputs) -> str:
    """Name the catalogues that the validation used as the truth."""
    listed = [c for c in inputs.config.get("catalogs", ()) if isinstance(c, Mapping)]
    truths = [c for c in listed if c.get("role") == "truth"]
    names = [str(c.get("name")) for c in truths or listed if c.get("role") != "reference"]
    if not names:
        return "a reference catalogue"
    return f"the catalogue{'s' if len(names) > 1 else ''} {', '.join(names)}"


def problems_section(inputs: ReportInputs) -> Section:
    """Return the list of failed and partial tiles; empty if there are none."""
    rows = [
        [str(p.get(k, "")) for k in ("stage", "key", "tile", "status", "reason")]
        for p in list(inputs.problems)[:MOST_PROBLEMS]
    ]
    lead = (
        f"Failed or partial tiles: {len(inputs.problems)}. Their sky is not fully searched, or "
        "not in all surveys."
    )
    if len(inputs.problems) > MOST_PROBLEMS:
        lead += f" The first {MOST_PROBLEMS} are listed."
    header = ("Stage", "Survey and model", "Tile", "Status", "Reason")
    tables = [Table(header, rows, numeric=False)] if rows else []
    return Section("problems", "Warnings", lead, tables=tables, is_warning=True)


def catalogue_section(inputs: ReportInputs) -> Section:
    """Return the first rows of the catalogue."""
    c = inputs.catalogue
    shown = ("name", "ra_deg", "dec_deg", "prob", "n_models", "class", "known_name", "z")
    header = ("Name", "RA [deg]", "Dec [deg]", "Probability", "Networks", "Class", "Known as", "z")
    formats = ("", ".4f", "+.4f", ".3f", "d", "", "", ".2f")

    def cell(value: object, form: str) -> str:
        if isinstance(value, float | np.floating) and not np.isfinite(value):
            return "–"
        return format(value, form) or "–"

    rows = [
        [cell(c[key][row], form) for key, form in zip(shown, formats, strict=True)]
        for row in range(min(len(c["name"]), MOST_ROWS))
    ]
    lead = (
        f"The first {len(rows)} of {len(c['name']):,} rows. The whole catalogue is in the folder "
        "catalogue/ beside this report, as clusters.fits, .vot, .parquet, .csv, .reg (DS9) and "
        "hats/ (LSDB); docs/catalogue.md describes its columns."
    )
    return Section("catalogue", "Catalogue", lead, tables=[Table(header, rows)] if rows else [])


def cost_section(inputs: ReportInputs) -> Section:
    """Return the table of time and memory per stage."""
    stages = stage_costs(inputs.costs)
    known = [s for s in STAGES if s in stages]
    rows = [
        [
            stage,
            f"{stages[stage]['jobs']:,.0f}",
            f"{stages[stage]['wall_s']:,.1f}",
            f"{stages[stage]['cpu_s']:,.1f}",
            f"{stages[stage]['peak_mib']:,.0f}",
        ]
        for stage in [*known, *sorted(set(stages) - set(known))]
    ]
    header = ("Stage", "Jobs", "Seconds, summed", "CPU seconds", "Largest job [MiB]")
    lead = (
        "Jobs run side by side, so their seconds add up to more than the elapsed time. A job that "
        "was not run again counts with its last run; publish itself is not yet in the list."
    )
    return Section("costs", "Time and memory", lead, tables=[Table(header, rows)] if rows else [])


def run_section(inputs: ReportInputs) -> Section:
    """Return versions and the configuration."""
    release = inputs.release
    facts = {
        "clusterscan": release.version,
        **dict(sorted(inputs.versions.items())),
        "Configuration": release.config_name,
        "Seed": str(release.seed),
        "Release date": release.release_date,
        "HEALPix orders": f"tiles {release.tile_order}, map pixels {release.map_order}, NESTED",
    }
    table = Table(("Property", "Value"), [list(fact) for fact in facts.items()], numeric=False)
    plain = json.loads(json.dumps(dict(inputs.config), sort_keys=True))
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True) if plain else ""
    details = [Details("Configuration", text=text)] if text else []
    return Section("run", "This run", tables=[table], details=details)
