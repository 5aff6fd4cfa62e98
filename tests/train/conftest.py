import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusterscan.train.dataset import Examples


def blobs(count, seed, size=24, bands=2):
    """Half of the images have a round excess of light at the centre."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    blob = 2.5 * np.exp(-(x**2 + y**2) / (2 * 2.5**2))
    images = rng.normal(size=(count, bands, size, size)) + label[:, None, None, None] * blob
    return images.astype(np.float16), label.astype(np.int8)


def make_examples(count=160, seed=1, **options):
    images, label = blobs(count, seed, **options)
    split = np.array(
        ["train", "train", "train", "train", "validation", "validation", "test", "test"]
    )
    names = np.array([f"e{i:04d}" for i in range(count)])
    return Examples(
        images=images,
        label=label,
        split=split[np.arange(count) % 8],
        kind=np.where(label == 1, "known", "random"),
        example_id=names,
        object_id=np.where(label == 1, names, ""),
        ra_deg=np.zeros(count),
        dec_deg=np.zeros(count),
        redshift=np.where(label == 1, np.linspace(0.05, 1.0, count), np.nan),
        bands=("w1", "w2"),
        pixel_scale_arcsec=5.5,
    )


def write_shard(path, rows, size=4, bands=("w1",), scale=5.5):
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
    }
    meta = {"bands": bands, "size_px": size, "pixel_scale_arcsec": scale}
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.table(table).replace_schema_metadata({"clusterscan": json.dumps(meta)})
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
