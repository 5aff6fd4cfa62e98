"""Which trainings there are, and what makes one another."""

from pathlib import Path

import pytest

from clusterscan_studies.config.load import load_study
from clusterscan_studies.experiment import Repeat, planned_repeats, repeat_fingerprint
from clusterscan_studies.layout import StudySettings


def test_every_seed_is_trained_once_in_every_fold_and_more_repeats_only_add():
    assert planned_repeats(1, 2, None) == [(1, None), (2, None)]
    assert planned_repeats(4, 2, 3) == [(4, 0), (4, 1), (4, 2), (5, 0), (5, 1), (5, 2)]
    assert planned_repeats(4, 3, 3)[:6] == planned_repeats(4, 2, 3)
    assert [Repeat(4, 1).name, Repeat(4).name] == ["seed4-fold1", "seed4"]


def test_a_repeat_does_not_know_how_many_there_are():
    settings = {"version": 1, "stage": {"train": {"epochs": 3}, "repeats": [[1, None]]}}
    more = {"version": 1, "stage": {"train": {"epochs": 3}, "repeats": [[1, None], [2, None]]}}
    inputs = {"examples": "abc"}
    mark = repeat_fingerprint(settings, Repeat(1), inputs)
    assert repeat_fingerprint(more, Repeat(1), inputs) == mark
    others = [
        repeat_fingerprint(settings, Repeat(2), inputs),
        repeat_fingerprint(settings, Repeat(1, 0), inputs),
        repeat_fingerprint(settings, Repeat(1), {"examples": "abd"}),
        repeat_fingerprint({**settings, "version": 2}, Repeat(1), inputs),
        repeat_fingerprint({"version": 1, "stage": {"train": {}}}, Repeat(1), inputs),
    ]
    assert len({mark, *others}) == 6


CHANGES = {
    "a title": ({"title": "Other"}, {"report"}),
    "a published figure": ({"experiments__small__published": {"recall": 0.5}}, {"report"}),
    "an experiment's training": ({"experiments__wide__train": {"epochs": 2}}, {"wide", "report"}),
    "the common training": ({"train__batch_size": 8}, {"small", "wide", "report"}),
    "a network": ({"networks__wide__size_px": 18}, {"wide", "report"}),
    "one more repeat": ({"repeats": 3}, {"small", "wide", "report"}),
    "the data": ({"datasets__blobs__size_px": 18}, {"examples", "report"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_by_the_jobs_that_it_concerns_alone(tmp_path: Path, tiny, name):
    change, concerned = CHANGES[name]
    found = []
    for number, text in enumerate((tiny(), tiny(**change))):
        (tmp_path / str(number)).mkdir()
        file = tmp_path / str(number) / "blobs.yaml"
        file.write_text(text, encoding="utf-8")
        settings = StudySettings(load_study(file))
        found.append(
            {
                "examples": settings.examples("blobs"),
                "small": settings.experiment("small"),
                "wide": settings.experiment("wide"),
                "report": settings.report(),
            }
        )
    assert {key for key in found[0] if found[0][key] != found[1][key]} == concerned
