"""Download a published catalogue once, from VizieR or its archive, and keep it as it came.

``clusterscan download KIND [KIND ...]`` puts each catalogue where a configuration without a path
looks for it, with a record of its origin, size and hash beside it. `clusterscan sync` (and
therefore `clusterscan run`) does the same for missing catalogues. A kept catalogue is never
replaced, and the hash of its file is part of the run.
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
    """Download a catalogue, check it, and return its file.

    Parameters
    ----------
    kind : str
        Name in the registry.
    folder : Path
        Destination; the file is named after the kind.
    vizier : astroquery.vizier.VizierClass, optional
        The client, for another mirror or other limits.
    settings : DownloadSettings, optional
        Settings for files from archives.

    Raises
    ------
    SourceError
        If clusterscan cannot download this kind, the server fails, or the hash differs.
    CatalogueError
        If the download is not such a table, or its number of rows differs from the declared one.
    """
    layout = LAYOUTS.get(kind)
    if layout is None or layout.remote is None:
        known = ", ".join(k for k, entry in LAYOUTS.items() if entry.remote is not None)
        raise SourceError(f"{kind}: clusterscan cannot download this kind; it can download {known}")
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
    """Download a file to a path, resuming an earlier attempt.

    Raises
    ------
    SourceError
        If the download fails; quotes the server.
    """
    # An unfinished transfer stays in this folder, and the next attempt resumes it.
    store = Store(path.parent / ".incoming")
    outcome = download_all([Item(url, url)], store, settings)[url]
    entry = store.entry(url)
    if outcome.path is not None:
        os.replace(outcome.path, path)
    entry.forget_record()
    with suppress(OSError):
        os.removedirs(entry.path.parent)  # removes empty folders only
    if outcome.path is None:
        words = outcome.words if url in outcome.words else f"{url}: {outcome.words}"
        raise SourceError(f"{words}; try again later, or download the file by hand")


def _query(table: str, path: Path, vizier: Any) -> None:
    """Write a whole VizieR table as VOTable, with all columns and VizieR's own ICRS positions."""
    from astroquery.vizier import Vizier

    # "**", because the default view omits columns; row_limit, because it ends at 50 rows.
    client = vizier or Vizier(columns=["**", "_RAJ2000", "_DEJ2000"], row_limit=-1)
    write_votable(table, lambda: client.get_catalogs(table), path)


def write_votable(table: str, ask: Callable[[], Any], path: Path) -> None:
    """Write the one table of VizieR's response as VOTable.

    Raises
    ------
    SourceError
        If VizieR cannot be reached, or responds with another number of tables.
    """
    try:
        tables = ask()
    except Exception as error:  # astroquery raises whatever its transport and parser raise
        raise SourceError(f"VizieR {table}: {error}; try again later") from error
    if len(tables) != 1:
        raise SourceError(
            f"VizieR {table}: {len(tables)} tables ({', '.join(tables.keys())}) instead of one; "
            "the catalogue may have moved"
        )
    tables[0].write(str(path), format="votable", overwrite=True)


def _checked(path: Path, kind: str, layout: Layout, remote: Remote) -> dict[str, Any]:
    sha256 = file_sha256(path)
    if remote.sha256 and sha256 != remote.sha256:
        raise SourceError(
            f"{kind}: {remote.url} has the hash {sha256}, but {remote.sha256} is pinned; it "
            "has changed, or the download is damaged"
        )
    # VizieR cuts off long responses without an error, so the number of rows is compared with the
    # one in the registry. Reading the table also shows that it has the columns of its layout.
    rows = len(read_table(path, layout))
    if remote.rows is not None and rows != remote.rows:
        raise CatalogueError(
            f"{kind}: {remote.table or remote.url} has {rows} rows, but {remote.rows} are "
            "declared; it is another version, or the response was truncated. Read it with kind "
            "generic if it is what you want"
        )
    return {
        "kind": kind,
        "source": remote.table or remote.url,
        "reference": layout.reference,
        "rows": rows,
        "bytes": path.stat().st_size,
        "sha256": sha256,
    }
