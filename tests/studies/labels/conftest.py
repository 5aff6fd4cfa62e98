"""Label tables, a Zooniverse export as the real ones are written, and folders of stamps."""

import csv
import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

HEADER = [
    *("classification_id", "user_name", "user_id", "user_ip", "workflow_id", "workflow_name"),
    *("workflow_version", "created_at", "gold_standard", "expert", "metadata", "annotations"),
    *("subject_data", "subject_ids"),
]
CLUSTER, NEARBY, EMPTY = "Distant galaxy cluster", "Nearby galaxy cluster", "No emission"


class Export:
    """A classification export of the Zooniverse, row by row."""

    def __init__(self):
        self.rows = []

    def add(self, user, subject, answer, **changes):
        """Add a classification; ``user`` None is a visitor, ``changes`` go into the row."""
        number = 23_170_000 + len(self.rows)
        visitor = user is None or user.startswith("not-logged-in")
        name = "not-logged-in-c19235dd9256c26c445a" if user is None else user
        annotations = [
            {"task": "T0", "task_label": "Do you see X-ray emission?", "value": "Yes"},
            {"task": "T1", "task_label": "What is it?", "value": answer},
        ]
        data = {
            str(subject): {
                "retired": {
                    "id": 3_119_075,
                    "workflow_id": 3130,
                    "classifications_count": 15,
                    "retired_at": "2017-02-03T14:36:01.303Z",
                    "subject_id": subject,
                    "retirement_reason": None,
                },
                "#name": f"XCLASS {subject % 1000}",
            }
        }
        row = {
            "classification_id": str(number),
            "user_name": name,
            "user_id": "" if visitor else str(sum(map(ord, name)) + 10_000),
            "user_ip": "c19235dd9256c26c445a",
            "workflow_id": "3130",
            "workflow_name": "Is it a cluster? ",
            "workflow_version": "12.10",
            "created_at": "2016-12-12 16:46:28 UTC",
            "gold_standard": "",
            "expert": "",
            "metadata": json.dumps({"session": "b7b5", "live_project": True}),
            "annotations": json.dumps(annotations),
            "subject_data": json.dumps(data),
            "subject_ids": str(subject),
        }
        self.rows.append({**row, **changes})
        return self

    def write(self, path, tail=""):
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, HEADER)
            writer.writeheader()
            writer.writerows(self.rows)
            handle.write(tail)
        return path


@pytest.fixture
def export():
    return Export()


def picture(seed, side=20, form="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def stamps(tmp_path):
    """Return a folder, labels and settings of 60 stamps of three classes, 40 arcsec apart."""
    count = 60
    table = pd.DataFrame(
        {
            "id": [f"G{n:02d}" for n in range(count)],
            "ra": 150.0 + (np.arange(count) % 10) * 40 / 3600,
            "dec": (np.arange(count) // 10) * 40 / 3600,
            "type": np.arange(count) % 3,
            "file": [f"{n:02d}.png" for n in range(count)],
            "g": 20.0 + np.arange(count) / 10,
            "field": np.arange(count) // 2,
        }
    )
    images = {name: picture(seed) for seed, name in enumerate(table["file"])}
    return StampSet(tmp_path, table, images)


class StampSet:
    """What a dataset is made of, to be changed and written by a test."""

    def __init__(self, root, table, images):
        self.root, self.table, self.images = root, table, images

    def settings(self, **changes):
        from clusterscan_studies.config.stamp_data import StampDataset

        with zipfile.ZipFile(self.root / "stamps.zip", "w") as archive:
            for name, data in self.images.items():
                archive.writestr(name, data)
        self.table.to_csv(self.root / "labels.csv", index=False)
        source = {
            "path": str(self.root / "stamps.zip"),
            "pixel_scale_arcsec": 0.5,
            "bands": ["i", "r", "g"],
            **changes.pop("source", {}),
        }
        labels = {
            "path": str(self.root / "labels.csv"),
            "columns": {
                "object_id": "id",
                "member": "file",
                "ra_deg": "ra",
                "dec_deg": "dec",
                "class": "type",
                "g_mag": "g",
                "field": "field",
            },
            "rule": {"kind": "classes", "classes": {"other": [0, 2], "member": [1]}},
            **changes.pop("labels", {}),
        }
        values = {
            "kind": "stamps",
            "source": source,
            "labels": labels,
            "size_px": 8,
            "pixel_scale_arcsec": 1.0,
            "split": {"kind": "objects", "validation": 0.2, "test": 0.2},
            **changes,
        }
        return StampDataset.model_validate(values)

    def make(self, **changes):
        """Write the dataset; return its table, images, metadata's classes, and counts."""
        from clusterscan.formats.examples import read_examples
        from clusterscan_studies.stamp_dataset import make_dataset

        path = self.root / "out" / "examples.parquet"
        counts = make_dataset(self.settings(**changes), path)
        examples = read_examples(path)
        return examples.table, examples.images, path, counts
