"""Exactly the jobs that a change asks for run again.

Snakemake is given a finished run cheaply: every output is a small file and is declared made.
"""

import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from clusterscan.commands.run.runner import find_snakefile
from clusterscan.commands.run.workflow_run import WorkflowRun
from clusterscan.commands.sync.offline import sync_offline
from clusterscan.config.load import load_config
from clusterscan.flow.lock import hold_lock
from clusterscan.flow.paths import Paths
from clusterscan.flow.stage_settings import StageSettings
from clusterscan.formats.training_set import TrainingSet

PROJECT = Path(__file__).resolve().parents[2]
BLOCKS = ("o5-4420", "o5-4421")
FOLLOW = {"surveys__act__training_set": "follow"}
LATER = {"merge": 1, "validate": 1, "selection": 1, "publish": 1}


@pytest.fixture(scope="module")
def declared_once(tmp_path_factory, mini_text, run_in):
    """Return a run at block order 5 that Snakemake holds for finished."""
    run = run_in(tmp_path_factory.mktemp("declared"))
    run.configure(mini_text(sky__block_order=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.folder)
        config = load_config(["config.yaml"])
        sync_offline(config)
    paths = Paths(config)
    for path in paths.everything():
        place = run.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(path)
    settings = StageSettings(config).training_set("act").fingerprint
    release = TrainingSet("act", settings, {}, {}, {})
    (run.folder / paths.training_set("act")).write_text(json.dumps(asdict(release)))
    for kept in (FOLLOW, {}):
        run.configure(mini_text(sky__block_order=5, **kept))
        run.snakemake("--touch", "--forceall", "--quiet")
    return run


@pytest.fixture
def declared(declared_once, tmp_path):
    """Return a copy of that run."""
    return declared_once.copy(tmp_path / "declared")


def jobs(run):
    """Return how many jobs of each rule a dry run would run."""
    text = run.snakemake("-n", "--quiet", "rules")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", text, flags=re.MULTILINE))
    return {rule: int(n) for rule, n in counts.items() if rule not in ("all", "total")}


def files(run):
    """Return the bytes of every file of a run but Snakemake's log."""
    return {p: p.read_bytes() for p in sorted(run.root.rglob("*")) if p.is_file()}


def start_of_run(run):
    """Write the settings as the start of a real run does, without running a job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.folder)
        main_process = SimpleNamespace(is_main_process=True, executor_plugin="local", dryrun=False)
        WorkflowRun(load_config(["config.yaml"]), main_process).settings_file("merge")


def test_a_fresh_run_has_a_job_a_block_for_each_survey_and_map_and_one_of_each_late_stage(
    fresh, mini_text
):
    surveys, models, blocks, catalogues = 1, 1, 4, 2
    maps = models + surveys  # each survey's plain filter is scanned too
    fresh.configure(mini_text(sky__block_order=6))
    assert jobs(fresh) == {
        "fetch_catalogue": catalogues,
        "known": 1,
        **dict.fromkeys(("fetch", "preprocess", "sample"), surveys * blocks),
        "training_set": surveys,
        "train": models,
        **dict.fromkeys(("scan", "detect"), maps * blocks),
        **LATER,
    }
    assert not (fresh.root / "manifests").exists()


def test_a_finished_run_and_a_touched_manifest_leave_nothing_to_do(declared):
    (declared.root / "manifests/preprocess/act/o5-4420.json").touch()
    (declared.root / "sources/act/o5-4420.json").touch()
    assert jobs(declared) == {}


def test_a_forgotten_manifest_or_a_removed_product_is_made_anew(declared):
    (declared.root / "report.html").unlink()
    assert jobs(declared) == {"publish": 1}
    (declared.root / "manifests/detect/act/filter/o5-4420.json").unlink()
    assert jobs(declared) == {"detect": 1, **LATER}


def test_new_raw_data_of_a_block_rerun_it_and_what_is_made_of_it_but_train_nothing(declared):
    (declared.root / "manifests/fetch/act/o5-4420.json").write_text("new raw images")
    # Detection in the other block looks across the border.
    assert jobs(declared) == {"preprocess": 1, "scan": 2, "detect": 4, **LATER}


def test_networks_that_follow_are_trained_on_new_raw_data_and_scan_all_again(declared, mini_text):
    declared.configure(mini_text(sky__block_order=5, **FOLLOW))
    (declared.root / "manifests/fetch/act/o5-4420.json").write_text("new raw images")
    assert jobs(declared) == {
        "preprocess": 1, "sample": 1, "training_set": 1, "train": 1, "scan": 3, "detect": 4,
        **LATER,
    }  # fmt: skip


def test_a_changed_known_catalogue_reruns_matching_alone(declared):
    (declared.root / "catalogs/richness.parquet").write_text("another edition")
    assert jobs(declared) == {"known": 1, **LATER}


def test_a_new_training_set_is_made_only_when_asked_for(declared):
    text = declared.clusterscan("unpin")
    assert "Unpinned: act" in text
    assert jobs(declared) == {"training_set": 1, "train": 1, "scan": 2, "detect": 2, **LATER}
    assert "No training set is pinned" in declared.clusterscan("unpin")


def test_touching_every_file_of_a_run_reruns_nothing(declared):
    for number, path in enumerate(sorted(declared.root.rglob("*"), reverse=True)):
        if path.is_file():
            os.utime(path, (1.9e9 + number, 1.9e9 + number))
    assert jobs(declared) == {}


def test_another_checkout_of_the_project_reruns_nothing(declared, tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(PROJECT / name, checkout / name, copy_function=shutil.copyfile)
    shutil.copyfile(PROJECT / "Snakefile", checkout / "Snakefile")
    text = declared.do(
        "snakemake", "-n", "--snakefile", str(checkout / "Snakefile"), "--configfile",
        "config.yaml", "--nocolor",
    )  # fmt: skip
    assert "Nothing to be done" in text


def test_a_new_network_is_trained_and_scans_alone(declared, mini_text):
    models = yaml.safe_load(mini_text())["surveys"]["act"]["models"]
    declared.configure(
        mini_text(
            sky__block_order=5,
            surveys__act__models={**models, "second": models["baseline"]},
        )
    )
    assert jobs(declared) == {"train": 1, "scan": 2, "detect": 2, **LATER}


def test_a_new_survey_is_fetched_trained_and_scanned_alone(declared, mini_text):
    surveys = yaml.safe_load(mini_text())["surveys"]
    declared.configure(mini_text(sky__block_order=5, surveys={**surveys, "second": surveys["act"]}))
    assert jobs(declared) == {
        **dict.fromkeys(("fetch", "preprocess", "sample"), 2),
        "training_set": 1, "train": 1, "scan": 4, "detect": 4, **LATER,
    }  # fmt: skip


def test_a_new_tile_in_the_footprint_has_the_images_of_its_block_alone_made(declared, mini_text):
    cells = {"kind": "cells", "order": 6, "ipix": [17681, 17683, 17684, 17686, 17687]}
    declared.configure(mini_text(sky__block_order=5, sky__footprint=cells))
    before = files(declared)
    found = jobs(declared)
    assert (found["fetch"], found["preprocess"]) == (1, 1)
    assert found["fetch_catalogue"] == 2  # simulated catalogues cover the footprint
    assert not {"sample", "training_set", "train"} & set(found)
    assert files(declared) == before


CHANGES = {
    "merge": ({"merge__radius_arcmin": 3.0}, LATER),
    "validate": ({"validate__n_bootstrap": 30}, {"validate": 1, "publish": 1}),
    "publish": ({"title": "Another title"}, {"publish": 1}),
    "detect": ({"detect__min_snr": 3.0}, {"detect": 4, **LATER}),
    "a filter": ({"surveys__act__filter__taper_arcmin": 9.0}, {"scan": 2, "detect": 2, **LATER}),
    "execution": ({"execution": {"workers": 2, "max_failed_fraction": 0.5}}, {}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_setting_reruns_its_stage_and_later_ones_alone(declared, mini_text, name):
    change, expected = CHANGES[name]
    declared.configure(mini_text(sky__block_order=5, **change))
    assert jobs(declared) == expected


def test_a_raised_stage_version_reruns_that_stage_and_later_ones(declared):
    # Another Python process reads versions.py: a sitecustomize raises the number in it alone.
    (declared.folder / "sitecustomize.py").write_text(
        "from clusterscan.flow.versions import STAGE_VERSIONS\nSTAGE_VERSIONS['detect'] += 1\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        path = [str(declared.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        assert jobs(declared) == {"detect": 4, **LATER}


def test_a_wrong_configuration_ends_snakemake_with_the_line_and_no_traceback(fresh, mini_text):
    fresh.configure(mini_text(merge__radius_arcmn=3.0))
    text = fresh.do(
        "snakemake", "-n", "--snakefile", str(find_snakefile()), "--configfile", "config.yaml",
        expect=1,
    )  # fmt: skip
    assert "merge.radius_arcmn: no such setting; did you mean 'radius_arcmin'?" in text
    assert "Traceback" not in text


def test_a_dry_run_writes_and_deletes_nothing(declared, mini_text):
    before = files(declared)
    declared.configure(mini_text(sky__block_order=6, merge__radius_arcmin=3.0))
    found = jobs(declared)
    assert found["scan"] == 8
    assert "train" not in found  # the training set is of tiles, whatever the blocks
    assert files(declared) == before


def test_a_real_run_of_another_block_order_drops_the_old_lists_so_that_none_outlives_its_shards(
    declared, mini_text
):
    assert {p.stem for p in declared.root.glob("manifests/scan/act/filter/*")} == set(BLOCKS)
    probe = declared.root / f"selection/manifests/probe/scrambled/{BLOCKS[0]}.json"
    probe.parent.mkdir(parents=True)
    probe.touch()
    nulls = {"selection__nulls": ["scrambled"], "selection__max_null_tiles": 1}
    declared.configure(mini_text(sky__block_order=6, **nulls))
    start_of_run(declared)
    assert list(declared.root.glob("manifests/*/**/o5-*.json")) == []
    assert not probe.exists()


def lost_notes(run):
    """Remove Snakemake's own notes."""
    shutil.rmtree(run.folder / ".snakemake")


def test_a_changed_setting_is_seen_although_snakemake_lost_its_notes(declared, mini_text):
    lost_notes(declared)
    declared.configure(mini_text(sky__block_order=5, detect__radius_arcmin=3.0))
    start_of_run(declared)
    assert jobs(declared) == {"detect": 4, **LATER}


def test_a_changed_setting_is_seen_from_another_folder(declared, mini_text, tmp_path):
    elsewhere = type(declared)(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    here = {"sky__block_order": 5, "output": str(declared.root)}
    elsewhere.configure(mini_text(**here))
    start_of_run(elsewhere)
    assert jobs(elsewhere) == {"publish": 1}  # which shows the folder's name
    elsewhere.configure(mini_text(**here, merge__radius_arcmin=3.0))
    start_of_run(elsewhere)
    assert jobs(elsewhere) == LATER


def test_plain_snakemake_is_refused_while_another_run_holds_the_lock(declared, mini_text):
    declared.configure(mini_text(sky__block_order=5, merge__radius_arcmin=3.0))
    before = files(declared)
    with hold_lock(declared.root):
        text = declared.do(
            "snakemake", "--snakefile", str(find_snakefile()), "--configfile", "config.yaml",
            "--cores", "1", expect=1,
        )  # fmt: skip
    assert "another run is at work in results" in text
    assert files(declared) == before


def state(folder):
    """Return the time and bytes of everything in a folder, and when each was changed."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted([folder, *folder.rglob("*")])
    }


def test_a_dry_run_shows_what_would_run_and_changes_no_file_beside_another_run(declared, mini_text):
    for name in (".progress/merge.json", "failures/merge.txt", "logs/snakemake.log"):
        place = declared.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("of the run at work")
    declared.configure(mini_text(sky__block_order=5, merge__radius_arcmin=3.0))
    with hold_lock(declared.root):
        before = state(declared.root)
        told = declared.clusterscan("run", "-n", "--quiet", "rules")
        counts = dict(re.findall(r"^(\w+) +(\d+)$", told, flags=re.MULTILINE))
        assert {rule: int(counts[rule]) for rule in LATER} == LATER
        assert "scan" not in counts
        assert "merge" in declared.clusterscan("run", "--summary")
        assert state(declared.root) == before


def test_a_dry_run_of_a_new_configuration_makes_no_folder(fresh):
    assert "publish" in fresh.clusterscan("run", "--dry-run", "--quiet", "rules")
    assert not fresh.root.exists()


def test_snakemakes_report_shows_the_small_products_with_their_captions(declared):
    page = declared.folder / "shown.html"
    declared.clusterscan("run", "--report", str(page))
    text = page.read_text(encoding="utf-8")
    for caption in (PROJECT / "workflow/report").glob("*.rst"):
        assert " ".join(caption.read_text(encoding="utf-8").split()[:4]) in text
    for product in ("report.html", "summary.json", "networks.csv"):
        assert product in text
