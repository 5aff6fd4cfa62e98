"""Each stage sees its own settings alone, so a change reruns that stage and later ones only."""

import json

import pytest
import yaml

from clusterscan.config.load import load_config
from clusterscan.config.simulation import SimulationSettings
from clusterscan.core.errors import ConfigError
from clusterscan.flow.stage_settings import StageSettings


@pytest.fixture
def parts(tmp_path, mini_text):
    """Return a function: a changed configuration to each stage's settings."""

    def read(**changes):
        file = tmp_path / "config.yaml"
        file.write_text(mini_text(**changes))
        settings = StageSettings(load_config([file]))
        texts = {
            "fetch": settings.fetch("act"),
            "catalogue": settings.catalogue("richness"),
            "known": settings.known(),
            "preprocess": settings.preprocess("act"),
            "sample": settings.sample("act"),
            "train": settings.train("act", "baseline"),
            "scan": settings.scan("act", "baseline"),
            "scan filter": settings.scan("act", "filter"),
            "detect": settings.detect("act", "baseline"),
            "detect filter": settings.detect("act", "filter"),
            "merge": settings.merge(),
            "validate": settings.validate(),
            "publish": settings.publish(),
        }
        return {name: json.loads(told.text()) for name, told in texts.items()}

    return read


CHANGES = [
    ({"merge__radius_arcmin": 3.0}, ["merge"]),
    ({"known__radius_arcmin": 3.0}, ["known"]),
    ({"validate__n_bootstrap": 30}, ["validate"]),
    ({"publish__gallery_count": 3}, []),
    ({"title": "Another"}, []),
    ({"detect__min_snr": 3.0}, ["detect", "detect filter"]),
    ({"surveys__act__scan__min_valid_fraction": 0.5}, ["scan"]),
    ({"surveys__act__filter__point_source_snr": 4.0}, ["scan filter"]),
    ({"surveys__act__models__baseline__train__epochs": 2}, ["train"]),
    ({"surveys__act__sample__random_per_deg2": 50.0}, ["sample"]),
    ({"surveys__act__title": "Another"}, []),
    ({"surveys__act__preprocess__min_finite_fraction": 0.1}, ["preprocess"]),
    ({"simulation__known__richness_min": 7.0}, ["catalogue"]),
    ({"simulation__microwave__cmb": False}, ["fetch", "catalogue"]),
]


def test_other_first_weights_under_the_same_name_train_anew(parts, tmp_path):
    weights = tmp_path / "first.safetensors"
    texts = []
    for content in (b"one", b"two", b"one"):
        weights.write_bytes(content)
        stages = parts(surveys__act__models__baseline__network__pretrained=str(weights))
        texts.append(stages.pop("train"))
    assert texts[0] != texts[1]
    assert texts[0] == texts[2]


@pytest.mark.parametrize(("change", "stages"), CHANGES, ids=lambda x: str(x))
def test_a_setting_stands_in_its_own_stage_and_in_the_published_whole(parts, change, stages):
    before, after = parts(), parts(**change)
    differing = [name for name in before if before[name]["stage"] != after[name]["stage"]]
    assert differing == [*stages, "publish"]


@pytest.mark.parametrize(
    "change",
    [
        {"execution__workers": 2},
        {"execution__max_failed_fraction": 0.5},
        {"execution__gpus_per_job": 1},
        {"sky__block_order": 6},
        {"output": "elsewhere"},
    ],
    ids=lambda x: str(x),
)
def test_how_a_run_is_cut_and_where_it_lies_determine_no_result(parts, change):
    before, after = parts(), parts(**change)
    for name in before:
        if name != "publish":  # shows the whole configuration
            assert before[name]["stage"] == after[name]["stage"], name


def test_how_jobs_run_reruns_nothing(parts):
    how = {"workers": 2, "gpus_per_job": 1, "max_failed_fraction": 0.5}
    assert parts() == parts(execution=how)


def test_settings_are_one_text_whatever_the_order_of_the_file(tmp_path, mini_text):
    values = yaml.safe_load(mini_text())
    texts = []
    for turned in (False, True):
        items = list(values.items())[:: -1 if turned else 1]
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(dict(items), sort_keys=False))
        texts.append(StageSettings(load_config([tmp_path / "c.yaml"])).publish().text())
    assert texts[0] == texts[1]


def test_a_setting_of_one_simulated_survey_leaves_the_others_as_they_are():
    before, after = SimulationSettings(), SimulationSettings(optical={"galaxies": False})
    for product in ("infrared", "microwave", "truth", "sz", "richness"):
        assert before.parts_of(product) == after.parts_of(product)
    assert before.parts_of("optical") != after.parts_of("optical")
    assert before.parts_of("candidates") != after.parts_of("candidates")


def test_a_stage_rebuilds_the_same_simulation_from_its_part_of_the_settings():
    settings = SimulationSettings(infrared={"star_density": 0.5})
    assert SimulationSettings(**settings.parts_of("infrared")) == settings


BRANCH = {"name": "baseline", "output_stride": 4, "size_px": 16, "window_px": 8}
WIDE = {
    "title": "Coarser",
    "bands": ["f150"],
    "unit": "uK_CMB",
    "pixel_scale_arcsec": 60.0,
    "beam_fwhm_arcsec": [84.0],
    "source": {"kind": "simulated", "sky": "microwave"},
    "sample": {
        "kind": "tiles",
        "size_px": 16,
        "random_per_deg2": 60.0,
        "exclusion_arcmin": 3.0,
    },
    "models": {"baseline": {"network": BRANCH}},
}


def test_a_network_of_several_surveys_changes_only_what_comes_after_the_maps(parts):
    network = {"branches": {"act": BRANCH, "wide": BRANCH}}
    before = parts(surveys__wide=WIDE)
    after = parts(surveys__wide=WIDE, fusions={"both": {"network": network}})
    differing = [name for name in before if before[name]["stage"] != after[name]["stage"]]
    assert differing == ["merge", "validate", "publish"]


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        ({"act": BRANCH, "xray": BRANCH}, "'xray' is not a survey; choose from"),
        ({"act": BRANCH, "wide": {**BRANCH, "size_px": 24}}, "larger than the examples"),
        ({"act": BRANCH}, "at least 2"),
    ],
)
def test_fusions_that_do_not_fit_their_surveys_are_refused(parts, branches, message):
    changes = {"surveys__wide": WIDE, "fusions": {"both": {"network": {"branches": branches}}}}
    with pytest.raises(ConfigError, match=message):
        parts(**changes)


@pytest.mark.parametrize("old", ["unite_radius_arcmin", "duplicate_radius_arcmin"])
def test_a_moved_key_of_merge_is_refused_with_its_new_place(parts, old):
    new = old.removeprefix("unite_")
    with pytest.raises(ConfigError, match=f"{old} has moved; write known.{new}: 0.05"):
        parts(**{f"merge__{old}": 0.05})
