"""Examples of tiles: right sky, right label, right part, each made by one tile alone."""

import numpy as np
import pandas as pd
import pytest

from clusterscan.config.sample import TileSampleSettings
from clusterscan.config.searched_sky import CellSplit, FractionSplit
from clusterscan.core import sky
from clusterscan.core.errors import ProductError
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.examples import read_examples, write_examples
from clusterscan.formats.mask_planes import BRIGHT_STAR, NO_COVERAGE, SATURATED
from clusterscan.formats.tile_image import TileImage
from clusterscan.sample.crops import crop_start
from clusterscan.sample.leakage import assert_no_leakage, find_leakage
from clusterscan.sample.tiles import as_objects, sample_tile

ORDER, SCALE, SIZE = 6, 30.0, 16
HALO = 1.05 * SIZE / 2 * SCALE / 60 * 2**0.5
TILES = sorted({9000, *sky.neighbours(9000, ORDER).tolist()})
SPLIT = SkySplit(CellSplit(kind="cells", order=ORDER, validation=TILES[:2], test=TILES[2:4]))


def settings(**values):
    return TileSampleSettings(
        **{
            "kind": "tiles",
            "size_px": SIZE,
            "random_per_deg2": 60.0,
            "exclusion_arcmin": 4.0,
            "offsets_per_known": 3,
            "offset_min_arcmin": 3.0,
            "offset_max_arcmin": 6.0,
            **values,
        }
    )


def image_of(tile, mask=None):
    """Return an image whose two planes are the RA and Dec offsets: crops tell where they are."""
    wcs, shape = sky.tile_frame(tile, ORDER, SCALE, HALO)
    y, x = np.indices(shape)
    ra, dec = wcs.pixel_to_world_values(x, y)
    ra0, dec0 = sky.cell_centres(np.int64(tile), ORDER)
    planes = np.stack([(ra - ra0 + 180) % 360 - 180, dec - dec0]).astype(np.float32)
    mask = np.zeros(shape, np.uint8) if mask is None else mask(x, y)
    return TileImage(planes, mask, wcs, "deg", ("ra", "dec"))


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(5)
    ra, dec = sky.cell_centres(np.int64(9000), ORDER)
    n = 250
    return pd.DataFrame(
        {
            "object_id": [f"C {i}" for i in range(n)],
            "ra_deg": (ra + rng.uniform(-2, 2, n) / np.cos(np.radians(dec))) % 360,
            "dec_deg": dec + rng.uniform(-2, 2, n),
            "redshift": rng.uniform(0, 1, n),
        }
    )


def sample(tile, known, values=None, split=SPLIT, mask=None, seed=1):
    return sample_tile(
        tile, ORDER, image_of(tile, mask), known, split, values or settings(), seed=seed
    )


@pytest.fixture(scope="module")
def examples(known):
    values = settings(jitters_per_known=2, jitter_arcmin=2.0)
    return {tile: sample(tile, known, values) for tile in TILES}


@pytest.fixture(scope="module")
def table(examples):
    return pd.concat([e.table for e in examples.values()], ignore_index=True)


def test_every_crop_is_centred_on_its_position_to_half_a_pixel(examples):
    for tile, found in examples.items():
        ra0, dec0 = sky.cell_centres(np.int64(tile), ORDER)
        middle = found.images.astype(float)[:, :, SIZE // 2 - 1 : SIZE // 2 + 1]
        middle = middle[..., SIZE // 2 - 1 : SIZE // 2 + 1].mean(axis=(2, 3))
        d_ra = (found.table["ra_deg"] - ra0 + 180) % 360 - 180
        cos = np.cos(np.radians(dec0))
        off = np.hypot((middle[:, 0] - d_ra) * cos, middle[:, 1] - found.table["dec_deg"] + dec0)
        # Half a pixel along both axes, and the rounding of half precision.
        assert off.max() * 3600 < SCALE * (0.5 * 2**0.5 + 0.2)


def test_each_known_object_is_a_positive_of_the_one_tile_that_owns_it(table, known):
    positives = table[(table["kind"] == "known") & table["example_id"].str.endswith("-0")]
    owner = sky.owning_cell(known["ra_deg"].to_numpy(), known["dec_deg"].to_numpy(), ORDER)
    reach = SIZE / 2 * SCALE / 60 * 2**0.5
    clear = SPLIT.keeps_clear(known["ra_deg"].to_numpy(), known["dec_deg"].to_numpy(), reach)
    expected = known["object_id"][np.isin(owner, TILES) & clear]
    assert sorted(positives["object_id"]) == sorted(expected)
    assert (positives["label"] == 1).all()
    merged = positives.merge(known, on="object_id")
    np.testing.assert_array_equal(merged["redshift_x"], merged["redshift_y"])


def test_example_ids_are_unique_and_negatives_have_no_redshift(table):
    assert table["example_id"].is_unique
    assert table.loc[table["label"] == 0, "redshift"].isna().all()


def test_random_examples_keep_away_from_known_objects_and_offsets_stay_in_their_ring(table, known):
    near = sky.separation_deg(
        table["ra_deg"].to_numpy()[:, None],
        table["dec_deg"].to_numpy()[:, None],
        known["ra_deg"].to_numpy(),
        known["dec_deg"].to_numpy(),
    )
    nearest = 60 * near.min(axis=1)
    assert nearest[table["kind"] == "random"].min() >= 4.0
    ring = nearest[table["kind"] == "offset"]
    assert ring.min() >= 3.0 * (1 - 1e-6)
    assert ring.max() <= 6.0
    host = known.set_index("object_id").loc[table["object_id"][table["kind"] == "offset"]]
    mine = table[table["kind"] == "offset"]
    own = 60 * sky.separation_deg(
        mine["ra_deg"].to_numpy(),
        mine["dec_deg"].to_numpy(),
        host["ra_deg"].to_numpy(),
        host["dec_deg"].to_numpy(),
    )
    assert own.min() >= 3.0 * (1 - 1e-6)
    assert own.max() <= 6.0 * (1 + 1e-6)


def test_random_positions_are_uniform_on_the_sky():
    empty = pd.DataFrame({"object_id": [], "ra_deg": [], "dec_deg": []})
    dense = settings(random_per_deg2=3000.0, offsets_per_known=0, min_valid_fraction=0.0)
    table = sample(
        9000, empty, dense, SkySplit(CellSplit(kind="cells", order=3, validation=[0], test=[1]))
    ).table
    assert len(table) == round(3000 * sky.cell_area_deg2(ORDER))
    quarters = np.bincount(sky.owning_cell(table["ra_deg"], table["dec_deg"], ORDER + 1) % 4)
    np.testing.assert_allclose(quarters, len(table) / 4, atol=4 * np.sqrt(len(table) / 4))


def test_no_sky_is_seen_in_two_parts(table):
    assert set(table["split"]) == {"train", "validation", "test"}
    np.testing.assert_array_equal(
        table["split"], SPLIT.part_of(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    )
    # Crops whose centres are a diagonal apart share no pixel, however they are turned.
    diagonal = SIZE * SCALE / 60 * 2**0.5
    assert not find_leakage(table, diagonal)
    assert_no_leakage(table, diagonal, "samples")


def test_a_tile_s_examples_do_not_depend_on_distant_objects_or_the_order_of_rows(known):
    tile = TILES[-1]
    whole = sample(tile, known)
    ra, dec = sky.cell_centres(np.int64(tile), ORDER)
    near = known[sky.separation_deg(known["ra_deg"], known["dec_deg"], ra, dec) < 1.5]
    part = sample(tile, near)
    assert len(near) < len(known)
    pd.testing.assert_frame_equal(whole.table, part.table)
    shuffled = sample(tile, known.sample(frac=1, random_state=3)).table
    pd.testing.assert_frame_equal(
        shuffled.sort_values("example_id", ignore_index=True),
        whole.table.sort_values("example_id", ignore_index=True),
    )


def test_another_seed_draws_other_positions(known):
    first, second = sample(9000, known, seed=1).table, sample(9000, known, seed=2).table
    drawn = [set(t.loc[t["kind"] == "random", "ra_deg"]) for t in (first, second)]
    assert not drawn[0] & drawn[1]


def test_uncovered_crops_are_dropped_and_bad_pixels_are_missing(known):
    def mask(x, y):
        planes = np.where(x < 60, NO_COVERAGE, 0).astype(np.uint8)
        planes[(x + y) % 11 == 0] |= SATURATED
        planes[(x + y) % 7 == 0] |= BRIGHT_STAR
        return planes

    found = sample(9000, known, settings(min_valid_fraction=0.8), mask=mask)
    assert found.counts["dropped_uncovered"] > 10
    missing = np.isnan(found.images.astype(float))
    assert missing.mean(axis=(1, 2, 3)).min() > 0
    assert missing.mean(axis=(1, 2, 3)).max() <= 0.2 + 1e-9
    assert (missing[:, 0] == missing[:, 1]).all()


def test_bright_stars_become_hard_negatives_at_their_centres():
    empty = pd.DataFrame({"object_id": [], "ra_deg": [], "dec_deg": []})

    def mask(x, y):
        disc = (x - 70) ** 2 + (y - 60) ** 2 < 25
        return np.where(disc, BRIGHT_STAR, 0).astype(np.uint8)

    values = settings(random_per_deg2=0.0, stars_per_deg2=50.0)
    image = image_of(9000, mask)
    stars = sample(9000, empty, values, mask=mask).table
    assert stars["kind"].tolist() == ["star"]
    np.testing.assert_allclose(image.to_pixel(stars["ra_deg"], stars["dec_deg"]), [[70], [60]])


def test_examples_survive_writing_with_the_same_bytes_every_time(examples, tmp_path):
    found = examples[9000]
    for name in ("1.parquet", "2.parquet"):
        write_examples(tmp_path / name, found)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    again = read_examples(tmp_path / "1.parquet")
    np.testing.assert_array_equal(again.images, found.images)
    assert (again.bands, again.size_px, again.pixel_scale_arcsec) == (("ra", "dec"), SIZE, SCALE)
    pd.testing.assert_frame_equal(again.table, found.table, check_dtype=False, check_like=True)


def test_a_tile_without_examples_still_has_the_schema(tmp_path):
    empty = pd.DataFrame({"object_id": [], "ra_deg": [], "dec_deg": []})
    write_examples(tmp_path / "a.parquet", sample(9000, empty, settings(random_per_deg2=0.0)))
    again = read_examples(tmp_path / "a.parquet")
    assert len(again.table) == 0
    assert again.images.shape == (0, 2, SIZE, SIZE)


def test_crops_centre_on_the_nearest_pixel_or_edge():
    # Odd sizes centre on pixels, even ones on the edges between them.
    np.testing.assert_array_equal(crop_start(np.array([10.0, 10.4, 10.6]), 5), [8, 8, 9])
    np.testing.assert_array_equal(crop_start(np.array([10.5, 10.1, 10.9]), 4), [9, 9, 9])


def test_leaks_are_found_by_name_and_by_place(table):
    leaky = table.copy()
    row = leaky.index[(leaky["kind"] == "known") & (leaky["split"] == "train")][0]
    leaky.loc[len(leaky)] = {**leaky.loc[row], "example_id": "again", "split": "test"}
    assert find_leakage(leaky, 0.1).objects == (leaky.loc[row, "object_id"],)
    renamed = leaky.assign(object_id=leaky["example_id"])
    assert ("again", leaky.loc[row, "example_id"]) in [
        tuple(sorted(pair)) for pair in find_leakage(renamed, 0.1).close_pairs
    ]
    with pytest.raises(ProductError, match="two parts of the split share"):
        assert_no_leakage(leaky, 0.1, "samples")


def test_clusters_of_one_name_become_objects_of_different_names():
    clusters = pd.DataFrame(
        {
            "name": ["A", "B", "A"],
            "ra_deg": [1.0, 2, 3],
            "dec_deg": [0.0, 1, 2],
            "z": [0.1, np.nan, 0.3],
        }
    )
    objects = as_objects(clusters)
    assert objects["object_id"].is_unique
    assert objects["object_id"][1] == "B"
    np.testing.assert_array_equal(objects["redshift"], clusters["z"])


def test_a_drawn_split_leaks_nothing_either(known):
    drawn = SkySplit(FractionSplit(kind="fractions", order=7, validation=0.2, test=0.3))
    table = pd.concat([sample(tile, known, split=drawn).table for tile in TILES[:4]])
    assert table["split"].nunique() == 3
    assert not find_leakage(table, SIZE * SCALE / 60 * 2**0.5)
