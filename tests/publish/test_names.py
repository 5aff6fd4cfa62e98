"""IAU names: truncated, signed, unique."""

from decimal import ROUND_DOWN, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterscan.publish.names import iau_names


def name(ra_deg, dec_deg, **options):
    return iau_names([ra_deg], [dec_deg], "", **options)[0]


def test_the_published_example_is_reproduced():
    # J195740.55+333827.9 is the published name of the source at 19h57m40.558s +33d38'27.96".
    ra_deg = 15 * (19 + 57 / 60 + 40.558 / 3600)
    dec_deg = 33 + 38 / 60 + 27.96 / 3600
    assert name(ra_deg, dec_deg, name_format="JHHMMSS.ss+DDMMSS.s") == "J195740.55+333827.9"


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg", "expected"),
    [
        (10.0, 0.0001, "J004000.0+000000"),
        (10.0, -0.0001, "J004000.0-000000"),
        (10.0, -0.5, "J004000.0-003000"),
        (10.0, 0.0, "J004000.0+000000"),
        (10.0, -0.0, "J004000.0+000000"),
        (0.0, 90.0, "J000000.0+900000"),
        (0.0, -90.0, "J000000.0-900000"),
        (0.0, 89.99999, "J000000.0+895959"),
        (0.0, -89.99999, "J000000.0-895959"),
        (15 * (23 + 59 / 60 + 59.99 / 3600), 5.0, "J235959.9+050000"),
        (359.99999999, 5.0, "J235959.9+050000"),
        (360.0, 5.0, "J000000.0+050000"),
        (-10.0, 5.0, "J232000.0+050000"),
        (370.0, 5.0, "J004000.0+050000"),
    ],
)
def test_signs_poles_and_24_hours(ra_deg, dec_deg, expected):
    assert name(ra_deg, dec_deg) == expected


@pytest.mark.parametrize("noise", [-2e-15, 2e-15, -3e-10, 3e-10])
def test_noise_of_floats_does_not_change_a_name(noise):
    assert name(10.0 + noise, 20.0 + noise) == "J004000.0+200000"
    assert name(10.0 + noise, -20.0 + noise) == "J004000.0-200000"
    assert name(0.0 + noise, 0.0 + noise) == "J000000.0+000000"
    assert name(15.0, 90.0 - abs(noise)) == "J010000.0+900000"
    assert name(9.999999999999998, 9.999999999999998) == "J004000.0+100000"


def test_beyond_the_guard_digits_are_truncated():
    assert name(10.0 - 1e-8, 20.0 - 1e-8) == "J003959.9+195959"
    assert name(10.0 - 1e-8, 20.0 - 1e-8, guard_deg=1e-7) == "J004000.0+200000"


@given(
    tenths=st.integers(0, 24 * 36000 - 1),
    arcsec=st.integers(0, 90 * 3600 - 1),
    fraction=st.floats(1e-4, 1 - 1e-4),
    south=st.booleans(),
)
def test_any_position_between_two_steps_is_named_by_the_lower(tenths, arcsec, fraction, south):
    ra_deg = (tenths + fraction) / 2400
    dec_deg = (arcsec + fraction) / 3600 * (-1 if south else 1)
    text = name(ra_deg, dec_deg)
    hours, dec = text[1:9], text[9:]
    spelled = int(hours[:2]) * 36000 + int(hours[2:4]) * 600 + int(hours[4:6] + hours[7])
    assert spelled == tenths
    assert dec[0] == ("-" if south else "+")
    assert int(dec[1:3]) * 3600 + int(dec[3:5]) * 60 + int(dec[5:7]) == arcsec


def test_digits_agree_with_decimal_arithmetic():
    rng = np.random.default_rng(3)
    ra_deg, dec_deg = rng.uniform(0, 360, 300), rng.uniform(-90, 90, 300)
    for a, d, text in zip(ra_deg, dec_deg, iau_names(ra_deg, dec_deg, ""), strict=True):
        seconds = (Decimal(a) * 240).quantize(Decimal("0.1"), ROUND_DOWN)
        hours, rest = divmod(seconds, 3600)
        minutes, left = divmod(rest, 60)
        assert text[1:9] == f"{int(hours):02d}{int(minutes):02d}{left:04.1f}"
        arcsec = int(abs(Decimal(d)) * 3600)
        assert text[10:] == f"{arcsec // 3600:02d}{arcsec // 60 % 60:02d}{arcsec % 60:02d}"


@pytest.mark.parametrize(
    ("name_format", "expected"),
    [
        ("JHHMM+DDMM", "J0040-2030"),
        ("JHHMM.m+DDMM", "J0040.0-2030"),
        ("JHHMMSS.sss+DDMMSS.ss", "J004000.000-203036.00"),
    ],
)
def test_other_formats(name_format, expected):
    assert name(10.0, -20.51, name_format=name_format) == expected


@pytest.mark.parametrize("bad", ["HHMMSS+DDMMSS", "JHHMMSS.m+DDMMSS", "JHHMMSS.sssss+DDMMSS", ""])
def test_an_unknown_format_is_refused(bad):
    with pytest.raises(ValueError, match="format"):
        name(1.0, 1.0, name_format=bad)


def test_close_objects_get_letters_that_do_not_depend_on_the_order_of_rows():
    ra_deg, dec_deg = np.array([10.0001, 10.0, 50.0, 10.0002]), np.array([5.0, 5.0001, -5.0, 5.0])
    names = iau_names(ra_deg, dec_deg)
    assert names == [
        "CSCAN J004000.0+050000a", "CSCAN J004000.0+050000c",
        "CSCAN J032000.0-050000", "CSCAN J004000.0+050000b",
    ]  # fmt: skip
    flipped = iau_names(ra_deg[::-1], dec_deg[::-1])
    assert flipped[::-1] == names


def test_thousands_of_objects_at_one_place_still_have_unique_names():
    names = iau_names(np.full(2000, 10.0), np.full(2000, 5.0))
    assert len(set(names)) == 2000
    assert names[26] == "CSCAN J004000.0+050000aa"


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(np.nan, 0), (0, np.nan), (0, 90.1), (np.inf, 0)])
def test_positions_off_the_sky_are_refused_with_their_row(ra_deg, dec_deg):
    with pytest.raises(ValueError, match="row 1"):
        iau_names([1.0, ra_deg], [1.0, dec_deg])
