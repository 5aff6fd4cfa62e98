"""Whole cells belong to one part, and a guard keeps crops inside their own part."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from clusterscan.config.searched_sky import SplitSettings
from clusterscan.core import sky
from clusterscan.flow.sky_split import SkySplit, offset_position


def split(**values):
    return SkySplit(TypeAdapter(SplitSettings).validate_python(values))


def uniform_sky(rng, n):
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def test_listed_cells_are_validation_and_test_and_the_rest_is_training():
    parts = split(kind="cells", order=2, validation=[3, 4], test=[7])
    assert parts.part_of_cells(np.arange(9)).tolist() == [
        *["train"] * 3,
        *["validation"] * 2,
        *["train"] * 2,
        "test",
        "train",
    ]
    ra, dec = uniform_sky(np.random.default_rng(1), 500)
    cells = sky.owning_cell(ra, dec, 2)
    np.testing.assert_array_equal(parts.part_of(ra, dec), parts.part_of_cells(cells))


def test_drawn_parts_have_their_fractions_and_look_random():
    parts = split(kind="fractions", order=6, validation=0.15, test=0.25)
    drawn = parts.part_of_cells(np.arange(12 * 4**6))
    assert (drawn == "test").mean() == pytest.approx(0.25, abs=0.01)
    assert (drawn == "validation").mean() == pytest.approx(0.15, abs=0.01)
    # Neighbours in number are independent: both test in 1/16 of all pairs.
    both = (drawn[1:] == "test") & (drawn[:-1] == "test")
    assert both.mean() == pytest.approx(1 / 16, abs=0.005)


def test_a_cell_keeps_its_part_when_a_fraction_grows():
    cells = np.arange(5000)
    small = split(kind="fractions", order=6, validation=0.1, test=0.1).part_of_cells(cells)
    large = split(kind="fractions", order=6, validation=0.1, test=0.2).part_of_cells(cells)
    assert (large[small == "test"] == "test").all()


@pytest.mark.parametrize(("ra0", "dec0"), [(0.0, 0.0), (45.0, 41.8), (200.0, 89.0), (10.0, -67.0)])
def test_no_point_of_a_disc_that_keeps_clear_lies_in_another_part(ra0, dec0):
    parts = split(kind="fractions", order=6, validation=0.2, test=0.3)
    rng = np.random.default_rng(3)
    ra, dec = offset_position(
        np.full(400, ra0), np.full(400, dec0), 180 * rng.random(400), 2 * np.pi * rng.random(400)
    )
    clear = parts.keeps_clear(ra, dec, 12.0)
    assert 0.1 < clear.mean() < 0.95
    own = parts.part_of(ra, dec)
    other_seen = np.zeros(400, bool)
    for _ in range(300):
        near = offset_position(
            ra, dec, 12.0 * np.sqrt(rng.random(400)), 2 * np.pi * rng.random(400)
        )
        other_seen |= parts.part_of(*near) != own
    assert not (clear & other_seen).any()
    # ... and the guard is not much wider than it must be.
    assert (~clear & ~other_seen).mean() < 0.1


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.99, 89.9), (10.0, -90.0), (123.0, 60.0)])
def test_offset_positions_lie_at_their_distance(ra, dec):
    angle = np.linspace(0, 2 * np.pi, 13)
    ra2, dec2 = offset_position(np.full(13, ra), np.full(13, dec), 7.0, angle)
    np.testing.assert_allclose(60 * sky.separation_deg(ra, dec, ra2, dec2), 7.0, rtol=1e-6)
    assert ((ra2 >= 0) & (ra2 <= 360)).all()


def test_angles_run_from_north_through_east():
    ra, dec = offset_position(np.array([10.0, 10.0]), np.zeros(2), 60.0, np.array([0, np.pi / 2]))
    np.testing.assert_allclose(ra, [10.0, 11.0])
    np.testing.assert_allclose(dec, [1.0, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"kind": "cells", "order": 2, "validation": [3], "test": [3]},
            "in both validation and test",
        ),
        ({"kind": "cells", "order": 0, "validation": [12], "test": [3]}, "do not exist"),
        ({"kind": "fractions", "order": 2, "validation": 0.5, "test": 0.5}, "no sky for training"),
    ],
)
def test_impossible_splits_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        split(**values)
