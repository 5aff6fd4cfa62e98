"""A mini run's products stand before the validators of others, and are the same bytes again."""

import importlib.util
import json
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


def test_publishing_again_gives_the_same_folder_to_the_last_byte(finished, copy):
    sums = copy.root / "published/SHA256SUMS"
    before = sums.read_text()
    sums.unlink()
    assert "published: nothing yet" in copy.clusterscan("status")
    copy.clusterscan("run", "--cores", "1")
    assert sums.read_text() == before == (finished.root / "published/SHA256SUMS").read_text()
    assert "published: " in copy.clusterscan("status")


def test_verify_names_a_changed_file_of_the_published_folder_and_its_broken_manifests(copy):
    csv = copy.root / "published/catalogue/clusters.csv"
    csv.write_bytes(csv.read_bytes() + b"another,row")
    manifests = sorted(copy.root.glob("manifests/*/act/*.json"))[:2]
    for manifest in manifests:
        manifest.write_text("{")
    said = copy.clusterscan("verify", expect=1)
    assert "damaged: published/catalogue/clusters.csv (published folder)" in said
    for manifest in manifests:
        assert f"damaged: {manifest.relative_to(copy.root)} (block manifest)" in said


def test_the_folder_names_what_the_run_was_made_from(finished):
    crate = json.loads((finished.root / "published/ro-crate-metadata.json").read_text())
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    used = {reference["@id"] for reference in graph["#run"]["object"]}
    assert "config.yaml" in used
    assert "#survey-act" in used
    assert graph["#survey-act"]["identifier"].startswith("sha256:")
