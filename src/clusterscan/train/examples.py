"""Labelled examples in memory: their images in one or several surveys, read from Parquet shards.

The order of the examples is by tile, then by example_id, whichever blocks wrote the shards, so
that a training depends on the examples alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clusterscan.core.errors import ProductError

SPLITS = ("train", "validation", "test")
CLASSES = ("other", "cluster")
"""Names of the labels 0 and 1 of a clusterscan run."""

_COLUMNS = ("example_id", "object_id", "ra_deg", "dec_deg", "label", "split", "kind", "image")
_TEXT = ("example_id", "object_id", "split", "kind")
_OPTIONAL = ("redshift", "weight")


@dataclass(frozen=True)
class View:
    """The examples as one survey sees them.

    Attributes
    ----------
    name : str
        The survey.
    images : float16 ndarray, shape (n, bands, M, M)
        In the survey's unit; missing pixels NaN.
    bands : tuple of str
        Names of the bands.
    pixel_scale_arcsec : float
        Pixel size [arcsec].
    unit : str
        Unit of the pixels, empty if unknown.
    present : bool ndarray, shape (n,)
        True where the survey has an image of the example.
    """

    name: str
    images: np.ndarray
    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    unit: str
    present: np.ndarray

    @property
    def size_px(self) -> int:
        """Side of the images [px]."""
        return self.images.shape[-1]


@dataclass(frozen=True)
class Examples:
    """Labelled images.

    Attributes
    ----------
    views : tuple of View
        One per survey, rows in the same order.
    label : int64 ndarray, shape (n,)
        Class, 0 to K - 1; of two classes, 1 is the searched one.
    classes : tuple of str
        Names of the K classes.
    split, kind, example_id, object_id : str ndarray, shape (n,)
        object_id is empty where an example shows no catalogued object.
    ra_deg, dec_deg : float64 ndarray, shape (n,)
        ICRS [deg]; NaN if unknown.
    redshift : float64 ndarray, shape (n,)
        NaN if unknown.
    weight : float32 ndarray, shape (n,)
        Weight of each example in the loss.
    columns : dict of str to ndarray
        All other columns of the examples.
    """

    views: tuple[View, ...]
    label: np.ndarray
    classes: tuple[str, ...]
    split: np.ndarray
    kind: np.ndarray
    example_id: np.ndarray
    object_id: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    redshift: np.ndarray
    weight: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, split: str, label: int | None = None) -> np.ndarray:
        """Return the row numbers of a split, of one label if given."""
        chosen = self.split == split
        if label is not None:
            chosen &= self.label == label
        return np.flatnonzero(chosen)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the examples of each class in each split."""
        return {
            split: {name: len(self.rows(split, k)) for k, name in enumerate(self.classes)}
            for split in SPLITS
        }

    def sha256(self) -> str:
        """Return a checksum of all that training can see."""
        # The layout counts too: equal bytes of another shape or scale are other images.
        layout = [[v.name, v.bands, v.pixel_scale_arcsec, v.images.shape] for v in self.views]
        digest = hashlib.sha256(json.dumps([layout, self.classes]).encode())
        for text in (self.example_id, self.object_id, self.split, self.kind):
            digest.update("\0".join(text.tolist()).encode())
        digest.update(np.ascontiguousarray(self.label, dtype=np.int64).data)
        digest.update(np.ascontiguousarray(self.weight, dtype=np.float32).data)
        for view in self.views:
            digest.update(np.ascontiguousarray(view.images).data)
            digest.update(np.ascontiguousarray(view.present).data)
        return digest.hexdigest()


ARRAYS = tuple(f.name for f in fields(Examples) if f.name not in ("views", "classes", "columns"))
"""Names of the fields of `Examples` that are arrays with one entry per example."""


def check(examples: Examples) -> None:
    """Refuse examples that cannot be learnt from, or whose splits are not independent.

    Raises
    ------
    ProductError
        If an example_id appears twice, an object is in two splits, a split is unknown, a label
        is no class, a class has no member to train or validate on, or a weight is impossible.
    """
    ids, counts = np.unique(examples.example_id, return_counts=True)
    if (counts > 1).any():
        raise ProductError(
            f"{(counts > 1).sum()} example_ids appear more than once, "
            f"first {str(ids[counts > 1][0])!r}; run the sample stage again from empty folders"
        )
    _refuse_leaks(examples)
    unknown = sorted(set(examples.split.tolist()) - set(SPLITS))
    if unknown:
        raise ProductError(f"unknown split {unknown[0]!r}; the splits are {', '.join(SPLITS)}")
    bad = (examples.label < 0) | (examples.label >= len(examples.classes))
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise ProductError(
            f"{bad.sum()} labels are none of the {len(examples.classes)} classes "
            f"{', '.join(examples.classes)}, first {examples.label[row]} of "
            f"{str(examples.example_id[row])!r}; labels count from 0"
        )
    bad = ~(np.isfinite(examples.weight) & (examples.weight >= 0))
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise ProductError(
            f"{bad.sum()} weights are negative or not finite, first {examples.weight[row]} of "
            f"{str(examples.example_id[row])!r}; give finite weights from 0 upwards"
        )
    for split in ("train", "validation"):
        for label, name in enumerate(examples.classes):
            if not len(examples.rows(split, label)):
                raise ProductError(
                    f"the {split} split has no example of class {name!r} (counts: "
                    f"{examples.counts()}); enlarge the footprint or move its region to where "
                    "such objects are, or check the rules that make labels"
                )


def _refuse_leaks(examples: Examples) -> None:
    first_row: dict[str, int] = {}
    pairs = []
    for row, name in enumerate(examples.object_id.tolist()):
        # Comparing with the first row of an object is enough: if all agree with it, all agree.
        first = first_row.setdefault(name, row) if name else row
        if examples.split[first] != examples.split[row]:
            pairs.append(
                f"{name!r} in {examples.split[first]} ({examples.example_id[first]}) "
                f"and {examples.split[row]} ({examples.example_id[row]})"
            )
    if pairs:
        more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
        raise ProductError(
            f"{len(pairs)} examples show an object of another split, so scores would be too "
            f"good: {'; '.join(pairs[:5])}{more}; split by sky position, not by example"
        )


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

    def by_tile(path: Path) -> tuple[int, str]:
        match = re.fullmatch(r"Npix(\d+)", Path(path).stem)
        return (int(match[1]) if match else -1, Path(path).name)

    # By tile number: paths contain folders and would sort tile 10 before tile 9.
    tables = [(path, _read_shard(path)) for path in sorted(shards, key=by_tile)]
    filled = [(path, table) for path, table in tables if table.num_rows]
    if not filled:
        raise ProductError(
            f"there is no example in {len(tables)} shards; run the sample stage first, and check "
            "that known objects lie in its footprint"
        )
    layout = _common_layout(filled)
    in_order = [table.sort_by("example_id") for _, table in filled]
    shared = [n for n in in_order[0].column_names if all(n in t.column_names for t in in_order)]
    # 'permissive': a column without any value in one tile has another type there than elsewhere.
    table = pa.concat_tables([t.select(shared) for t in in_order], promote_options="permissive")
    examples = _in_memory(table, layout, name)
    check(examples)
    return examples


def _read_shard(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ProductError(f"{path} cannot be read ({error}); run the sample stage") from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing or b"clusterscan" not in (table.schema.metadata or {}):
        raise ProductError(
            f"{path} lacks {', '.join(missing) or 'its clusterscan metadata'}; "
            "this version's sample stage did not write it, so run that stage again"
        )
    return table


def _common_layout(tables: list[tuple[Path, pa.Table]]) -> dict[str, Any]:
    """Read the bands, size, scale, classes and unit that all shards must share."""
    layouts = []
    for path, table in tables:
        data = json.loads(table.schema.metadata[b"clusterscan"])
        layout = {
            "bands": tuple(data["bands"]),
            "size_px": int(data["size_px"]),
            "pixel_scale_arcsec": float(data["pixel_scale_arcsec"]),
            "classes": tuple(data.get("classes") or CLASSES),
            "unit": str(data.get("unit") or ""),
        }
        layouts.append(layout)
        if layout != layouts[0]:
            this, first = (
                ", ".join(f"{key} = {value}" for key, value in one.items())
                for one in (layout, layouts[0])
            )
            raise ProductError(
                f"{path} holds {this}, but {tables[0][0]} {first}; "
                "run the sample stage again for all blocks"
            )
    return layouts[0]


def _in_memory(table: pa.Table, layout: dict[str, Any], name: str) -> Examples:
    bands, size = len(layout["bands"]), layout["size_px"]
    # An image is stored as the plain bytes of its float16 pixels, band by band.
    blobs = table["image"].to_pylist()
    expected = 2 * bands * size * size
    for example, blob in zip(table["example_id"].to_pylist(), blobs, strict=True):
        if blob is None or len(blob) != expected:
            raise ProductError(
                f"example {example!r} has an image of {0 if blob is None else len(blob)} bytes, "
                f"not {expected} ({bands} bands, {size} px); run the sample stage again"
            )
    # One array for all images instead of a copy per image; it is read-only, which training
    # respects.
    images = np.frombuffer(b"".join(blobs), dtype="<f2").reshape(-1, bands, size, size)
    text = {n: np.array([str(v or "") for v in table[n].to_pylist()]) for n in _TEXT}
    has = {n: n in table.column_names for n in _OPTIONAL}
    unknown = np.full(len(images), np.nan)
    weight = _numbers(table["weight"]) if has["weight"] else np.ones(len(images))
    extras = [n for n in table.column_names if n not in (*_COLUMNS, *_OPTIONAL)]
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
        ra_deg=_numbers(table["ra_deg"]),
        dec_deg=_numbers(table["dec_deg"]),
        redshift=_numbers(table["redshift"]) if has["redshift"] else unknown,
        weight=weight.astype(np.float32),
        columns={n: _column(table[n]) for n in extras},
        **text,
    )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    values = [np.nan if v is None else v for v in column.to_pylist()]
    return np.array(values, dtype=np.float64)


def _column(column: pa.ChunkedArray) -> np.ndarray:
    """Convert a column: numbers as they are (missing ones NaN), anything else to text."""
    kind = column.type
    if pa.types.is_boolean(kind) and not column.null_count:
        return np.array(column.to_pylist(), dtype=bool)
    if pa.types.is_integer(kind) and not column.null_count:
        return np.array(column.to_pylist(), dtype=np.int64)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return _numbers(column)
    return np.array(["" if v is None else str(v) for v in column.to_pylist()])
