"""A training is done once: skipped when finished, gone on with when killed, redone when changed."""

import json

import pandas as pd
import pytest

from clusterscan.core.errors import ProductError
from clusterscan.train import loop, products
from clusterscan_studies.experiment import RECORD, Job, run_experiment
from clusterscan_studies.results import Training


def silent(done, total, text=""):
    return None


class KilledError(Exception):
    """What ends a training in these tests."""


@pytest.fixture
def trained(monkeypatch):
    """Return a list of the seeds trained, by a training that leaves small files."""
    seen = []

    def train(examples, network, settings, *, progress, start_from, checkpoint):
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "state").write_text("half")
        if settings.seed in train.killed:
            raise KilledError
        seen.append((settings.seed, start_from, checkpoint))
        return settings

    def write_model(folder, settings):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("weights.safetensors", "predictions.parquet", "history.json"):
            (folder / name).write_text(f"{name} {settings.seed} {settings.epochs}")
        card = {"training": {"device": "cpu"}}
        (folder / "model.json").write_text(json.dumps(card))
        return card

    train.killed = set()
    seen_and_killed = type("Seen", (list,), {"killed": train.killed})
    seen = seen_and_killed()
    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(products, "write_model", write_model)
    return seen


def job(folder, *, seeds=(1, 2), epochs=3, start_from=None, data="abc"):
    stage = {
        "fusion": False,
        "network": {"name": "baseline", "form": "whole", "size_px": 16},
        "train": {"epochs": epochs},
        "folds": None,
        "repeats": [[seed, None] for seed in seeds],
    }
    return Job(folder, {"version": 1, "stage": stage}, {"examples": data}, start_from)


def run(*arguments, **options):
    run_experiment(job(*arguments, **options), object, silent)


def test_a_finished_training_is_never_repeated_and_the_examples_are_not_even_read(
    tmp_path, trained
):
    run(tmp_path / "a")
    before = (tmp_path / "a/experiment.json").read_bytes()

    def unread():
        raise AssertionError("nothing is to be trained")

    run_experiment(job(tmp_path / "a"), unread, silent)
    assert [seed for seed, *_ in trained] == [1, 2]
    assert (tmp_path / "a/experiment.json").read_bytes() == before


def test_more_repeats_train_the_new_ones_alone(tmp_path, trained):
    run(tmp_path / "a")
    run(tmp_path / "a", seeds=(1, 2, 3))
    assert [seed for seed, *_ in trained] == [1, 2, 3]
    listed = json.loads((tmp_path / "a/experiment.json").read_text())["repeats"]
    assert [repeat["name"] for repeat in listed] == ["seed1", "seed2", "seed3"]


@pytest.mark.parametrize("change", [{"epochs": 4}, {"data": "abd"}])
def test_other_settings_or_data_train_anew(tmp_path, trained, change):
    run(tmp_path / "a")
    run(tmp_path / "a", **change)
    assert [seed for seed, *_ in trained] == [1, 2, 1, 2]


def test_a_damaged_or_forgotten_training_is_done_again_and_the_others_are_not(tmp_path, trained):
    run(tmp_path / "a")
    (tmp_path / "a/seed2/weights.safetensors").write_text("cut")
    run(tmp_path / "a")
    (tmp_path / "a/seed1" / RECORD).unlink()
    run(tmp_path / "a")
    assert [seed for seed, *_ in trained] == [1, 2, 2, 1]


def test_a_killed_training_gets_its_checkpoint_again_and_one_of_other_settings_goes(
    tmp_path, trained
):
    trained.killed.add(2)
    with pytest.raises(KilledError):
        run(tmp_path / "a")
    left = list((tmp_path / "a/.checkpoints").iterdir())
    assert [path.name.partition("-")[0] for path in left] == ["seed2"]
    with pytest.raises(KilledError):
        run(tmp_path / "a", epochs=9)
    other = list((tmp_path / "a/.checkpoints").iterdir())
    assert len(other) == 1
    assert other != left
    trained.killed.clear()
    run(tmp_path / "a", epochs=9)
    assert trained[-1][2] == other[0]
    assert list((tmp_path / "a/.checkpoints").iterdir()) == []


def test_what_starts_from_other_weights_takes_its_own_repeats_and_follows_their_change(
    tmp_path, trained
):
    run(tmp_path / "body")
    run(tmp_path / "a", start_from=tmp_path / "body")
    assert [start for _, start, _ in trained[2:]] == [
        tmp_path / "body" / f"seed{n}" for n in (1, 2)
    ]
    run(tmp_path / "body", epochs=5)
    run(tmp_path / "a", start_from=tmp_path / "body")
    assert len(trained) == 8


def test_a_body_trained_fewer_times_is_given_out_in_turn(tmp_path, trained):
    run(tmp_path / "body", seeds=(1, 2))
    run(tmp_path / "a", seeds=(1, 2, 3), start_from=tmp_path / "body")
    assert [start.name for _, start, _ in trained[2:]] == ["seed1", "seed2", "seed1"]


def test_every_fold_starts_from_a_body_that_has_none(tmp_path, trained):
    run(tmp_path / "body", seeds=(1,))
    folded = job(tmp_path / "a", start_from=tmp_path / "body")
    folded.stage["repeats"] = [[1, 0], [1, 1]]
    starts = [folded.start_of(repeat) for repeat in folded.repeats]
    assert starts == [tmp_path / "body/seed1"] * 2


def test_a_missing_model_is_told_with_what_to_do(tmp_path):
    training = Training(tmp_path / "models/a/seed1", 1, None)
    with pytest.raises(ProductError, match=r"model.json: cannot be read .* delete its folder"):
        _ = training.card


def test_predictions_come_calibrated(tmp_path):
    folder = tmp_path / "seed1"
    folder.mkdir()
    temperature = {"kind": "temperature", "temperature": 2.0}
    card = {"classes": ["no", "yes"], "calibration": temperature}
    (folder / "model.json").write_text(json.dumps(card))
    odds = 9.0  # a temperature of 2 takes the square root of the odds
    table = pd.DataFrame(
        {
            "split": ["test", "validation"],
            "probability_no": [1 / (1 + odds)] * 2,
            "probability_yes": [odds / (1 + odds)] * 2,
        }
    )
    table.to_parquet(folder / "predictions.parquet")
    found = Training(folder, 1, None).predictions("test")
    assert found["probability_yes"].tolist() == [pytest.approx(3 / 4)]
