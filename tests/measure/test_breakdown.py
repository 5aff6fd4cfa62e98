"""Recall and all measures by redshift, magnitude, region, or any column."""

import numpy as np
import pandas as pd
import pytest

from clusterscan.core.errors import CatalogueError, ProductError
from clusterscan.measure.breakdown import recall_by, recall_by_redshift
from clusterscan_studies.colour_magnitude import (
    REGIONS,
    RedSequence,
    colour_magnitude_regions,
    fit_red_sequence,
)

CLASSES = ("field", "cluster")


def table():
    """Return six positives and two negatives with redshift, kind and region."""
    return pd.DataFrame(
        {
            "object_id": ["a", "a", "b", "c", "d", "e", "", ""],
            "label": [1, 1, 1, 1, 1, 1, 0, 0],
            "probability_cluster": [0.9, 0.1, 0.8, 0.2, 0.9, 0.9, 0.9, 0.1],
            "probability_field": [0.1, 0.9, 0.2, 0.8, 0.1, 0.1, 0.1, 0.9],
            "redshift": [0.1, 0.1, 0.3, 0.5, 1.0, np.nan, 0.3, 0.3],
            "z_type": ["spec", "spec", "phot", "phot", "spec", "spec", "", ""],
            "region": ["blue", "blue", "red", "red", "red", None, "red", "blue"],
        }
    )


def test_recall_by_redshift_counts_each_positive_once():
    redshift = np.array([0.0, 0.2, 0.5, 1.0, np.nan])
    rows = recall_by_redshift(
        redshift, np.array([0.9, 0.1, 0.9, 0.9, 0.9]), np.array([0, 0.5, 1.0])
    )
    assert [(r["positives"], r["found"]) for r in rows] == [(2, 1), (2, 2)]
    assert [(r["z_low"], r["z_high"]) for r in rows] == [(0, 0.5), (0.5, 1.0)]
    assert recall_by_redshift(redshift[:0], redshift[:0], np.array([0, 1]))[0]["recall"] is None


def test_recall_in_bins_is_of_positives_alone_and_knows_its_objects():
    rows = recall_by(table(), "redshift", CLASSES, edges=(0, 0.4, 1.0), parts="z_type")
    assert [(r["positives"], r["objects"], r["found"]) for r in rows] == [(3, 2, 2), (2, 2, 1)]
    assert rows[0]["recall"] == pytest.approx(2 / 3)
    assert rows[0]["recall_low"] < 2 / 3 < rows[0]["recall_high"]
    assert rows[0]["parts"] == pytest.approx({"spec": 2 / 3, "phot": 1 / 3})
    of_field = recall_by(table(), "redshift", CLASSES, 0, edges=(0, 0.4, 1.0))
    assert [(r["positives"], r["found"]) for r in of_field] == [(2, 1), (0, 0)]
    assert of_field[1]["recall"] is None


def test_bins_with_as_many_positives_each():
    rng = np.random.default_rng(1)
    many = pd.DataFrame({"label": np.ones(1000, dtype=int), "probability_cluster": 0.9,
                         "probability_field": 0.1, "mass": rng.lognormal(33, 1, 1000)})  # fmt: skip
    rows = recall_by(many, "mass", CLASSES, edges=8)
    assert [r["positives"] for r in rows] == [125] * 8
    assert rows[0]["low"] == many["mass"].min()
    assert recall_by(many[:0], "mass", CLASSES, edges=8) == []


def test_groups_come_sorted_or_in_the_order_wanted():
    rows = recall_by(table(), "region", CLASSES)
    assert [(r["name"], r["positives"], r["found"]) for r in rows] == [
        ("blue", 2, 1),
        ("red", 3, 2),
    ]
    rows = recall_by(table(), "region", CLASSES, categories=("red", "green", "blue"))
    assert [(r["name"], r["recall"]) for r in rows] == [
        ("red", 2 / 3),
        ("green", None),
        ("blue", 0.5),
    ]


def test_a_missing_column_and_falling_edges_are_refused():
    with pytest.raises(ProductError, match="no column mass to split by"):
        recall_by(table(), "mass", CLASSES, edges=(0, 1))
    with pytest.raises(ProductError, match="rising numbers"):
        recall_by(table(), "redshift", CLASSES, edges=(1, 0))


SEQUENCE = RedSequence(
    pivot_mag=17.0, colour_at_pivot_mag=1.0, slope=-0.05, half_width_mag=0.1, green_valley_mag=0.2
)


def test_regions_lie_about_a_tilted_red_sequence():
    colour = np.array([1.0, 1.09, 1.11, 0.91, 0.89, 0.71, 0.69, 0.8, np.nan, 1.0])
    magnitude = np.array([17.0, 17, 17, 17, 17, 17, 17, 21, 17, np.nan])
    red, valley, blue, shoulder = REGIONS
    assert colour_magnitude_regions(colour, magnitude, SEQUENCE).tolist() == [
        red, red, shoulder, red, valley, valley, blue, red, None, None,
    ]  # fmt: skip


def test_a_known_red_sequence_is_found_among_outliers():
    rng = np.random.default_rng(3)
    magnitude = rng.uniform(14, 20, 600)
    colour = SEQUENCE.colour(magnitude) + rng.normal(0, 0.05, 600)
    colour[:120] -= rng.uniform(0.3, 1.0, 120)  # blue galaxies
    colour[-5:] = np.nan
    found = fit_red_sequence(colour, magnitude)
    assert found.slope == pytest.approx(-0.05, abs=0.008)
    assert found.colour(np.array([17.0]))[0] == pytest.approx(1.0, abs=0.02)
    assert found.half_width_mag == pytest.approx(0.1, rel=0.2)


def test_too_few_galaxies_make_no_red_sequence():
    with pytest.raises(CatalogueError, match="9 galaxies"):
        fit_red_sequence(np.append(np.ones(9), np.nan), np.arange(10.0))
