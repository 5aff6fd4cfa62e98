"""The sky's geometry: ownership, frames, HiPS layout; at the poles and across RA 0 too."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix

from clusterscan.core import sky

# A tile at each pole, on the equator at RA 0, in a polar cap, and at a corner of base cells.
TILES = [1023, 8192, 4096, 341, 12287, 5000]


def random_positions(count, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))


def test_owners_agree_with_another_healpix_library():
    ra, dec = random_positions(2000)
    other = HEALPix(nside=32, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
    np.testing.assert_array_equal(sky.owning_cell(ra, dec, 5), other)


def test_right_ascension_may_lie_outside_0_to_360():
    for ra in (-10.0, 350.0, 710.0):
        assert sky.owning_cell([ra], [5.0], 5) == sky.owning_cell([350.0], [5.0], 5)


@pytest.mark.parametrize(("ra", "dec"), [(10, np.nan), (10, 90.1), (10, -120), (np.inf, 0)])
def test_a_position_off_the_sky_is_refused_with_its_row(ra, dec):
    with pytest.raises(ValueError, match="row 1"):
        sky.owning_cell([0.0, ra], [0.0, dec], 5)


def test_every_position_has_one_owner_and_its_block_is_the_owner_at_the_coarser_order():
    ra, dec = random_positions(500)
    tiles = sky.owning_cell(ra, dec, 5)
    np.testing.assert_array_equal(sky.ancestor(tiles, 5, 3), sky.owning_cell(ra, dec, 3))
    assert all(t in sky.descendants(int(b), 3, 5) for t, b in zip(tiles, tiles >> 4, strict=True))


@pytest.mark.parametrize("tile", TILES)
def test_touching_is_mutual(tile):
    for other in sky.neighbours(tile, 5):
        assert tile in sky.neighbours(int(other), 5)


@pytest.mark.parametrize("tile", TILES)
def test_a_tile_image_holds_every_window_centred_in_the_tile_and_little_more(tile):
    wcs, (ny, nx) = sky.tile_frame(tile, 5, pixel_scale_arcsec=20.0, halo_arcmin=6.0)
    ra, dec = sky.map_pixels(tile, 5, 12)
    x, y = wcs.world_to_pixel_values(ra, dec)
    half = 6.0 * 60 / 20.0  # the halo in pixels
    # Pixels of a tangent plane shrink towards its edge, so two pixels are allowed.
    assert min(x.min(), y.min()) > half - 2
    assert nx - 1 - x.max() > half - 2
    assert ny - 1 - y.max() > half - 2
    tile_px = sky.cell_area_deg2(5) * 180.0**2
    assert tile_px / ((nx - 2 * half) * (ny - 2 * half)) > 0.5


@pytest.mark.parametrize("tile", TILES)
def test_a_tile_frame_has_the_pixel_scale_asked_for_and_sides_of_the_multiple(tile):
    wcs, (ny, nx) = sky.tile_frame(tile, 5, 2.75, 7.0, multiple=4)
    centre = wcs.pixel_to_world([nx / 2, nx / 2 + 1, nx / 2], [ny / 2, ny / 2, ny / 2 + 1])
    for neighbour in (1, 2):
        assert centre[0].separation(centre[neighbour]).arcsec == pytest.approx(2.75, rel=2e-3)
    assert nx % 4 == ny % 4 == 0


def test_a_turned_frame_is_not_mirrored():
    wcs, _ = sky.tile_frame(4440, 5, 30.0, 5.0)
    assert np.linalg.det(wcs.pixel_scale_matrix) < 0  # east is left where north is up


def test_hips_layout_is_undone_by_its_inverse_and_puts_neighbours_side_by_side():
    values = np.arange(64 * 64)
    array = sky.to_hips_array(values)
    np.testing.assert_array_equal(sky.from_hips_array(array), values)
    steps = np.abs(np.diff(array[:2, :2].ravel()))
    assert set(steps) <= {1, 2, 3}  # four nested siblings share a 2x2 square


def test_separations_agree_with_astropy_at_all_distances():
    ra, dec = random_positions(200)
    ra2, dec2 = ra + np.geomspace(1e-9, 179, 200), -dec
    here, there = SkyCoord(ra * u.deg, dec * u.deg), SkyCoord(ra2 * u.deg, dec2 * u.deg)
    np.testing.assert_allclose(
        sky.separation_deg(ra, dec, ra2, dec2), here.separation(there).deg, rtol=1e-12, atol=1e-13
    )


def test_galactic_latitude_agrees_with_astropy():
    ra, dec = random_positions(200)
    b = SkyCoord(ra * u.deg, dec * u.deg).galactic.b.deg
    np.testing.assert_allclose(sky.galactic_latitude_deg(ra, dec), b, atol=2e-4)


def test_a_cone_holds_the_cells_of_all_positions_in_it():
    ra, dec = random_positions(4000, seed=3)
    for centre in ((0.0, 0.0), (359.9, 45.0), (10.0, 90.0), (200.0, -89.5)):
        inside = sky.separation_deg(ra, dec, *centre) < 8
        assert set(sky.owning_cell(ra[inside], dec[inside], 5)) <= set(
            sky.cells_in_cone(*centre, 8, 5).tolist()
        )
