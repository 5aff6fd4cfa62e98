"""Fetch a published catalogue once, from VizieR or its archive, and keep it as it came.

``clusterscan download KIND [KIND ...]`` puts each where a configuration that names no path looks
for it, with a record of where it came from, its size and its hash beside it. `clusterscan sync`
(and so `clusterscan run`) does the same for those that are missing, once; what is kept is never
replaced, and the hash of a catalogue's file is part of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from clusterscan.catalogs.layouts import Layout, Remote
from clusterscan.catalogs.published import LAYOUTS
from clusterscan.catalogs.reading import read_table
from clusterscan.config.execution import DownloadSettings
from clusterscan.core.atomic import atomic_path, write_json
from clusterscan.core.errors import CatalogueError, SourceError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.fetch.download.batch import download_all
from clusterscan.fetch.download.store import Item, Store


def download(
    kind: str, folder: Path, *, vizier: Any = None, settings: DownloadSettings | None = None
) -> Path:
    """Fetch a catalogue, check it, and return its file.

    Parameters
    ----------
    kind : str
        Of the registry.
    folder : Path
        Where it goes; the file is called as the kind.
    vizier : astroquery.vizier.VizierClass, optional
        The client, for another mirror or other limits.
    settings : DownloadSettings, optional
        How archive files are downloaded.

    Raises
    ------
    SourceError
        If it is published nowhere that is known, cannot be reached, or other bytes come.
    CatalogueError
        If what comes is no such table, or has another number of rows than the version the
        declaration was written for.
    """
    layout = LAYOUTS.get(kind)
    if layout is None or layout.remote is None:
        known = ", ".join(k for k, entry in LAYOUTS.items() if entry.remote is not None)
        raise SourceError(f"{kind}: no place to download it from is known; known are {known}")
    path = folder / kind
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        if layout.remote.url:
            get_file(layout.remote.url, temporary, settings or DownloadSettings())
        else:
            _query(layout.remote.table, temporary, vizier)
        record = _checked(temporary, kind, layout, layout.remote)
    write_json(path.with_name(f"{kind}.json"), record)
    return path


def get_file(url: str, path: Path, settings: DownloadSettings) -> None:
    """Download a file to a place, resuming what broke off.

    Raises
    ------
    SourceError
        If it cannot be had: the server's words.
    """
    # What broke off stays in this folder and is continued by the next attempt.
    store = Store(path.parent / ".incoming")
    outcome = download_all([Item(url, url)], store, settings)[url]
    entry = store.entry(url)
    if outcome.path is not None:
        os.replace(outcome.path, path)
    entry.forget_record()
    with suppress(OSError):
        os.removedirs(entry.path.parent)  # empty ones alone
    if outcome.path is None:
        words = outcome.words if url in outcome.words else f"{url}: {outcome.words}"
        raise SourceError(f"{words}; try again later, or get the file by hand")


def _query(table: str, path: Path, vizier: Any) -> None:
    """Write a whole VizieR table, all columns and VizieR's own ICRS positions, as VOTable."""
    from astroquery.vizier import Vizier

    # "**": the default view of a table leaves columns out, and its rows end at 50.
    client = vizier or Vizier(columns=["**", "_RAJ2000", "_DEJ2000"], row_limit=-1)
    write_votable(table, lambda: client.get_catalogs(table), path)


def write_votable(table: str, ask: Callable[[], Any], path: Path) -> None:
    """Write the one table that VizieR answers with as VOTable.

    Raises
    ------
    SourceError
        If VizieR cannot be reached, or answers with another number of tables.
    """
    try:
        tables = ask()
    except Exception as error:  # the client raises whatever its transport and parser do
        raise SourceError(f"VizieR {table}: {error}; try again later") from error
    if len(tables) != 1:
        raise SourceError(
            f"VizieR {table}: {len(tables)} tables came ({', '.join(tables.keys())}), one was "
            "expected; the catalogue may have moved"
        )
    tables[0].write(str(path), format="votable", overwrite=True)


def _checked(path: Path, kind: str, layout: Layout, remote: Remote) -> dict[str, Any]:
    sha256 = file_sha256(path)
    if remote.sha256 and sha256 != remote.sha256:
        raise SourceError(
            f"{kind}: {remote.url} has the hash {sha256}, pinned is {remote.sha256}; it was "
            "changed, or the download is damaged"
        )
    rows = len(read_table(path, layout))
    if remote.rows is not None and rows != remote.rows:
        raise CatalogueError(
            f"{kind}: {remote.table or remote.url} has {rows} rows, the version that was declared "
            f"{remote.rows}; another version, or an answer cut short: read it with kind generic "
            "if it is meant"
        )
    return {
        "kind": kind,
        "source": remote.table or remote.url,
        "reference": layout.reference,
        "rows": rows,
        "bytes": path.stat().st_size,
        "sha256": sha256,
    }
