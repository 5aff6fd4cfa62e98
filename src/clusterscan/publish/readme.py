"""README.md of the published folder, made from the run."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from clusterscan.formats.catalogue_columns import FLAGS, Column
from clusterscan.publish.citation import Citation, citation_line
from clusterscan.publish.crate import Source

FILES = {
    "catalogue/clusters.fits": "the catalogue, FITS binary table",
    "catalogue/clusters.vot": "the same rows and columns, VOTable 1.4",
    "catalogue/clusters.parquet": "the same, Parquet",
    "catalogue/clusters.csv": "the same, CSV",
    "catalogue/clusters.reg": "circles for DS9, coloured by class, dashed below the threshold",
    "catalogue/hats/": "the same rows as a HATS collection with a margin cache, for LSDB",
    "catalogue/forced.fits": "every network's value at every known cluster and listed position",
    "catalogue/forced.parquet": "the same, Parquet",
    "catalogue/searched_moc.fits": "MOC of the sky that at least one network searched",
    "maps/": "probability and signal-to-noise maps, a HiPS each, with its MOC",
    "models/": "the trained networks: card, weights, measures, history, and a table of all",
    "validation/": "completeness and purity, as numbers",
    "selection/": "the selection function: injected (simulated) clusters, limits, random points",
    "report.html": "the report: one page that needs nothing else",
    "summary.json": "headline figures for machines",
    "config.yaml": "the configuration of the run",
    "CITATION.cff": "how to cite these data",
    "datacite.json": "the same for DataCite",
    "ro-crate-metadata.json": "provenance: what was made, by what, from what (RO-Crate)",
    "SHA256SUMS": "checksums: `sha256sum -c SHA256SUMS`",
}


def readme_text(
    citation: Citation,
    columns: Sequence[Column],
    sources: Iterable[Source],
    present: Iterable[str],
    headline: Sequence[str],
    maps_note: str,
) -> str:
    """Return README.md.

    Parameters
    ----------
    citation : Citation
        Title, version, area, how to cite.
    columns : sequence of Column
        The catalogue's columns.
    sources : iterable of Source
        Surveys and catalogues.
    present : iterable of str
        Paths of the files in the folder.
    headline : sequence of str
        The run's headline figures.
    maps_note : str
        Why the maps are not in the folder; empty where they are.
    """
    release = citation.release
    lines = [f"# {_text(citation.full_title)}", ""]
    if release.simulated:
        lines += [
            "**SIMULATED SKY.** No object here exists: images, clusters and catalogues are "
            "simulated, so that the truth is known. Columns `truth_*` are that truth.",
            "",
        ]
    lines += [f"- {_text(line)}" for line in headline]
    lines += [
        f"- searched sky without masked pixels: {release.area_deg2:.6f} deg²",
        f"- clusterscan {release.version}, seed {release.seed}, released {citation.date}",
        f"- licence: [{citation.license}]({citation.license_url})",
        "",
        "Cite as:",
        "",
        f"> {_text(citation_line(citation))}",
        "",
    ]
    lines += ["## Files", "", "| file | holds |", "|---|---|"]
    paths = list(present)
    lines += [
        f"| `{name}` | {what} |"
        for name, what in FILES.items()
        if name in paths or any(p.startswith(name) for p in paths if name.endswith("/"))
    ]
    lines += ["", *([maps_note, ""] if maps_note else [])]
    lines += ["Positions are ICRS in degrees; HEALPix numbers are NESTED.", ""]
    lines += ["## Made from", "", "| source | what |", "|---|---|"]
    lines += [f"| {_text(s.name)} | {_text(s.description)} |" for s in sources]
    lines += ["", "## Columns of the catalogue", "", *_columns(columns), ""]
    lines += ["## Flags", "", *_flags(FLAGS), ""]
    return "\n".join(lines)


def _columns(columns: Iterable[Column]) -> list[str]:
    rows = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for c in columns:
        rows.append(f"| `{c.name}` | {c.dtype} | {c.unit or '–'} | {_text(c.description)} |")
    return rows


def _flags(flags: Mapping[str, tuple[int, str]]) -> list[str]:
    rows = ["| bit | name | meaning |", "|---|---|---|"]
    return rows + [f"| {value} | {name} | {text} |" for name, (value, text) in flags.items()]


def _text(value: str) -> str:
    """Return text as Markdown shows it: no markup of its own, no broken table."""
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", "&#124;")
