"""Every catalogue passes one gate: possible positions, plain names, honest unknowns."""

import numpy as np
import pandas as pd
import pytest

from clusterscan.catalogs.checks import validate
from clusterscan.core.errors import CatalogueError


def positions(ra_deg, dec_deg, **more):
    return pd.DataFrame({"ra_deg": ra_deg, "dec_deg": dec_deg, **more})


def test_right_ascensions_are_wrapped_into_one_turn():
    result = validate(positions([-152.5, 0.0, 360.0, -1e-15, 359.9], [0.0] * 5), "x")
    np.testing.assert_allclose(result.table["ra_deg"], [207.5, 0.0, 0.0, 0.0, 359.9])
    assert (result.table["ra_deg"] < 360).all()
    assert result.counts["wrapped"] == 3


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg", "column"),
    [
        (np.nan, 0.0, "ra_deg"),
        (np.inf, 0.0, "ra_deg"),
        (400.0, 0.0, "ra_deg"),
        (10.0, 90.5, "dec_deg"),
        (10.0, np.nan, "dec_deg"),
        ("12:30:00", 0.0, "ra_deg"),
    ],
)
def test_an_impossible_position_stops_with_file_row_column_and_value(ra_deg, dec_deg, column):
    table = positions([1.0, ra_deg], [2.0, dec_deg], name=["good", "bad"])
    value = str(ra_deg if column == "ra_deg" else dec_deg)
    with pytest.raises(CatalogueError, match="bad_rows: drop") as error:
        validate(table, "some/file.csv", bad_rows="error")
    for part in ("some/file.csv", "row 2", "bad", column, value):
        assert part in str(error.value)


def test_rows_are_numbered_as_in_the_file_after_a_selection():
    table = positions([1.0, np.nan], [2.0, 2.0]).set_axis([10, 41])
    with pytest.raises(CatalogueError, match="row 42"):
        validate(table, "x")


def test_impossible_rows_are_dropped_and_counted_when_that_is_asked_for():
    table = positions([1.0, np.nan, 3.0], [2.0, 2.0, 95.0], z=[0.1, 0.2, 0.3])
    result = validate(table, "x", bad_rows="drop")
    assert result.table["z"].tolist() == [0.1]
    assert result.counts["dropped"] == 2


def test_declared_sentinels_become_unknown_redshifts_and_others_are_refused():
    table = positions([1.0, 2, 3, 4], [0.0] * 4, z=[-1.0, 99.0, 0.0, 0.5])
    result = validate(table, "x", z_unknown=(-1.0, 99.0, 0.0))
    np.testing.assert_array_equal(result.table["z"], [np.nan, np.nan, np.nan, 0.5])
    assert result.counts["z_unknown"] == 3
    with pytest.raises(CatalogueError, match=r"column z: -1\.0 .*z_unknown"):
        validate(table, "x")


def test_only_rows_alike_in_name_and_position_are_duplicates():
    table = positions([1.0, 1.0, 1.0, 2.0], [0.0] * 4, name=["a", "a", "b", "a"])
    result = validate(table, "x")
    assert result.table["name"].tolist() == ["a", "b", "a"]
    assert (result.counts["duplicates"], result.counts["repeated_names"]) == (1, 1)


def test_names_are_plain_text_and_missing_ones_are_numbered():
    table = positions([1.0, 2.0, 3.0], [0.0] * 3, name=[" A 1 ", None, ""])
    assert validate(table, "x", default_name="mine").table["name"].tolist() == [
        "A 1",
        "mine 2",
        "mine 3",
    ]
    numbers = positions([1.0, 2.0], [0.0] * 2, name=[27.0, 28.0])
    assert validate(numbers, "x").table["name"].tolist() == ["27", "28"]


def test_the_standard_columns_are_there_even_if_the_file_lacks_them():
    table = validate(positions([1.0], [2.0], rmag=[20.5]), "x").table
    assert list(table) == [
        "name",
        "ra_deg",
        "dec_deg",
        "z",
        "m500c_msun",
        "richness",
        "snr",
        "rmag",
    ]
    assert table[["z", "m500c_msun", "richness", "snr"]].isna().all(axis=None)


def test_an_empty_catalogue_passes():
    assert validate(positions([], []), "x").table.empty
