"""Maps as HiPS: layout, coarser orders, area, bytes."""

import os
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from mocpy import MOC

from clusterscan.core import sky
from clusterscan.core.errors import ProductError
from clusterscan.formats.map_tile import read_map_tile, tile_path, tiles_on_disk, write_map_tile
from clusterscan.publish.hips import MapTitle, cells_moc, finish_hips, hips_files, parent_values
from clusterscan.publish.release import Release

REAL = Path(os.environ.get("CLUSTERSCAN_DATA", "")) / "images" / "hips"
RELEASE = Release("0.1.0", "default", 7, 0.0, True)
TILES = (100, 101, 103, 300)
FILTER = MapTitle("act", "filter", True)


def make_map(root, tiles=TILES, order=5, width=128):
    """Write map tiles whose values are a smooth function of the sky, with holes."""
    for tile in tiles:
        ra, dec = sky.map_pixels(tile, order, order + width.bit_length() - 1)
        values = (0.5 + 0.4 * np.sin(np.radians(dec * 9)) * np.cos(np.radians(ra * 7))).astype("f4")
        reason = np.zeros(values.size, dtype=np.uint8)
        reason[:50] = 2
        values[:50] = np.nan
        write_map_tile(tile_path(root, tile, order), values, reason, {"TILE": (tile, "the tile")})


def test_a_tile_comes_back_as_it_was_written_and_verifies(tmp_path):
    values = np.arange(128 * 128, dtype="f4")
    values[7] = np.nan
    reason = np.zeros(128 * 128, dtype=np.uint8)
    reason[7] = 3
    path = tmp_path / "Npix1.fits"
    write_map_tile(path, values, reason, {"MODEL": "resnet18"})
    np.testing.assert_array_equal(read_map_tile(path), values)
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["MODEL"] == "resnet18"
        np.testing.assert_array_equal(sky.from_hips_array(hdus["REASON"].data), reason)


def test_a_tile_s_corners_lie_where_hips_puts_them(tmp_path):
    # x counts from the southern corner to the north-east, y to the north-west (Gorski et al. 2005);
    # a HiPS tile has x along its rows, downwards, and y along its columns.
    values = np.arange(16, dtype="f4")
    write_map_tile(tmp_path / "t.fits", values, np.zeros(16, np.uint8), {})
    array = fits.getdata(tmp_path / "t.fits")
    assert array[3, 0] == 0  # the southernmost cell
    assert array[0, 3] == 15  # the northernmost


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(15), np.zeros(15)),
        (np.zeros(36), np.zeros(36)),
        (np.zeros((4, 4)), np.zeros((4, 4))),
        (np.zeros(16), np.zeros(4)),
        (np.full(16, np.nan), np.zeros(16)),
        (np.zeros(16), np.ones(16)),
    ],
)
def test_tiles_that_cannot_be_right_are_refused(tmp_path, values, reason):
    with pytest.raises(ProductError):
        write_map_tile(tmp_path / "t.fits", values, reason, {})


def test_means_of_coarser_orders_agree_with_healpy():
    rng = np.random.default_rng(2)
    full = rng.normal(size=12 * 64**2)  # order 6 = tiles of order 2, 16 pixels a side
    children = {k: full[(4 * 9 + k) * 256 : (4 * 9 + k + 1) * 256] for k in range(4)}
    coarse = hp.ud_grade(full, 32, order_in="NESTED", order_out="NESTED")
    np.testing.assert_allclose(parent_values(children), coarse[9 * 256 : 10 * 256], rtol=1e-6)


def test_means_leave_out_holes_and_missing_children():
    values = np.array([1.0, np.nan, 3.0, np.nan, *[np.nan] * 4, *[2.0] * 8])
    mean = parent_values({2: values})
    np.testing.assert_array_equal(mean[8:12], np.array([2, np.nan, 2, 2], dtype="f4"))
    assert np.isnan(mean[:8]).all()
    assert np.isnan(mean[12:]).all()


def test_a_finished_map_has_every_order_its_area_and_its_properties(tmp_path):
    make_map(tmp_path)
    cells = finish_hips(tmp_path, TILES, MapTitle("unwise", "resnet18", False), RELEASE)
    assert tiles_on_disk(tmp_path, 4) == [25, 75]
    assert tiles_on_disk(tmp_path, 0) == [0]
    assert cells.size == 4 * (128**2 - 50)
    area_deg2 = cells.size * 41252.96124941927 / (12 * 4**12)
    moc = MOC.load(tmp_path / "Moc.fits", format="fits")
    assert moc.sky_fraction * 41252.96124941927 == pytest.approx(area_deg2, rel=1e-9)
    ra, dec = sky.cell_centres(cells[::977], 12)
    assert moc.contains_lonlat(ra * u.deg, dec * u.deg).all()
    properties = dict(
        (part.strip() for part in line.split("=", 1))
        for line in (tmp_path / "properties").read_text().splitlines()
    )
    assert properties["hips_order"] == "5"
    assert properties["hips_tile_width"] == "128"
    assert properties["hips_frame"] == "equatorial"
    assert properties["hips_release_date"] == RELEASE.release_date


def test_finishing_twice_or_in_another_order_gives_the_same_bytes(tmp_path):
    for name, tiles in (("a", (100, 101, 103, 300)), ("b", (300, 103, 101, 100))):
        make_map(tmp_path / name, tiles)
        finish_hips(tmp_path / name, tiles, FILTER, RELEASE)
    finish_hips(tmp_path / "b", TILES, FILTER, RELEASE)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert files
    for file in [*files, Path("properties")]:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_smaller_footprint_leaves_out_the_tiles_that_still_lie_on_disk(tmp_path):
    make_map(tmp_path / "shrunk")
    finish_hips(tmp_path / "shrunk", TILES, FILTER, RELEASE)
    make_map(tmp_path / "fresh", (100, 103))
    cells = [finish_hips(tmp_path / n, (100, 103), FILTER, RELEASE) for n in ("shrunk", "fresh")]
    np.testing.assert_array_equal(*cells)
    assert tiles_on_disk(tmp_path / "shrunk", 5) == list(TILES)  # going back computes nothing
    fresh = {p for p in (tmp_path / "fresh").rglob("*") if p.is_file()}
    assert set(hips_files(tmp_path / "fresh", (100, 103), 5)) == fresh
    assert len(fresh) == 2 + 5 + 2
    for path in hips_files(tmp_path / "shrunk", (100, 103), 5):
        same = tmp_path / "fresh" / path.relative_to(tmp_path / "shrunk")
        assert path.read_bytes() == same.read_bytes()
    assert tiles_on_disk(tmp_path / "shrunk", 4) == [25]


def test_an_empty_map_has_an_empty_moc(tmp_path):
    cells = finish_hips(tmp_path, (), FILTER, RELEASE)
    assert cells.size == 0
    assert MOC.load(tmp_path / "Moc.fits", format="fits").sky_fraction == 0
    assert cells_moc(cells, 12).empty()


@pytest.mark.filterwarnings(
    "ignore:Invalid:astropy.io.fits.verify.VerifyWarning",
    "ignore:File may have been truncated:astropy.utils.exceptions.AstropyUserWarning",
)
@pytest.mark.skipif(not REAL.is_dir(), reason="needs CLUSTERSCAN_DATA with real HiPS tiles")
def test_our_layout_is_that_of_real_hips_tiles():
    # Sky is continuous: laid out rightly, the pixels on both sides of the edge that two tiles
    # share agree better than the same pixels in any wrong layout (mirrored or turned).
    files = sorted((REAL / "Planck-HFI143" / "Norder3").rglob("Npix*.fits"))
    maps = {int(p.stem[4:]): fits.getdata(p).astype(float) for p in files}
    width = next(iter(maps.values())).shape[0]
    layouts = {
        "ours": lambda a: a,
        "turned": lambda a: a.T,
        "flipped": lambda a: a[::-1],
        "mirrored": lambda a: a[:, ::-1],
    }
    roughness = {
        name: edge_roughness({t: layout(a) for t, a in maps.items()}, width)
        for name, layout in layouts.items()
    }
    assert min(roughness, key=roughness.get) == "ours"
    assert roughness["ours"] < 0.5 * roughness["mirrored"]


def edge_roughness(maps, width):
    """Median difference of adjacent map pixels that lie in different tiles."""
    order = 3 + width.bit_length() - 1
    nested = {t: sky.from_hips_array(a) for t, a in maps.items()}
    differences = []
    for tile, values in nested.items():
        cells = np.arange(tile * width**2, (tile + 1) * width**2)
        around_each = hp.get_all_neighbours(2**order, cells, nest=True)
        for around in around_each[[0, 2, 4, 6]]:
            other = around // width**2
            for neighbour in set(other.tolist()) & set(nested) - {tile}:
                at = other == neighbour
                there = nested[neighbour][around[at] - neighbour * width**2]
                differences.append(np.abs(values[at] - there))
    return float(np.nanmedian(np.concatenate(differences)))
