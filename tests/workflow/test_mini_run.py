"""The whole workflow on a mini sky: products, no-op, resuming, damage, the same bytes always."""

import os
import shutil
import signal
import time
from contextlib import suppress

import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table

from clusterscan.core.fingerprint import file_sha256

pytestmark = pytest.mark.chain


def test_the_products_exist_and_open(finished):
    folder = finished.root / "catalogue"
    with fits.open(folder / "clusters.fits") as hdus:
        hdus.verify("exception")
        rows = len(hdus[1].data)
    assert rows > 0
    assert len(Table.read(folder / "clusters.vot")) == rows
    assert len(pd.read_parquet(folder / "clusters.parquet")) == rows
    html = (finished.root / "report.html").read_text(encoding="utf-8")
    assert "src='http" not in html
    assert 'src="http' not in html
    for name in ("weights.safetensors", "model.json", "history.json", "metrics.json"):
        assert (finished.root / "models/act-baseline" / name).is_file()
    for model in ("baseline", "filter"):
        assert len(list(finished.root.glob(f"maps/act/{model}/Norder6/Dir10000/*.fits"))) == 4


def test_a_run_ends_with_the_places_of_its_products(finished):
    said = (finished.folder / "said.txt").read_text(encoding="utf-8")
    for text in ("Done in", "results/catalogue/clusters.fits", "results/report.html", "deg²"):
        assert text in said


def test_a_second_run_does_nothing_and_says_so(copy):
    before = times(copy.root / "catalogue")
    assert "Nothing to be done" in copy.clusterscan("run", "--cores", "1")
    assert times(copy.root / "catalogue") == before


def test_status_counts_tiles_and_says_whether_the_run_is_finished(finished, fresh):
    lines = finished.clusterscan("status").splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines[1:-1]}
    assert table["fetch"] == ["4", "0", "0", "0"]
    assert table["scan"] == ["8", "0", "0", "0"]
    assert any(line.startswith("published: ") for line in lines)
    assert lines[-1] == "finished"
    assert "nothing has been computed yet" in fresh.clusterscan("status")


def test_kills_blocks_cores_and_workers_change_no_byte_and_plain_snakemake_goes_on(
    finished, copy, mini_text
):
    forget_all_but(copy, "fetch")  # raw images are shared, for time
    copy.configure(mini_text(sky__block_order=5, execution__workers=2))
    for appearing in ("models", "records/scan", "records/detect"):
        run_until(copy, copy.root / appearing)
    assert "Nothing to be done" not in copy.snakemake()
    assert len(list(copy.root.glob("manifests/detect/act/*/o5-*.json"))) == 4
    assert copy.catalogue() == finished.catalogue()
    assert map_bytes(copy) == map_bytes(finished)


def map_bytes(run):
    """Return the sha256 of every map tile."""
    maps = run.root / "maps"
    found = {p.relative_to(maps): file_sha256(p) for p in maps.rglob("Norder6/**/*.fits")}
    assert len(found) == 8
    return found


def forget_all_but(run, *stages):
    """Remove all products but the catalogues, raw images and tiles of some stages."""
    keep = {"catalogs", "sources", "raw", *(["tiles"] if "preprocess" in stages else [])}
    for folder in ("manifests", "records"):
        for path in (run.root / folder).iterdir():
            if path.name not in stages:
                shutil.rmtree(path)
    for path in run.root.iterdir():
        if path.name not in {*keep, "manifests", "records"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def run_until(run, place):
    """Start a run and kill it with all its children as soon as files appear at a place."""
    child = run.start("clusterscan", "run", "config.yaml", "--cores", "1")
    try:
        wait_for(lambda: any(p.is_file() for p in place.rglob("*")), child)
        os.killpg(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.communicate()


def times(folder):
    """Return when each file below a folder was written."""
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_corrupt_raw_image_is_told_and_can_be_left_out(copy, mini_text):
    raw = copy.root / "raw/act/Norder6/Dir10000/Npix17684.fits"
    raw.write_bytes(raw.read_bytes()[:2880])
    shutil.rmtree(copy.root / "records/preprocess")
    shutil.rmtree(copy.root / "manifests/preprocess")
    text = copy.clusterscan("run", "--cores", "1", expect=1)
    assert "clusterscan run: a job failed" in text
    assert "preprocess act block 1105 failed" in text
    assert "1 of 4 tiles" in text
    assert "tile 17684: " in text
    assert "raise execution.max_failed_fraction" in text
    assert "Traceback" not in text
    status = copy.clusterscan("status")
    assert "preprocess tile 17684 failed: " in status
    assert status.splitlines()[-1] == "not finished"
    assert len(list(copy.root.glob("tiles/act/Norder6/Dir10000/*.fits"))) == 3

    copy.configure(mini_text(execution__max_failed_fraction=0.25))
    # Snakemake would not miss a manifest in the middle if asked for the last one alone.
    names = ("preprocess/act", "scan/act/filter")
    copy.snakemake(*(f"results/manifests/{name}/o4-1105.json" for name in names))
    assert "preprocess tile 17684 failed" in copy.clusterscan("status")
    assert len(list(copy.root.glob("maps/act/filter/Norder6/Dir10000/*.fits"))) == 3


@pytest.mark.parametrize("whom", ["all", "the command alone"])
def test_ctrl_c_ends_the_jobs_says_how_to_go_on_and_frees_the_folder(fresh, whom):
    child = fresh.start("clusterscan", "run", "config.yaml", "--cores", "1")
    try:
        wait_for(lambda: any((fresh.root / ".progress").glob("*.json")), child)
        if whom == "all":
            two_runs_at_once_are_refused(fresh)
        (os.killpg if whom == "all" else os.kill)(child.pid, signal.SIGINT)
        text, _ = child.communicate(timeout=30)
        assert child.returncode == 1
        assert "Interrupted. What was computed is kept: run again to go on from there." in text
        assert "Traceback" not in text
        with pytest.raises(ProcessLookupError):  # nobody is left in the group
            os.killpg(child.pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def two_runs_at_once_are_refused(run):
    """See that a second run in a folder is refused and leaves the first one's files alone."""
    note = run.root / "failures" / "mark.txt"
    note.parent.mkdir(exist_ok=True)
    note.write_text("of the first run")
    text = run.clusterscan("run", "--cores", "1", expect=1)
    assert "another run is at work in results; wait for it, or end it" in text
    assert note.exists()


def wait_for(condition, child):
    """Wait until a condition holds while a command runs."""
    deadline = time.monotonic() + 60
    while not condition():
        assert child.poll() is None, child.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
