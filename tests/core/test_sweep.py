"""What killed jobs left half written goes, what others are writing stays."""

import fcntl
import os
import subprocess
import sys

from clusterscan.core.atomic import HOST, sweep, temporary_name
from clusterscan.fetch.download.store import Item, Store, Version

KILLED = """
import os, signal, sys
from pathlib import Path
from clusterscan.core.atomic import atomic_path
with atomic_path(Path(sys.argv[1], "Npix7.fits")) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_half_written_file_of_a_killed_job_is_removed(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".Npix7.")
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_half_written_folder_of_a_killed_job_is_removed_and_that_of_a_living_one_stays(
    tmp_path,
):
    code = KILLED.replace("atomic_path", "atomic_folder").replace(
        'temporary.write_text("half")', '(temporary / "a.txt").write_text("half")'
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "a.txt").is_file()
    mine = temporary_name(tmp_path / "published")
    mine.mkdir()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [mine]


def test_products_and_the_files_of_living_jobs_stay(tmp_path):
    kept = [tmp_path / "a.fits", tmp_path / ".lock", temporary_name(tmp_path / "b.fits")]
    elsewhere = tmp_path / f".c.{os.getpid()}@{HOST}x.part.fits"
    for path in [*kept, elsewhere]:
        path.write_text("x")
    assert sweep(tmp_path) == 0
    os.utime(elsewhere, (1, 1))
    assert sweep(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_of_transfers_those_stay_that_are_held_or_can_be_resumed(tmp_path):
    store = Store(tmp_path)
    dead, held, half = (store.entry(f"http://h/{name}") for name in ("dead", "held", "half"))
    for entry in (dead, held, half):
        entry.part.parent.mkdir(parents=True, exist_ok=True)
        entry.part.write_bytes(b"some")
    half.note_part(Item("half", "http://h/half"), Version('"1"', "", 9))
    with held.part.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert store.sweep() == 1
    assert not dead.part.exists()
    assert held.part.exists()
    assert half.part.exists()
