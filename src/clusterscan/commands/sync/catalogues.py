"""Download the published catalogues that a run names; check that all other files exist."""

from __future__ import annotations

import json
from pathlib import Path

from clusterscan.config.catalogs import (
    DOWNLOADS,
    GenericCatalogue,
    PublishedCatalogue,
    SimulatedCatalogue,
)
from clusterscan.config.model import Config
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.fingerprint import file_sha256


def fetch_catalogues(config: Config) -> list[str]:
    """Download the published catalogues that are missing; return one line for each.

    Only catalogues whose configuration names no file are downloaded, each once. A kept catalogue
    stays at its version, and is compared with the hash that was noted when it arrived. Missing
    files are reported before anything is downloaded, because image servers may take hours.

    Raises
    ------
    SourceError
        If a catalogue is damaged, or is missing and cannot be downloaded.
    """
    from clusterscan.catalogs.published import LAYOUTS  # slow to import

    for catalogue in config.catalogs:
        if not isinstance(catalogue, SimulatedCatalogue) and not _is_default(catalogue):
            expand_path(catalogue.path)
    kept = {c.kind: expand_path(c.path, must_exist=False) for c in _by_kind(config)}
    missing = [kind for kind, path in kept.items() if not path.is_file()]
    for kind in sorted(set(kept) - set(missing)):
        _check_kept(kind, kept[kind])
    for kind in missing:
        if LAYOUTS[kind].remote is None:
            raise SourceError(
                f"catalogue {kind}: clusterscan cannot download this kind; put the file at "
                f"{kept[kind]} or give `path`"
            )
    if not missing:
        return []
    settings = config.execution.download
    if settings.offline:
        raise SourceError(
            f"execution.download.offline is set, but {len(missing)} catalogues were never "
            f"downloaded: {', '.join(missing)}; download them where there is a network: "
            f"clusterscan download {' '.join(missing)}"
        )
    from clusterscan.known.download import download

    lines = []
    for kind in missing:
        path = download(kind, kept[kind].parent, settings=settings)
        lines.append(f"catalogue {kind}: downloaded to {path}")
    return lines


def _by_kind(config: Config) -> list[PublishedCatalogue]:
    return [c for c in config.catalogs if isinstance(c, PublishedCatalogue) and _is_default(c)]


def _is_default(catalogue: PublishedCatalogue | GenericCatalogue) -> bool:
    return catalogue.path == f"{DOWNLOADS}/{catalogue.kind}"


def _check_kept(kind: str, path: Path) -> None:
    record = path.with_name(f"{kind}.json")
    try:
        noted = json.loads(record.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # the user put it there
    # Kept catalogues are never fetched again, so an edit or damage would change results unnoticed.
    if file_sha256(path) != noted:
        raise SourceError(
            f"{path}: differs from the downloaded file (its hash is in {record.name}); delete "
            f"both files and run again, or `clusterscan download {kind}`"
        )
