"""Gaia sources of a cell of the sky, from a TAP service.

A Gaia ``source_id`` begins with the HEALPix cell of order 12 (NESTED, ICRS) that the source lies in
(bits 35 and up), so a cell of any coarser order is a range of identifiers, which services index.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests

from clusterscan.config.catalogs import GaiaTable
from clusterscan.core.errors import SourceError
from clusterscan.formats.tables import write_table

_CELL_BITS = 59  # of an identifier, for a cell of order 0; two fewer for each finer order
_FINEST_ORDER = 12
_TIMEOUT_S = 300.0


def gaia_cell(table: GaiaTable, cell: int, order: int, path: Path) -> str:
    """Write a cell's sources as Parquet; return where they came from.

    Raises
    ------
    SourceError
        If the service does not answer, or cuts answers off however small the cell.
    """
    rows = _sources(table, cell, order)
    write_table(path, rows.sort_values("name", ignore_index=True))
    return f"{table.server}, {table.release}, cell {cell} of order {order}"


def query(table: GaiaTable, cell: int, order: int) -> str:
    """Return the ADQL of a cell."""
    width = _CELL_BITS - 2 * order
    columns = "source_id, ra, dec, phot_g_mean_mag"
    # All parts are numbers, and a name that the settings checked.
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
            f"{table.server}: cuts off its answer for cell {cell} of order {order}; raise "
            "max_rows, or choose a brighter faintest_mag"
        )
    quarters = [_sources(table, 4 * cell + n, order + 1) for n in range(4)]
    return pd.concat(quarters, ignore_index=True)


def _ask(table: GaiaTable, text: str) -> tuple[Any, bool]:
    """Return the answer's table, and whether the service cut it off."""
    import pyvo
    from pyvo.dal.exceptions import DALOverflowWarning

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            service = pyvo.dal.TAPService(table.server, session=_Session())
            answer = service.run_sync(text, maxrec=table.max_rows).to_table()
    except Exception as error:  # the client raises whatever its transport and parser do
        raise SourceError(f"{table.server}: {error}; try again later") from error
    overflow = any(issubclass(w.category, DALOverflowWarning) for w in said)
    # Some services cut off without a word: as many rows as were allowed are suspect.
    return answer, overflow or len(answer) >= table.max_rows


class _Session(requests.Session):
    """A session in which no request waits for ever."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request, with a timeout."""
        options.setdefault("timeout", _TIMEOUT_S)
        return super().request(*args, **options)
