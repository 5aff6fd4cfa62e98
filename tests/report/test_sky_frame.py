"""Frames of the sky show what they should, where it is."""

import numpy as np
import pytest

from clusterscan.core import sky
from clusterscan.formats.map_tile import tile_path, write_map_tile
from clusterscan.report.sky_frame import frame_covered, frame_values, sky_frames


@pytest.mark.parametrize("tile", [0, 1023, 4433, 12287, 8192])
def test_a_frame_holds_its_tile_whole_also_at_the_poles(tile):
    (frame,) = sky_frames(np.array([tile]), 5)
    ra, dec = sky.map_pixels(tile, 5, 9)
    assert frame.contains(ra, dec).all()
    covered = frame_covered(frame, [tile], 5)
    assert covered[0].mean() < 0.2
    assert 0.3 < covered.mean() < 0.95


def test_tiles_far_apart_get_frames_of_their_own_and_a_whole_sky_one_frame():
    assert len(sky_frames(np.array([100, 5000]), 5)) == 2
    (whole,) = sky_frames(np.arange(12 * 4**2), 2)
    assert whole.all_sky


def test_east_is_left_and_north_up():
    (frame,) = sky_frames(np.array([4433]), 5)
    ra, dec = (float(x) for x in sky.cell_centres(np.int64(4433), 5))
    x, y = frame.wcs.world_to_pixel_values([ra, ra + 0.3, ra], [dec, dec, dec + 0.3])
    assert x[1] < x[0]
    assert y[2] > y[0]


def test_a_single_bright_map_pixel_is_seen_where_it_is(tmp_path):
    values = np.zeros(4**7, dtype=np.float32)
    values[777] = 1
    write_map_tile(tile_path(tmp_path, 4433, 5), values, np.zeros(4**7, np.uint8), {})
    (frame,) = sky_frames(np.array([4433]), 5, pixels=200)
    drawn = frame_values(frame, tmp_path, [4433], 5)
    y, x = np.argwhere(drawn == 1).mean(axis=0)
    ra, dec = sky.map_pixels(4433, 5, 12)
    expected = frame.wcs.world_to_pixel_values(ra[777], dec[777])
    assert abs(x - expected[0]) < 1.5
    assert abs(y - expected[1]) < 1.5
    assert np.isnan(drawn).any()
    assert np.isnan(frame_values(frame, tmp_path, [4434], 5)).all()  # of another footprint
