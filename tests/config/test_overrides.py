"""Settings laid over others: a file over a file, an experiment over its study, quick over full."""

from clusterscan.config.load import merge
from clusterscan_studies.config.load import find_study, load_study


def laid(base, extra):
    merge(base, extra)
    return base


def test_mappings_are_joined_key_by_key_and_all_else_is_replaced():
    base = {"sky": {"order": 5, "kind": "box"}, "bands": [1, 2]}
    extra = {"sky": {"order": 6}, "bands": [3]}
    assert laid(base, extra) == {"sky": {"order": 6, "kind": "box"}, "bands": [3]}


def test_a_mapping_of_another_kind_takes_nothing_from_the_one_below():
    base = {"normalisation": {"kind": "asinh", "colour_gain": 3.0}}
    assert laid(base, {"normalisation": {"kind": "unit"}}) == {"normalisation": {"kind": "unit"}}


def test_a_mapping_of_the_same_kind_keeps_what_it_does_not_name():
    base = {"normalisation": {"kind": "asinh", "colour_gain": 3.0}}
    extra = {"normalisation": {"kind": "asinh", "softening": 2.0}}
    assert laid(base, extra)["normalisation"] == {
        "kind": "asinh",
        "colour_gain": 3.0,
        "softening": 2.0,
    }


def test_a_network_from_imagenet_sees_the_colours_of_its_images_in_the_quick_form_too():
    study = load_study(find_study("levy_mergers"), quick=True).study
    assert study.training("vgg16_scratch").normalisation.colour_gain == 3.0
    seen = study.training("imagenet_transfer").normalisation
    assert (seen.kind, seen.colour_gain, seen.background) == ("unit", 0.0, "kept")
