"""Tables of stars, galaxies and point sources: read from a file, or downloaded once and kept.

Downloaded tables are kept in `TABLES`, in a folder named after the request, with a record of their
origin, number of rows and hash. They are compared with the record whenever they are used, and never
replaced. Gaia is queried cell by cell for the sky around the footprint.

A Gaia ``source_id`` begins with the HEALPix cell of order 12 (NESTED, ICRS) that contains the
source (bits 35 and up). A cell of any coarser order is therefore a range of identifiers, and
services have an index on them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests

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
from clusterscan.formats.tables import write_table
from clusterscan.known.download import get_file, write_votable

_VIZIER_TIMEOUT_S = 600

GAIA_ORDER = 3
"""Order of the cells in which Gaia is queried: 54 deg2 each."""


@dataclass(frozen=True)
class Sky:
    """The footprint's tiles, and the margin around them in which objects matter [deg]."""

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
    """Return the paths of a table's files; download missing ones.

    Parameters
    ----------
    table : ReferenceTable
        The settings.
    where : Sky
        The sky for which Gaia sources are needed.
    settings : DownloadSettings
        Download settings; if offline, nothing is requested.

    Raises
    ------
    SourceError
        If a file is missing and cannot or must not be downloaded, is damaged, or differs from the
        pinned hash.
    CatalogueError
        If the download is not such a table, or its number of rows differs from the pinned one.
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
            f"execution.download.offline is set, but {_title(table)} was never downloaded "
            f"({len(missing)} of {len(wanted)} files are missing, the first is "
            f"{folder / missing[0]}); download it where there is a network: "
            "clusterscan download --config CONFIG"
        )
    for name in wanted:
        path = folder / name
        if name in missing:
            _fetch(table, path, wanted[name])
        _check_kept(table, path)
    return [folder / name for name in wanted]


def reference_table(
    table: ReferenceTable, where: Sky, settings: DownloadSettings
) -> tuple[pd.DataFrame, str]:
    """Return a table's rows, validated and cleaned, and its name for messages.

    Raises
    ------
    SourceError, CatalogueError
        As in `reference_files`; also if rows are impossible and `bad_rows` is "error".
    """
    files = reference_files(table, where, settings)
    name = _title(table)
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
    # Another request is another folder, so a changed limit never mixes with an earlier download.
    return Path(TABLES).expanduser() / f"{table.kind}-{fingerprint(asked)[:16]}"


def _title(table: ReferenceTable) -> str:
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
        rows = _count_rows(table, temporary)
        record = {
            "source": source,
            "version": table.release if isinstance(table, GaiaTable) else table.version,
            "rows": rows,
            "bytes": temporary.stat().st_size,
            "sha256": file_sha256(temporary),
        }
        _check_pins(table, record)
    write_json(_record_path(path), record)


def _count_rows(table: UrlTable | VizierTable | GaiaTable, path: Path) -> int:
    if isinstance(table, GaiaTable):
        return len(read_parquet(path))
    return int(read_positions(table, path).counts["rows"])


def _check_kept(table: UrlTable | VizierTable | GaiaTable, path: Path) -> None:
    """Compare a kept file with its record and with the pinned values."""
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
            f"{path}: differs from the file that was downloaded (its hash is in "
            f"{_record_path(path).name}); delete both files and sync again"
        )
    _check_pins(table, record)


def _check_pins(table: UrlTable | VizierTable | GaiaTable, record: dict[str, Any]) -> None:
    if isinstance(table, GaiaTable):
        return
    if table.sha256 is not None and record["sha256"] != table.sha256:
        raise SourceError(
            f"{_title(table)}: has the hash {record['sha256']}, but {table.sha256} is pinned; it "
            "has changed, or the download is damaged"
        )
    if table.rows is not None and record["rows"] != table.rows:
        raise CatalogueError(
            f"{_title(table)}: has {record['rows']} rows, but {table.rows} are pinned; it is "
            "another version, or the response was truncated"
        )


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _from_url(table: UrlTable, settings: DownloadSettings, path: Path) -> str:
    get_file(table.url, path, settings)
    return table.url


def _from_vizier(table: VizierTable, path: Path) -> str:
    from astroquery.vizier import VizierClass

    # "**", because the default view omits columns; row_limit, because it ends at 50 rows.
    client = VizierClass(
        columns=["**", "_RAJ2000", "_DEJ2000"],
        row_limit=-1,
        vizier_server=table.server,
        timeout=_VIZIER_TIMEOUT_S,
    )
    constraints = dict(table.constraints)

    def ask() -> Any:
        if constraints:
            return client.query_constraints(catalog=table.catalogue, **constraints)
        return client.get_catalogs(table.catalogue)

    write_votable(table.catalogue, ask, path)
    return f"VizieR {table.catalogue} {constraints or ''}".strip()


_CELL_BITS = 59  # bits of an identifier below a cell of order 0; two fewer per finer order
_FINEST_ORDER = 12
_GAIA_TIMEOUT_S = 300.0


def gaia_cell(table: GaiaTable, cell: int, order: int, path: Path) -> str:
    """Write the sources of a cell as Parquet; return their origin as text.

    Raises
    ------
    SourceError
        If the service does not respond, or truncates its response however small the cell.
    """
    rows = _sources(table, cell, order)
    write_table(path, rows.sort_values("name", ignore_index=True))
    return f"{table.server}, {table.release}, cell {cell} of order {order}"


def query(table: GaiaTable, cell: int, order: int) -> str:
    """Return the ADQL query for a cell."""
    # A range of identifiers is a cell: `source_id >> 35` is the NESTED pixel of order 12, and each
    # coarser order takes two bits more.
    width = _CELL_BITS - 2 * order
    columns = "source_id, ra, dec, phot_g_mean_mag"
    # Safe to format: all parts are numbers, and a name that the settings validated.
    return (
        f"SELECT {columns} FROM {table.release}.gaia_source "  # noqa: S608
        f"WHERE phot_g_mean_mag <= {table.faintest_mag!r} "
        f"AND source_id >= {cell << width} AND source_id < {(cell + 1) << width}"
    )


def _sources(table: GaiaTable, cell: int, order: int) -> pd.DataFrame:
    answer, cut_off = _ask(table, query(table, cell, order))
    if not cut_off:
        return pd.DataFrame(
            {
                "name": [str(v) for v in np.asarray(answer["source_id"], dtype=np.int64)],
                "ra_deg": np.asarray(answer["ra"], dtype=np.float64),
                "dec_deg": np.asarray(answer["dec"], dtype=np.float64),
                "mag": np.ma.filled(answer["phot_g_mean_mag"].astype(np.float64), np.nan),
            }
        )
    if order >= _FINEST_ORDER:
        raise SourceError(
            f"{table.server}: truncates its response for cell {cell} of order {order}; raise "
            "max_rows, or choose a brighter faintest_mag"
        )
    # Truncated: query the four cells of the next order instead.
    quarters = [_sources(table, 4 * cell + n, order + 1) for n in range(4)]
    return pd.concat(quarters, ignore_index=True)


def _ask(table: GaiaTable, text: str) -> tuple[Any, bool]:
    """Return the table of the response, and True if the service truncated it."""
    import pyvo
    from pyvo.dal.exceptions import DALOverflowWarning

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            service = pyvo.dal.TAPService(table.server, session=_Session())
            answer = service.run_sync(text, maxrec=table.max_rows).to_table()
    except Exception as error:  # pyvo raises whatever its transport and parser raise
        raise SourceError(f"{table.server}: {error}; try again later") from error
    overflow = any(issubclass(w.category, DALOverflowWarning) for w in said)
    # Some services truncate silently, so a response with the maximum number of rows is suspect.
    return answer, overflow or len(answer) >= table.max_rows


class _Session(requests.Session):
    """A session whose requests have a timeout."""

    # pyvo sets no timeout of its own: a service that stops in the middle would block the run for
    # ever.
    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request, with a timeout."""
        options.setdefault("timeout", _GAIA_TIMEOUT_S)
        return super().request(*args, **options)
