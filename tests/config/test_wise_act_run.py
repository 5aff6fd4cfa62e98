"""The run over unWISE and ACT DR5: what it needs is known before anything is downloaded."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.table import Table

from clusterscan.commands.plan.rates import NetworkRate, Rates
from clusterscan.commands.plan.work import plan, planned_downloads
from clusterscan.commands.sync.sources import sync_sources
from clusterscan.config.load import load_config
from clusterscan.core import sky
from clusterscan.core.data_paths import PROJECT_ROOT
from clusterscan.flow.footprint import run_blocks, run_tiles
from clusterscan.flow.paths import Paths

SHIPPED = PROJECT_ROOT / "resources" / "runs" / "wise_act_dr5.yaml"
CONE = {"kind": "cone", "ra_deg": 359.5, "dec_deg": -1.0, "radius_deg": 2.0}  # over RA 0
MASK = {"kind": "mask", "path": "${CLUSTERSCAN_DATA}/footprints/surveyMask.fits.gz"}


@pytest.fixture(scope="module")
def rehearsal(real_data, tmp_path_factory):
    """List a few tiles of ACTPol's real mask without any network; return the configuration."""
    folder = tmp_path_factory.mktemp("wise_act")
    text = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    text["sky"]["footprint"] = {"kind": "overlap", "of": [MASK, CONE]}
    text["output"] = str(folder / "run")
    text["execution"] = {"download": {"offline": True}}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")

    def refuse(*args, **kwargs):
        raise AssertionError("a server was asked")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLUSTERSCAN_DATA", str(real_data))
        patch.setattr(socket.socket, "connect", refuse)
        config = load_config([path])
        sync_sources(config)
        yield config, path


def listed(config, survey):
    """Return the names of the objects in a survey's source manifests."""
    paths = Paths(config)
    found = set()
    for block in paths.blocks:
        content = json.loads(Path(paths.sources(survey, block)).read_text(encoding="utf-8"))
        for entries in content["tiles"].values():
            found |= {entry.partition("=")[0] for entry in entries}
    return found


def test_the_shipped_run_covers_acts_survey(real_data):
    config = load_config([SHIPPED])
    assert config.output == "runs/wise_act_dr5"
    assert len(run_tiles(config.sky)) == 3708
    assert len(run_blocks(config.sky)) == 276


def test_sync_lists_every_unwise_tile_of_the_footprint_without_a_network(rehearsal, real_data):
    config, _ = rehearsal
    names = {name.split(":")[1] for name in listed(config, "unwise")}
    table = Table.read(real_data / "footprints/wise-tiles.fits.gz")
    ra, dec = np.array(table["ra"]), np.array(table["dec"])
    searched = np.isin(sky.owning_cell(ra, dec, 5), run_tiles(config.sky))
    assert searched.sum() > 3
    assert set(table["coadd_id"][searched].astype(str)) <= names
    at = np.isin(table["coadd_id"].astype(str), sorted(names))
    far = sky.separation_deg(ra[at], dec[at], CONE["ra_deg"], CONE["dec_deg"])
    # The cone, a whole tile, its halo, and half an image's diagonal.
    assert far.max() < CONE["radius_deg"] + 2 * sky.cell_radius_deg(5) + 0.2 + 1.11
    assert len(listed(config, "unwise")) == 4 * len(names)
    assert len(listed(config, "act")) == 6


def test_the_plan_counts_the_files_that_sync_listed(rehearsal):
    config, _ = rehearsal
    unwise, act = planned_downloads(config)
    assert unwise.files == len(listed(config, "unwise"))
    assert unwise.gib == pytest.approx(unwise.files * 2048**2 * 4 / 2**30)
    assert "counted in the manifests" in unwise.how
    assert (act.files, act.gib) == (6, pytest.approx(6 * 5350e6 / 2**30))
    rates = Rates(networks=dict.fromkeys(
        ("unwise/baseline", "unwise/resnet18", "act/baseline", "act/resnet18"),
        NetworkRate(crop_s=0.001),
    ))  # fmt: skip
    fetch = plan(config, rates)[0]
    assert fetch.download_gib == pytest.approx(unwise.gib + act.gib)
    assert fetch.disk_gib > fetch.download_gib  # what was downloaded is kept


def test_a_dry_run_needs_no_network_and_has_the_jobs_of_the_plan(rehearsal, tmp_path):
    """Its paths hold ${CLUSTERSCAN_DATA}, whose braces Snakemake could take for a wildcard."""
    config, path = rehearsal
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "host", "--nocolor"]
    command += ["--cores", "1", "--snakefile", str(PROJECT_ROOT / "Snakefile")]
    done = subprocess.run(
        [*command, "--configfile", str(path)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
    )  # fmt: skip
    blocks = len(run_blocks(config.sky))
    said = {
        line.split()[0]: int(line.split()[1])
        for line in done.stdout.splitlines()
        if len(line.split()) == 2 and line.split()[1].isdecimal()
    }
    assert said["fetch"] == said["preprocess"] == 2 * blocks
    assert said["scan"] == said["detect"] == 6 * blocks
    assert said["train"] == 4
