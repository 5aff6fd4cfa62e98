"""A trained model as a function, and the table of its answers.

`Classifier` turns images of objects into calibrated probabilities. A `Row` is one object that was
asked for: with its images, or with a status and the reason why it has none. `Output` writes the
rows as a table, in one step at the end or not at all.
"""

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
import torch

from clusterscan.core.atomic import atomic_path, temporary_name
from clusterscan.core.errors import ConfigError
from clusterscan.measure.calibration import apply_to_logits
from clusterscan.networks.card import load_model
from clusterscan.networks.device import channels_last, choose_device, fixed_threads
from clusterscan.networks.network import turned_logits
from clusterscan.networks.normalise import Normalisation, apply

Images = Sequence[np.ndarray | None]


class Classifier:
    """A model folder, loaded.

    Parameters
    ----------
    folder : Path
        Holds weights and card.
    device : str
        'auto', 'cpu' or 'cuda[:n]'.
    threads : int
        CPU threads; sums depend on their number in the last bit.

    Attributes
    ----------
    card : dict
        The model's card.
    classes : tuple of str
        Names of the classes.
    views : list of dict
        Inputs of the model: survey, bands, pixel_scale_arcsec, ...
    sizes_px : tuple of int
        Side of each view's crop [px].
    """

    def __init__(self, folder: Path, device: str = "auto", threads: int = 1):
        network, self.card = load_model(folder)
        self._device = choose_device(device)
        self._network = channels_last(network).to(self._device)
        self._threads = threads
        self.classes = tuple(str(name) for name in self.card["classes"])
        self.views: list[dict[str, Any]] = list(self.card["views"])
        self.sizes_px = network.sizes_px
        self._normalisations = [Normalisation.from_json(v["normalisation"]) for v in self.views]

    @property
    def surveys(self) -> tuple[str, ...]:
        """Names of the views."""
        return tuple(str(view["survey"]) for view in self.views)

    def probabilities(self, images: Sequence[Images]) -> np.ndarray:
        """Return calibrated probabilities, float64, shape (n, classes).

        Parameters
        ----------
        images : sequence of n sequences
            One image per view, float ndarray of shape (bands, N, N), missing pixels NaN; None
            if an object lacks the view.
        """
        if not images:
            return np.empty((0, len(self.classes)))
        # A fusion takes learnt numbers for the views that an object lacks.
        present = np.array([[one is not None for one in row] for row in images])
        views = [
            self._inputs(index, [row[index] for row in images]) for index in range(len(self.views))
        ]
        there = torch.from_numpy(present).to(self._device)
        with torch.inference_mode(), fixed_threads(self._threads):
            if self.card.get("average_turns", False):
                logits = turned_logits(self._network, views, there)
            else:
                logits = self._network.of_views(views, there)
        return apply_to_logits(self.card["calibration"], logits.float().cpu().numpy())

    def _inputs(self, index: int, images: Images) -> torch.Tensor:
        size, bands = self.sizes_px[index], len(self.views[index]["bands"])
        stack = np.zeros((len(images), bands, size, size), dtype=np.float32)
        for place, image in zip(stack, images, strict=True):
            if image is not None:
                place[:] = image
        inputs = torch.from_numpy(apply(stack, self._normalisations[index]))
        return inputs.to(self._device, memory_format=torch.channels_last)

    def about(self) -> dict[str, Any]:
        """Return the facts about the model that go into a table of its probabilities."""
        calibration = self.card["calibration"]
        return {
            "model": str(self.card["file"]),
            "weights_sha256": self.card["weights"]["sha256"],
            "classes": list(self.classes),
            "calibration": None if calibration is None else calibration["kind"],
            "views": [
                {key: view[key] for key in ("survey", "bands", "pixel_scale_arcsec", "unit")}
                for view in self.views
            ],
        }


# --- rows and the table -----------------------------------------------------------------------


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
"""Statuses of a row, and their meaning."""

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
        The fault in words; "" for ok.
    images : tuple of float16 ndarray or None, each of shape (bands, N, N)
        One per view of the model; None if it is missing. Empty if the status is not ok.
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
    """Return a table of rows and their probabilities, NaN if the status is not ok.

    Parameters
    ----------
    rows : sequence of Row
        n rows.
    probability : float ndarray, shape (number of ok rows, classes)
        Of the ok rows, in their order.
    classes : sequence of str
        Names of the classes.
    surveys : sequence of str
        Names of the model's views; of several, the column ``surveys`` lists the present ones.
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
        # Small chunks are collected: a Parquet file of many tiny row groups is slow to read.
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
        """Write the remaining rows."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _schema(table: pd.DataFrame) -> pa.Schema:
    # The types are not inferred from the rows: in a chunk without any reason that column would have
    # no type, and would not fit the chunks before it.
    return pa.schema(
        (name, pa.float64() if table[name].dtype.kind == "f" else pa.string()) for name in table
    )


@contextmanager
def output(path: Path, about: Mapping[str, Any]) -> Iterator[Output]:
    """Open the output; the file appears in one step at the end, or not at all.

    Parameters
    ----------
    path : Path
        Its name ends in .parquet or .csv.
    about : mapping
        Facts for a Parquet file's metadata, as JSON.

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
    """Refuse an output that cannot be written.

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
        # Classifying may take hours, so a read-only folder is found by trying now.
        trial = temporary_name(path)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ConfigError(
            f"--output {path} cannot be written ({error.strerror}); name another place"
        ) from error
