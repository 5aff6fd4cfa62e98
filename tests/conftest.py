"""Shared fixtures: where the real data lie, single-threaded libraries, a small footprint."""

import os
from pathlib import Path

# Before numpy and torch are imported: tests run side by side, one thread each.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import matplotlib
import pytest

matplotlib.use("Agg")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real catalogues and images, or skip with the reason."""
    folder = Path(os.environ.get("CLUSTERSCAN_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set CLUSTERSCAN_DATA")
    return folder
