"""Labelled examples in memory, read from the sampling stage's Parquet shards.

The order of the examples is by tile, then by example_id, whatever blocks wrote the shards, so
that training depends on the examples alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clusterscan.errors import ProductError

SPLITS = ("train", "validation", "test")
_COLUMNS = ("example_id", "object_id", "ra_deg", "dec_deg", "label", "split", "kind", "image")
_TEXT = ("example_id", "object_id", "split", "kind")


@dataclass(frozen=True)
class Examples:
    """Labelled images.

    Attributes
    ----------
    images : float16 ndarray, shape (n, bands, M, M)
        In the survey's unit; missing pixels NaN.
    label : int8 ndarray, shape (n,)
        1 for what is looked for, 0 for the rest.
    split, kind, example_id, object_id : str ndarray, shape (n,)
        object_id is empty where an example shows no catalogued object.
    ra_deg, dec_deg : float64 ndarray, shape (n,)
        ICRS [deg]; NaN if unknown.
    redshift : float64 ndarray, shape (n,)
        NaN if unknown.
    bands : tuple of str
        Names of the bands.
    pixel_scale_arcsec : float
        Pixel size [arcsec].
    """

    images: np.ndarray
    label: np.ndarray
    split: np.ndarray
    kind: np.ndarray
    example_id: np.ndarray
    object_id: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    redshift: np.ndarray
    bands: tuple[str, ...]
    pixel_scale_arcsec: float

    def __len__(self) -> int:
        return len(self.label)

    @property
    def size_px(self) -> int:
        """Side of the images [px]."""
        return self.images.shape[-1]

    def rows(self, split: str, label: int | None = None) -> np.ndarray:
        """Return the row numbers of a split, of one label if given."""
        chosen = self.split == split
        if label is not None:
            chosen &= self.label == label
        return np.flatnonzero(chosen)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many positives and negatives each split has."""
        return {
            split: {
                "positive": len(self.rows(split, 1)),
                "negative": len(self.rows(split, 0)),
            }
            for split in SPLITS
        }

    def sha256(self) -> str:
        """Return a checksum of all that training can see."""
        digest = hashlib.sha256(
            json.dumps([self.bands, self.pixel_scale_arcsec, self.images.shape]).encode()
        )
        for text in (self.example_id, self.object_id, self.split, self.kind):
            digest.update("\0".join(text.tolist()).encode())
        for numbers in (self.label, self.images):
            digest.update(np.ascontiguousarray(numbers).data)
        return digest.hexdigest()


def read_examples(shards: Iterable[Path]) -> Examples:
    """Read examples and check that training on them is sound.

    Parameters
    ----------
    shards : iterable of Path
        Parquet shards (``.../Npix<n>.parquet``), in any order. A column ``redshift`` is used
        if all have it.

    Raises
    ------
    ProductError
        If there is no shard or no example, a shard is damaged or unlike the others, an
        example_id appears twice, one object is in two splits, or a split lacks a class.
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
    table = pa.concat_tables([t.sort_by("example_id") for _, t in filled])
    examples = _in_memory(table, *layout)
    check(examples)
    return examples


def check(examples: Examples) -> None:
    """Raise ProductError unless the splits are disjoint and each has both classes."""
    ids, counts = np.unique(examples.example_id, return_counts=True)
    if (counts > 1).any():
        raise ProductError(
            f"{(counts > 1).sum()} example_ids appear more than once, "
            f"first {str(ids[counts > 1][0])!r}; run the sample stage again from empty folders"
        )
    _refuse_leaks(examples)
    unknown = sorted(set(examples.split.tolist()) - set(SPLITS))
    if unknown:
        raise ProductError(f"unknown split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    for split in ("train", "validation"):
        for label, name in ((1, "positive"), (0, "negative")):
            if not len(examples.rows(split, label)):
                raise ProductError(
                    f"the {split} split has no {name} example (counts: {examples.counts()}); "
                    "enlarge the footprint or move its region to where known objects are"
                )


def _refuse_leaks(examples: Examples) -> None:
    seen: dict[str, int] = {}
    pairs = []
    for row, name in enumerate(examples.object_id.tolist()):
        first = seen.setdefault(name, row) if name else row
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


def _common_layout(tables: list[tuple[Path, pa.Table]]) -> tuple[tuple[str, ...], int, float]:
    first_path, first_layout = None, None
    for path, table in tables:
        data = json.loads(table.schema.metadata[b"clusterscan"])
        layout = (tuple(data["bands"]), int(data["size_px"]), float(data["pixel_scale_arcsec"]))
        if first_layout is None:
            first_path, first_layout = path, layout
        elif layout != first_layout:
            raise ProductError(
                f"{path} holds (bands, size_px, pixel_scale_arcsec) = {layout}, but {first_path} "
                f"{first_layout}; run the sample stage again for all blocks"
            )
    assert first_layout is not None
    return first_layout


def _in_memory(table: pa.Table, bands: tuple[str, ...], size: int, scale: float) -> Examples:
    blobs = table["image"].to_pylist()
    ids = table["example_id"].to_pylist()
    expected = 2 * len(bands) * size * size
    for name, blob in zip(ids, blobs, strict=True):
        if blob is None or len(blob) != expected:
            raise ProductError(
                f"example {name!r} has an image of {0 if blob is None else len(blob)} bytes, not "
                f"{expected} ({len(bands)} bands, {size} px); run the sample stage again"
            )
    images = np.frombuffer(b"".join(blobs), dtype="<f2").reshape(-1, len(bands), size, size)
    text = {n: np.array([str(v or "") for v in table[n].to_pylist()]) for n in _TEXT}
    has_redshift = "redshift" in table.column_names
    return Examples(
        images=images,
        label=table["label"].to_numpy().astype(np.int8),
        split=text["split"],
        kind=text["kind"],
        example_id=text["example_id"],
        object_id=text["object_id"],
        ra_deg=_numbers(table["ra_deg"]),
        dec_deg=_numbers(table["dec_deg"]),
        redshift=_numbers(table["redshift"]) if has_redshift else np.full(len(images), np.nan),
        bands=bands,
        pixel_scale_arcsec=scale,
    )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    values = [np.nan if v is None else v for v in column.to_pylist()]
    return np.array(values, dtype=np.float64)
