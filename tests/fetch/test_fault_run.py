"""Fetches through all that servers and disks may do end in the images of a clean run."""

import base64
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import HipsSource
from clusterscan.core.errors import SourceError
from clusterscan.fetch.download.batch import download_all
from clusterscan.fetch.download.checks import check_fits
from clusterscan.fetch.download.store import Access, Item, Store
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.formats.image_spec import ImageSpec

TILES = range(60, 63)
REDIRECTS = 5
SPEC = ImageSpec("test", ("f",), "K", 1200.0, 3, 30.0)


def faults(new):
    """Return every fault of a server as the requests for one file see it, one after the other."""
    return {
        "429": [("retry_after", 429, 0), ("status", 429)],
        "503 with Retry-After": [("retry_after", 503, 1)],
        "reset": [("reset",), ("reset",)],
        "stall": [("stall", 0.8)],
        "truncated": [("truncate", 3000), ("truncate", 3400)],
        "cut on the server": [("short", 3600)],
        "flipped bit": [("flip", 3500), ("flip", 2000)],
        "HTML": [("html",), ("html", "application/fits")],
        "redirected in a circle": [("redirect", None)] * (REDIRECTS + 1),
        "changed between requests": [("change", new)],
        "several": [("status", 500), ("truncate", 3000), ("html",)],
    }


def hips(server, folder, settings):
    source = HipsSource(kind="hips", trees={"f": f"{server.base}/t"})
    return open_source(source, SPEC, access=Access(settings, folder / "cache"))


def fetch(source, offered, folder):
    """Do what the stage does with each tile; return how many could not be made."""
    prepared, failed = source.prepare(offered), 0
    for tile in offered:
        try:
            prepared.fetch_tile(tile, folder / f"{tile}.fits")
        except SourceError:
            failed += 1
    return failed


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.fits"))}


def assert_only_true_bytes_are_kept(server, folder):
    for path in (folder / "cache").rglob("Npix*.fits"):
        assert path.read_bytes() == server.files["/t/" + path.as_posix().partition("/t/")[2]]


@pytest.fixture
def tree(server, hips_trees):
    root = hips_trees / "equatorial"
    for path in root.rglob("*"):
        if path.is_file():
            server.files[f"/t/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return server


def test_images_made_through_every_fault_are_those_of_a_clean_run(tree, tmp_path, quick_downloads):
    server, settings = tree, quick_downloads(retries=4, max_redirects=REDIRECTS)
    source = hips(server, tmp_path / "hard", settings)
    offered = tokens_by_tile(source.objects(TILES), TILES)
    names = {entry.partition("=")[0] for entries in offered.values() for entry in entries}
    paths = sorted(f"/t/{name.partition(':')[2]}.fits" for name in names)
    data = server.files[paths[9]]
    new = data[:2880] + (2 * np.frombuffer(data[2880:], ">f4")).tobytes()
    planned = dict(zip(paths, faults(new).values(), strict=False))
    assert len(planned) == len(faults(new)) < len(paths)
    for path, plan in planned.items():
        server.faults[path] = [(n, path) if n == "redirect" else (n, *a) for n, *a in plan]
        sha = hashlib.sha256(server.files[path]).digest()
        server.headers[path]["Repr-Digest"] = f"sha-256=:{base64.b64encode(sha).decode()}:"
    changed = next(path for path, plan in planned.items() if plan[0][0] == "change")
    del server.headers[changed]
    server.requests.clear()

    (tmp_path / "hard-raw").mkdir()
    assert fetch(source, offered, tmp_path / "hard-raw") > 0  # the circle is given up
    assert_only_true_bytes_are_kept(server, tmp_path / "hard")
    assert fetch(source, offered, tmp_path / "hard-raw") == 0
    asked = server.counted()
    assert not any(server.faults.values())  # every fault took place
    assert_only_true_bytes_are_kept(server, tmp_path / "hard")
    retries = sum(map(len, planned.values()))
    tiles = sum(count for path, count in asked.items() if path.endswith(".fits"))
    assert tiles <= 1.2 * len(paths) + retries

    (tmp_path / "clean-raw").mkdir()
    clean = hips(server, tmp_path / "clean", settings)
    assert fetch(clean, offered, tmp_path / "clean-raw") == 0
    assert contents(tmp_path / "hard-raw") == contents(tmp_path / "clean-raw")
    assert len(contents(tmp_path / "clean-raw")) == len(TILES)


# --- a disk that refuses to write: the limit on a file's size is the same fault as a full disk ---

SCRIPT = """
import json, resource, signal, sys
from pathlib import Path
from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.batch import download_all
from clusterscan.fetch.download.checks import check_fits
from clusterscan.fetch.download.store import Item, Store

base, folder, limit, names = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
items = [Item(name, base + name, "v1", check_fits) for name in names]
try:
    download_all(items, Store(folder), DownloadSettings(connections_per_host=2))
except OSError as error:
    sys.exit(f"{error.errno}: {error}")
"""


def download(server, folder, limit):
    command = [sys.executable, "-c", SCRIPT, server.base, str(folder), str(limit)]
    names = sorted(server.files)
    return subprocess.run([*command, *names], capture_output=True, text=True)


@pytest.fixture
def files(server, fits_bytes):
    rng = np.random.default_rng(4)
    for number in range(12):  # 12 of 260 kB
        image = rng.normal(size=(255, 255)).astype(np.float32)
        server.files[f"/{number:02}.fits"] = fits_bytes(image)
    server.files["/zz.fits"] = fits_bytes(rng.normal(size=(640, 640)).astype(np.float32))  # 1.6 MB
    return server.files


def assert_whole(folder, files):
    """No name of half a file, and no record of a file that is not there."""
    kept = list(folder.rglob("*.fits"))
    for path in kept:
        assert path.read_bytes() == files[f"/{path.name}"]
    for record in folder.rglob("*.fits.json"):
        assert record.with_suffix("").exists()
        json.loads(record.read_text(encoding="utf-8"))
    return len(kept)


def test_a_write_that_fails_ends_the_job_in_words_and_the_next_run_completes_it(
    server, files, tmp_path
):
    job = download(server, tmp_path, limit=1_000_000)
    assert job.returncode
    assert "File too large" in job.stderr
    assert "Traceback" not in job.stderr
    assert 10 <= assert_whole(tmp_path, files) < len(files)
    asked = len(server.requests)
    items = [Item(name, server.base + name, "v1", check_fits) for name in sorted(files)]
    again = download_all(items, Store(tmp_path), DownloadSettings(connections_per_host=2))
    assert {outcome.status for outcome in again.values()} == {"ok"}
    assert assert_whole(tmp_path, files) == len(files)
    assert not list(tmp_path.rglob("*.part*"))
    assert len(server.requests) - asked < len(files)  # what was there is not requested again
