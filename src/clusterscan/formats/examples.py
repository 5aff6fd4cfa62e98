"""Labelled examples as Parquet files: one file per tile, or one for a whole data set.

Each row holds its image as float16 bytes in C order, bands × N × N. The schema's metadata, under
the key ``clusterscan``, holds the bands, N and the pixel scale as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ProductError
from clusterscan.formats.training_set import PARTS

KINDS = ("known", "injected", "offset", "random", "star", "stamp", "sky")
_COLUMNS = [
    ("example_id", pa.string()),
    ("object_id", pa.string()),
    ("ra_deg", pa.float64()),
    ("dec_deg", pa.float64()),
    ("label", pa.int8()),
    ("split", pa.string()),
    ("kind", pa.string()),
]


@dataclass(frozen=True)
class TileExamples:
    """The examples of one tile.

    Attributes
    ----------
    table : DataFrame
        One row per example: example_id, object_id, ra_deg, dec_deg, label, split, kind, extras.
    images : float16 ndarray, shape (n, bands, N, N)
        Their images.
    bands : tuple of str
        Bands, in the order of the planes.
    size_px : int
        N.
    pixel_scale_arcsec : float
        Pixel size [arcsec].
    counts : dict
        Numbers of drawn examples, and of dropped ones by reason.
    """

    table: pd.DataFrame
    images: np.ndarray
    bands: tuple[str, ...]
    size_px: int
    pixel_scale_arcsec: float
    counts: dict[str, int] = field(default_factory=dict)

    def to_arrow(self) -> pa.Table:
        """Return the table with images and metadata."""
        table = _columns(self.table).append_column("image", _blobs(self.images))
        return table.replace_schema_metadata(
            _metadata(self.bands, self.size_px, self.pixel_scale_arcsec)
        )


def _columns(table: pd.DataFrame) -> pa.Table:
    """Return all columns except the images: the common columns, then the extras."""
    # Column by column with fixed types: Table.from_pandas would add its version to the metadata,
    # and would guess the types, which then differ between tiles.
    arrays = [pa.array(table[name].to_numpy(), kind) for name, kind in _COLUMNS]
    names = [name for name, _ in _COLUMNS]
    for name in table.columns.difference(names, sort=False):
        arrays.append(_extra(table[name]))
        names.append(name)
    return pa.table(arrays, names)


def _extra(column: pd.Series) -> pa.Array:
    values = column.to_numpy()
    if values.dtype.kind != "O":
        return pa.array(values)
    missing = column.isna().to_numpy()
    # Numbers with gaps stay numbers; only columns that hold text become text.
    if not any(isinstance(v, str) for v in values):
        return pa.array(values, mask=missing)
    return pa.array([None if m else str(v) for v, m in zip(values, missing, strict=True)])


def _blobs(images: np.ndarray) -> pa.Array:
    return pa.array([np.ascontiguousarray(image).tobytes() for image in images], pa.binary())


def _metadata(
    bands: Sequence[str], size_px: int, pixel_scale_arcsec: float, **more: Any
) -> dict[str, str]:
    meta = {"bands": list(bands), "size_px": size_px, "pixel_scale_arcsec": pixel_scale_arcsec}
    return {"clusterscan": json.dumps({**meta, **more}, sort_keys=True)}


def write_example_chunks(
    path: Path,
    table: pd.DataFrame,
    chunks: Iterable[np.ndarray],
    *,
    bands: Sequence[str],
    size_px: int,
    pixel_scale_arcsec: float,
    classes: Sequence[str],
    unit: str,
) -> None:
    """Write a data set of examples, atomically, with only one chunk of images in memory.

    Parameters
    ----------
    path : Path
        The file.
    table : DataFrame
        All rows, as of `TileExamples`.
    chunks : iterable of float16 ndarray, shape (k, bands, size_px, size_px)
        Their images, in the rows' order.
    bands, size_px, pixel_scale_arcsec : sequence of str, int, float
        Bands, side and pixel size of the images.
    classes : sequence of str
        Names of labels 0, 1, ...
    unit : str
        Unit of a pixel's value.
    """
    columns = _columns(table)
    schema = columns.schema.append(pa.field("image", pa.binary())).with_metadata(
        _metadata(bands, size_px, pixel_scale_arcsec, classes=list(classes), unit=unit)
    )
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="lz4") as writer,
    ):
        start = 0
        for images in chunks:
            rows = columns.slice(start, len(images)).append_column("image", _blobs(images))
            writer.write_table(rows.cast(schema))
            start += len(images)
        # Fewer images than rows would leave the last rows out of the file without an error.
        assert start == len(table)


def write_examples(path: Path, examples: TileExamples) -> None:
    """Write a tile's examples atomically; the same examples always give the same bytes."""
    with atomic_path(path) as temporary:
        # Noisy half-precision pixels hardly compress, so the fastest codec is the best one.
        pq.write_table(examples.to_arrow(), temporary, compression="lz4")


def read_examples(path: Path) -> TileExamples:
    """Read a tile's examples; `counts` are not in the file and come back empty.

    Raises
    ------
    ProductError
        If the file is missing, damaged or not a table of examples.
    """
    try:
        table = pq.read_table(path)
        meta: dict[str, Any] = json.loads(table.schema.metadata[b"clusterscan"])
        shape = (len(meta["bands"]), meta["size_px"], meta["size_px"])
        blobs = table.column("image").to_pylist()
        images = np.empty((len(blobs), *shape), np.float16)
        for image, blob in zip(images, blobs, strict=True):
            image[:] = np.frombuffer(blob, np.float16).reshape(shape)
        frame = table.drop_columns(["image"]).to_pandas()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProductError(
            f"{path}: not a table of examples ({error}); delete it and run again"
        ) from error
    return TileExamples(
        frame, images, tuple(meta["bands"]), meta["size_px"], meta["pixel_scale_arcsec"]
    )


def count_examples(table: pd.DataFrame) -> dict[str, int]:
    """Return the number of examples by part and kind, such as ``train_known``."""
    grouped = table.groupby(["split", "kind"]).size()
    return {
        f"{part}_{kind}": int(grouped[part, kind])
        for part in PARTS
        for kind in KINDS
        if (part, kind) in grouped
    }
