"""report.html: one self-contained page about a run, readable offline and on a phone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from clusterscan.core.atomic import atomic_path
from clusterscan.publish.finding_plots import finding_section
from clusterscan.publish.gallery import gallery_section
from clusterscan.publish.inputs import ReportInputs, Section, Table
from clusterscan.publish.positions_section import positions_section
from clusterscan.publish.probability_section import probability_section
from clusterscan.publish.scores import Scores, read_scores
from clusterscan.publish.selection_section import selection_section
from clusterscan.publish.sky_plots import SkyViews
from clusterscan.publish.summary import stage_costs
from clusterscan.publish.training_plots import examples_section, training_section

MOST_PROBLEMS = 40
MOST_ROWS = 25
STAGES = (
    "sync", "catalogue", "fetch", "preprocess", "sample", "train", "scan", "detect", "merge",
    "validate", "probe", "selection", "publish",
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One headline figure: a value, what it is, and a note."""

    value: str
    label: str
    note: str = ""


def write_report(path: Path, inputs: ReportInputs, *, gallery_count: int = 8) -> None:
    """Write the report; the same inputs always give the same bytes.

    Parameters
    ----------
    path : Path
        The HTML file, replaced atomically.
    inputs : ReportInputs
        What to show; sections without anything to show are left out with a note.
    gallery_count : int
        Candidates of each kind in the gallery.
    """
    write_text(path, render_report(inputs, gallery_count=gallery_count))


def write_text(path: Path, text: str) -> None:
    """Write a page, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def render_report(inputs: ReportInputs, *, gallery_count: int = 8) -> str:
    """Return the report's HTML; see `write_report`."""
    return render_reports(inputs, gallery_count=gallery_count)[0]


def render_reports(inputs: ReportInputs, *, gallery_count: int = 8) -> tuple[str, str]:
    """Return the report's HTML, and the same without what the jobs cost: no run's are alike."""
    scores = read_scores(inputs.validation)
    sections = report_sections(inputs, scores, gallery_count)
    timeless = [section for section in sections if section.key != "costs"]
    return _html(inputs, scores, sections), _html(inputs, scores, timeless)


def _html(inputs: ReportInputs, scores: Scores, sections: Sequence[Section]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("clusterscan.publish", "templates"),
        autoescape=True,  # names come from catalogues that others wrote
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        inputs=inputs,
        release=inputs.release,
        headline=headline_figures(inputs, scores),
        reference=reference_text(inputs),
        config_text=config_text(inputs),
        sections=[s for s in sections if not s.is_empty or s.notes],
    )


def report_sections(inputs: ReportInputs, scores: Scores, gallery_count: int) -> list[Section]:
    """Return the report's sections in their order."""
    views = SkyViews(inputs, scores)
    return [
        problems_section(inputs),
        finding_section(scores, simulated=inputs.release.simulated),
        probability_section(
            inputs.validation.get("probability") or {}, simulated=inputs.release.simulated
        ),
        selection_section(inputs.selection),
        positions_section(
            inputs.validation.get("positions") or {},
            injected=(inputs.selection.get("injection") or {}).get("offsets"),
        ),
        views.coverage_section(),
        views.maps_section(),
        gallery_section(inputs, scores, gallery_count),
        catalogue_section(inputs),
        examples_section(inputs),
        training_section(inputs),
        cost_section(inputs),
        run_section(inputs),
    ]


def headline_figures(inputs: ReportInputs, scores: Scores) -> list[Figure]:
    """Return what a reader should see first."""
    catalogue = inputs.catalogue
    above = np.asarray(catalogue["prob"]) >= scores.threshold
    new = np.asarray(catalogue["class"]) == "new"
    surveys = ", ".join(inputs.surveys)
    found = [
        Figure(f"{inputs.release.area_text} deg²", "searched", f"in {surveys}"),
        Figure(
            f"{above.sum():,}",
            "candidates",
            f"with probability ≥ {scores.threshold:.2f}, of {above.size:,} objects",
        ),
        Figure(f"{(above & new).sum():,}", "of them new", "in no known catalogue"),
    ]
    for finder, label in ((scores.combined, "networks"), (scores.best_filter, "plain filter")):
        at = finder.at(scores.reference_purity) if finder else None
        if finder is None or at is None or not at.reached:
            continue
        found.append(
            Figure(
                f"{at.completeness.value:.0%}",
                f"completeness, {label}",
                f"at purity {scores.reference_purity:.0%}, {scores.region} region"
                + (f" ({finder.label})" if finder.is_filter else ""),
            )
        )
    return found


def reference_text(inputs: ReportInputs) -> str:
    """Return which catalogues the validation took for the truth."""
    listed = [c for c in inputs.config.get("catalogs", ()) if isinstance(c, Mapping)]
    truths = [c for c in listed if c.get("role") == "truth"]
    names = [str(c.get("name")) for c in truths or listed if c.get("role") != "reference"]
    if not names:
        return "a reference catalogue"
    return f"the catalogue{'s' if len(names) > 1 else ''} {', '.join(names)}"


def problems_section(inputs: ReportInputs) -> Section:
    """Return warnings of failed and partial tiles; empty where all went well."""
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
    return Section("problems", "Warnings", lead, tables=tables)


def catalogue_section(inputs: ReportInputs) -> Section:
    """Return the catalogue's first rows."""
    c = inputs.catalogue
    shown = ("name", "ra_deg", "dec_deg", "prob", "n_models", "class", "known_name", "z")
    header = ("Name", "RA [deg]", "Dec [deg]", "Probability", "Networks", "Class", "Known as", "z")
    formats = ("", ".4f", "+.4f", ".3f", "d", "", "", ".2f")
    rows = [
        [_cell(c[key][row], form) for key, form in zip(shown, formats, strict=True)]
        for row in range(min(len(c["name"]), MOST_ROWS))
    ]
    lead = (
        f"The first {len(rows)} of {len(c['name']):,} rows. The whole catalogue lies beside this "
        "report in catalogue/clusters.fits, .vot, .parquet, .csv, .reg (DS9) and hats/ (LSDB); "
        "docs/catalogue.md describes its columns."
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
        "Jobs run side by side, so their seconds add up to more than the clock showed. A job that "
        "was not run again counts with its last run; publish itself is not in the list yet."
    )
    return Section("costs", "Time and memory", lead, tables=[Table(header, rows)] if rows else [])


def run_section(inputs: ReportInputs) -> Section:
    """Return versions and the configuration."""
    release = inputs.release
    facts = [
        ["clusterscan", release.version],
        *([name, version] for name, version in sorted(inputs.versions.items())),
        ["Configuration", release.config_name],
        ["Seed", str(release.seed)],
        ["Release date", release.release_date],
        ["HEALPix orders", f"tiles {release.tile_order}, map pixels {release.map_order}, NESTED"],
    ]
    facts = list({row[0]: row for row in facts}.values())
    return Section("run", "This run", tables=[Table(("What", "Value"), facts, numeric=False)])


def config_text(inputs: ReportInputs) -> str:
    """Return the configuration as YAML."""
    plain = json.loads(json.dumps(dict(inputs.config), sort_keys=True))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True) if plain else ""


def _cell(value: object, form: str) -> str:
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return "–"
    return format(value, form) or "–"


__all__: Sequence[str] = ["ReportInputs", "render_report", "render_reports", "write_report"]
