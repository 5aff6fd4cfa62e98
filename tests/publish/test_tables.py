"""The catalogue's published forms agree, are valid, and are the same bytes every time."""

import io
import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable import parse, validate
from astropy.table import Table
from hats.io.validation import is_valid_catalog
from regions import CircleSkyRegion, Regions

from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.publish.catalogue import build_catalogue, clean_text
from clusterscan.publish.hats_catalogue import write_hats
from clusterscan.publish.hips import MapTitle, properties_text
from clusterscan.publish.release import Release
from clusterscan.publish.tables import COLOURS, write_catalogue, write_csv, write_regions


@pytest.fixture
def written(tmp_path, catalogue, columns, release):
    return write_catalogue(tmp_path, catalogue, columns, release)


def test_rows_are_sorted_by_probability_then_name(catalogue):
    keys = [(-p, n) for p, n in zip(catalogue["prob"], catalogue["name"], strict=True)]
    assert keys == sorted(keys)
    assert len(set(catalogue["prob"])) < len(keys)  # there were ties


def test_the_order_of_the_objects_does_not_change_a_byte(tmp_path, objects, columns, release):
    shuffled = objects.sample(frac=1, random_state=5)
    for folder, table in (("a", objects), ("b", shuffled)):
        found = build_catalogue(table, columns, tile_order=5)
        write_catalogue(tmp_path / folder, found, columns, release)
    for name in ("clusters.fits", "clusters.vot", "clusters.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_derived_columns_follow_from_the_position(catalogue):
    galactic = SkyCoord(catalogue["ra_deg"], catalogue["dec_deg"], unit="deg").galactic
    np.testing.assert_allclose(catalogue["glat_deg"], galactic.b.deg)
    np.testing.assert_array_equal(catalogue["tile"], catalogue["healpix29"] >> (2 * 24))
    np.testing.assert_array_equal(catalogue["RADeg"], catalogue["ra_deg"])
    ra, dec = sky.cell_centres(catalogue["healpix29"], 29)
    assert sky.separation_deg(ra, dec, catalogue["ra_deg"], catalogue["dec_deg"]).max() < 1e-6


def test_the_three_forms_hold_the_same_values(written, catalogue, columns):
    fits_table = Table.read(written[0])
    votable = Table.read(written[1], format="votable")
    parquet = pq.read_table(written[2]).to_pydict()
    for column in columns:
        ours = catalogue[column.name]
        for form in (fits_table[column.name], votable[column.name]):
            if column.dtype == "str":
                values = form.filled("") if hasattr(form, "filled") else form
                assert [str(v) for v in values] == list(ours)
            else:
                filled = form.filled(-1) if hasattr(form, "mask") and column.null == "-1" else form
                np.testing.assert_array_equal(np.asarray(filled), ours)
        null = {"NaN": np.nan, "empty": "", "-1": -1}.get(column.null)
        values = [null if v is None else v for v in parquet[column.name]]
        if column.dtype == "str":
            assert values == list(ours)
        else:
            np.testing.assert_array_equal(np.array(values, dtype=column.dtype), ours)


def test_the_fits_file_verifies_and_carries_units_ucds_and_the_header(written, columns):
    with fits.open(written[0], checksum=True) as hdus:
        hdus.verify("exception")
        header = hdus["CLUSTERS"].header
        for number, column in enumerate(columns, start=1):
            assert header[f"TTYPE{number}"] == column.name
            assert header.get(f"TUNIT{number}", "") == column.unit
            assert header[f"TUCD{number}"] == column.ucd
            assert header[f"TDESC{number}"] == column.description
        for each in hdus:
            assert each.header["SIMULATD"] is True
            assert each.header["CSSEED"] == 7
            assert each.header["AREADEG2"] == 33.57
            assert each.header["TILEORD"] == 5


def test_the_votable_is_valid_and_carries_ucds(written, columns):
    report = io.StringIO()
    assert validate(str(written[1]), output=report), report.getvalue()
    document = parse(written[1], verify="exception")
    assert document.version == "1.4"
    table = document.get_first_table()
    assert [f.name for f in table.fields] == [c.name for c in columns]
    assert [f.ucd for f in table.fields] == [c.ucd for c in columns]
    assert {p.name: p.value for p in table.params}["SIMULATD"]


def test_markup_in_names_stays_text(written):
    text = written[1].read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    names = {str(name) for name in Table.read(written[1], format="votable")["known_name"]}
    assert '<script>alert("x")</script>' in names
    assert "two lines" in names


def test_parquet_carries_units_and_the_header(written, columns):
    schema = pq.read_schema(written[2])
    for column in columns:
        metadata = schema.field(column.name).metadata
        assert metadata[b"unit"].decode() == column.unit
        assert metadata[b"ucd"].decode() == column.ucd
        assert metadata[b"description"].decode() == column.description
    assert json.loads(schema.metadata[b"clusterscan"])["SIMULATD"] is True


def test_an_empty_catalogue_gives_valid_files_with_all_columns(tmp_path, objects, columns, release):
    empty = build_catalogue(objects.iloc[:0], columns, tile_order=5)
    paths = write_catalogue(tmp_path, empty, columns, release)
    names = [c.name for c in columns]
    assert Table.read(paths[0]).colnames == names
    assert validate(str(paths[1]), output=io.StringIO())
    assert Table.read(paths[1], format="votable").colnames == names
    assert pq.read_table(paths[2]).column_names == names
    assert pq.read_table(paths[2]).num_rows == 0


def test_a_missing_probability_is_refused_with_its_row(objects, columns):
    objects.loc[3, "prob"] = np.nan
    with pytest.raises(CatalogueError, match="'prob' has no value at row 3"):
        build_catalogue(objects, columns, tile_order=5)


def test_a_missing_position_is_refused_with_its_row(objects, columns):
    objects.loc[2, "dec_deg"] = np.nan
    with pytest.raises(CatalogueError, match="row 2"):
        build_catalogue(objects, columns, tile_order=5)


def test_text_in_a_number_column_is_refused(objects, columns):
    objects["z"] = "unknown"
    with pytest.raises(CatalogueError, match="'z' of the merged objects is not float32"):
        build_catalogue(objects, columns, tile_order=5)


def test_right_ascensions_are_brought_into_one_turn(objects, columns):
    objects.loc[0, "ra_deg"] = -10.0
    objects.loc[1, "ra_deg"] = 360.0
    found = build_catalogue(objects, columns, tile_order=5)
    assert {350.0, 0.0} <= set(found["ra_deg"])
    assert found["ra_deg"].max() < 360


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, ""), (np.nan, ""), ("é☃", "e?"), ("a\x00\tb\n", "a b"), (b"raw", "raw"), ("-1", "-1")],
)
def test_text_becomes_printable_ascii(given, expected):
    assert clean_text(given) == expected


@pytest.mark.parametrize(
    "title",
    ["Été ☃ 日本\n second\tline\x00", "<b>'a' & \"b\"</b>", "{} {0} %s", "x" * 300, "a=b\\c"],
)
def test_every_title_can_be_published(tmp_path, catalogue, columns, title):
    release = Release("0.1.0", title, 7, 33.57, True)
    write_catalogue(tmp_path, catalogue, columns, release)
    write_hats(tmp_path / "hats", catalogue, columns, release)
    said = fits.getheader(tmp_path / "clusters.fits", 1)["CSCONFIG"]
    assert said == clean_text(title)
    report = io.StringIO()
    assert validate(tmp_path / "clusters.vot", output=report), report.getvalue()
    assert is_valid_catalog(tmp_path / "hats", strict=True)
    text = properties_text(MapTitle("act", "net", False), release, 128, "ivo://here")
    entries = dict(line.split(" = ", 1) for line in text.splitlines())
    identifier = next(v for k, v in entries.items() if k.strip() == "creator_did")
    assert re.fullmatch(r"ivo://here/[A-Za-z0-9._~-]+/act/net", identifier)


def test_a_right_ascension_just_below_zero_is_not_360(columns, objects):
    near = objects.iloc[:3].assign(ra_deg=[-1e-17, 360.0, 359.75], dec_deg=[0.0, 1.0, 2.0])
    found = build_catalogue(near, columns, tile_order=5)
    assert sorted(found["ra_deg"]) == [0.0, 0.0, 359.75]


# --- CSV and DS9 regions -------------------------------------------------------------------------


def test_csv_reads_back_as_the_same_values_and_nulls(tmp_path, catalogue, columns):
    write_csv(tmp_path / "clusters.csv", catalogue, columns)
    table = pd.read_csv(tmp_path / "clusters.csv", dtype=str, keep_default_na=False)
    assert list(table) == [c.name for c in columns]
    for column in columns:
        ours, theirs = catalogue[column.name], table[column.name]
        if column.dtype == "str":
            assert list(theirs) == list(ours)
        else:
            assert (theirs != "nan").all()
            parsed = [float(v or "nan") for v in theirs]
            if column.dtype.startswith("int"):
                parsed = [int(v or column.null) for v in theirs]
            np.testing.assert_array_equal(np.array(parsed, dtype=column.dtype), ours)
    assert any("'; DROP TABLE--" in name for name in table["known_name"])


@pytest.fixture
def circles(tmp_path, catalogue, release):
    path = tmp_path / "clusters.reg"
    write_regions(path, catalogue, release, radius_arcmin=2.0, threshold=0.5)
    return Regions.read(path, format="ds9")


def test_regions_are_circles_at_the_objects_with_their_names(circles, catalogue):
    assert all(isinstance(circle, CircleSkyRegion) for circle in circles)
    assert [circle.meta["text"] for circle in circles] == list(catalogue["name"])
    places = SkyCoord(catalogue["ra_deg"], catalogue["dec_deg"], unit="deg")
    apart = SkyCoord([circle.center for circle in circles]).separation(places)
    assert apart.max() < 0.001 * u.arcsec
    assert {circle.radius for circle in circles} == {120 * u.arcsec}


def test_colour_and_tag_tell_the_class_and_a_dash_the_improbable(circles, catalogue):
    kinds = [circle.meta["tag"][0] for circle in circles]
    assert kinds == list(catalogue["class"])
    assert [c.visual["facecolor"] for c in circles] == [COLOURS[kind] for kind in kinds]
    dashed = [c.visual.get("linestyle") == "dashed" for c in circles]
    np.testing.assert_array_equal(dashed, catalogue["prob"] < 0.5)


def test_a_title_can_add_no_region(tmp_path, catalogue):
    release = Release("0.1.0", 'x; circle(1,1,9")\ncircle(2,2,9")', 7, 1.0, True)
    path = tmp_path / "clusters.reg"
    write_regions(path, catalogue, release, radius_arcmin=2.0, threshold=0.5)
    assert len(Regions.read(path, format="ds9")) == len(catalogue["name"])
