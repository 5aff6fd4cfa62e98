import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusterscan.train.examples import Examples, View

SPLITS = np.array(["train"] * 4 + ["validation"] * 2 + ["test"] * 2)


def blobs(label, seed, size=24, bands=2):
    """Images of class k > 0 have a round excess of light at the centre, k times as wide."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    width = 2.5 * np.maximum(label, 1)[:, None, None]
    blob = 2.5 * np.exp(-(x**2 + y**2) / (2 * width**2)) * (label > 0)[:, None, None]
    images = rng.normal(size=(len(label), bands, size, size)) + blob[:, None]
    return images.astype(np.float16)


def make_view(label, seed=1, name="unwise", scale=5.5, **options):
    images = blobs(label, seed, **options)
    names = tuple(f"{name[0]}{i + 1}" for i in range(images.shape[1]))
    return View(name, images, names, scale, "nanomaggy", np.ones(len(label), dtype=bool))


def make_examples(count=160, seed=1, classes=("other", "cluster"), **options):
    label = np.arange(count) % len(classes)
    # Every class is in every split: the splits' period is 8 rounds of classes.
    split = SPLITS[np.arange(count) // len(classes) % 8]
    names = np.array([f"e{i:04d}" for i in range(count)])
    return Examples(
        views=(make_view(label, seed, **options),),
        label=label,
        classes=tuple(classes),
        split=split,
        kind=np.where(label == 1, "known", "random"),
        example_id=names,
        object_id=np.where(label == 1, names, ""),
        ra_deg=np.zeros(count),
        dec_deg=np.zeros(count),
        redshift=np.where(label == 1, np.linspace(0.05, 1.0, count), np.nan),
        weight=np.ones(count, dtype=np.float32),
    )


def write_shard(path, rows, size=4, bands=("w1",), scale=5.5, meta=(), **columns):
    """Write rows of (example_id, object_id, split, label, pixel value)."""
    table = {
        "example_id": [r[0] for r in rows],
        "object_id": [r[1] for r in rows],
        "ra_deg": [0.0 for _ in rows],
        "dec_deg": [0.0 for _ in rows],
        "label": pa.array([r[3] for r in rows], pa.int8()),
        "split": [r[2] for r in rows],
        "kind": ["known" if r[3] else "random" for r in rows],
        "image": [np.full((len(bands), size, size), r[4], np.float16).tobytes() for r in rows],
        **columns,
    }
    known = {"bands": bands, "size_px": size, "pixel_scale_arcsec": scale, **dict(meta)}
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.table(table).replace_schema_metadata({"clusterscan": json.dumps(known)})
    pq.write_table(schema, path)
    return path


@pytest.fixture(scope="session")
def examples():
    return make_examples()


@pytest.fixture(scope="session")
def shard():
    """Return the function that writes a shard."""
    return write_shard


@pytest.fixture(scope="session")
def made_examples():
    """Return the function that makes examples."""
    return make_examples


@pytest.fixture(scope="session")
def made_view():
    """Return the function that makes a view of labels."""
    return make_view
