"""Download the published catalogues that a run names and that are missing."""

from __future__ import annotations

import json
from pathlib import Path

from clusterscan.config.catalogs import DOWNLOADS, PublishedCatalogue
from clusterscan.config.model import Config
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.fingerprint import file_sha256


def fetch_catalogues(config: Config) -> list[str]:
    """Download the published catalogues that are missing; return one line for each.

    Only catalogues whose configuration names no file are downloaded, each once. A kept catalogue
    stays at its version, and is compared with the hash that was noted when it arrived.

    Raises
    ------
    SourceError
        If one is missing and the run is offline, cannot be downloaded, or is damaged.
    """
    from clusterscan.catalogs.published import LAYOUTS  # slow to import

    kept = {c.kind: expand_path(c.path, must_exist=False) for c in _by_kind(config)}
    missing = [kind for kind, path in kept.items() if not path.is_file()]
    for kind in sorted(set(kept) - set(missing)):
        _check_kept(kind, kept[kind])
    missing = [kind for kind in missing if LAYOUTS[kind].remote is not None]
    if not missing:
        return []  # one without a known place is reported where it is read
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
    return [
        catalogue
        for catalogue in config.catalogs
        if isinstance(catalogue, PublishedCatalogue)
        and catalogue.path == f"{DOWNLOADS}/{catalogue.kind}"
    ]


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
