"""A study's file: strict, every fault with its line; its reduced form; what belongs together."""

import re

import pytest
import yaml

from clusterscan.core.data_paths import PROJECT_ROOT
from clusterscan.core.errors import ConfigError
from clusterscan.measure.combined_table import TITLES
from clusterscan_studies.config.extras import ProbabilityMapSettings, RosatFieldSettings
from clusterscan_studies.config.load import find_study, load_study, shipped_studies
from clusterscan_studies.config.study import (
    MEASURES,
    ColourMagnitude,
    ExperimentSettings,
    FoldSettings,
    GallerySettings,
    Gap,
    Paper,
    RecallBy,
    RunDataset,
    Study,
)
from clusterscan_studies.sources import base_runs


def said(file) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    return str(caught.value)


def line_of(file, text: str) -> int:
    lines = file.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def write(study_file, text: str) -> None:
    study_file.write_text(text, encoding="utf-8")


def test_a_misspelt_setting_is_told_with_its_line_and_the_right_name(study_file, tiny):
    write(study_file, tiny(experiments__small__train={"epoch": 3}))
    line = line_of(study_file, "epoch: 3")
    assert said(study_file) == (
        f"{study_file}:{line}: experiments.small.train.epoch: no such setting; did you mean "
        "'epochs'?"
    )


@pytest.mark.parametrize(
    ("change", "at", "told"),
    [
        ({"experiments__small__network": "smal"}, "network: smal", r"'smal' is not there; .*small"),
        ({"experiments__small__dataset": "x"}, "dataset: x", r"'x' is not there; there are: blobs"),
        ({"experiments__small__network": None}, "small:", "give either `network`"),
        ({"measures": ["acuracy"]}, "measures:", r"\['acuracy'\] are none; there are accuracy,"),
        ({"experiments__small__published": {"F1": 1.0}}, "published:", r"\['F1'\] are no measures"),
        ({"experiments__small__start_from": "small"}, "start_from:", "leads back to itself"),
        ({"experiments__small__size_px": 4}, "size_px: 4", "greater than or equal to 8"),
        ({"gaps": [{"experiments": ["none"], "text": "t"}]}, "experiments:", "'none' is not there"),
    ],
)
def test_a_fault_is_told_with_its_place(study_file, tiny, change, at, told):
    write(study_file, tiny(**change))
    text = said(study_file)
    assert re.search(told, text)
    number = re.match(rf"{re.escape(str(study_file))}:(\d+): ", text)
    assert number, text
    assert at in study_file.read_text().splitlines()[int(number[1]) - 1]


def test_an_experiments_training_is_the_studys_with_what_it_changes(study_file):
    study = load_study(study_file).study
    small, wide = study.training("small"), study.training("wide")
    assert (small.learning_rate, wide.learning_rate) == (0.003, "range_test")
    assert small.epochs == wide.epochs == 3
    assert small.augmentation == wide.augmentation
    assert wide.range_test.steps == 10


def test_the_reduced_form_lays_its_section_over_the_rest_and_says_what_it_changed(study_file, tiny):
    write(study_file, tiny(quick__experiments={"wide": None}, quick__repeats=1))
    form = load_study(study_file, quick=True)
    assert list(form.study.experiments) == ["small"]
    assert form.study.train.epochs == 1
    assert form.reduced == (
        ("train.epochs", "3", "1"),
        ("experiments.wide", "Two outputs", "left out"),
        ("repeats", "2", "1"),
    )
    assert form.root.as_posix() == "studies/blobs-quick"
    full = load_study(study_file)
    assert (full.reduced, full.root.as_posix()) == ((), "studies/blobs")


def test_a_fault_in_the_reduced_form_is_told_with_its_line_there(study_file, tiny):
    write(study_file, tiny(quick={"train": {"epochs": 0}}))
    load_study(study_file)
    with pytest.raises(ConfigError) as caught:
        load_study(study_file, quick=True)
    line = line_of(study_file, "epochs: 0")
    assert str(caught.value).startswith(f"{study_file}:{line}: train.epochs: ")


def test_a_study_without_a_reduced_form_says_what_one_looks_like(study_file, tiny):
    write(study_file, tiny(quick=None))
    with pytest.raises(ConfigError, match="quick: should be a section"):
        load_study(study_file, quick=True)


def test_an_unknown_study_is_told_the_names_there_are():
    with pytest.raises(ConfigError, match=r"did you mean 'levy_mergers'.*pruitt_perseus"):
        find_study("levy_merger")


def test_every_measure_that_a_study_can_name_has_a_heading():
    assert set(MEASURES) <= set(TITLES)


@pytest.mark.parametrize("quick", [False, True], ids=["full", "quick"])
@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_and_its_skies_are_valid_in_both_forms(name, quick):
    form = load_study(find_study(name), quick=quick)
    base_runs(form)
    assert any(e.published for e in form.study.experiments.values())
    assert form.study.gaps


def test_the_published_figures_are_those_of_the_papers():
    def published(name, measure):
        study = load_study(find_study(name)).study
        values = {key: e.published.get(measure) for key, e in study.experiments.items()}
        return {key: value for key, value in values.items() if value is not None}

    infrared = [0.882, 0.857, 0.542, 0.568, 0.398, 0.681, 0.807, 0.905, 0.668]
    microwave = [0.727, 0.915, 0.994, 0.892, 0.765, 0.899, 0.836, 0.937, 0.648]
    assert list(published("fomicheva2025", "accuracy").values()) == infrared + microwave
    accuracy = published("kosiba2020", "accuracy")
    assert accuracy["cn_e"] == (0.90, 0.03)
    values = sorted(v[0] for v in accuracy.values())
    assert values == [0.68, 0.75, 0.79, 0.81, 0.81, 0.82, 0.88, 0.90]
    areas = sorted(v[0] for v in published("kosiba2020", "roc_auc").values())
    assert areas == [0.77, 0.86, 0.87, 0.89, 0.90, 0.91, 0.94, 0.96]
    assert max(published("levy_mergers", "f1").values()) == 0.97
    assert max(published("pruitt_perseus", "accuracy").values()) == 0.95


def test_aliases_in_a_study_are_plain_settings(study_file, tiny):
    values = yaml.safe_load(tiny())
    text = yaml.safe_dump(values, sort_keys=False)
    text = text.replace("  small:\n    title", "  small: &small\n    title")
    write(study_file, text + "experiments_again: *small\n")
    assert "experiments_again: no such setting" in said(study_file)


@pytest.mark.parametrize(
    "model",
    [
        Study, ExperimentSettings, RunDataset, FoldSettings, RecallBy, ColourMagnitude, Gap,
        GallerySettings, Paper, ProbabilityMapSettings, RosatFieldSettings,
    ],
    ids=lambda model: model.__name__,
)  # fmt: skip
def test_every_setting_of_a_study_stands_in_the_documentation(model):
    text = (PROJECT_ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    missing = [name for name in model.model_fields if f"`{name}`" not in text and name != "kind"]
    assert missing == []
