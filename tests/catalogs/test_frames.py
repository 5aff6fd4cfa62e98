"""Positions come to ICRS degrees from any unit and frame, or are refused."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import FK4, FK5, SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterscan.catalogs.layouts import Layout
from clusterscan.catalogs.reading import sexagesimal, to_degrees
from clusterscan.core.errors import CatalogueError

COLUMNS = {"ra_deg": "a", "dec_deg": "b"}
RA, DEC = np.array([0.0, 83.6, 266.4, 359.999]), np.array([-89.9, 22.0, -29.0, 0.0001])


def layout(**more):
    return Layout("csv", COLUMNS, **more)


def table(first, second, units=()):
    frame = pd.DataFrame({"ra_deg": first, "dec_deg": second})
    frame.attrs["units"] = dict(zip(("ra_deg", "dec_deg"), units, strict=False))
    return frame


def assert_icrs(result):
    here = SkyCoord(result["ra_deg"].astype(float), result["dec_deg"].astype(float), unit="deg")
    assert (here.separation(SkyCoord(RA, DEC, unit="deg")) < 0.001 * u.arcsec).all()


@pytest.mark.parametrize(
    ("unit", "turn"), [("deg", 1.0), ("rad", np.pi / 180), ("hourangle", 1 / 15)]
)
def test_units_are_converted(unit, turn):
    dec_turn = np.pi / 180 if unit == "rad" else 1.0
    assert_icrs(to_degrees(table(RA * turn, DEC * dec_turn), layout(position_unit=unit), "x"))


@pytest.mark.parametrize(
    ("frame", "equinox", "there"),
    [
        ("galactic", "J2000", "galactic"),
        ("fk4", "B1950", FK4(equinox="B1950")),
        ("fk5", "J1991.25", FK5(equinox="J1991.25")),
    ],
)
def test_other_frames_are_those_of_astropy(frame, equinox, there):
    other = SkyCoord(RA, DEC, unit="deg").transform_to(there)
    longitude, latitude = other.spherical.lon.deg, other.spherical.lat.deg
    assert_icrs(to_degrees(table(longitude, latitude), layout(frame=frame, equinox=equinox), "x"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from("+- "),
    st.integers(0, 89),
    st.integers(0, 59),
    st.integers(0, 59),
    st.sampled_from([": ", "  ", "dm", "hm"]),
)
def test_sexagesimal_text_keeps_its_sign_even_below_one_degree(sign, d, m, s, marks):
    text = pd.Series([f"{sign.strip()}{d:02d}{marks[0]}{m:02d}{marks[1]}{s:02d}"])
    expected = (d + m / 60 + s / 3600) * (-1 if sign == "-" else 1)
    assert sexagesimal(text)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("text", ["", "12", "12.5", "1:61:00", "<script>", "12:00:00'; --", None])
def test_what_is_no_sexagesimal_text_is_unknown(text):
    assert np.isnan(sexagesimal(pd.Series([text], dtype=object)))[0]


def test_a_text_that_is_no_position_reaches_the_gate_as_it_stands():
    result = to_degrees(
        table(["12:00:00", "soon"], ["-01:30:00", "+00:00:10"]),
        layout(position_unit="sexagesimal"),
        "x",
    )
    assert result["ra_deg"].iloc[0] == 180.0
    assert np.isnan(pd.to_numeric(result["ra_deg"], errors="coerce").iloc[1])


def test_sexagesimal_text_said_to_be_degrees_is_refused_with_row_and_column():
    with pytest.raises(CatalogueError, match=r"row 1, column ra_deg.*12 30 00.*sexagesimal"):
        to_degrees(table(["12 30 00"], ["+01 00 00"]), layout(), "x")


@pytest.mark.parametrize(
    ("units", "declared", "asked"),
    [
        (("rad", "rad"), "deg", "rad"),
        (("deg", "deg"), "rad", "deg"),
        (("hourangle", "deg"), "deg", "hourangle"),
    ],
)
def test_a_unit_in_the_file_that_contradicts_the_declaration_is_refused(units, declared, asked):
    with pytest.raises(CatalogueError, match=rf"column a \(ra_deg\).*position_unit: {asked}"):
        to_degrees(table([1.0], [1.0], units), layout(position_unit=declared), "x")


def test_units_spelt_in_other_ways_are_understood():
    plain = to_degrees(table([1.0], [1.0]), layout(), "x")
    spelt = to_degrees(table([1.0], [1.0], ("degrees", "Degree")), layout(), "x")
    hours = to_degrees(table([1.0], [1.0], ("hour", "deg")), layout(position_unit="hourangle"), "x")
    np.testing.assert_allclose(spelt, plain)
    np.testing.assert_allclose(np.ravel(hours)[0], 15 * np.ravel(plain)[0])
