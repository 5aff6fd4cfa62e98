"""Maps all over the sky, through the stages' scripts from tile images on."""

from dataclasses import replace

import numpy as np
import pytest

from clusterscan.config.scan import ScanSettings
from clusterscan.core import sky
from clusterscan.formats.map_tile import read_map_tile
from clusterscan.formats.mask_planes import EXCLUDED, LARGE_GALAXY
from clusterscan.formats.tile_image import read_tile
from clusterscan.scan.scanners import network_scanner

ORDER = 7  # of the tiles
SEEN_PX = 20  # half a window, and the network's reach around it
MAP_PIXEL_DEG = sky.cell_area_deg2(12) ** 0.5

# Where tilings go wrong: the poles, where base cells meet (four there, three at 41.8 deg), the
# meridian where RA jumps, the equator; and a plain place for comparison.
PLACES = {
    "north pole": (123.0, 89.995),
    "beside the north pole": (271.0, 89.4),
    "south pole": (10.0, -90.0),
    "just west of RA 0": (359.9995, -33.0),
    "on the equator at RA 0": (0.0, 0.0),
    "where three base cells meet": (90.0, 41.8103),
    "elsewhere": (52.3, -27.4),
}


def tiles_around(ra_deg, dec_deg, order=ORDER):
    own = int(sky.owning_cell(np.array([ra_deg]), np.array([dec_deg]), order)[0])
    return tuple(sorted({own, *(int(t) for t in sky.neighbours(own, order))}))


@pytest.fixture(scope="module")
def scan_of(chain, seer, light_of, tmp_path_factory):
    """Return the finished scan of the nine tiles around a place with a cluster, made once."""
    made = {}

    def scan(place):
        if place not in made:
            ra, dec = PLACES[place]
            run = chain(tmp_path_factory.mktemp("scan"), tiles_around(ra, dec))
            run.make_images(light_of(ra, dec))
            run.make_model(seer())
            run.scan()
            made[place] = run
        return made[place]

    return scan


@pytest.mark.parametrize("place", list(PLACES))
def test_a_cluster_is_found_once_within_a_map_pixel_of_its_place(place, scan_of):
    ra, dec = PLACES[place]
    run = scan_of(place)
    found = run.detect()
    assert len(found) == 1
    away = sky.separation_deg(found["ra_deg"], found["dec_deg"], ra, dec)
    assert away[0] < MAP_PIXEL_DEG
    assert found["value"][0] == pytest.approx(1 / (1 + np.exp(-4)), abs=0.02)
    # The candidate is its owner's, whose tile is told by the map pixel.
    owner = sky.ancestor(int(found["ipix"][0]), 12, ORDER)
    assert (run.root / "candidates/act/seer" / sky.shard_path(owner, ORDER, ".parquet")).is_file()


@pytest.mark.parametrize(
    "place", ["north pole", "just west of RA 0", "where three base cells meet"]
)
def test_neighbouring_tiles_say_the_same_about_the_sky_that_they_share(place, scan_of):
    """To a twentieth of the cluster's height: the square windows are turned from frame to frame."""
    ra, dec = PLACES[place]
    run = scan_of(place)
    own = int(sky.owning_cell(np.array([ra]), np.array([dec]), ORDER)[0])
    pixels = sky.map_pixels(own, ORDER, 12)
    near = 60 * sky.separation_deg(*pixels, ra, dec) < 6
    assert near.sum() > 20
    scanner = network_scanner(
        run.root / "model" / "model.json", ScanSettings(device="cpu", step_px=2)
    )
    logits = []
    for number in run.tiles:
        tile = read_tile(run.root / "tiles/act" / sky.shard_path(number, ORDER, ".fits"))
        x, y = tile.to_pixel(*(p[near] for p in pixels))
        probability, _ = scanner(tile, x, y)
        ny, nx = tile.mask.shape
        # Beyond its own sky a tile's image need not hold all that the network sees.
        held = (x > SEEN_PX) & (x < nx - SEEN_PX) & (y > SEEN_PX) & (y < ny - SEEN_PX)
        logits.append(np.where(held, np.log(probability / (1 - probability)), np.nan))
    both = np.isfinite(logits).sum(axis=0) > 1
    assert both.any()
    shared = np.array(logits)[:, both]
    spread = np.nanmax(shared, axis=0) - np.nanmin(shared, axis=0)
    assert spread.max() < 0.4  # of 8 between empty sky and the cluster


@pytest.fixture
def scanned(scan_of):
    """Return a finished scan of nine tiles in several blocks."""
    run = scan_of("on the equator at RA 0")
    assert len(run.blocks) > 1
    return run


@pytest.mark.parametrize("block_order", [0, 7])
def test_maps_are_the_same_bytes_for_all_blocks_and_in_any_order(
    block_order, scanned, chain, seer, light_of, tmp_path
):
    other = chain(tmp_path, scanned.tiles, block_order=block_order)
    other.make_images(light_of(0.0, 0.0))
    other.make_model(seer())
    other.scan(blocks=other.blocks[::-1], read_ahead=block_order)
    assert len(other.maps()) == len(scanned.tiles)
    assert other.maps() == scanned.maps()


def test_tiles_of_another_order_give_the_same_values_where_their_images_are_the_same(scanned):
    """Only the chunks differ, and with them the order of sums."""
    tile = scanned.tiles[4]
    whole = read_map_tile(scanned.root / "maps/act/seer" / sky.shard_path(tile, ORDER, ".fits"))
    same = read_tile(scanned.root / "tiles/act" / sky.shard_path(tile, ORDER, ".fits"))
    card = scanned.root / "model" / "model.json"
    scanner = network_scanner(card, ScanSettings(device="cpu", step_px=2))
    parts = [sky.map_pixels(part, ORDER + 1, 12) for part in range(4 * tile, 4 * tile + 4)]
    found = [scanner(same, *same.to_pixel(*pixels))[0] for pixels in parts]
    np.testing.assert_allclose(np.concatenate(found), whole, rtol=0, atol=2e-6)


def test_tiles_of_another_order_with_their_own_images_find_the_same_cluster(
    scanned, chain, seer, light_of, tmp_path
):
    coarser = tuple(sorted({tile // 4 for tile in scanned.tiles}))
    parts = chain(tmp_path, coarser, tile_order=ORDER - 1)
    parts.make_images(light_of(0.0, 0.0))
    parts.make_model(seer())
    parts.scan()
    first, second = scanned.detect(), parts.detect()
    assert first["ipix"].tolist() == second["ipix"].tolist()
    assert len(first) == 1
    np.testing.assert_allclose(first["score"], second["score"], atol=0.4)


def test_a_networks_map_is_empty_where_a_mask_excludes_the_sky_and_says_why(scanned):
    tile = scanned.tiles[4]
    image = read_tile(scanned.root / "tiles/act" / sky.shard_path(tile, ORDER, ".fits"))
    scanner = network_scanner(
        scanned.root / "model" / "model.json", ScanSettings(device="cpu", min_valid_fraction=0.0)
    )
    x, y = image.to_pixel(*sky.map_pixels(tile, ORDER, 12))
    mask = image.mask.copy()
    mask[:, : mask.shape[1] // 2] |= LARGE_GALAXY | EXCLUDED
    probability, reason = scanner(replace(image, mask=mask), x, y)
    hidden = np.rint(x).astype(int) < mask.shape[1] // 2
    assert 0.2 < hidden.mean() < 0.8
    assert (reason[hidden] == 5).all()
    assert np.isnan(probability[hidden]).all()
    assert (reason[~hidden] == 0).all()
