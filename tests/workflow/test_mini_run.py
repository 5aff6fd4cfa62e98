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
    before = {p: p.stat().st_mtime_ns for p in copy.root.rglob("*.fits")}
    assert "Nothing to be done" in copy.clusterscan("run", "--cores", "1")
    assert {p: p.stat().st_mtime_ns for p in copy.root.rglob("*.fits")} == before


def test_status_counts_tiles_and_says_whether_the_run_is_finished(finished, fresh):
    lines = finished.clusterscan("status").splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines[1:-1]}
    assert table["fetch"] == ["4", "0", "0", "0"]
    assert table["scan"] == ["8", "0", "0", "0"]
    assert lines[-1] == "finished"
    assert "nothing has been computed yet" in fresh.clusterscan("status")


def test_blocks_cores_and_workers_change_no_byte_of_the_catalogue(finished, copy, mini_text):
    forget_all_but(copy, "fetch")  # raw images are shared, for time
    copy.configure(mini_text(sky__block_order=5, execution__workers=2))
    copy.clusterscan("run", "--cores", "2")
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


def test_a_run_killed_again_and_again_ends_in_the_same_bytes_with_plain_snakemake(finished, copy):
    forget_all_but(copy, "fetch", "preprocess")
    for appearing in ("models", "records/scan", "records/detect"):
        run_until(copy, copy.root / appearing)
    assert "Nothing to be done" not in copy.snakemake()
    assert copy.catalogue() == finished.catalogue()


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


def test_verify_finds_a_damaged_shard_and_forgetting_it_gives_the_same_bytes(finished, copy):
    assert "0 missing or damaged" in copy.clusterscan("verify")
    shard = next(copy.root.glob("candidates/act/filter/Norder6/Dir10000/*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + b"\0" + whole[101:])
    weights = copy.root / "models/act-baseline/weights.safetensors"
    trained = weights.read_bytes()
    weights.unlink()
    said = copy.clusterscan("verify", expect=1)
    assert f"damaged: {shard.relative_to(copy.root)} (detect act/filter)" in said
    assert f"missing: {weights.relative_to(copy.root)} (network act-baseline)" in said
    scanned = times(copy.root / "records/scan")
    assert "Forgotten" in copy.clusterscan("verify", "--forget")
    copy.clusterscan("run", "--cores", "1")
    assert shard.read_bytes() == whole
    assert weights.read_bytes() == trained
    assert times(copy.root / "records/scan") == scanned  # the same network: nothing scanned again
    assert copy.catalogue() == finished.catalogue()


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
    copy.clusterscan("run", "--cores", "1")
    assert "preprocess tile 17684 failed" in copy.clusterscan("status")
    assert len(list(copy.root.glob("maps/act/filter/Norder6/Dir10000/*.fits"))) == 3


def test_two_runs_at_once_in_a_folder_are_refused_and_do_not_disturb_each_other(fresh):
    first = fresh.start("clusterscan", "run", "config.yaml", "--cores", "1")
    try:
        progress = fresh.root / ".progress"
        wait_for(lambda: any(progress.glob("*.json")), first)
        note = fresh.root / "failures" / "mark.txt"
        note.parent.mkdir(exist_ok=True)
        note.write_text("of the first run")
        text = fresh.clusterscan("run", "--cores", "1", expect=1)
        assert "another run is at work in results; wait for it, or end it" in text
        assert note.exists()
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()


@pytest.mark.parametrize("whom", ["all", "the command alone"])
def test_ctrl_c_ends_the_jobs_says_how_to_go_on_and_frees_the_folder(fresh, whom):
    child = fresh.start("clusterscan", "run", "config.yaml", "--cores", "1")
    try:
        wait_for(lambda: any((fresh.root / ".progress").glob("*.json")), child)
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


def wait_for(condition, child):
    """Wait until a condition holds while a command runs."""
    deadline = time.monotonic() + 60
    while not condition():
        assert child.poll() is None, child.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
