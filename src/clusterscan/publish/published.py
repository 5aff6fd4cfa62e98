"""The folder ``published``: all products of a run with README, provenance and checksums.

Products keep their paths in the run's folder. They are hard links (copies if the disk has none),
so the folder needs no room. It holds no times of jobs, so equal runs give equal bytes.
"""

from __future__ import annotations

import html
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clusterscan.core.atomic import atomic_folder, to_json
from clusterscan.core.checksums import CHECKSUMS, FOLDER, checksums_text
from clusterscan.core.fingerprint import file_sha256
from clusterscan.formats.catalogue_columns import FLAGS, Column
from clusterscan.publish.citation import Citation, cff_text, citation_line, datacite
from clusterscan.publish.crate import FileFact, Source, crate_json
from clusterscan.publish.hips import hips_files

GIB = 2**30

#: Patterns of the products in the run's folder.
PRODUCTS = (
    "catalogue/clusters.*",
    "catalogue/forced.*",
    "catalogue/searched_moc.fits",
    "catalogue/hats/**/*",
    "models/*/model.json",
    "models/*/metrics.json",
    "models/*/history.json",
    "models/*/weights.safetensors",
    "models/networks.csv",
    "models/networks.parquet",
    "validation/validation.json",
    "selection/*.json",
    "selection/*.parquet",
    "selection/mass_limits.fits",
)
FOLDERS = {
    "catalogue/hats/": "The catalogue as a HATS collection with a margin cache",
    "models/": "Trained networks: card, weights, measures, training history; all beside each other",
    "selection/": "Selection function from injected (simulated) clusters, and random positions",
}


@dataclass(frozen=True)
class Contents:
    """Content of the folder besides the products.

    Attributes
    ----------
    citation : Citation
        Title, creators, licence, date.
    columns : sequence of Column
        The catalogue's columns.
    config : mapping
        The configuration as plain values.
    models : sequence of (survey, model)
        The models with maps.
    map_tiles : mapping of (survey, model) to sequence of int
        The tiles of the footprint that each map has. A map's folder may hold others, of a larger
        footprint, which are not published.
    sources : sequence of Source
        The surveys and catalogues that the run used.
    versions : mapping of str to str
        Versions of the software.
    report : str
        HTML, without times.
    summary : mapping
        summary.json, without times.
    """

    citation: Citation
    columns: Sequence[Column]
    config: Mapping[str, Any]
    models: Sequence[tuple[str, str]]
    map_tiles: Mapping[tuple[str, str], Sequence[int]]
    sources: Sequence[Source]
    versions: Mapping[str, str]
    report: str
    summary: Mapping[str, Any]


def write_published(root: Path, contents: Contents, *, maps_max_gib: float) -> None:
    """Write the folder ``published`` from scratch; ``SHA256SUMS`` lists all its files.

    Parameters
    ----------
    root : Path
        The run's folder, with finished products.
    contents : Contents
        Content besides the products.
    maps_max_gib : float
        Maps are left out if their total size is larger than this [GiB].
    """
    tile_order = contents.citation.release.tile_order
    maps = [
        path
        for (survey, model), tiles in contents.map_tiles.items()
        for path in hips_files(root / "maps" / survey / model, tiles, tile_order)
    ]
    size_gib = sum(path.stat().st_size for path in maps) / GIB
    note = ""
    # Full-sky maps take hundreds of GiB, more than archives accept in one deposit. The catalogue
    # and everything else is published without them.
    if size_gib > maps_max_gib:
        note = (
            f"The maps take {size_gib:.1f} GiB, more than the {maps_max_gib:g} GiB allowed by "
            "`publish.maps_max_gib`, so they are only in the run's folder `maps`."
        )
        maps = []
    folders = dict(FOLDERS)
    if maps:
        folders |= {f"maps/{s}/{m}/": f"HiPS of {m} on {s}" for s, m in contents.models}
    with atomic_folder(root / FOLDER) as folder:
        for path in [*_current_products(root, contents.models), *maps]:
            _link(path, folder / path.relative_to(root))
        _write_texts(folder, contents, note)
        # The crate lists checksums of all other files, and SHA256SUMS lists the crate's too, so
        # the two are written in this order.
        facts = list(file_facts(folder))
        held = {f: text for f, text in folders.items() if any(x.path.startswith(f) for x in facts)}
        crate = crate_json(contents.citation, facts, held, contents.sources, contents.versions)
        (folder / "ro-crate-metadata.json").write_text(to_json(crate), encoding="utf-8")
        facts += [_file_fact(folder, folder / "ro-crate-metadata.json")]
        text = checksums_text({fact.path: fact.sha256 for fact in facts})
        (folder / CHECKSUMS).write_text(text, encoding="utf-8")


def product_files(root: Path) -> Iterator[Path]:
    """Yield a run's products except its maps, sorted within each pattern of `PRODUCTS`."""
    for pattern in PRODUCTS:
        yield from sorted(p for p in root.glob(pattern) if p.is_file() and p.name[0] != ".")


def _current_products(root: Path, models: Iterable[tuple[str, str]]) -> Iterator[Path]:
    """Yield the products, except those of networks that were removed from the configuration."""
    # A run's folder keeps the networks of earlier configurations, so that going back costs nothing;
    # they do not belong to this catalogue.
    trained = {f"{survey}-{model}" for survey, model in models}
    for path in product_files(root):
        parts = path.relative_to(root).parts
        if parts[0] != "models" or len(parts) == 2 or parts[1] in trained:
            yield path


def file_facts(folder: Path) -> Iterator[FileFact]:
    """Yield size and sha256 of all files of a folder, sorted by path."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield _file_fact(folder, path)


def _write_texts(folder: Path, contents: Contents, maps_note: str) -> None:
    # The round trip through JSON leaves plain types only, which YAML writes without Python tags.
    plain = json.loads(json.dumps(dict(contents.config), sort_keys=True))
    texts = {
        "report.html": contents.report,
        "summary.json": to_json(contents.summary),
        "config.yaml": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True),
        "CITATION.cff": cff_text(contents.citation),
        "datacite.json": to_json(datacite(contents.citation)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    # The README lists only files that are there, and it is itself among those still to be written.
    present = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    later = ["README.md", "ro-crate-metadata.json", CHECKSUMS]
    text = readme_text(
        contents.citation,
        contents.columns,
        contents.sources,
        [*present, *later],
        list(contents.summary.get("headline", ())),
        maps_note,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _file_fact(folder: Path, path: Path) -> FileFact:
    name = path.relative_to(folder).as_posix()
    return FileFact(name, path.stat().st_size, file_sha256(path))


def _link(path: Path, target: Path) -> None:
    """Link a product; its bytes stay, because products are replaced, never changed in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = path.resolve()  # a symbolic link would lead out of the folder
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


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
        Reason why the maps are not in the folder; empty if they are.
    """
    release = citation.release
    lines = [f"# {_escaped(citation.full_title)}", ""]
    if release.simulated:
        lines += [
            "**SIMULATED SKY.** No object here exists: images, clusters and catalogues are "
            "simulated, so that the truth is known. The columns `truth_*` hold the truth.",
            "",
        ]
    lines += [f"- {_escaped(line)}" for line in headline]
    lines += [
        f"- searched sky without masked pixels: {release.area_deg2:.6f} deg²",
        f"- clusterscan {release.version}, seed {release.seed}, released {citation.date}",
        f"- licence: [{citation.license}]({citation.license_url})",
        "",
        "Cite as:",
        "",
        f"> {_escaped(citation_line(citation))}",
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
    lines += [f"| {_escaped(s.name)} | {_escaped(s.description)} |" for s in sources]
    lines += ["", "## Columns of the catalogue", "", *_columns_table(columns), ""]
    lines += ["## Flags", "", *_flags_table(FLAGS), ""]
    return "\n".join(lines)


def _columns_table(columns: Iterable[Column]) -> list[str]:
    rows = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for c in columns:
        rows.append(f"| `{c.name}` | {c.dtype} | {c.unit or '–'} | {_escaped(c.description)} |")
    return rows


def _flags_table(flags: Mapping[str, tuple[int, str]]) -> list[str]:
    rows = ["| bit | name | meaning |", "|---|---|---|"]
    return rows + [f"| {value} | {name} | {text} |" for name, (value, text) in flags.items()]


def _escaped(value: str) -> str:
    """Escape text for Markdown, so that it cannot add markup or break a table."""
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", "&#124;")
