"""Candidates: the same for any tiling, owned once, at their true positions."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.special import expit

from clusterscan.config.scan import DetectSettings
from clusterscan.core import sky
from clusterscan.core.errors import ProductError
from clusterscan.detect import COLUMNS, FLAG_BLENDED, FLAG_EDGE, empty_candidates, find_peaks

TILE_ORDER, MAP_ORDER = 6, 11  # pixels of 103 arcsec
SETTINGS = DetectSettings(
    radius_arcmin=4, noise_inner_arcmin=8, noise_outer_arcmin=20, min_snr=3, max_per_deg2=1e6
)
PLACES = {
    "north pole": (40.0, 89.9),
    "south pole": (250.0, -89.8),
    "RA 0 on the equator": (0.0, 0.0),
    "RA 0 away from it": (359.99, -33.0),
    "a corner of base cells": (45.0, 41.81),
}


def pixels_around(ra, dec, radius_deg=1.4):
    tiles = sky.cells_in_cone(ra, dec, radius_deg, TILE_ORDER)
    ipix = np.concatenate([sky.descendants(int(t), TILE_ORDER, MAP_ORDER) for t in tiles])
    return ipix, *sky.cell_centres(ipix, MAP_ORDER)


def bumps(ra, dec, centres, height=20.0, sigma_arcmin=3.0):
    values = np.zeros(ra.size)
    for centre in centres:
        distance = sky.separation_deg(ra, dec, *centre) * 60
        values += height * np.exp(-0.5 * (distance / sigma_arcmin) ** 2)
    return values


def by_tiles(values, ra, dec, ipix, settings=SETTINGS, order=TILE_ORDER, scale="snr"):
    """Each tile from itself and its neighbours alone."""
    owner = sky.ancestor(ipix, MAP_ORDER, order)
    parts = []
    for tile in np.unique(owner):
        near = np.isin(owner, [tile, *sky.neighbours(int(tile), order)])
        parts.append(
            find_peaks(
                values[near], ra[near], dec[near], ipix[near], owner[near] == tile,
                map_order=MAP_ORDER, settings=settings, scale=scale,
            )
        )  # fmt: skip
    return pd.concat(parts).sort_values("ipix", ignore_index=True)


def whole(values, ra, dec, ipix, settings=SETTINGS, scale="snr"):
    return find_peaks(
        values, ra, dec, ipix, np.ones(ipix.size, bool),
        map_order=MAP_ORDER, settings=settings, scale=scale,
    )  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("smooth", [0.0, 5.0])
def test_tiled_detection_equals_untiled_to_the_last_bit(place, smooth):
    ipix, ra, dec = pixels_around(*PLACES[place])
    rng = np.random.default_rng(1)
    centres = [(ra[i], dec[i]) for i in rng.integers(0, ra.size, 30)]
    values = bumps(ra, dec, centres) + rng.normal(0, 1, ra.size)
    values[rng.random(ra.size) < 0.02] = np.nan
    settings = SETTINGS.model_copy(update={"smooth_fwhm_arcmin": smooth})
    expected = whole(values, ra, dec, ipix, settings)
    assert len(expected) >= 20
    shuffle = rng.permutation(ipix.size)
    again = whole(values[shuffle], ra[shuffle], dec[shuffle], ipix[shuffle], settings)
    pd.testing.assert_frame_equal(again, expected, check_exact=True)
    tiled = by_tiles(values, ra, dec, ipix, settings)
    pd.testing.assert_frame_equal(tiled, expected, check_exact=True)
    coarser = by_tiles(values, ra, dec, ipix, settings, order=TILE_ORDER - 1)
    pd.testing.assert_frame_equal(coarser, expected, check_exact=True)


@pytest.mark.parametrize("place", PLACES)
def test_a_peak_is_found_once_at_its_true_position(place):
    ra0, dec0 = PLACES[place]
    ipix, ra, dec = pixels_around(ra0, dec0)
    found = by_tiles(bumps(ra, dec, [(ra0, dec0)], sigma_arcmin=4), ra, dec, ipix)
    assert len(found) == 1
    row = found.iloc[0]
    error = 60 * sky.separation_deg(row.ra_deg, row.dec_deg, ra0, dec0)
    assert error < 0.2  # of pixels of 1.7 arcmin
    assert 0 <= row.ra_deg < 360


def test_a_peak_on_the_border_of_two_tiles_is_found_once():
    tile = 9000
    corner = sky.outline_vectors(tile, TILE_ORDER, step=2)
    for vector in corner:
        ra0 = np.degrees(np.arctan2(vector[1], vector[0])) % 360
        dec0 = np.degrees(np.arcsin(vector[2]))
        ipix, ra, dec = pixels_around(ra0, dec0, 1.4)
        values = bumps(ra, dec, [(ra0, dec0)])
        # Make the border's pixels exactly equal, as a saturated network does.
        found = by_tiles(np.minimum(values, 15.0), ra, dec, ipix)
        assert len(found) == 1


def test_equal_pixels_go_to_the_lowest_index():
    ipix, ra, dec = pixels_around(30.0, 10.0, 2.0)
    values = np.zeros(ipix.size)
    near = sky.separation_deg(ra, dec, 30.0, 10.0) * 60 < 3.5
    values[near] = 9.0
    found = whole(values, ra, dec, ipix)
    assert found.ipix.tolist() == [ipix[near].min()]


def test_subpixel_positions_beat_the_pixel_centre_fivefold():
    rng = np.random.default_rng(2)
    own, refined = [], []
    for _ in range(15):
        ra0, dec0 = 100 + rng.uniform(-1, 1), 20 + rng.uniform(-1, 1)
        ipix, ra, dec = pixels_around(ra0, dec0, 1.0)
        row = whole(bumps(ra, dec, [(ra0, dec0)], sigma_arcmin=4), ra, dec, ipix).iloc[0]
        centre = sky.cell_centres(np.array([int(row.ipix)]), MAP_ORDER)
        own.append(sky.separation_deg(*centre, ra0, dec0)[0])
        refined.append(sky.separation_deg(row.ra_deg, row.dec_deg, ra0, dec0))
    assert np.mean(refined) < np.mean(own) / 5


def test_position_errors_describe_the_scatter_of_a_noisy_peak():
    rng = np.random.default_rng(3)
    smooth = SETTINGS.model_copy(update={"smooth_fwhm_arcmin": 7.0, "min_snr": 2.0})
    ipix, ra, dec = pixels_around(200.0, 30.0, 0.5)
    pulls = []
    for _ in range(40):
        ra0, dec0 = 200 + rng.uniform(-0.1, 0.1), 30 + rng.uniform(-0.1, 0.1)
        values = bumps(ra, dec, [(ra0, dec0)], 5.0, 3.0) + rng.normal(0, 1, ra.size)
        found = whole(values, ra, dec, ipix, smooth)
        distance = 60 * sky.separation_deg(found.ra_deg, found.dec_deg, ra0, dec0)
        nearest = int(np.argmin(distance))
        pulls.append(distance[nearest] / found.pos_err_arcmin[nearest])
    # Rayleigh: the mean square of separation over error along an axis is 2.
    assert 0.5 < np.mean(np.square(pulls)) < 6


def test_signal_to_noise_and_area_of_a_known_peak():
    rng = np.random.default_rng(4)
    ipix, ra, dec = pixels_around(10.0, -20.0, 1.5)
    values = bumps(ra, dec, [(10.0, -20.0)], 40.0, 4.0) + rng.normal(0, 2, ra.size)
    row = whole(values, ra, dec, ipix).sort_values("score").iloc[-1]
    assert row.snr == pytest.approx(20, rel=0.25)
    assert row.noise == pytest.approx(2, rel=0.15)
    half_height_area = np.pi * 2 * np.log(2) * 4.0**2 / (3600 * sky.cell_area_deg2(MAP_ORDER))
    assert row.area_px == pytest.approx(half_height_area, rel=0.3)


def test_probabilities_are_searched_as_logits():
    ipix, ra, dec = pixels_around(10.0, 0.0, 1.5)
    logits = bumps(ra, dec, [(10.0, 0.0)], 8.0, 4.0) - 4
    found = whole(expit(logits), ra, dec, ipix, scale="probability")
    assert len(found) == 1
    assert found.score[0] == pytest.approx(np.log(found.value[0] / (1 - found.value[0])), rel=1e-4)


def test_peaks_next_to_invalid_pixels_and_to_each_other_are_flagged():
    ipix, ra, dec = pixels_around(10.0, 0.0, 1.5)
    values = bumps(ra, dec, [(10.0, 0.0), (10.0, 0.6), (10.11, 0.6)], sigma_arcmin=2)
    values[(sky.separation_deg(ra, dec, 10.0, 0.05) * 60) < 1.5] = np.nan
    found = whole(values, ra, dec, ipix)
    near_hole = sky.separation_deg(found.ra_deg, found.dec_deg, 10.0, 0.0) < 0.05
    assert (found["flags"][near_hole] & FLAG_EDGE).all()
    assert not (found["flags"][~near_hole] & FLAG_EDGE).any()
    assert (found["flags"][~near_hole] & FLAG_BLENDED).all()
    assert (~near_hole).sum() == 2
    assert not (found["flags"][near_hole] & FLAG_BLENDED).any()


def test_the_cap_keeps_the_best_candidates():
    ipix, ra, dec = pixels_around(10.0, 0.0, 1.5)
    values = np.random.default_rng(5).normal(0, 1, ra.size)
    everything = whole(values, ra, dec, ipix, SETTINGS.model_copy(update={"min_snr": 1.0}))
    few = SETTINGS.model_copy(update={"min_snr": 1.0, "max_per_deg2": 2.0})
    capped = whole(values, ra, dec, ipix, few)
    area = ipix.size * sky.cell_area_deg2(MAP_ORDER)
    assert len(capped) == int(2 * area)
    assert capped.attrs["n_dropped"] == len(everything) - len(capped)
    assert capped.score.min() == np.sort(everything.score)[-len(capped)]


@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_a_map_without_peaks_gives_an_empty_table_with_all_columns(fill):
    ipix, ra, dec = pixels_around(10.0, 0.0, 1.0)
    found = whole(np.full(ipix.size, fill), ra, dec, ipix)
    assert found.dtypes.astype(str).to_dict() == COLUMNS
    assert len(found) == 0
    pd.testing.assert_frame_equal(found, empty_candidates())


def test_impossible_maps_are_refused():
    ipix, ra, dec = pixels_around(10.0, 0.0, 1.0)
    ones = np.ones(ipix.size)
    with pytest.raises(ProductError, match="no position"):
        whole(ones, np.where(ipix == ipix[5], np.nan, ra), dec, ipix)
    with pytest.raises(ProductError, match="twice"):
        whole(ones, ra, dec, np.where(ipix == ipix[5], ipix[6], ipix))
    with pytest.raises(ProductError, match="scale"):
        whole(ones * 3, ra, dec, ipix, scale="probability")
    with pytest.raises(ProductError, match="shape"):
        whole(ones[:-1], ra, dec, ipix)
    with pytest.raises(ValidationError, match="must increase"):
        DetectSettings(radius_arcmin=6, noise_inner_arcmin=5)
