"""The folder ``published``: everything that one hands on, complete in itself, with checksums.

Products lie in it under the same paths as in the run's folder, as second names of the same files
(hard links; copies where the disk has none), so that it costs no room. It holds no time that a
job took: the same run gives the same bytes.
"""

from __future__ import annotations

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
from clusterscan.formats.catalogue_columns import Column
from clusterscan.publish.citation import Citation, cff_text, datacite
from clusterscan.publish.crate import FileFact, Source, crate_json
from clusterscan.publish.readme import readme_text

GIB = 2**30

#: What is taken from the run's folder, as patterns.
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
MAPS = ("properties", "Moc.fits", "Norder*/Dir*/Npix*.fits")
FOLDERS = {
    "catalogue/hats/": "The catalogue as a HATS collection with a margin cache",
    "models/": "Trained networks: card, weights, measures, training history; all beside each other",
    "selection/": "Selection function from injected (simulated) clusters, and random positions",
}


@dataclass(frozen=True)
class Contents:
    """What the folder holds besides the products.

    Attributes
    ----------
    citation : Citation
        Title, creators, licence, date.
    columns : sequence of Column
        The catalogue's columns.
    config : mapping
        The configuration as plain values.
    models : sequence of (survey, model)
        Whose maps there are.
    sources : sequence of Source
        What the run was made from.
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
    sources: Sequence[Source]
    versions: Mapping[str, str]
    report: str
    summary: Mapping[str, Any]


def write_published(root: Path, contents: Contents, *, maps_max_gib: float) -> None:
    """Write the folder ``published`` anew; ``SHA256SUMS`` names all its files.

    Parameters
    ----------
    root : Path
        The run's folder, with finished products.
    contents : Contents
        What else the folder holds.
    maps_max_gib : float
        The maps are left out where they are larger together [GiB].
    """
    maps = list(map_files(root, contents.models))
    size_gib = sum(path.stat().st_size for path in maps) / GIB
    note = ""
    if size_gib > maps_max_gib:
        note = (
            f"The maps take {size_gib:.1f} GiB, more than the {maps_max_gib:g} GiB that "
            "`publish.maps_max_gib` allows here: they lie in the run's folder `maps` alone."
        )
        maps = []
    folders = dict(FOLDERS)
    if maps:
        folders |= {f"maps/{s}/{m}/": f"HiPS of {m} on {s}" for s, m in contents.models}
    with atomic_folder(root / FOLDER) as folder:
        for path in [*_of_this_run(root, contents.models), *maps]:
            _take(path, folder / path.relative_to(root))
        _write_texts(folder, contents, note)
        facts = list(file_facts(folder))
        held = {f: text for f, text in folders.items() if any(x.path.startswith(f) for x in facts)}
        crate = crate_json(contents.citation, facts, held, contents.sources, contents.versions)
        (folder / "ro-crate-metadata.json").write_text(to_json(crate), encoding="utf-8")
        facts += [_fact(folder, folder / "ro-crate-metadata.json")]
        text = checksums_text({fact.path: fact.sha256 for fact in facts})
        (folder / CHECKSUMS).write_text(text, encoding="utf-8")


def product_files(root: Path) -> Iterator[Path]:
    """Yield a run's products except its maps, sorted within each pattern of `PRODUCTS`."""
    for pattern in PRODUCTS:
        yield from sorted(p for p in root.glob(pattern) if p.is_file() and p.name[0] != ".")


def _of_this_run(root: Path, models: Iterable[tuple[str, str]]) -> Iterator[Path]:
    """Yield the products less those of networks that the configuration no longer has."""
    trained = {f"{survey}-{model}" for survey, model in models}
    for path in product_files(root):
        parts = path.relative_to(root).parts
        if parts[0] != "models" or len(parts) == 2 or parts[1] in trained:
            yield path


def map_files(root: Path, models: Iterable[tuple[str, str]]) -> Iterator[Path]:
    """Yield the files of the run's HiPS maps."""
    for survey, model in models:
        for pattern in MAPS:
            yield from sorted((root / "maps" / survey / model).glob(pattern))


def file_facts(folder: Path) -> Iterator[FileFact]:
    """Yield size and sha256 of all files of a folder, sorted by path."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield _fact(folder, path)


def _write_texts(folder: Path, contents: Contents, maps_note: str) -> None:
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


def _fact(folder: Path, path: Path) -> FileFact:
    name = path.relative_to(folder).as_posix()
    return FileFact(name, path.stat().st_size, file_sha256(path))


def _take(path: Path, target: Path) -> None:
    """Give a product a second name; products are replaced, never changed, so its bytes stay."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = path.resolve()  # a link would lead out of the folder
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
