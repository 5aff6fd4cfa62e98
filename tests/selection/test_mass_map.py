"""Mass limits over the sky: what each tile says, the file that others read, and the figure."""

import healpy as hp
import numpy as np
import pytest
from astropy.io import fits

from clusterscan.config.validation import InjectionGrid
from clusterscan.core import sky
from clusterscan.publish.report_selection import mass_map_pictures, tile_values
from clusterscan.report.sky_frame import sky_frames
from clusterscan.selection.completeness import (
    Completeness,
    for_the_report,
    tile_limits,
    write_mass_map,
)
from clusterscan.selection.probe import injected_in
from clusterscan.validate.performance import rounded

GRID = InjectionGrid()
TRUE = Completeness(level=-0.3, slope=0.0, bend=0.0, width=0.3, ceiling=0.98)
FOOTPRINT = [4440, 4441, 4442, 4443]


def limits(shallow=0.5, drawn=(TRUE, TRUE)):
    """Return the limits of two probed tiles, of which the second is shallower, and two others."""
    clusters = injected_in([4440, 4441], 5, GRID, 1)
    shift = np.where(clusters["tile"] == 4441, shallow, 0.0)
    eased = clusters["m500c_msun"].to_numpy() * np.exp(-shift)
    rng = np.random.default_rng(0)
    found = rng.random(len(clusters)) < TRUE.at(eased, clusters["z"].to_numpy())
    return tile_limits(clusters.assign(found=found), TRUE, drawn, FOOTPRINT, GRID, 0.6827)


def test_a_shallower_tile_has_a_higher_limit_and_an_unprobed_one_the_footprints():
    table = limits().set_index("tile")
    ln_m50 = np.log(table["m50_msun"])
    apart = ln_m50[4441] - ln_m50[4440]
    assert apart == pytest.approx(0.5, abs=2.5 * table["ln_error_50"][[4440, 4441]].max())
    assert apart > 0.1
    np.testing.assert_allclose(table["m50_msun"][[4442, 4443]], TRUE.limit(0.5, 0.6))
    assert (table["ln_error_50"][[4442, 4443]] > table["ln_error_50"][4440]).all()
    assert table["probed"].tolist() == [True, True, False, False]


def test_the_share_found_has_wilsons_interval_and_none_without_clusters():
    table = limits().set_index("tile")
    n, k = table.loc[4440, ["n", "n_found"]].astype(float)
    # Wilson 1927 for one standard deviation.
    middle = (k + 0.5) / (n + 1)
    half = np.sqrt(k * (n - k) / n + 0.25) / (n + 1)
    assert table["found_low"][4440] == pytest.approx(middle - half, abs=1e-3)
    assert table["found_high"][4440] == pytest.approx(middle + half, abs=1e-3)
    assert np.isnan(table["found"][4442])


def test_the_error_grows_by_what_all_tiles_share():
    heavier = Completeness(level=-0.1, slope=0.0, bend=0.0, width=0.3, ceiling=0.98)
    alone, together = limits(), limits(drawn=(TRUE, heavier) * 10)
    np.testing.assert_allclose(
        together["ln_error_50"], np.hypot(alone["ln_error_50"], 0.1), rtol=1e-6
    )


def test_other_software_reads_the_map_and_the_bytes_are_always_the_same(tmp_path):
    table = limits()
    for name in ("one", "two"):
        write_mass_map(tmp_path / f"{name}.fits", table, 5, purity=0.8, seed=1)
    assert (tmp_path / "one.fits").read_bytes() == (tmp_path / "two.fits").read_bytes()
    with fits.open(tmp_path / "one.fits") as hdus:
        names = [c.name for c in hdus[1].columns]
        assert hdus[1].header["SIMULATD"]
        assert hdus[1].columns["M50"].unit == "solMass"
        hdus.verify("exception")
        pixel, value = hdus[1].data["PIXEL"], hdus[1].data["M50"]
    np.testing.assert_array_equal(pixel, FOOTPRINT)
    np.testing.assert_allclose(value, table["m50_msun"])
    assert names[:2] == ["PIXEL", "PROBED"]
    ra, dec = sky.cell_centres(np.array([4441]), 5)
    assert hp.ang2pix(32, ra, dec, nest=True, lonlat=True)[0] == pixel[1]


def test_the_figure_shows_each_tiles_own_value_where_the_tile_is():
    frame = sky_frames(np.array(FOOTPRINT), 5, pixels=80)[0]
    image = tile_values(frame, np.array(FOOTPRINT), np.array([1.0, 2.0, 3.0, np.nan]), 5)
    ra, dec = sky.cell_centres(np.array(FOOTPRINT), 5)
    x, y = (np.round(v).astype(int) for v in frame.wcs.world_to_pixel_values(ra, dec))
    np.testing.assert_array_equal(image[y, x], [1.0, 2.0, 3.0, np.nan])
    assert np.isnan(image[0, 0])  # a corner, off the tiles


def test_there_is_a_figure_only_where_a_tile_was_probed():
    measured = rounded(for_the_report(limits(), 5))
    picture = mass_map_pictures(measured)
    assert len(picture) == 1
    assert "SIMULATED" in picture[0].caption
    assert mass_map_pictures(measured | {"probed": [False] * 4}) == []
    assert mass_map_pictures({}) == []
