"""A mini run's products stand before the validators of others, and are the same bytes again."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def checks():
    """Return the checks that the build makes of the main job's products."""
    spec = importlib.util.spec_from_file_location("checks", PROJECT / ".ci/check_products.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # LSDB warns of its own use of pandas
def test_the_products_of_a_run_satisfy_the_tools_of_others(finished, checks):
    assert checks.check_products(finished.root) > 0


def test_the_folder_names_what_the_run_was_made_from(finished):
    crate = json.loads((finished.root / "published/ro-crate-metadata.json").read_text())
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    used = {reference["@id"] for reference in graph["#run"]["object"]}
    assert "config.yaml" in used
    assert "#survey-act" in used
    assert graph["#survey-act"]["identifier"].startswith("sha256:")


SMALLER = [17681, 17683, 17686]  # without a tile of the training region


def test_a_smaller_footprint_publishes_what_a_fresh_run_of_it_publishes(
    finished, copy, fresh, mini_text
):
    """The training set is pinned, and the network with it: the fresh run is given both."""
    footprint = {"kind": "cells", "order": 6, "ipix": SMALLER}
    for run in (copy, fresh):
        run.configure(mini_text(sky__footprint=footprint))
    for name in ("releases", "models"):
        shutil.copytree(finished.root / name, fresh.root / name)
    for run in (copy, fresh):
        run.clusterscan("run", "--cores", "1")
    assert len(list(copy.root.glob("maps/act/filter/Norder6/Dir10000/*.fits"))) == 4
    said = [(run.root / "published/SHA256SUMS").read_text().splitlines() for run in (copy, fresh)]
    assert sorted(set(said[0]) ^ set(said[1])) == []
    tiles = [line for line in said[0] if "maps/act/filter/Norder6/" in line]
    assert len(tiles) == 3
