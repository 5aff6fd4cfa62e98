"""Data sets of ordinary runs: the run behind them, and the examples it has left."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from clusterscan.core.errors import ClusterscanError, ConfigError, ProductError
from clusterscan.flow.lock import hold_lock
from clusterscan.formats.examples import TileExamples, write_examples
from clusterscan_studies import command
from clusterscan_studies.config.load import load_study
from clusterscan_studies.config.study import RunDataset
from clusterscan_studies.examples import read_dataset, write_dataset
from clusterscan_studies.sources import base_config, base_runs, run_bases, sync_study


@pytest.fixture
def mini(tmp_path, mini_text):
    """Return the mini run's configuration file."""
    file = tmp_path / "mini.yaml"
    file.write_text(mini_text(), encoding="utf-8")
    return file


def of_run(tiny, mini, **others):
    """Return the tiny study's text on the mini run."""
    dataset = {"kind": "run", "title": "sky", "config": str(mini), "surveys": ["act"]}
    return tiny(datasets={"blobs": {**dataset, **others}})


def test_changes_of_a_run_need_a_folder_of_their_own(study_file, tiny, mini):
    study_file.write_text(of_run(tiny, mini, changes={"seed": 9}), encoding="utf-8")
    with pytest.raises(ConfigError, match="another run of it, which needs a folder of its own"):
        load_study(study_file)
    changes = {"seed": 9, "output": "runs/nine"}
    study_file.write_text(of_run(tiny, mini, changes=changes), encoding="utf-8")
    assert {k: v.seed for k, v in base_runs(load_study(study_file)).items()} == {"runs/nine": 9}


def test_a_survey_that_the_run_lacks_is_told(mini):
    dataset = RunDataset(kind="run", title="sky", config=str(mini), surveys=("unwise",))
    with pytest.raises(ConfigError, match=r"has no survey 'unwise'.* there are act"):
        base_config(dataset)


def test_two_unlike_runs_in_one_folder_are_refused(study_file, tiny, mini):
    values = yaml.safe_load(of_run(tiny, mini))
    other = {**values["datasets"]["blobs"], "changes": {"seed": 9, "output": "results"}}
    values["datasets"]["other"] = other
    study_file.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ConfigError, match="another data set's run differs but writes to results"):
        base_runs(load_study(study_file))


def test_a_run_without_examples_says_how_they_are_made(study_file, tiny, mini, monkeypatch):
    monkeypatch.chdir(study_file.parent)
    study_file.write_text(of_run(tiny, mini), encoding="utf-8")
    with pytest.raises(ProductError, match="has no examples yet; start the study by"):
        sync_study(load_study(study_file))


def test_a_base_run_that_another_process_works_on_is_left_alone(
    study_file, tiny, mini, monkeypatch
):
    monkeypatch.chdir(study_file.parent)
    study_file.write_text(of_run(tiny, mini), encoding="utf-8")
    with (
        hold_lock(Path("results")),
        pytest.raises(ClusterscanError, match="another run is at work in results"),
    ):
        run_bases(load_study(study_file), cores=1)
    assert [path.name for path in Path("results").iterdir()] == [".lock"]


def test_a_dry_run_of_a_study_leaves_its_base_runs_and_its_folder_alone(
    study_file, tiny, mini, monkeypatch
):
    monkeypatch.chdir(study_file.parent)
    study_file.write_text(of_run(tiny, mini), encoding="utf-8")
    shown = []
    monkeypatch.setattr(command, "show_workflow", lambda *arguments: shown.append(arguments))
    command.run_study(str(study_file), quick=False, cores=1, extra=["-n"])
    ((file, cores, arguments),) = shown
    assert (Path(file).name, cores, arguments[-1]) == (study_file.name, 1, "-n")
    assert not Path("results").exists()
    assert not Path(load_study(study_file).root).exists()


def shard(path, band: str, kinds=("known", "random", "star")):
    number = 12
    table = pd.DataFrame(
        {
            "example_id": [f"e{n}" for n in range(number)],
            "object_id": [f"o{n}" for n in range(number)],
            "ra_deg": np.linspace(10, 11, number),
            "dec_deg": 0.0,
            "label": [int(n % 3 == 0) for n in range(number)],
            "split": ["train", "train", "train", "validation", "validation", "validation",
                      "test", "test", "test", "train", "validation", "test"],
            "kind": [kinds[n % 3] for n in range(number)],
        }
    )  # fmt: skip
    images = np.full((number, 1, 4, 4), 1.0 if band == "a" else 2.0, np.float16)
    write_examples(path, TileExamples(table, images, (band,), 4, 1.0))


def test_surveys_are_stacked_in_their_order_and_kinds_chosen(tmp_path):
    files = {name: tmp_path / f"{name}.parquet" for name in ("zeta", "alpha")}
    shard(files["zeta"], "z")
    shard(files["alpha"], "a")
    from clusterscan.core.fingerprint import file_sha256

    source = {name: {str(file): file_sha256(file)} for name, file in files.items()}
    settings = RunDataset(
        kind="run", title="t", config="c.yaml", surveys=("zeta", "alpha"), stack=True,
        kinds=("known", "star"), classes=("no", "yes"),
    )  # fmt: skip
    write_dataset(tmp_path, "both", settings, source)
    manifest = tmp_path / "examples/both.json"
    found = read_dataset(tmp_path, manifest)
    assert found.views[0].bands == ("z", "a")
    assert found.views[0].images[0, :, 0, 0].tolist() == [2.0, 1.0]
    assert set(found.kind) == {"known", "star"}
    assert found.classes == ("no", "yes")
    shard(files["zeta"], "z", kinds=("known", "random", "random"))
    with pytest.raises(ProductError, match=r"other bytes than .*both.json was written for"):
        read_dataset(tmp_path, manifest)
