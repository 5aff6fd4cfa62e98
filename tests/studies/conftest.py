"""A tiny study: synthetic stamps with and without a blob, two small networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

SIDE_PX = 20
NUMBER = 72


def make_stamps(folder: Path) -> None:
    """Write stamps of noise, every third with a blob, and their labels with sky positions."""
    images = folder / "stamps"
    images.mkdir(parents=True)
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] - (SIDE_PX - 1) / 2
    blob = np.exp(-(x**2 + y**2) / 18.0)
    rows = ["name,file,ra,dec,kind,mag"]
    for number in range(NUMBER):
        has_blob = number % 3 == 0
        grey = 60 + 12 * rng.standard_normal((SIDE_PX, SIDE_PX)) + 110 * has_blob * blob
        colours = np.stack([grey, 0.9 * grey, 0.8 * grey], axis=-1).clip(0, 255).astype(np.uint8)
        Image.fromarray(colours).save(images / f"g{number:03d}.png")
        ra, dec = 150.0 + 0.1 * (number % 9), 2.0 + 0.1 * (number // 9)
        kind = "cluster" if has_blob else "field"
        rows.append(f"g{number:03d},g{number:03d}.png,{ra:.3f},{dec:.3f},{kind},{15 + number % 7}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def tiny_study(folder: Path) -> dict[str, Any]:
    """Return the settings of a study of those stamps."""
    network = {"name": "baseline", "form": "whole", "size_px": 16}
    return {
        "title": "Blobs",
        "about": "Two networks tell blobs from noise.",
        "paper": {"authors": "A. Author", "year": 2020, "title": "On blobs", "reference": "J 1, 2"},
        "simulated": True,
        "data_note": "Blobs and noise made by a test.",
        "datasets": {
            "blobs": {
                "kind": "stamps",
                "source": {
                    "path": str(folder / "stamps"),
                    "pixel_scale_arcsec": 1.0,
                    "size_px": SIDE_PX,
                    "bands": ["r", "g", "b"],
                },
                "labels": {
                    "path": str(folder / "labels.csv"),
                    "columns": {
                        "object_id": "name", "member": "file", "ra_deg": "ra", "dec_deg": "dec",
                        "class": "kind", "mag": "mag",
                    },
                    "rule": {
                        "kind": "classes",
                        "column": "class",
                        "classes": {"field": ["field"], "cluster": ["cluster"]},
                    },
                },
                "size_px": SIDE_PX,
                "split": {"kind": "objects", "validation": 0.25, "test": 0.33, "seed": 1},
            }
        },
        "networks": {"small": network, "wide": {**network, "classes": 2}},
        "train": {
            "epochs": 3,
            "batch_size": 16,
            "learning_rate": 0.003,
            "augmentation": {"rotation": "quarter", "shift_px": 1},
            "checkpoint_every_steps": 2,
        },
        "experiments": {
            "small": {
                "title": "Small network", "dataset": "blobs", "network": "small",
                "published": {"accuracy": [0.9, 0.02], "recall": 0.8},
            },
            "wide": {
                "title": "Two outputs", "dataset": "blobs", "network": "wide", "grey": True,
                "train": {"learning_rate": "range_test", "range_test": {"steps": 10}},
            },
        },
        "repeats": 2,
        "measures": ["accuracy", "recall", "roc_auc"],
        "bootstrap": 50,
        "recall_by": [{"column": "mag", "title": "magnitude", "edges": [14, 17, 22]}],
        "gaps": [{"text": "Blobs are easier than clusters."}],
        "gallery": {"per_kind": 2},
        "quick": {"train": {"epochs": 1}},
    }  # fmt: skip


@pytest.fixture(scope="session")
def stamps(tmp_path_factory) -> Path:
    """Return a folder with the stamps and their labels."""
    folder = tmp_path_factory.mktemp("blobs")
    make_stamps(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(stamps: Path) -> Callable[..., str]:
    """Return what gives the tiny study's text, changed: ``tiny(repeats=3)``."""

    def text(**changes: Any) -> str:
        values = tiny_study(stamps)
        for dotted, value in changes.items():
            *path, last = dotted.split("__")
            place = values
            for name in path:
                place = place.setdefault(name, {})
            if value is None:
                place.pop(last, None)
            else:
                place[last] = value
        return yaml.safe_dump(values, sort_keys=False)

    return text


@pytest.fixture
def study_file(tmp_path: Path, tiny: Callable[..., str]) -> Path:
    """Return the tiny study's file in a folder of its own."""
    file = tmp_path / "blobs.yaml"
    file.write_text(tiny(), encoding="utf-8")
    return file


def copied(folder: Path, to: Path) -> Path:
    """Return a copy of a folder with its files' times."""
    shutil.copytree(folder, to, symlinks=True)
    return to
