"""Source manifests of sources that only `clusterscan sync` lists: servers and folders of files.

Listing them sends requests or reads many files, so the Snakefile never does it. It only checks that
the manifests exist and belong to the present settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterscan.config.image_sources import ArchiveSource, LocalSource, SourceSettings
from clusterscan.config.model import Config
from clusterscan.core import sky
from clusterscan.core.atomic import write_json_if_changed
from clusterscan.core.errors import SourceError
from clusterscan.core.fingerprint import fingerprint
from clusterscan.core.progress import Progress
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import PreparedSource, SourceObject, tokens_by_tile
from clusterscan.flow.footprint import run_tiles
from clusterscan.flow.paths import Paths
from clusterscan.flow.stage_settings import image_source, image_spec


@dataclass(frozen=True)
class SurveyReport:
    """Result of listing one survey's source.

    Attributes
    ----------
    survey : str
        The survey.
    objects, weak : int
        Number of objects, and of those whose version token may miss a change.
    added, changed, vanished : int
        Number of objects, compared with the earlier manifests.
    manifests, rewritten : int
        Number of block manifests, and of those whose bytes changed.
    problems : tuple of str
        Failed lookups, in the servers' words; their earlier versions are kept.
    """

    survey: str
    objects: int
    weak: int
    added: int
    changed: int
    vanished: int
    manifests: int
    rewritten: int
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        weak = f" ({self.weak} with weak version tokens)" if self.weak else ""
        lines = [
            f"{self.survey}: {self.objects} objects{weak}, {self.added} added, "
            f"{self.changed} changed, {self.vanished} vanished; "
            f"{self.rewritten} of {self.manifests} manifests rewritten"
        ]
        if self.problems:
            lines.append(f"{self.survey}: {len(self.problems)} objects could not be looked up:")
            lines += [f"  {words}" for words in self.problems[:5]]
            lines.append("  their earlier versions are kept; sync again later")
        return "\n".join(lines)


def listed_surveys(config: Config) -> list[str]:
    """Return the surveys whose sources only sync lists."""
    return [name for name, s in config.surveys.items() if s.source.listed_by_sync]


def asks_servers(source: SourceSettings) -> bool:
    """Return True if listing a source sends requests, so that it cannot be done offline."""
    if isinstance(source, LocalSource):
        return False
    if not isinstance(source, ArchiveSource):
        return True
    from clusterscan.fetch.archive import is_url  # slow to import

    table = [] if source.atlas is None else [source.atlas.table]
    files = [f for band in source.files.values() for f in band.files().values()]
    asked = table if source.versions == "release" else [*table, *files]
    return any(is_url(place) for place in asked)


def require_listed(config: Config) -> None:
    """Check that sync has listed the sources for the present settings.

    Raises
    ------
    SourceError
        If it has not; names the survey and the command to run.
    """
    for survey in listed_surveys(config):
        missing = not_listed(config, survey)
        if missing:
            raise SourceError(
                f"survey {survey}: {len(missing)} of {len(Paths(config).blocks)} blocks are not "
                f"yet listed with the present settings (the first: {missing[0]}); run "
                "`clusterscan sync CONFIG` first, or use `clusterscan run`, which does"
            )


def sync_listed(config: Config, survey: str, progress: Progress | None = None) -> SurveyReport:
    """Update one survey's source manifests; rewrite only those that differ.

    Raises
    ------
    SourceError
        If the source does not respond, or may not be asked (offline), and there are no earlier
        manifests.
    """
    before = _known(config, survey)
    if config.execution.download.offline and asks_servers(config.surveys[survey].source):
        if missing := not_listed(config, survey):
            raise SourceError(
                f"survey {survey}: execution.download.offline is set, but {len(missing)} blocks "
                f"were never listed with these settings (the first: {missing[0]}); sync once "
                "with offline: false"
            )
        return _report(config, survey, before, before, 0, ())
    try:
        tiles = run_tiles(config.sky)
        listing = _source(config, survey).listing(tiles, before, progress)
    except SourceError as error:
        # A server that is down must not stop a run that was listed before.
        if not_listed(config, survey):
            raise
        return _report(config, survey, before, before, 0, (str(error),))
    # Unchanged manifests are not touched, because Snakemake reruns the blocks of newer ones.
    contents = _contents(config, survey, listing.objects, tiles)
    rewritten = sum(write_json_if_changed(path, content) for path, content in contents.items())
    now = {item.name: item.token for item in listing.objects}
    return _report(config, survey, before, now, rewritten, tuple(listing.problems))


def _source(config: Config, survey: str) -> PreparedSource:
    settings = config.surveys[survey]
    spec = image_spec(config, survey)
    access = Access.of(config.execution.download, Path(config.output))
    source = open_source(settings.source, spec, access=access)
    assert isinstance(source, PreparedSource)
    return source


def _listed_for(config: Config, survey: str) -> str:
    return fingerprint(image_source(config, survey).plain())


def _contents(
    config: Config, survey: str, objects: Iterable[SourceObject], tiles: list[int]
) -> dict[Path, Any]:
    paths, orders = Paths(config), config.sky
    by_block: dict[int, dict[str, list[str]]] = {}
    for tile, tokens in tokens_by_tile(objects, tiles).items():
        block = int(sky.ancestor(tile, orders.tile_order, orders.block_order))
        by_block.setdefault(block, {})[str(tile)] = tokens
    listed_for = _listed_for(config, survey)
    return {
        Path(paths.sources(survey, paths.block_name(block))): {
            "survey": survey,
            "listed_for": listed_for,
            "tiles": tokens,
        }
        for block, tokens in by_block.items()
    }


def not_listed(config: Config, survey: str) -> list[str]:
    """Return the blocks of a survey that sync has not listed for the present settings."""
    paths, wanted = Paths(config), _listed_for(config, survey)
    tiles: dict[str, set[str]] = {}
    for tile in run_tiles(config.sky):
        block = int(sky.ancestor(tile, config.sky.tile_order, config.sky.block_order))
        tiles.setdefault(paths.block_name(block), set()).add(str(tile))
    missing = []
    for name in paths.blocks:
        content = _read(Path(paths.sources(survey, name)))
        # A manifest counts only for the source settings and the very tiles it was listed for.
        if content.get("listed_for") != wanted or set(content.get("tiles", ())) != tiles[name]:
            missing.append(name)
    return missing


def _known(config: Config, survey: str) -> dict[str, str]:
    """Return the tokens in all manifests of a survey, whatever their block order and settings."""
    folder = Path(config.output, "sources", survey)
    known: dict[str, str] = {}
    # Of all block orders and settings: an object keeps its token when only the cut of the sky
    # changed, and nothing has to be asked or downloaded again.
    for path in sorted(folder.glob("o*-*.json")):
        for entries in _read(path).get("tiles", {}).values():
            known |= {name: token for name, _, token in (e.partition("=") for e in entries)}
    return known


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _report(
    config: Config,
    survey: str,
    before: dict[str, str],
    now: dict[str, str],
    rewritten: int,
    problems: tuple[str, ...],
) -> SurveyReport:
    both = before.keys() & now.keys()
    return SurveyReport(
        survey=survey,
        objects=len(now),
        weak=sum(not is_strong(token) for token in now.values()),
        added=len(now.keys() - before.keys()),
        changed=sum(before[name] != now[name] for name in both),
        vanished=len(before.keys() - now.keys()),
        manifests=len(Paths(config).blocks),
        rewritten=rewritten,
        problems=problems,
    )


def is_strong(token: str) -> bool:
    """Return True if a version token changes whenever the bytes change."""
    # Other tokens are made of sizes and times, which another file may share.
    return token.startswith(("sha256 ", "etag "))
