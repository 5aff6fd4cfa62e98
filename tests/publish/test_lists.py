"""CSV and DS9 regions hold what the catalogue holds, whatever names look like."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion, Regions

from clusterscan.publish.release import Release
from clusterscan.publish.tables import COLOURS, write_csv, write_regions


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
