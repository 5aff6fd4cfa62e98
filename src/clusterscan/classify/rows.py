"""Rows of a classification: what was asked, what came of it, and the file they are written to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clusterscan.core.atomic import atomic_path, temporary_name
from clusterscan.core.errors import ConfigError

OK = "ok"
STATUSES = {
    OK: "classified",
    "unreadable": "no image, or one that is damaged or cut short",
    "wrong_size": "fewer pixels than the model reads",
    "wrong_bands": "not the model's bands",
    "wrong_scale": "pixels of another size than the model's, or of unknown size",
    "no_values": "no pixel has a value",
    "no_position": "not a position on the sky",
    "outside": "the run has no image there",
    "no_coverage": "too few good pixels there",
}
"""Why a row has probabilities, or none."""

_ROWS_A_GROUP = 16384


@dataclass(frozen=True)
class Row:
    """One object to classify.

    Attributes
    ----------
    id : str
        The object.
    source : str
        The stamp's file, or the catalogue's row.
    ra_deg, dec_deg : float
        ICRS [deg]; NaN if not known.
    status : str
        A key of `STATUSES`.
    reason : str
        What is wrong, in words; "" for ok.
    images : tuple of float16 ndarray or None, each of shape (bands, N, N)
        One a view of the model; None where there is none. Empty where the status is not ok.
    """

    id: str
    source: str
    ra_deg: float = np.nan
    dec_deg: float = np.nan
    status: str = OK
    reason: str = ""
    images: tuple[np.ndarray | None, ...] = ()


def as_table(
    rows: Sequence[Row], probability: np.ndarray, classes: Sequence[str], surveys: Sequence[str]
) -> pd.DataFrame:
    """Return rows and their probabilities, NaN where the status is not ok.

    Parameters
    ----------
    rows : sequence of Row
        n rows.
    probability : float ndarray, shape (number of ok rows, classes)
        Of those that are ok, in their order.
    classes : sequence of str
        Names of the classes.
    surveys : sequence of str
        Names of the model's views; of several, the column ``surveys`` says which there were.
    """
    good = np.array([row.status == OK for row in rows], dtype=bool)
    columns: dict[str, Any] = {
        "id": [row.id for row in rows],
        "source": [row.source for row in rows],
        "ra_deg": np.array([row.ra_deg for row in rows], dtype=float),
        "dec_deg": np.array([row.dec_deg for row in rows], dtype=float),
        "status": [row.status for row in rows],
        "reason": [row.reason for row in rows],
    }
    if len(surveys) > 1:
        columns["surveys"] = [
            ";".join(s for s, i in zip(surveys, row.images, strict=True) if i is not None)
            if row.images
            else ""
            for row in rows
        ]
    full = np.full((len(rows), len(classes)), np.nan)
    full[good] = probability
    for number, name in enumerate(classes):
        columns[f"probability_{name}"] = full[:, number]
    return pd.DataFrame(columns)


class Output:
    """A table that grows row by row, and counts the statuses."""

    def __init__(self, path: Path, about: Mapping[str, Any]):
        self._path = path
        self._about = about
        self._waiting: list[pd.DataFrame] = []
        self._writer: pq.ParquetWriter | None = None
        self._first = True
        self.statuses: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}

    def add(self, table: pd.DataFrame) -> None:
        """Add rows."""
        self.statuses.update(table["status"])
        for status, source, reason in zip(
            table["status"], table["source"], table["reason"], strict=True
        ):
            if status != OK:
                self.reasons.setdefault(status, f"{source}: {reason}")
        self._waiting.append(table)
        if sum(len(t) for t in self._waiting) >= _ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pd.concat(self._waiting, ignore_index=True)
        self._waiting = []
        if self._path.suffix == ".csv":
            table.to_csv(
                self._path, mode="w" if self._first else "a", header=self._first, index=False
            )
        else:
            self._write_parquet(table)
        self._first = False

    def _write_parquet(self, table: pd.DataFrame) -> None:
        arrow = pa.Table.from_pandas(table, schema=_schema(table), preserve_index=False)
        arrow = arrow.replace_schema_metadata({"clusterscan": json.dumps(self._about)})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, arrow.schema)
        self._writer.write_table(arrow)

    def close(self) -> None:
        """Write what waits."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _schema(table: pd.DataFrame) -> pa.Schema:
    # Not read off the rows: a chunk without any reason would have a column of nothing.
    return pa.schema(
        (name, pa.float64() if table[name].dtype.kind == "f" else pa.string()) for name in table
    )


@contextmanager
def output(path: Path, about: Mapping[str, Any]) -> Iterator[Output]:
    """Open the output; it becomes the file in one step at the end, or not at all.

    Parameters
    ----------
    path : Path
        Its name ends in .parquet or .csv.
    about : mapping
        JSON-able facts that go into a Parquet file's metadata.

    Raises
    ------
    ConfigError
        If the name ends otherwise.
    """
    check_output(path)
    with atomic_path(path) as temporary:
        table = Output(temporary, about)
        try:
            yield table
        finally:
            table.close()


def check_output(path: Path) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises
    ------
    ConfigError
        If the name ends neither in .parquet nor .csv, names a folder, or lies in one that cannot
        be written to.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"--output {path}: give a name that ends in .parquet or .csv")
    if path.is_dir():
        raise ConfigError(f"--output {path} is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trial = temporary_name(path)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ConfigError(
            f"--output {path} cannot be written ({error.strerror}); name another place"
        ) from error
