"""A catalogue that is not what it is said to be is refused with the row and column that show it."""

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord

from clusterscan.catalogs.checks import (
    FEWEST,
    crowding,
    look_over,
    positions_in_names,
    refuse_sources,
    warn_if_crowded,
)
from clusterscan.catalogs.layouts import Layout
from clusterscan.core.errors import CatalogueError

LAYOUT = Layout("csv", {"ra_deg": "A", "dec_deg": "D", "m500c_msun": "M", "z": "Z"})


def sky_table(n=300, seed=1, **more):
    rng = np.random.default_rng(seed)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return pd.DataFrame({"ra_deg": rng.uniform(0, 360, n), "dec_deg": dec, **more})


def test_radians_given_as_degrees_are_noticed_with_row_and_column():
    table = np.radians(sky_table())
    with pytest.raises(CatalogueError, match=r"some\.csv: row \d+, column A: .*radians") as error:
        look_over(table, LAYOUT, "some.csv")
    assert "position_unit: rad" in str(error.value)
    look_over(table, LAYOUT, "some.csv", trust=True)
    look_over(sky_table(), LAYOUT, "some.csv")


def test_negative_radians_are_noticed_too():
    table = np.radians(sky_table())
    table["ra_deg"] -= np.pi
    with pytest.raises(CatalogueError, match="radians"):
        look_over(table, LAYOUT, "x")


def refusal(table):
    """Return why a table is refused; empty where it is taken."""
    try:
        look_over(table, LAYOUT, "x")
    except CatalogueError as error:
        return str(error)
    return ""


def test_a_few_rows_near_the_origin_are_not_taken_for_radians():
    assert refusal(np.radians(sky_table(20))) == ""
    assert refusal(np.radians(sky_table(FEWEST - 1))) == ""
    assert "radians?" in refusal(np.radians(sky_table(FEWEST)))


def test_hours_given_as_degrees_are_noticed():
    table = sky_table()
    table["ra_deg"] /= 15
    with pytest.raises(CatalogueError, match=r"hours.*position_unit: hourangle"):
        look_over(table, LAYOUT, "x")


def test_galactic_columns_declared_as_equatorial_are_refused():
    with pytest.raises(CatalogueError, match=r"GLON.*frame: galactic"):
        look_over(sky_table(), Layout("csv", {"ra_deg": "GLON", "dec_deg": "GLAT"}), "x")
    look_over(sky_table(), Layout("csv", {"ra_deg": "l", "dec_deg": "b"}, frame="galactic"), "x")


def jnames(table):
    position = SkyCoord(table["ra_deg"], table["dec_deg"], unit="deg")
    text = position.to_string("hmsdms", sep="", precision=0, pad=True)
    return ["XX J" + t.replace(" ", "") for t in text]


@pytest.mark.parametrize("change", ["swapped", "galactic", "mirrored"])
def test_positions_that_contradict_the_names_are_refused(change):
    table = sky_table(50)
    table["name"] = jnames(table)
    look_over(table, LAYOUT, "x")
    if change == "swapped":
        table["ra_deg"], table["dec_deg"] = table["dec_deg"] % 360, table["ra_deg"] / 4 - 45
    elif change == "galactic":
        galactic = SkyCoord(table["ra_deg"], table["dec_deg"], unit="deg").galactic
        table["ra_deg"], table["dec_deg"] = galactic.l.deg, galactic.b.deg
    else:
        table["dec_deg"] = -table["dec_deg"]
    with pytest.raises(CatalogueError, match=r"row \d+, columns A and D: .*name XX J"):
        look_over(table, LAYOUT, "x")


def test_a_few_wrong_names_are_told_and_positions_kept(caplog):
    table = sky_table(50)
    table["name"] = jnames(table)
    table.loc[3, "name"] = "XX J0000-8959"
    with caplog.at_level("WARNING"):
        look_over(table, LAYOUT, "x")
    assert "row 4" in caplog.text
    assert "1 of 50 names" in caplog.text


@pytest.mark.parametrize(
    ("name", "ra", "dec"),
    [
        ("ACT-CL J0000.0-3837", 0.0, -(38 + 37 / 60)),
        ("SPT-CLJ2359-0001", 15 * (23 + 59 / 60), -1 / 60),
        ("RMJ155820.0+271400.3", 15 * (15 + 58 / 60 + 20 / 3600), 27 + 14 / 60 + 0.3 / 3600),
        ("1eRASSJ235959.9+895959", 15 * (23 + 59 / 60 + 59.9 / 3600), 89 + 59 / 60 + 59 / 3600),
        ("J1234+05", 15 * (12 + 34 / 60), 5.0),
        ("ACO 2142", np.nan, np.nan),
        ("<script>alert('J')</script>", np.nan, np.nan),
        ("J9999+9999", np.nan, np.nan),
        ("", np.nan, np.nan),
    ],
)
def test_names_give_the_position_they_hold(name, ra, dec):
    found = positions_in_names(pd.Series([name]))
    np.testing.assert_allclose([found[0][0], found[1][0]], [ra, dec], atol=1e-9)


def test_galactic_names_give_equatorial_positions():
    ra, dec = positions_in_names(pd.Series(["PSZ2 G000.00+90.00", "SZ_G122.93+27.13", "none"]))
    pole = SkyCoord(0, 90, unit="deg", frame="galactic").icrs
    np.testing.assert_allclose([ra[0], dec[0]], [pole.ra.deg, pole.dec.deg], atol=1e-9)
    assert dec[1] > 89.9  # the celestial pole in Galactic coordinates
    assert np.isnan(ra[2])


def test_masses_in_other_units_are_refused():
    table = sky_table(20, m500c_msun=np.full(20, 4.2))
    with pytest.raises(CatalogueError, match=r"row 1, column M: 4\.2.*scale"):
        look_over(table, LAYOUT, "x")
    look_over(sky_table(20, m500c_msun=np.full(20, 4.2e14)), LAYOUT, "x")


def test_a_redshift_that_repeats_and_is_none_is_refused():
    table = sky_table(20, z=[0.3] * 17 + [9.99] * 3)
    with pytest.raises(CatalogueError, match=r"row 18, column Z: 9\.99 occurs 3 times.*z_unknown"):
        look_over(table, LAYOUT, "x")
    look_over(table, Layout("csv", LAYOUT.columns, z_unknown=(9.99,)), "x")


def test_rows_are_numbered_as_in_the_file_after_a_selection():
    table = np.radians(sky_table()).set_axis(np.arange(300) + 1000)
    with pytest.raises(CatalogueError, match=r"row 1\d{3}, column A"):
        look_over(table, LAYOUT, "x")


def remnants():
    table = sky_table(300)
    rng = np.random.default_rng(2)
    table.loc[:29, "ra_deg"] = 128.5 + rng.uniform(0, 0.05, 30)
    table.loc[:29, "dec_deg"] = -45.0 + rng.uniform(0, 0.05, 30)
    return table.assign(name=[f"S{n}" for n in range(300)], ext=60.0)


def test_lists_of_sources_are_refused_and_crowded_lists_are_told(caplog):
    table = remnants()
    assert crowding(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy()).max() == 29
    with pytest.raises(CatalogueError, match=r"row \d+ \(S\d+\), column ext: 60\.0, has 29 others"):
        refuse_sources(table, "x", "ext")
    with caplog.at_level("WARNING"):
        warn_if_crowded(table, "x")
    assert "list of clusters, or of sources" in caplog.text


def test_an_empty_table_raises_no_suspicion():
    empty = sky_table(0).assign(name=pd.Series(dtype=str), z=0.0, m500c_msun=0.0)
    look_over(empty, LAYOUT, "x")
    warn_if_crowded(empty, "x")
    with pytest.raises(CatalogueError, match="extended sources"):
        refuse_sources(empty.assign(ext=1.0), "x", "ext")
