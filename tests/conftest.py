"""Shared fixtures: where the real data lie, single-threaded libraries, a small footprint."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before numpy and torch are imported: tests run side by side, one thread each.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import matplotlib
import pytest
import yaml

matplotlib.use("Agg")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real catalogues and images, or skip with the reason."""
    folder = Path(os.environ.get("CLUSTERSCAN_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set CLUSTERSCAN_DATA")
    return folder


@pytest.fixture(scope="session")
def mini_text() -> Callable[..., str]:
    """Return what gives the mini configuration, changed: ``mini_text(sky__block_order=5)``."""
    text = (PROJECT / "tests" / "mini.yaml").read_text(encoding="utf-8")

    def changed(**changes: Any) -> str:
        values = yaml.safe_load(text)
        for dotted, value in changes.items():
            *path, last = dotted.split("__")
            place = values
            for name in path:
                place = place.setdefault(name, {})
            place[last] = value
        return yaml.safe_dump(values, sort_keys=False)

    return changed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start whole runs first: one of them at the end would keep a single process busy."""
    items.sort(key=lambda item: item.get_closest_marker("chain") is None)
