"""Source manifests of sources that need no network.

A manifest is rewritten only where its bytes differ, so that Snakemake reruns only the blocks
whose source changed. This is quick: the Snakefile does it whenever it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterscan.commands.sync.listed import listed_surveys, require_listed
from clusterscan.config.catalogs import GenericCatalogue, PublishedCatalogue
from clusterscan.config.model import Config
from clusterscan.config.sample import StampSampleSettings
from clusterscan.core import sky
from clusterscan.core.atomic import write_json_if_changed
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import ProductError, SourceError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.fetch.stamp_files import Stamps
from clusterscan.flow.footprint import run_tiles
from clusterscan.flow.paths import BLOCK_STAGES, Paths
from clusterscan.flow.stage_settings import catalogue_source, image_spec, probes


@dataclass(frozen=True)
class SyncReport:
    """The number of source manifests, and of those that changed."""

    total: int
    changed: int

    def __str__(self) -> str:
        return f"{self.total} manifests, {self.changed} new or changed"


def sync_offline(config: Config) -> SyncReport:
    """Bring the source manifests up to date and return how many changed.

    Raises
    ------
    SourceError
        If a file that the configuration names is missing, or a source that only
        `clusterscan sync` lists has not been listed.
    ProductError
        If the output folder cannot be written to.
    """
    contents = source_manifests(config)
    require_synced(config)
    return write_source_manifests(config, contents)


def write_source_manifests(config: Config, contents: dict[Path, Any]) -> SyncReport:
    """Write the source manifests that differ from their files.

    Raises
    ------
    ProductError
        If the output folder cannot be written to.
    """
    try:
        changed = [write_json_if_changed(path, content) for path, content in contents.items()]
    except OSError as error:
        raise ProductError(
            f"{config.output}: cannot be written to ({error}); name another folder as `output` "
            "in the config, or make it writable and free some of its disk"
        ) from error
    return SyncReport(len(changed), sum(changed))


def require_synced(config: Config) -> None:
    """Raise SourceError if a source or mask that only `clusterscan sync` lists is not listed."""
    require_listed(config)
    if any(survey.preprocess.listed_masks for survey in config.surveys.values()):
        from clusterscan.commands.sync.masks import require_masks  # slow to import

        require_masks(config)


def drop_other_orders(config: Config) -> None:
    """Remove block manifests of another block order; shards and records stay.

    Shards belong to tiles, so a run at another block order may since have replaced them: an old
    manifest would name bytes that no longer exist, and Snakemake would think it current. Call this
    only while holding the run's lock.
    """
    keys = sorted({*config.surveys, *map("/".join, config.scanned())})
    current = f"o{config.sky.block_order}-"
    run = Paths(config).folder
    folders = [run.manifest(stage, key, "any").parent for stage in BLOCK_STAGES for key in keys]
    folders += [run.probe(probe, "any").parent for probe in probes(config)]
    for folder in folders:
        for path in folder.glob("o*-*.json"):
            if not path.name.startswith(current):
                path.unlink()


def source_manifests(config: Config) -> dict[Path, Any]:
    """Return the path and content of every manifest of sources that need no network."""
    paths = Paths(config)
    contents: dict[Path, Any] = {}
    listed = listed_surveys(config)
    for survey in config.surveys:
        blocks = {} if survey in listed else _image_tokens(config, survey)
        for block, tokens in blocks.items():
            path = Path(paths.sources(survey, paths.block_name(block)))
            contents[path] = {"survey": survey, "tiles": tokens}
        sample = config.surveys[survey].sample
        if isinstance(sample, StampSampleSettings):
            token = Stamps(sample.stamps).token()
            labels = file_sha256(expand_path(sample.labels))
            contents[Path(paths.stamps_source(survey))] = {"stamps": token, "labels": labels}
    for catalogue in config.catalogs:
        contents[Path(paths.catalogue_source(catalogue.name))] = _catalogue_token(
            config, catalogue.name
        )
    return contents


def _image_tokens(config: Config, survey: str) -> dict[int, dict[str, list[str]]]:
    """Return each tile's source objects with their version tokens, by block and tile."""
    settings = config.surveys[survey]
    spec = image_spec(config, survey)
    source = open_source(settings.source, spec, seed=config.seed, simulation=config.simulation)
    tiles = run_tiles(config.sky)
    by_block: dict[int, dict[str, list[str]]] = {}
    for tile, tokens in tokens_by_tile(source.objects(tiles), tiles).items():
        block = int(sky.ancestor(tile, config.sky.tile_order, config.sky.block_order))
        by_block.setdefault(block, {})[str(tile)] = tokens
    return by_block


def _catalogue_token(config: Config, name: str) -> dict[str, str]:
    settings = config.catalogue(name)
    token = {"settings": fingerprint(catalogue_source(config, name).plain())}
    if settings.kind != "simulated":
        # Settings and bytes: a catalogue is read again if either changes, whatever its file's time.
        token["sha256"] = file_sha256(_catalogue_file(settings))
    return token


def _catalogue_file(settings: PublishedCatalogue | GenericCatalogue) -> Path:
    try:
        return expand_path(settings.path)
    except SourceError:
        from clusterscan.catalogs.reading import catalogue_file

        return catalogue_file(settings)
