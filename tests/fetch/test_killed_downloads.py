"""Downloads that are killed again and again end as if nothing had happened."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.batch import download_all
from clusterscan.fetch.download.checks import check_fits
from clusterscan.fetch.download.store import Item, Store

KILLS, TILES, LARGE = 6, 80, 3
SETTINGS = DownloadSettings(connections_per_host=4, retries=2, backoff_s=0.01)


@pytest.fixture
def items(server, fits_bytes):
    """Serve small tiles and a few files large enough to be resumed; return what to fetch."""
    rng = np.random.default_rng(1)
    for number in range(TILES):
        array = rng.normal(size=(32, 32)).astype(np.float32)
        server.files[f"/tile{number}.fits"] = fits_bytes(array)
    for number in range(LARGE):
        array = rng.normal(size=(600, 600)).astype(np.float32)
        server.files[f"/large{number}.fits"] = fits_bytes(array)
    return [Item(name, server.base + name, "v1", check_fits) for name in sorted(server.files)]


def contents(folder):
    """Return every file below a folder with its bytes."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def kill_at_random(server, items, folder, rng):
    """Start a download and kill its process at a random moment; return True if it was running."""
    # A forkserver, because this process has threads; it loads the modules only once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clusterscan.fetch.download.batch"])
    before = len(server.requests)
    child = context.Process(target=download_all, args=(items, Store(folder), SETTINGS))
    child.start()
    while len(server.requests) == before and child.is_alive():
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.1))
    at_work = child.is_alive()
    if at_work:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    return at_work and child.exitcode == -signal.SIGKILL


def test_a_job_killed_again_and_again_ends_in_the_same_bytes_without_orphans_or_a_storm(
    server, items, tmp_path
):
    server.pace_s = 0.01
    rng = np.random.default_rng(2)
    killed = 0
    for _ in range(KILLS):
        killed += kill_at_random(server, items, tmp_path / "killed", rng)
        for path in (tmp_path / "killed").rglob("*.fits"):  # never the name of half a file
            assert path.read_bytes() == server.files[f"/{path.name}"]
    outcomes = download_all(items, Store(tmp_path / "killed"), SETTINGS)
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}
    asked = len(server.requests)
    server.pace_s = 0.0
    download_all(items, Store(tmp_path / "clean"), SETTINGS)
    Store(tmp_path / "killed").sweep()
    assert killed >= KILLS // 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "clean")
    # A kill loses at most the transfers that were running.
    assert asked <= len(items) + killed * SETTINGS.connections_per_host


def test_a_large_file_goes_on_where_the_killed_job_left_it(server, items, tmp_path):
    large = [item for item in items if "large" in item.name][:1]
    server.pace_s = 0.02
    rng = np.random.default_rng(3)
    part = Store(tmp_path).entry(large[0].url).part
    while not part.exists() or part.stat().st_size == 0:
        kill_at_random(server, large, tmp_path, rng)
    server.pace_s = 0.0
    (outcome,) = download_all(large, Store(tmp_path), SETTINGS).values()
    assert outcome.path.read_bytes() == server.files[large[0].name]
    assert "Range" in server.requests[-1][2]
