"""Read the Parquet shards of examples.

The order of the examples is by tile, then by example_id, whatever blocks wrote the shards, so
that training depends on the examples alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clusterscan.core.errors import ProductError
from clusterscan.train.examples import CLASSES, Examples, View
from clusterscan.train.soundness import check

_COLUMNS = ("example_id", "object_id", "ra_deg", "dec_deg", "label", "split", "kind", "image")
_TEXT = ("example_id", "object_id", "split", "kind")
_OPTIONAL = ("redshift", "weight")


def read_examples(shards: Iterable[Path], *, name: str = "image") -> Examples:
    """Read examples of one survey and check that training on them is sound.

    Parameters
    ----------
    shards : iterable of Path
        Parquet shards (``.../Npix<n>.parquet``), in any order. Columns ``redshift`` and
        ``weight`` are used if all have them; all other columns go to ``columns``.
    name : str
        Name of the view.

    Raises
    ------
    ProductError
        If there is no shard or no example, a shard is damaged or unlike the others, an
        example_id appears twice, one object is in two splits, or a class has no member.
    """
    paths = sorted(shards, key=_tile_order)
    tables = [_read_shard(path) for path in paths]
    filled = [(p, t) for p, t in zip(paths, tables, strict=True) if t.num_rows]
    if not filled:
        raise ProductError(
            f"there is no example in {len(paths)} shards; run the sample stage first, and see "
            "that known objects lie in its footprint"
        )
    layout = _common_layout(filled)
    table = _joined([t.sort_by("example_id") for _, t in filled])
    examples = _in_memory(table, layout, name)
    check(examples)
    return examples


def _tile_order(path: Path) -> tuple[int, str]:
    match = re.fullmatch(r"Npix(\d+)", Path(path).stem)
    return (int(match[1]) if match else -1, Path(path).name)


def _read_shard(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ProductError(f"{path} cannot be read ({error}); run the sample stage") from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing or b"clusterscan" not in (table.schema.metadata or {}):
        raise ProductError(
            f"{path} lacks {', '.join(missing) or 'its clusterscan metadata'}; "
            "it is no shard of the sample stage of this version, run that stage again"
        )
    return table


def _common_layout(tables: list[tuple[Path, pa.Table]]) -> dict[str, Any]:
    first_path, first_layout = None, None
    for path, table in tables:
        data = json.loads(table.schema.metadata[b"clusterscan"])
        layout = {
            "bands": tuple(data["bands"]),
            "size_px": int(data["size_px"]),
            "pixel_scale_arcsec": float(data["pixel_scale_arcsec"]),
            "classes": tuple(data.get("classes") or CLASSES),
            "unit": str(data.get("unit") or ""),
        }
        if first_layout is None:
            first_path, first_layout = path, layout
        elif layout != first_layout:
            raise ProductError(
                f"{path} holds {_text(layout)}, but {first_path} {_text(first_layout)}; "
                "run the sample stage again for all blocks"
            )
    assert first_layout is not None
    return first_layout


def _text(layout: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in layout.items())


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Return all rows with the columns that all tables have."""
    shared = [n for n in tables[0].column_names if all(n in t.column_names for t in tables)]
    # A column without any value in one tile has another type there than elsewhere.
    return pa.concat_tables([t.select(shared) for t in tables], promote_options="permissive")


def _in_memory(table: pa.Table, layout: dict[str, Any], name: str) -> Examples:
    images = _images(table, len(layout["bands"]), layout["size_px"])
    text = {n: np.array([str(v or "") for v in table[n].to_pylist()]) for n in _TEXT}
    unknown = np.full(len(images), np.nan)
    has = {n: n in table.column_names for n in _OPTIONAL}
    extras = [n for n in table.column_names if n not in (*_COLUMNS, *_OPTIONAL)]
    weight = _numbers(table["weight"]) if has["weight"] else np.ones(len(images))
    view = View(
        name=name,
        images=images,
        bands=layout["bands"],
        pixel_scale_arcsec=layout["pixel_scale_arcsec"],
        unit=layout["unit"],
        present=np.ones(len(images), dtype=bool),
    )
    return Examples(
        views=(view,),
        label=table["label"].to_numpy().astype(np.int64),
        classes=layout["classes"],
        split=text["split"],
        kind=text["kind"],
        example_id=text["example_id"],
        object_id=text["object_id"],
        ra_deg=_numbers(table["ra_deg"]),
        dec_deg=_numbers(table["dec_deg"]),
        redshift=_numbers(table["redshift"]) if has["redshift"] else unknown,
        weight=weight.astype(np.float32),
        columns={n: _column(table[n]) for n in extras},
    )


def _images(table: pa.Table, bands: int, size: int) -> np.ndarray:
    blobs = table["image"].to_pylist()
    expected = 2 * bands * size * size
    for name, blob in zip(table["example_id"].to_pylist(), blobs, strict=True):
        if blob is None or len(blob) != expected:
            raise ProductError(
                f"example {name!r} has an image of {0 if blob is None else len(blob)} bytes, not "
                f"{expected} ({bands} bands, {size} px); run the sample stage again"
            )
    return np.frombuffer(b"".join(blobs), dtype="<f2").reshape(-1, bands, size, size)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    values = [np.nan if v is None else v for v in column.to_pylist()]
    return np.array(values, dtype=np.float64)


def _column(column: pa.ChunkedArray) -> np.ndarray:
    """Return numbers as they are (missing ones NaN), anything else as text."""
    kind = column.type
    if pa.types.is_boolean(kind) and not column.null_count:
        return np.array(column.to_pylist(), dtype=bool)
    if pa.types.is_integer(kind) and not column.null_count:
        return np.array(column.to_pylist(), dtype=np.int64)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return _numbers(column)
    return np.array(["" if v is None else str(v) for v in column.to_pylist()])
