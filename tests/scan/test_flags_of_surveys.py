"""Flags of candidates in a scan of several surveys: those of any image that shows the place."""

import numpy as np

from clusterscan.core import sky
from clusterscan.formats.mask_planes import BRIGHT_STAR, EXCLUDED, FLAGGED, POINT_SOURCE
from clusterscan.formats.tile_image import TileImage
from clusterscan.scan.stage import flags_of

TILE, ORDER = 1000, 7


def image(scale_arcsec, ra, dec, plane, use):
    """Return an empty image of a tile, on the pixels under some positions of which a mask lies."""
    wcs, shape = sky.tile_frame(TILE, ORDER, scale_arcsec, 5.0)
    mask = np.zeros(shape, np.uint8)
    x, y = wcs.world_to_pixel_values(ra, dec)
    mask[np.rint(y).astype(int), np.rint(x).astype(int)] = plane | use
    return TileImage(np.zeros((1, *shape), np.float32), mask, wcs, "uK_CMB", ("f150",))


def test_a_place_has_the_flags_of_all_surveys_and_none_of_what_is_excluded():
    ra, dec = (v[[0, 3000, 9000]] for v in sky.map_pixels(TILE, ORDER, 14))
    fine = image(5.0, ra[:2], dec[:2], BRIGHT_STAR, FLAGGED)
    wide = image(30.0, ra[1:], dec[1:], POINT_SOURCE, FLAGGED)
    both = flags_of({"a": fine, "b": wide}, ra, dec)
    expected = [BRIGHT_STAR, BRIGHT_STAR | POINT_SOURCE, POINT_SOURCE]
    np.testing.assert_array_equal(both, expected)
    assert both.dtype == np.uint8
    excluded = image(30.0, ra, dec, POINT_SOURCE, EXCLUDED)
    np.testing.assert_array_equal(
        flags_of({"a": fine, "b": excluded}, ra, dec), [BRIGHT_STAR, BRIGHT_STAR, 0]
    )
    assert flags_of({"b": excluded}, ra, dec) is None
