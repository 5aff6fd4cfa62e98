"""Lists of stars, galaxies and point sources: read from a file, or fetched once and kept.

What is fetched lies in `TABLES`, in a folder named by what was asked for, with a record of where it
came from, its rows and its hash; it is compared with the record whenever it is used, and never
replaced. Gaia is asked for cell by cell of the sky around the footprint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.checks import validate
from clusterscan.catalogs.reading import read_positions
from clusterscan.config.catalogs import (
    TABLES,
    FileTable,
    GaiaTable,
    ReferenceTable,
    UrlTable,
    VizierTable,
)
from clusterscan.config.execution import DownloadSettings
from clusterscan.core import sky
from clusterscan.core.atomic import atomic_path, write_json
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import CatalogueError, SourceError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.formats.tables import read_table as read_parquet
from clusterscan.known.download import get_file, write_votable
from clusterscan.known.gaia import gaia_cell

_TIMEOUT_S = 600

GAIA_ORDER = 3
"""Order of the cells that Gaia is asked for: 54 deg2 each."""


@dataclass(frozen=True)
class Sky:
    """The footprint's tiles, and how far around them objects are of interest [deg]."""

    tiles: tuple[int, ...]
    tile_order: int
    margin_deg: float

    def cells(self, order: int) -> list[int]:
        """Return the cells of an order that this sky touches."""
        radius = sky.cell_radius_deg(self.tile_order) + self.margin_deg
        ra, dec = sky.cell_centres(np.array(self.tiles), self.tile_order)
        found = [sky.cells_in_cone(a, d, radius, order) for a, d in zip(ra, dec, strict=True)]
        return np.unique(np.concatenate(found)).tolist()


def reference_files(table: ReferenceTable, where: Sky, settings: DownloadSettings) -> list[Path]:
    """Return a table's files, fetched where they are missing.

    Parameters
    ----------
    table : ReferenceTable
        The settings.
    where : Sky
        Of which sky Gaia sources are needed.
    settings : DownloadSettings
        How files are downloaded; offline, nobody is asked.

    Raises
    ------
    SourceError
        If a file is missing and must or can not be fetched, is damaged, or is not what was pinned.
    CatalogueError
        If what comes is no such table, or has another number of rows than was pinned.
    """
    if isinstance(table, FileTable):
        return [expand_path(table.path)]
    folder = _folder(table)
    if isinstance(table, GaiaTable):
        cells = where.cells(GAIA_ORDER)
        wanted: dict[str, Callable[[Path], str]] = {
            f"o{GAIA_ORDER}-{cell}.parquet": partial(gaia_cell, table, cell, GAIA_ORDER)
            for cell in cells
        }
    elif isinstance(table, UrlTable):
        wanted = {"table": partial(_from_url, table, settings)}
    else:
        wanted = {"table": partial(_from_vizier, table)}
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing and settings.offline:
        raise SourceError(
            f"execution.download.offline is set, but {_told(table)} was never fetched "
            f"({len(missing)} of {len(wanted)} files are missing, the first is "
            f"{folder / missing[0]}); get it where there is a network: "
            "clusterscan download --config CONFIG"
        )
    for name in wanted:
        path = folder / name
        if name in missing:
            _fetch(table, path, wanted[name])
        _check(table, path)
    return [folder / name for name in wanted]


def reference_table(
    table: ReferenceTable, where: Sky, settings: DownloadSettings
) -> tuple[pd.DataFrame, str]:
    """Return a table's rows, checked and cleaned, and what to call it in messages.

    Raises
    ------
    SourceError, CatalogueError
        As `reference_files`; also where rows are impossible and `bad_rows` is "error".
    """
    files = reference_files(table, where, settings)
    name = _told(table)
    if isinstance(table, GaiaTable):
        rows = pd.concat([read_parquet(path) for path in files], ignore_index=True)
        return validate(rows, name, bad_rows=table.bad_rows).table, name
    return read_positions(table, files[0]).table, name


def _folder(table: UrlTable | VizierTable | GaiaTable) -> Path:
    if isinstance(table, GaiaTable):
        asked: list[Any] = [table.server, table.release, table.faintest_mag]
    elif isinstance(table, VizierTable):
        asked = [table.server, table.catalogue, table.version, dict(table.constraints)]
    else:
        asked = [table.url, table.version]
    return Path(TABLES).expanduser() / f"{table.kind}-{fingerprint(asked)[:16]}"


def _told(table: ReferenceTable) -> str:
    if isinstance(table, FileTable):
        return table.path
    if isinstance(table, GaiaTable):
        return f"Gaia {table.release} to G = {table.faintest_mag:g}"
    if isinstance(table, VizierTable):
        return f"VizieR {table.catalogue} ({table.version})"
    return f"{table.url} ({table.version})"


def _fetch(
    table: UrlTable | VizierTable | GaiaTable, path: Path, write: Callable[[Path], str]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        source = write(temporary)
        rows = _rows(table, temporary)
        record = {
            "source": source,
            "version": table.release if isinstance(table, GaiaTable) else table.version,
            "rows": rows,
            "bytes": temporary.stat().st_size,
            "sha256": file_sha256(temporary),
        }
        _compare(table, record)
    write_json(_record_path(path), record)


def _rows(table: UrlTable | VizierTable | GaiaTable, path: Path) -> int:
    if isinstance(table, GaiaTable):
        return len(read_parquet(path))
    return int(read_positions(table, path).counts["rows"])


def _check(table: UrlTable | VizierTable | GaiaTable, path: Path) -> None:
    """Compare a kept file with its record and with what the settings pin."""
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
        noted = record["sha256"], record["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path}: its record {_record_path(path).name} is missing or damaged; delete both and "
            "sync again"
        ) from error
    if file_sha256(path) != noted[0]:
        raise SourceError(
            f"{path}: not the bytes that were fetched (their hash is in "
            f"{_record_path(path).name}); delete both files and sync again"
        )
    _compare(table, record)


def _compare(table: UrlTable | VizierTable | GaiaTable, record: dict[str, Any]) -> None:
    if isinstance(table, GaiaTable):
        return
    if table.sha256 is not None and record["sha256"] != table.sha256:
        raise SourceError(
            f"{_told(table)}: has the hash {record['sha256']}, pinned is {table.sha256}; it was "
            "changed, or the download is damaged"
        )
    if table.rows is not None and record["rows"] != table.rows:
        raise CatalogueError(
            f"{_told(table)}: has {record['rows']} rows, pinned are {table.rows}; another version, "
            "or an answer cut short"
        )


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _from_url(table: UrlTable, settings: DownloadSettings, path: Path) -> str:
    get_file(table.url, path, settings)
    return table.url


def _from_vizier(table: VizierTable, path: Path) -> str:
    from astroquery.vizier import VizierClass

    # "**": the default view of a table leaves columns out, and its rows end at 50.
    client = VizierClass(
        columns=["**", "_RAJ2000", "_DEJ2000"],
        row_limit=-1,
        vizier_server=table.server,
        timeout=_TIMEOUT_S,
    )
    constraints = dict(table.constraints)

    def ask() -> Any:
        if constraints:
            return client.query_constraints(catalog=table.catalogue, **constraints)
        return client.get_catalogs(table.catalogue)

    write_votable(table.catalogue, ask, path)
    return f"VizieR {table.catalogue} {constraints or ''}".strip()
