"""Inverse variances are binned as the image is, and say how deep a tile is."""

import numpy as np
import pytest

from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.core import sky
from clusterscan.core.records import BlockManifest, TileRecord
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import NO_COVERAGE
from clusterscan.formats.raw_image import RawImage, write_raw
from clusterscan.formats.tile_image import read_tile
from clusterscan.preprocess.make_tile import preprocess_file
from clusterscan.preprocess.reduction import bin_image, bin_ivar, depth_table


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_binned_inverse_variance_is_the_scatter_of_binned_noise(combine):
    rng = np.random.default_rng(1)
    sigma = rng.uniform(1, 5, (12, 12))
    covered = rng.random((12, 12)) > 0.2
    noise = rng.normal(size=(20_000, 12, 12)) * sigma
    seen = bin_image(noise, covered, 3, combine).std(axis=0)
    told = bin_ivar((sigma**-2)[None], covered, 3, combine)[0]
    np.testing.assert_allclose(1 / np.sqrt(told), seen, rtol=0.03)


def test_a_pixel_of_unknown_noise_leaves_its_bin_unknown_and_one_without_data_does_not():
    ivar, covered = np.ones((1, 4, 4)), np.ones((4, 4), bool)
    ivar[0, 0, 0] = 0.0
    covered[0, 3] = False
    ivar[0, 2:, 2:], covered[2:, 2:] = np.nan, False
    np.testing.assert_allclose(bin_ivar(ivar, covered, 2)[0], [[0.0, 3.0], [4.0, 0.0]])
    np.testing.assert_allclose(bin_ivar(ivar, covered, 1)[0, 0], [0, 1, 1, 0])


@pytest.fixture
def tiles(tmp_path):
    """Two tiles of known noise, one with none, and their manifest."""
    records, settings = [], PreprocessSettings(binning=2, background={"kind": "median"})
    for tile, sigma in ((3000, 4.0), (3001, 8.0), (3002, None)):
        spec = ImageSpec("test", ("a", "b"), "uK", 60.0, 6, 5.0, binning=2, inverse_variance=True)
        wcs, shape = sky.tile_frame(tile, 6, 60.0, 5.0, 2)
        mask = np.zeros(shape, np.uint8)
        mask[:20] = NO_COVERAGE
        ivar = None
        if sigma is not None:
            ivar = np.stack([np.full(shape, s**-2, np.float32) for s in (sigma, 2 * sigma)])
        image = np.random.default_rng(tile).normal(size=(2, *shape)).astype(np.float32)
        raw = tmp_path / f"{tile}.fits"
        write_raw(raw, RawImage(image, mask, wcs, "uK", ivar), ("a", "b"), tile)
        shard = tmp_path / f"tile-{tile}.fits"
        outcome = preprocess_file(raw, shard, settings, spec)
        records.append(TileRecord(tile, "ok", "f", shard.name, 1, "s", counts=outcome.counts))
    records.append(TileRecord(3003, "no_coverage", "f", reason="nothing"))
    manifest = BlockManifest("preprocess", 1, "test", 3, 46, 6, tuple(records))
    manifest.write(tmp_path / "m.json")
    return tmp_path


def test_the_depth_of_every_tile_stands_in_one_table(tiles):
    table = depth_table([tiles / "m.json"])
    assert table["tile"].tolist() == [3000, 3001, 3002]
    np.testing.assert_allclose(table["sigma_a"], [2.0, 4.0, np.nan], rtol=1e-4)  # the mean of four
    np.testing.assert_allclose(table["sigma_b"], [4.0, 8.0, np.nan], rtol=1e-4)
    assert table["covered"].between(0.5, 0.95).all()
    assert depth_table([]).empty


def test_a_tile_keeps_its_inverse_variance_and_has_none_without_data(tiles):
    tile = read_tile(tiles / "tile-3000.fits")
    np.testing.assert_allclose(tile.ivar[:, tile.covered].T, [[1 / 4, 1 / 16]] * tile.covered.sum())
    assert (tile.ivar[:, ~tile.covered] == 0).all()
    assert (~tile.covered).any()
    assert read_tile(tiles / "tile-3002.fits").ivar is None


def test_an_infinite_inverse_variance_is_unknown():
    ivar = np.array([[[np.inf, 4.0, -1.0, np.nan]]], np.float32)
    covered = np.ones((1, 4), bool)
    np.testing.assert_array_equal(bin_ivar(ivar, covered, 1)[0, 0], [0.0, 4.0, 0.0, 0.0])
