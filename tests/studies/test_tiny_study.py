"""A whole study from one command: products, no-op, what a change reruns, the same bytes again."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from clusterscan.commands.cli import main
from clusterscan_studies.config.load import load_study
from clusterscan_studies.layout import StudySettings
from clusterscan_studies.page import write_results

pytestmark = pytest.mark.chain

PRODUCTS = ("table.parquet", "table.csv", "table.md", "table_runs.parquet", "report.html")


def study(folder: Path, *arguments: str) -> str:
    """Run `clusterscan study blobs.yaml` in a folder and return what it said."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "clusterscan", "study", "blobs.yaml", "--cores", "1", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    return text


def jobs(folder: Path, *arguments: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run would run."""
    table = study(folder, *arguments, "-n").partition("Job stats:")[2].partition("total")[0]
    counts = dict(re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE))
    return {rule: int(n) for rule, n in counts.items() if rule != "all"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny) -> Path:
    """Return a folder in which the tiny study has been run in its reduced form."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "blobs.yaml").write_text(tiny(), encoding="utf-8")
    (folder / "said.txt").write_text(study(folder, "--quick"), encoding="utf-8")
    return folder


def test_a_study_leaves_its_table_and_a_page_that_needs_no_network(finished):
    root = finished / "studies/blobs-quick"
    assert all((root / name).is_file() for name in PRODUCTS)
    html = (root / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']http""", html)
    for text in (
        "SIMULATED IMAGES", "REDUCED FORM", "train.epochs", "Blobs are easier than clusters.",
        "Small network", "Two outputs", "range test", "Most confident predictions", "magnitude",
        "A. Author (2020)", "Machine and time",
    ):  # fmt: skip
        assert text in html, text
    said = (finished / "said.txt").read_text(encoding="utf-8")
    assert "studies/blobs-quick/report.html" in said
    assert "(published 0.900 ± 0.020)" in said


def test_the_table_has_every_seed_and_the_published_figures_beside(finished):
    root = finished / "studies/blobs-quick"
    table = pd.read_parquet(root / "table.parquet").set_index("experiment")
    assert table["seeds"].tolist() == [2, 2]
    assert table.loc["small", ["accuracy_published", "accuracy_published_std"]].tolist() == [
        0.9, 0.02,
    ]  # fmt: skip
    runs = pd.read_parquet(root / "table_runs.parquet")
    assert sorted(zip(runs["experiment"], runs["seed"], strict=True)) == [
        ("small", 1), ("small", 2), ("wide", 1), ("wide", 2),
    ]  # fmt: skip
    means = runs.groupby("experiment")["accuracy"].mean()
    assert table["accuracy"].to_dict() == pytest.approx(means.to_dict())
    summary = json.loads((root / "summary.json").read_text())
    assert summary["quick"] is True


def test_the_rate_that_the_range_test_chose_is_the_one_used(finished):
    folder = finished / "studies/blobs-quick/models/wide/seed1"
    (test,) = json.loads((folder / "history.json").read_text())["range_tests"]
    card = json.loads((folder / "model.json").read_text())
    assert card["training"]["stages"][0]["learning_rate"] == test["chosen"]


def test_a_second_run_does_nothing_and_a_change_reruns_what_it_concerns(finished, tiny):
    file = finished / "blobs.yaml"
    assert "Nothing to be done" in study(finished, "--quick")
    more = {"title": "More", "dataset": "blobs", "network": "small", "bands": ["r"]}
    changes = {"experiments__wide__train": {"learning_rate": 0.01}, "experiments__more": more}
    file.write_text(tiny(**changes), encoding="utf-8")
    assert jobs(finished, "--quick") == {"experiment": 2, "report": 1}
    file.write_text(tiny(title="Other blobs"), encoding="utf-8")
    assert jobs(finished, "--quick") == {"report": 1}
    file.write_text(tiny(), encoding="utf-8")


def test_the_results_are_the_same_bytes_when_they_are_made_again(finished, monkeypatch):
    monkeypatch.chdir(finished)
    root = Path("studies/blobs-quick")
    before = {name: (root / name).read_bytes() for name in PRODUCTS}
    for name in PRODUCTS:
        (root / name).unlink()
    settings = StudySettings(load_study("blobs.yaml", quick=True))
    write_results(root, json.loads(settings.report())["stage"], lambda *_: None)
    assert {name: (root / name).read_bytes() for name in PRODUCTS} == before


def test_a_wrong_study_ends_with_its_line_and_no_traceback(tmp_path, tiny):
    file = tmp_path / "blobs.yaml"
    file.write_text(tiny(repeats=0), encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["study", str(file)])
    told = r"clusterscan study: .*blobs.yaml:\d+: repeats: should be greater than or equal to 1"
    assert re.search(told, str(caught.value))
