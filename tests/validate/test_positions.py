"""Separations in bins, and distances from a tile's edge."""

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord

from clusterscan.config.validation import ValidateSettings
from clusterscan.core import sky
from clusterscan.publish.report_selection import positions_section
from clusterscan.validate.performance import rounded
from clusterscan.validate.positions import (
    edge_distance_arcmin,
    network_scatter,
    offsets_by,
    pixel_noise,
    position_report,
)
from clusterscan.validate.recovery import recovery


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


def grid_of_objects(n=60, error_arcsec=20.0, seed=0):
    """Return places half a degree apart and objects scattered around them."""
    rng = np.random.default_rng(seed)
    ra, dec = 30 + 0.5 * (np.arange(n) % 10), 0.5 * (np.arange(n) // 10)
    place = pd.DataFrame({"ra_deg": ra, "dec_deg": dec})
    east, north = rng.normal(0, error_arcsec / 3600, (2, n))
    return place, place.assign(ra_deg=ra + east, dec_deg=dec + north)


def test_two_networks_of_known_scatter_are_as_far_apart_as_their_errors_say():
    place, one = grid_of_objects(60, 12.0, 1)
    _, other = grid_of_objects(60, 16.0, 2)
    rows = network_scatter(place, {"a": one, "b": other, "blind": one.iloc[:3]}, 2.5)
    assert [(r["first"], r["second"], r["n"]) for r in rows] == [("a", "b", 60)]
    assert rows[0]["sigma_arcsec"] == pytest.approx(20, rel=0.25)  # 12 and 16 in quadrature
    assert network_scatter(place, {"a": one, "b": one}, 2.5)[0]["median_arcsec"] < 1e-6


def test_pixel_noise_is_that_of_the_noise_and_not_of_stars_or_slopes():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 3.0, (200, 200)) + 0.5 * np.arange(200)
    image[50:60, 50:60] += 1e4
    covered = np.ones(image.shape, dtype=bool)
    assert pixel_noise(image, covered) == pytest.approx(3.0, rel=0.03)
    covered[:, 100:] = False
    image[:, 100:] = 1e9 * rng.random((200, 100))
    assert pixel_noise(image, covered) == pytest.approx(3.0, rel=0.03)
    assert np.isnan(pixel_noise(image, np.zeros_like(covered)))


def test_separations_are_told_by_latitude_depth_redshift_mass_edge_and_network():
    place, objects = grid_of_objects()
    truth = place.assign(m500c_msun=np.linspace(1e14, 9e14, 60), z=np.linspace(0.2, 1.0, 60))
    objects = objects.assign(score=1.0, pos_err_arcsec=20.0, snr_peak=np.linspace(3, 9, 60))
    found = recovery(objects, truth, settings=ValidateSettings(), in_region=lambda ra, dec: ra > 0)
    tiles = np.unique(sky.owning_cell(objects["ra_deg"], objects["dec_deg"], 5))
    report = rounded(
        position_report(
            found, objects, truth, threshold=0.5, radius_arcmin=2.5, tile_order=5,
            noise={"act": {int(t): float(n) for n, t in enumerate(tiles)}},
            peaks={"act/a": objects, "act/b": place},
        )
    )  # fmt: skip
    assert report["fit"]["sigma_arcsec"] == pytest.approx(20, rel=0.3)
    assert {"z", "m500c_msun", "galactic_latitude_deg", "ecliptic_latitude_deg", "noise_act",
            "edge_distance_arcmin", "snr_peak"} <= set(report["by"])  # fmt: skip
    assert all(sum(r["n"] for r in rows) == 60 for rows in report["by"].values())
    place = SkyCoord(objects["ra_deg"], objects["dec_deg"], unit="deg")
    latitude = place.barycentrictrueecliptic.lat.deg
    shown = report["by"]["ecliptic_latitude_deg"]
    assert shown[0]["low"] == pytest.approx(latitude.min(), abs=0.01)
    assert shown[-1]["high"] == pytest.approx(latitude.max(), abs=0.01)
    section = positions_section(report)
    assert any("same pixels" in table.caption for table in section.tables)
    rows = [row[0] for row in section.tables[0].rows]
    assert "Pixel noise, act" in rows
