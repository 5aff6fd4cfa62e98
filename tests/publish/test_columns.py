"""The column specification and the page generated from it."""

import pytest
from astropy import units as u
from astropy.io.votable.ucd import parse_ucd

from clusterscan.formats import mask_planes as planes
from clusterscan.formats.catalogue_columns import CONFLICTS, FLAGS, MASK_PLANES, catalogue_columns
from clusterscan.formats.map_tile import REASONS
from clusterscan.known.unite import Conflict

MODELS = [("unwise", "resnet18"), ("act", "baseline"), ("act", "filter")]


def all_columns():
    return catalogue_columns(MODELS, ["ACT-DR5", "redMaPPer"], simulated=True)


@pytest.mark.parametrize("column", all_columns(), ids=lambda c: c.name)
def test_every_ucd_and_unit_is_one_of_the_standards(column):
    parse_ucd(column.ucd, check_controlled_vocabulary=True)
    u.Unit(column.unit, format="vounit")
    u.Unit(column.unit, format="fits")
    assert column.description
    assert column.dtype in {"str", "float64", "float32", "int64", "int32"}


def test_every_network_has_a_probability_and_the_filter_only_its_signal_to_noise():
    names = {c.name for c in all_columns()}
    assert {"prob_unwise_resnet18", "snr_unwise_resnet18", "prob_act_baseline"} <= names
    assert "snr_act_filter" in names
    assert "prob_act_filter" not in names
    assert {"act_dr5_name", "act_dr5_sep_arcsec", "redmapper_name"} <= names


def test_truth_is_called_simulated_and_is_absent_from_real_runs():
    truth = [c for c in all_columns() if c.name.startswith("truth_")]
    assert len(truth) == 4
    assert all(c.description.startswith("SIMULATED TRUTH") for c in truth)
    real = catalogue_columns(MODELS, simulated=False)
    assert not [c for c in real if "truth" in c.name]


def test_models_whose_columns_would_share_a_name_are_refused():
    with pytest.raises(ValueError, match="rename the survey"):
        catalogue_columns([("act", "net-1"), ("act", "net_1")])


def test_flags_are_single_and_distinct_bits():
    values = [value for value, _ in FLAGS.values()]
    assert len(set(values)) == len(values)
    assert all(value > 0 and value & (value - 1) == 0 for value in values)


def test_flags_are_those_that_detection_sets_and_others_that_share_no_bit_with_them():
    from clusterscan.detect import peaks

    values = {name: value for name, (value, _) in FLAGS.items()}
    set_there = {
        "edge": peaks.FLAG_EDGE,
        "blended": peaks.FLAG_BLENDED,
        "centroid": peaks.FLAG_CENTROID,
        "saturated": peaks.FLAG_SATURATED,
    }
    set_there |= {plane.name: plane.flag for plane in planes.MASKABLE}
    assert values | set_there == values
    assert sorted(values.values()) == [1 << bit for bit in range(len(values))]


def test_the_planes_of_masks_are_those_that_images_have():
    assert MASK_PLANES == {
        "incomplete": planes.NO_COVERAGE,
        "star": planes.SATURATED | planes.BRIGHT_STAR,
    }


def test_the_conflicts_are_those_that_the_union_of_catalogues_flags():
    assert {name: value for name, (value, _) in CONFLICTS.items()} == {
        str(bit.name).lower(): int(bit) for bit in Conflict
    }


def test_the_planes_that_masks_set_have_bits_codes_and_flags_of_their_own():
    bits = [int(plane.bit) for plane in planes.TABLE] + [int(planes.FLAGGED), int(planes.EXCLUDED)]
    assert bits == [1 << n for n in range(len(bits))]
    assert [REASONS[plane.reason] for plane in planes.MASKABLE] == [
        plane.excluded for plane in planes.MASKABLE
    ]
    assert all(FLAGS[plane.name][0] == plane.flag for plane in planes.MASKABLE)
    assert {plane.nearby for plane in planes.TABLE} - {""} <= set(FLAGS)
