"""Sync writes what sources hold now, and only what differs; fetch then gets just that."""

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
import yaml
from astropy.io import fits
from pydantic import TypeAdapter

from clusterscan.commands.sync.listed import asks_servers, sync_listed
from clusterscan.commands.sync.offline import sync_offline
from clusterscan.commands.sync.sources import sync_sources
from clusterscan.config.image_sources import SourceSettings
from clusterscan.config.load import load_config
from clusterscan.core.errors import ClusterscanError, SourceError
from clusterscan.fetch.stage import fetch_block
from clusterscan.flow.job import Job
from clusterscan.flow.paths import Paths
from clusterscan.flow.stage_settings import StageSettings

PROJECT = Path(__file__).resolve().parents[2]
TILES = [17681, 17683]


def _module(path):
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fixtures = _module(PROJECT / "tests/fetch/conftest.py")  # the web server of its tests
server = fixtures.server


@pytest.fixture(scope="module")
def tree_files():
    return {f"/t/{name}": data for name, data in fixtures.hips_files("galactic").items()}


@pytest.fixture
def survey(server, tree_files, mini_text, tmp_path):
    """Return a function that writes and loads a configuration of one survey over http."""
    server.files = dict(tree_files)

    def load(**changes):
        text = mini_text(
            output=str(tmp_path / "run"),
            sky__footprint={"kind": "cells", "order": 6, "ipix": TILES},
            sky__regions={"kind": "cells", "order": 6, "validation": [17681], "test": [17683]},
            surveys__act__bands=["f"],
            surveys__act__beam_fwhm_arcsec=[120.0],
            surveys__act__source={"kind": "hips", "trees": {"f": f"{server.base}/t"}},
            surveys__act__filter=None,
            execution={"download": {"retries": 1, "backoff_s": 0.01, "stall_s": 2.0}},
            **changes,
        )
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config([path])

    return load


def manifests(config):
    paths = Paths(config)
    return {b: Path(paths.sources("act", b)) for b in paths.blocks}


def tokens(config):
    found = {}
    for path in manifests(config).values():
        for entries in json.loads(path.read_text(encoding="utf-8"))["tiles"].values():
            found |= dict(entry.split("=", 1) for entry in entries)
    return found


def path_of(name):
    return f"/t/{name.partition(':')[2]}.fits"


def test_the_first_sync_lists_every_object_with_one_request_each(survey, server):
    config = survey()
    report = sync_listed(config, "act")
    assert report.added == report.objects == len(tokens(config)) > 0
    assert (report.changed, report.vanished, report.weak) == (0, 0, 0)
    assert len(server.requests) == report.objects + 1  # and the tree's properties
    assert all(token.startswith("etag ") for token in tokens(config).values())
    assert all("release 2020-01-01T00:00Z" in token for token in tokens(config).values())


def test_a_second_sync_rewrites_nothing(survey):
    config = survey()
    sync_listed(config, "act")
    before = {path: path.stat().st_mtime_ns for path in manifests(config).values()}
    report = sync_listed(config, "act")
    assert (report.added, report.changed, report.vanished, report.rewritten) == (0, 0, 0, 0)
    assert before == {path: path.stat().st_mtime_ns for path in manifests(config).values()}


def test_changed_and_vanished_objects_are_counted(survey, server):
    config = survey()
    sync_listed(config, "act")
    first, last = sorted(tokens(config))[0], sorted(tokens(config))[-1]
    server.files[path_of(first)] += b" "
    del server.files[path_of(last)]
    report = sync_listed(config, "act")
    assert (report.added, report.changed, report.vanished) == (0, 1, 1)
    assert "1 changed, 1 vanished" in str(report)


def test_versions_without_etags_are_marked_weak(survey, server):
    server.has_etags = False
    config = survey()
    report = sync_listed(config, "act")
    assert report.weak == report.objects
    assert "weak version tokens" in str(report)
    assert all(token.startswith("weak ") for token in tokens(config).values())


def test_a_new_release_changes_every_token(survey, server):
    config = survey()
    first = sync_listed(config, "act")
    text = server.files["/t/properties"].replace(b"2020-01-01", b"2021-01-01")
    server.files["/t/properties"] = text
    assert sync_listed(config, "act").changed == first.objects


def test_the_release_alone_can_be_looked_at(survey, server):
    trees = {"f": f"{server.base}/t"}
    config = survey()
    sync_listed(config, "act")
    server.requests.clear()
    text = yaml.safe_load(Path(config.output).parent.joinpath("config.yaml").read_text())
    text["surveys"]["act"]["source"] = {"kind": "hips", "trees": trees, "versions": "release"}
    path = Path(config.output).parent / "release.yaml"
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    report = sync_listed(load_config([path]), "act")
    assert len(server.requests) == 1
    assert report.weak == report.objects


def test_a_server_that_is_away_changes_no_manifest(survey, server):
    config = survey()
    sync_listed(config, "act")
    before = tokens(config)
    for name in before:
        server.faults[path_of(name)] = [("status", 503, "Down for repair")] * 4
    report = sync_listed(config, "act")
    assert tokens(config) == before
    assert report.rewritten == 0
    assert "HTTP 503" in str(report)  # a HEAD request has no more words
    server.faults.clear()
    server.faults["/t/properties"] = [("status", 500)] * 4
    assert sync_listed(config, "act").rewritten == 0


def test_a_server_that_never_answered_is_an_error(survey, server):
    server.files.clear()
    with pytest.raises(SourceError, match="properties"):
        sync_listed(survey(), "act")


def test_the_snakefiles_sync_asks_no_server_and_says_what_to_do(survey, server):
    config = survey()
    with pytest.raises(SourceError, match="clusterscan sync"):
        sync_offline(config)
    assert not server.requests
    sync_sources(config)
    asked = len(server.requests)
    sync_offline(config)
    assert len(server.requests) == asked


def test_manifests_of_other_settings_do_not_count(survey):
    sync_sources(survey())
    with pytest.raises(SourceError, match="present settings"):
        sync_offline(survey(surveys__act__pixel_scale_arcsec=50.0))


def test_offline_uses_what_was_listed_and_says_what_was_not(survey, server):
    with pytest.raises(SourceError, match="offline"):
        sync_listed(_offline(survey()), "act")
    sync_listed(survey(), "act")
    asked = len(server.requests)
    report = sync_listed(_offline(survey()), "act")
    assert (report.rewritten, report.changed) == (0, 0)
    assert len(server.requests) == asked


ATLAS = {"table": "tiles.csv", "size_px": 100, "pixel_scale_arcsec": 36.0}
URL = {"f": {"image": "http://s/{tile}.fits"}}


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ({"kind": "local", "path": "x", "files": {"f": "*.fits"}}, False),
        ({"kind": "archive", "files": {"f": {"image": "map.fits"}}}, False),
        ({"kind": "archive", "files": URL, "atlas": ATLAS}, True),
        ({"kind": "archive", "files": URL, "atlas": ATLAS, "versions": "release"}, False),
        (
            {
                "kind": "archive",
                "files": URL,
                "atlas": {**ATLAS, "table": "https://s/t"},
                "versions": "release",
            },
            True,
        ),
        ({"kind": "hips", "trees": {"f": "http://s/t"}}, True),
    ],
)
def test_sources_that_ask_nobody_can_be_listed_offline(source, asks):
    assert asks_servers(TypeAdapter(SourceSettings).validate_python(source)) is asks


def _offline(config):
    download = config.execution.download.model_copy(update={"offline": True})
    execution = config.execution.model_copy(update={"download": download})
    return config.model_copy(update={"execution": execution})


# --- the stage -------------------------------------------------------------------------------


def run_script(config, monkeypatch):
    """Run the stage's script on one block with the arguments that Snakemake gives it."""
    paths = Paths(config)
    settings = paths.folder.settings("fetch", "act")
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(StageSettings(config).fetch("act").text(), encoding="utf-8")
    for block in paths.blocks[:1]:
        command = [str(PROJECT / "workflow/scripts/fetch.py")]
        options = {
            "root": config.output,
            "settings": settings,
            "download": config.execution.download.model_dump_json(),
            "key": "act",
            "block": block.partition("-")[2],
            "sources": paths.sources("act", block),
            "output": paths.manifest("fetch", "act", block),
            "log": paths.log("fetch", "act", block),
        }
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        monkeypatch.setattr(sys, "argv", command)
        runpy.run_path(command[0], run_name="__main__")


def run_fetch(config, may_fail=0.0):
    """Run the stage on every block; return each tile's record."""
    paths, records, told = Paths(config), {}, StageSettings(config).fetch("act")
    for block in paths.blocks:
        output = Path(paths.manifest("fetch", "act", block))
        job = Job(
            folder=paths.folder,
            settings=told.stage,
            version=told.version,
            sky=told.sky,
            output=output,
            key="act",
            block=int(block.partition("-")[2]),
            max_failed_fraction=may_fail,
        )
        fetch_block(job, Path(paths.sources("act", block)), config.execution.download)
        for record in json.loads(output.read_text(encoding="utf-8"))["records"]:
            records[record["tile"]] = record
    return records


def test_the_stage_fetches_once_and_again_only_what_changed(survey, server, monkeypatch):
    config = survey()
    sync_sources(config)
    server.requests.clear()
    first = run_fetch(config)
    assert {record["status"] for record in first.values()} == {"ok"}
    names = tokens(config)
    assert len(server.requests) <= 1.2 * len(names)
    shard = Path(config.output) / first[TILES[0]]["path"]
    with fits.open(shard) as hdus:
        assert hdus["f"].header["BUNIT"] == "uK_CMB"
        assert np.isfinite(hdus["f"].data).all()

    server.requests.clear()
    run_script(config, monkeypatch)
    assert run_fetch(config) == first
    assert not server.requests

    changed = sorted(names)[0]
    data = server.files[path_of(changed)]
    doubled = 2 * np.frombuffer(data[2880:], ">f4")
    server.files[path_of(changed)] = data[:2880] + doubled.astype(">f4").tobytes()
    sync_sources(config)
    server.requests.clear()
    second = run_fetch(config)
    assert set(server.counted()) == {path_of(changed)}
    assert any(second[tile]["sha256"] != first[tile]["sha256"] for tile in TILES)


def test_a_failure_is_recorded_in_the_servers_words_and_mended_by_the_next_run(survey, server):
    config = survey()
    sync_sources(config)
    bad = path_of(sorted(tokens(config))[0])
    server.faults[bad] = [("status", 403, "Embargo until spring")] * 9
    with pytest.raises(ClusterscanError, match="Embargo until spring"):
        run_fetch(config)
    records = run_fetch(config, may_fail=1.0)
    failed = [record for record in records.values() if record["status"] == "failed"]
    assert failed
    assert "Embargo until spring" in failed[0]["reason"]
    server.faults.clear()
    server.requests.clear()
    assert {record["status"] for record in run_fetch(config).values()} == {"ok"}
    assert set(server.counted()) == {bad}


def test_the_stage_makes_tiles_of_an_archives_map(survey, server, tmp_path):
    values = np.arange(12 * 32**2, dtype=np.float32)
    hp.write_map(tmp_path / "map.fits", values, coord="G", column_units="K_CMB", dtype=np.float32)
    server.files["/a b=c:d.fits"] = (tmp_path / "map.fits").read_bytes()
    config = survey()
    text = yaml.safe_load((tmp_path / "config.yaml").read_text())
    files = {"f": {"image": f"{server.base}/a%20b=c:d.fits"}}
    server.files["/a%20b=c:d.fits"] = server.files.pop("/a b=c:d.fits")
    text["surveys"]["act"]["source"] = {"kind": "archive", "format": "healpix", "files": files}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    config = load_config([tmp_path / "config.yaml"])
    assert sync_listed(config, "act").added == 1
    first = run_fetch(config)
    assert {record["status"] for record in first.values()} == {"ok"}
    assert server.counted("GET") == {"/a%20b=c:d.fits": 1}
    assert sync_listed(config, "act").rewritten == 0
    assert run_fetch(config) == first


def test_offline_the_stage_uses_only_the_cache(survey, server):
    config = survey()
    sync_sources(config)
    run_fetch(config)
    server.requests.clear()
    for path in sorted((Path(config.output) / "raw").rglob("*.fits")):
        path.unlink()
    assert {r["status"] for r in run_fetch(_offline(config)).values()} == {"ok"}
    assert not server.requests
    kept = sorted((Path(config.output) / "downloads").rglob("Npix*.fits"))
    kept[0].unlink()
    for path in sorted((Path(config.output) / "raw").rglob("*.fits")):
        path.unlink()
    with pytest.raises(ClusterscanError, match="offline, and not in the cache"):
        run_fetch(_offline(config))
    assert not server.requests
