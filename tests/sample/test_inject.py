"""Injected clusters carry the signal of their mass, where they stand, as the images show it."""

import numpy as np
import pandas as pd
import pytest
from astropy.wcs import WCS

from clusterscan.config.sample import InjectionSettings, TileSampleSettings
from clusterscan.config.searched_sky import CellSplit
from clusterscan.core import sky
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.tile_image import TileImage
from clusterscan.physics.sz_effect import sz_uk
from clusterscan.sample.inject import decrement_uk, draw_clusters
from clusterscan.sample.tiles import sample_tile

SETTINGS = InjectionSettings(per_deg2=20.0)
CLUSTER = pd.Series({"theta500_arcmin": 2.0, "y0": 1e-4})


def test_the_signal_follows_the_sz_spectrum_and_its_own_compton_parameter():
    sharp = SETTINGS.model_copy(update={"beam_fwhm_arcmin": (1.0, 1.0, 1.0)})
    once = decrement_uk(CLUSTER, (0.0, 0.0), 32, 0.5, sharp)
    np.testing.assert_allclose(
        once[0] / once[1], sz_uk(97.8) / sz_uk(149.6) * np.ones((32, 32)), rtol=1e-6
    )
    np.testing.assert_allclose(
        decrement_uk(2 * CLUSTER, (0.0, 0.0), 32, 0.5, sharp).shape, once.shape
    )
    twice = decrement_uk(CLUSTER.replace(1e-4, 2e-4), (0.0, 0.0), 32, 0.5, sharp)
    np.testing.assert_allclose(twice, 2 * once)


def test_the_signal_stands_where_it_is_put_and_is_round():
    there = decrement_uk(CLUSTER, (3.0, -5.0), 33, 0.5, SETTINGS)[1]
    assert np.unravel_index(there.argmin(), there.shape) == (16 + 3, 16 - 5)
    centred = decrement_uk(CLUSTER, (0.0, 0.0), 33, 0.5, SETTINGS)[1]
    np.testing.assert_allclose(centred, centred.T, atol=1e-6 * np.abs(centred).max())
    np.testing.assert_allclose(centred, centred[::-1], atol=1e-6 * np.abs(centred).max())


def test_the_central_decrement_of_a_wide_cluster_is_y0_times_the_spectrum():
    wide = pd.Series({"theta500_arcmin": 12.0, "y0": 1e-4})
    sharp = SETTINGS.model_copy(update={"beam_fwhm_arcmin": (0.6, 0.6, 0.6)})
    depth = decrement_uk(wide, (0.0, 0.0), 65, 0.25, sharp)[:, 32, 32]
    # The profile has a cusp that pixels and beam round off by about a tenth.
    expected = 1e-4 * np.array([sz_uk(f) for f in (97.8, 149.6)])
    np.testing.assert_allclose(depth[:2], expected, rtol=0.2)


def test_a_high_pass_takes_away_the_mean():
    passed = SETTINGS.model_copy(update={"highpass_fwhm_arcmin": 6.0})
    full = decrement_uk(CLUSTER, (0.0, 0.0), 128, 0.5, SETTINGS)[1]
    high = decrement_uk(CLUSTER, (0.0, 0.0), 128, 0.5, passed)[1]
    assert abs(high.sum()) < 0.05 * abs(full.sum())
    assert high.min() > full.min()


def test_draws_keep_to_their_ranges_and_to_their_tile():
    clusters = draw_clusters(500, 4440, 5, 1, SETTINGS)
    assert clusters["m500c_msun"].between(*SETTINGS.m500c_msun).all()
    assert clusters["z"].between(*SETTINGS.z).all()
    pd.testing.assert_frame_equal(clusters, draw_clusters(500, 4440, 5, 1, SETTINGS))
    assert not clusters.equals(draw_clusters(500, 4441, 5, 1, SETTINGS))


@pytest.fixture(scope="module")
def blank_tile():
    wcs, shape = sky.tile_frame(17760, 6, 30.0, 12.0)
    assert isinstance(wcs, WCS)
    bands = ("f090", "f150", "f220")
    return TileImage(np.zeros((3, *shape), np.float32), np.zeros(shape, np.uint8), wcs, "uK", bands)


def test_sampled_injections_carry_their_signal_and_random_examples_none(blank_tile):
    settings = TileSampleSettings(
        kind="tiles",
        size_px=32,
        random_per_deg2=20.0,
        exclusion_arcmin=5.0,
        inject=SETTINGS,
    )
    known = pd.DataFrame({"object_id": [], "ra_deg": [], "dec_deg": [], "redshift": []})
    known = known.astype({"ra_deg": float, "dec_deg": float, "redshift": float})
    split = SkySplit(CellSplit(kind="cells", order=6, validation=[0], test=[1]))
    examples = sample_tile(17760, 6, blank_tile, known, split, settings, seed=1)
    injected = (examples.table["kind"] == "injected").to_numpy()
    assert injected.sum() == round(20.0 * sky.cell_area_deg2(6))
    assert (examples.table["label"][injected] == 1).all()
    centre = examples.images[:, 1, 14:18, 14:18].astype(float).mean(axis=(1, 2))
    assert (centre[injected] < -5).all()
    assert (examples.images[~injected] == 0).all()
    without = sample_tile(17760, 6, blank_tile, known, split, replace_inject(settings), seed=1)
    assert set(without.table["kind"]) == {"random"}


def replace_inject(settings: TileSampleSettings) -> TileSampleSettings:
    return settings.model_copy(update={"inject": None})
