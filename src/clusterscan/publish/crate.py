"""Provenance of the published data as an RO-Crate: products, software, sources.

It contains no time of day and no random identifier, so equal runs give equal bytes.

References
----------
Soiland-Reyes et al. 2022, Packaging research artefacts with RO-Crate, Data Science 5, 97.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clusterscan.catalogs.published import LAYOUTS
from clusterscan.config.model import Config
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.flow.products import Products
from clusterscan.publish.citation import KEYWORDS, Citation, person

if TYPE_CHECKING:
    from rocrate.model import ContextEntity, DataEntity
    from rocrate.rocrate import ROCrate

TYPES = {
    ".fits": "application/fits",
    ".vot": "application/x-votable+xml",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".reg": "text/plain",
    ".html": "text/html",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".md": "text/markdown",
    ".cff": "application/yaml",
    ".safetensors": "application/octet-stream",
}


@dataclass(frozen=True)
class FileFact:
    """A file of the folder: its path in it, size in bytes, and sha256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """A source of the run, a survey's images or a catalogue; ``sha256`` identifies its state."""

    key: str
    name: str
    description: str
    sha256: str


def crate_json(
    citation: Citation,
    files: Sequence[FileFact],
    folders: Mapping[str, str],
    sources: Sequence[Source],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of ro-crate-metadata.json.

    Parameters
    ----------
    citation : Citation
        Title, creators, licence, date.
    files : sequence of FileFact
        All files, sorted by path; those within ``folders`` are not listed individually.
    folders : mapping of str to str
        Descriptions of the folders with many files, by path with a closing '/'.
    sources : sequence of Source
        The sources of the run.
    versions : mapping of str to str
        Versions of the software.
    """
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")  # archives read 1.1; the library's default changes
    root = crate.root_dataset
    _describe_root(crate, citation)
    made = _products(crate, files, folders)
    software = _software(crate, citation.release.version, versions)
    used = [
        _about(
            crate, f"#{s.key}", "CreativeWork", name=s.name, description=s.description,
            **({"identifier": f"sha256:{s.sha256}"} if s.sha256 else {}),
        )
        for s in sources
    ]  # fmt: skip
    # The configuration is an input of the run, although it is published beside the results.
    config = [entity for entity in made if entity.id == "config.yaml"]
    root["mentions"] = _about(
        crate, "#run", "CreateAction", name=f"Run of clusterscan: {citation.title}",
        instrument=software, object=[*config, *used],
        result=[entity for entity in made if entity not in config],
    )  # fmt: skip
    return crate.metadata.generate()


def _about(crate: ROCrate, key: str, kind: str, **properties: Any) -> ContextEntity:
    """Add an entity that is not a file."""
    from rocrate.model import ContextEntity

    return crate.add(ContextEntity(crate, key, properties={"@type": kind} | properties))


def _describe_root(crate: ROCrate, citation: Citation) -> None:
    root = crate.root_dataset
    root["datePublished"] = citation.date  # the library would write the current time
    crate.name = citation.full_title
    crate.description = citation.abstract
    root["keywords"] = list(KEYWORDS)
    root["version"] = citation.release.version
    if citation.doi:
        root["identifier"] = f"https://doi.org/{citation.doi}"
    root["license"] = _about(
        crate, citation.license_url, "CreativeWork", name=citation.license,
        description="Licence of the published data",
    )  # fmt: skip
    root["creator"] = [
        _about(crate, f"#creator-{k}", "Person" if person(name) else "Organization", name=name)
        for k, name in enumerate(citation.creators, start=1)
    ]


def _products(
    crate: ROCrate, files: Sequence[FileFact], folders: Mapping[str, str]
) -> list[DataEntity]:
    """Add the individually listed files, and the folders with many files."""
    from rocrate.model import Dataset, File

    # A HiPS has thousands of tiles: its folder is one entity, and SHA256SUMS lists the files.
    single = [f for f in files if not any(f.path.startswith(folder) for folder in folders)]
    made = [crate.add(File(crate, dest_path=f.path, properties=_about_file(f))) for f in single]
    for path, text in sorted(folders.items()):
        about = {"name": path, "description": text}
        made.append(crate.add(Dataset(crate, dest_path=path, properties=about)))
    return made


def _software(crate: ROCrate, own_version: str, versions: Mapping[str, str]) -> ContextEntity:
    libraries = [
        _about(crate, f"#software-{name}", "SoftwareApplication", name=name, version=version)
        for name, version in sorted(versions.items())
        if name != "clusterscan"
    ]
    return _about(
        crate, "#clusterscan", "SoftwareApplication", name="clusterscan", version=own_version,
        softwareRequirements=libraries,
        description="From sky surveys to a catalogue of galaxy clusters",
    )  # fmt: skip


def _about_file(fact: FileFact) -> dict[str, str]:
    suffix = "." + fact.path.rpartition(".")[2]
    properties = {
        "name": fact.path,
        "contentSize": str(fact.size),
        "sha256": fact.sha256,
        "encodingFormat": TYPES.get(suffix, "text/plain"),
    }
    return properties


def run_sources(config: Config, products: Products) -> list[Source]:
    """Return the surveys and catalogues of a run in the order of the configuration."""
    return [*_surveys(config, products), *_catalogues(config, products)]


def _surveys(config: Config, products: Products) -> Iterator[Source]:
    for name, survey in config.surveys.items():
        source: dict[str, Any] = survey.source.model_dump(mode="json")
        # Identifies the bytes of the tile images; a list of files would contain local paths.
        records = products.records("preprocess", name)
        state = {str(tile): record.identity for tile, record in records.items()}
        text = f"{source.get('kind', '')} images, bands {', '.join(survey.bands)}, {survey.unit}"
        places = [str(source[k]) for k in ("url", "hips", "survey") if source.get(k)]
        yield Source(
            f"survey-{name}", survey.title or name, "; ".join([text, *places]), fingerprint(state)
        )


def _catalogues(config: Config, products: Products) -> Iterator[Source]:
    for catalogue in config.catalogs:
        layout = LAYOUTS.get(catalogue.kind)
        reference = f" ({layout.reference})" if layout and layout.reference else ""
        text = f"catalogue of the kind {catalogue.kind}{reference}, role {catalogue.role}"
        table = products.root / "catalogs" / f"{catalogue.name}.parquet"
        yield Source(f"catalogue-{catalogue.name}", catalogue.name, text, file_sha256(table))
