"""Positions of a catalogue as rows to classify, cut out of a run's tile images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clusterscan.catalogs.checks import validate
from clusterscan.catalogs.layouts import Layout
from clusterscan.catalogs.reading import read_table
from clusterscan.classify.rows import OK, Row
from clusterscan.classify.tiles import ViewTiles
from clusterscan.config.catalogs import FileFormat
from clusterscan.core.errors import CatalogueError, ConfigError

_ENDINGS: dict[str, tuple[FileFormat, str]] = {
    ".csv": ("csv", ","),
    ".csv.gz": ("csv", ","),
    ".tsv": ("csv", "\t"),
    ".fits": ("fits", ","),
    ".fit": ("fits", ","),
    ".fits.gz": ("fits", ","),
    ".parquet": ("parquet", ","),
    ".vot": ("votable", ","),
    ".xml": ("votable", ","),
    ".votable": ("votable", ","),
}
_USUAL = {
    "ra_deg": ("ra_deg", "ra", "raj2000", "_raj2000", "ra_j2000", "alpha_j2000", "radeg"),
    "dec_deg": ("dec_deg", "dec", "dej2000", "_dej2000", "dec_j2000", "delta_j2000", "dedeg"),
    "id": ("id", "object_id", "name", "source_id", "objid", "object"),
}


def read_positions(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a catalogue's positions, impossible ones too.

    Parameters
    ----------
    path : Path
        csv, tsv, FITS, Parquet or VOTable, by the name's ending.
    columns : mapping
        ra_deg, dec_deg, id -> the file's columns; those left out go by their usual names.

    Returns
    -------
    DataFrame
        One row a row of the file: id, source ("row 1", ...), ra_deg in [0, 360) and dec_deg
        (as in the file where impossible; NaN: no number), possible (bool).

    Raises
    ------
    CatalogueError
        If it is no such table, or a column is missing.
    """
    raw = _read(path, columns)
    found = {key: columns.get(key) or _usual(raw, key) for key in _USUAL}
    missing = [key for key in ("ra_deg", "dec_deg") if found[key] is None]
    if missing:
        raise CatalogueError(
            f"{path}: no column looks like {', '.join(missing)} (there are "
            f"{', '.join(map(str, raw.columns))}); name them, as in --columns ra_deg=RA,dec_deg=DE"
        )
    numbers = {
        key: pd.to_numeric(raw[found[key]], errors="coerce").to_numpy(float, na_value=np.nan)
        for key in ("ra_deg", "dec_deg")
    }
    row = [str(number) for number in range(len(raw))]
    # The project's one gate for positions says which are possible, and brings RA to [0, 360).
    gate = validate(pd.DataFrame({**numbers, "name": row}), str(path), bad_rows="drop").table
    good = gate.set_index(gate["name"].astype(int))
    table = pd.DataFrame({"source": [f"row {n + 1}" for n in range(len(raw))], **numbers})
    table.loc[good.index, ["ra_deg", "dec_deg"]] = good[["ra_deg", "dec_deg"]]
    table["possible"] = np.isin(np.arange(len(raw)), good.index)
    ids = table["source"] if found["id"] is None else raw[found["id"]].astype(str).str.strip()
    table.insert(0, "id", ids.to_numpy(dtype=object))
    return table


def _read(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    unknown = sorted(set(columns) - set(_USUAL))
    if unknown:
        raise ConfigError(f"--columns names {unknown}; there are {', '.join(_USUAL)}")
    if not path.is_file():
        raise CatalogueError(f"{path}: there is no such file; give a catalogue by --positions")
    ending = max((e for e in _ENDINGS if path.name.lower().endswith(e)), key=len, default=None)
    if ending is None:
        raise CatalogueError(f"{path}: its name ends in none of {', '.join(_ENDINGS)}; rename it")
    form, delimiter = _ENDINGS[ending]
    table = read_table(path, Layout(form, dict(columns), delimiter=delimiter))
    if table.empty:
        raise CatalogueError(f"{path}: holds no row; give a catalogue with positions")
    return table.reset_index(drop=True)


def _usual(table: pd.DataFrame, key: str) -> str | None:
    by_name = {str(column).lower(): column for column in reversed(table.columns)}
    return next((by_name[name] for name in _USUAL[key] if name in by_name), None)


class PositionRows:
    """The positions of a catalogue, as rows for one model."""

    def __init__(self, table: pd.DataFrame, views: Sequence[ViewTiles]):
        self._table = table
        self._views = views

    def __len__(self) -> int:
        return len(self._table)

    def chunks(self, size: int) -> Iterator[tuple[np.ndarray, list[Row]]]:
        """Yield numbers of rows and the rows, tile by tile, so that each image is read once."""
        table = self._table
        possible = table["possible"].to_numpy()
        cell = np.full(len(table), -1, dtype=np.int64)
        ra, dec = table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy()
        if possible.any():
            cell[possible] = self._views[0].cells(ra[possible], dec[possible])
        order = np.argsort(cell, kind="stable")
        for start in range(0, len(order), size):
            numbers = order[start : start + size]
            yield numbers, [self._row(int(number)) for number in numbers]

    def _row(self, number: int) -> Row:
        place = self._table.iloc[number]
        ra, dec = float(place["ra_deg"]), float(place["dec_deg"])
        row = Row(str(place["id"]), str(place["source"]), ra, dec)
        if not place["possible"]:
            reason = f"ra_deg = {ra:g}, dec_deg = {dec:g}: not within -360 to 360 and -90 to 90 deg"
            return Row(row.id, row.source, ra, dec, "no_position", reason)
        images, faults = [], []
        for view in self._views:
            image, status, reason = view.crop(ra, dec)
            images.append(image)
            faults.append((status, reason))
        if all(image is None for image in images):
            status = next(s for s, _ in faults if s != OK)
            return Row(row.id, row.source, ra, dec, status, "; ".join(r for _, r in faults))
        return Row(row.id, row.source, ra, dec, images=tuple(images))
