"""A network that was trained before is taken back in place of a training."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from clusterscan.config.load import load_config
from clusterscan.core.atomic import atomic_path, write_json
from clusterscan.core.fingerprint import file_sha256
from clusterscan.flow.job import Job
from clusterscan.flow.paths import RunFolder
from clusterscan.flow.stage_settings import StageSettings
from clusterscan.formats.training_set import TrainingSet
from clusterscan.train import stage

MINI = Path(__file__).parents[1] / "mini.yaml"


@pytest.fixture
def job(tmp_path):
    """Return the mini run's training."""
    told = StageSettings(load_config([MINI])).train("act", "baseline")
    output = tmp_path / "models/act-baseline/model.json"
    return Job(RunFolder(tmp_path), told.stage, told.version, told.sky, output)


@pytest.fixture
def trainings(monkeypatch):
    """Replace the training by one that writes its number, and return the list of numbers."""
    done: list[int] = []

    def train(*_, **__):
        done.append(len(done))
        return done[-1]

    def write_model(folder, number):
        for name in ("weights.safetensors", "model.json"):
            with atomic_path(folder / name) as temporary:
                temporary.write_text(f"{name} of training {number}")

    monkeypatch.setattr(stage, "read_training_sets", lambda *_: None)
    monkeypatch.setattr(stage, "train", train)
    monkeypatch.setattr(stage, "write_model", write_model)
    return done


def start(job, examples="a"):
    """Run the job as Snakemake does: its outputs are deleted first. Return the model's files."""
    training_set = job.root / "releases/act.json"
    write_json(training_set, asdict(TrainingSet("act", "", {"examples": examples * 64}, {}, {})))
    folder = job.output.parent
    for path in folder.glob("*"):
        path.unlink()
    stage.train_network(job, [training_set])
    return {path.name: path.read_text() for path in folder.iterdir()}


def with_seed(job, seed):
    recipe = job.settings.train.model_copy(update={"seed": seed})
    return replace(job, settings=job.settings.model_copy(update={"train": recipe}))


def test_a_setting_changed_there_and_back_trains_once_for_each_value(job, trainings):
    first = start(with_seed(job, 1))
    second = start(with_seed(job, 2))
    assert first != second
    assert start(with_seed(job, 1)) == first
    assert start(with_seed(job, 2)) == second
    assert trainings == [0, 1]


def test_files_that_are_taken_back_are_as_new_as_those_of_a_training(job, trainings):
    start(job)
    start(job)
    training_set = (job.root / "releases/act.json").stat().st_mtime_ns
    for path in job.output.parent.iterdir():
        assert path.stat().st_mtime_ns >= training_set
    assert trainings == [0]


def test_other_examples_and_another_version_are_trained(job, trainings):
    start(job)
    start(job, examples="b")
    start(replace(job, version=job.version + 1))
    assert trainings == [0, 1, 2]


@pytest.mark.parametrize("harm", ["damaged", "missing", "named outside"])
def test_a_kept_network_that_is_not_whole_is_trained_again(job, trainings, harm):
    start(job)
    (weights,) = job.root.glob("trained/act-baseline/*/weights.safetensors")
    if harm == "damaged":
        weights.write_text("other bytes")
    elif harm == "missing":
        weights.unlink()
    else:
        record = weights.with_name("record.json")
        values = json.loads(record.read_text())
        (weights.parent.parent / "outside").write_text("a file of another folder")
        values["files"]["../outside"] = file_sha256(weights.parent.parent / "outside")
        record.write_text(json.dumps(values))
    found = start(job)
    assert found["weights.safetensors"] == "weights.safetensors of training 1"
    assert start(job) == found
    assert trainings == [0, 1]


def test_the_networks_used_longest_ago_are_dropped(job, trainings):
    for seed in (0, 1, 2, 3, 0, 4):
        start(with_seed(job, seed))
    assert len(list(job.root.glob("trained/act-baseline/*"))) == 4
    start(with_seed(job, 0))
    assert len(trainings) == 5
    start(with_seed(job, 1))
    assert len(trainings) == 6
