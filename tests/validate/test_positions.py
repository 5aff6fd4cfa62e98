"""Separations in bins, and distances from a tile's edge."""

import numpy as np
import pytest

from clusterscan import sky
from clusterscan.publish.positions_section import positions_section
from clusterscan.validate.positions import edge_distance_arcmin, offsets_by


def test_a_trend_of_the_position_error_is_seen():
    rng = np.random.default_rng(0)
    z = rng.random(3000)
    separation = np.hypot(*(rng.normal(0, 10 + 30 * z, (2, 3000))))
    rows = offsets_by(separation, z, 150.0)
    assert [r["n"] for r in rows] == [1000, 1000, 1000]
    sigma = [r["sigma_arcsec"] for r in rows]
    assert sigma == sorted(sigma)
    assert sigma[0] == pytest.approx(15, rel=0.2)


def test_unknown_values_are_left_out_and_one_value_has_no_bins():
    values = np.r_[np.full(10, np.nan), np.arange(20.0)]
    assert sum(r["n"] for r in offsets_by(np.ones(30), values, 150.0)) == 20
    assert offsets_by(np.ones(30), np.full(30, 2.0), 150.0) == []
    assert offsets_by(np.empty(0), np.empty(0), 150.0) == []


def test_the_distance_to_the_edge_is_that_of_the_nearest_other_tile():
    ra, dec = sky.cell_centres(np.array([4440]), 5)
    # A tile at the equator is a diamond: its side is as long as the square root of its area.
    half_side = 60 * np.sqrt(sky.cell_area_deg2(5)) / 2
    assert edge_distance_arcmin(ra, dec, 5)[0] == pytest.approx(half_side, rel=0.15)
    inner = np.array([sky.descendants(4440, 5, 12)[0]])  # the southernmost pixel, in a corner
    assert edge_distance_arcmin(*sky.cell_centres(inner, 12), 5)[0] < 1.0
    assert edge_distance_arcmin(np.empty(0), np.empty(0), 5).size == 0


def test_without_separations_there_is_no_section():
    assert positions_section({}).is_empty
    assert positions_section({"fit": {"n": 2, "sigma_arcsec": None}}).is_empty
