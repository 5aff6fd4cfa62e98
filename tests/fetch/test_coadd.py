"""Images are brought to a frame as `reproject` brings them, at a fraction of its cost."""

import tracemalloc
from functools import partial, update_wrapper

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, Sip
from astropy.wcs.utils import pixel_to_pixel
from hypothesis import given, settings
from hypothesis import strategies as st
from reproject import reproject_adaptive, reproject_interp
from reproject.mosaicking import reproject_and_coadd

from clusterscan.core import sky
from clusterscan.fetch.coadd import TOLERANCE_PX, Cut, PixelMap, coadd, coadd_with_ivar
from clusterscan.fetch.hips_tiles import face_wcs

STATED_PX = 1e-4


def image_wcs(ra, dec, step, side, *, projection="TAN", turn=0.0, galactic=False):
    wcs = WCS(naxis=2)
    names = ("GLON", "GLAT") if galactic else ("RA--", "DEC-")
    wcs.wcs.ctype = [f"{name}-{projection}" for name in names]
    if projection == "CAR":  # the rows and columns of a map around 0, 0
        wcs.wcs.crval = [round(ra), 0.0]
        wcs.wcs.crpix = [side / 2, side / 2 - dec / step]
    else:
        wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [side / 2, side / 2]
    angle = np.radians(turn)
    wcs.wcs.cdelt = [-step, step]
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    if projection == "CAR":
        wcs.wcs.pc = np.eye(2)
    wcs.wcs.set()
    return wcs


def exact(frame, shape, image):
    y, x = np.indices(shape, dtype=float)
    return np.stack(pixel_to_pixel(frame, image, x, y))


def on(there, shape):
    (x, y), (ny, nx) = there, shape
    return (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)


def frame_at(ra, dec, order=5, scale=60.0):
    tile = int(sky.owning_cell(np.array([ra]), np.array([dec]), order)[0])
    return sky.tile_frame(tile, order, scale, 5.0)


@given(
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.floats(-90, 90),
    east=st.floats(-2, 2),
    north=st.floats(-2, 2),
    step=st.sampled_from([0.005, 0.02, 0.1]),
    turn=st.floats(0, 360),
    projection=st.sampled_from(["TAN", "SIN", "ZEA", "CAR"]),
    galactic=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_positions_are_within_a_ten_thousandth_of_a_pixel_everywhere(
    ra, dec, east, north, step, turn, projection, galactic
):
    frame, shape = frame_at(ra, dec)
    lon, lat = (ra, dec)
    if galactic:
        lon, lat = (float(v) for v in sky_to_galactic(ra, dec))
    lat = float(np.clip(lat + north, -90, 90))
    image = image_wcs(
        lon + east, lat, step, 90, projection=projection, turn=turn, galactic=galactic
    )
    error_px, lost = astray(frame, shape, image, (90, 90))
    assert error_px < STATED_PX
    assert lost == 0


def astray(frame, shape, image, size):
    """The largest error [px], infinite where only one has a place; pixels beyond the box."""
    places = PixelMap(frame, shape, image, size)
    expected, (rows, columns) = exact(frame, shape, image), places.box
    found = places(rows.start, rows.stop)
    expected_here = expected[:, rows, columns]
    off = np.nan_to_num(np.abs(found - expected_here))
    off[np.isnan(found) != np.isnan(expected_here)] = np.inf
    beyond = on(expected, size)
    beyond[places.box] = False
    return off.max(initial=0.0), int(beyond.sum())


def sky_to_galactic(ra, dec):
    there = SkyCoord(ra, dec, unit="deg").galactic
    return there.l.deg, there.b.deg


@given(
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.one_of(st.floats(-90, 90), st.floats(41, 43)),  # the map's two formulae meet at 41.8
    side=st.sampled_from([2**11, 2**15]),
    frame=st.sampled_from(["icrs", "galactic"]),
)
@settings(max_examples=15, deadline=None)
def test_so_are_positions_on_a_face_of_a_healpix_map(ra, dec, side, frame):
    lonlat = (ra, dec) if frame == "icrs" else sky_to_galactic(ra, dec)
    face = int(sky.owning_cell(*(np.array([float(v)]) for v in lonlat), 0)[0])
    error_px, lost = astray(*frame_at(ra, dec), face_wcs(face, side, frame), (side, side))
    assert error_px < STATED_PX
    assert lost == 0


def test_between_tangent_planes_of_full_size_interpolated_positions_are_exact():
    frame, shape = frame_at(19.0, -1.0, scale=2.75)
    image = image_wcs(19.66, -1.51, 2.75 / 3600, 2048)
    places = PixelMap(frame, shape, image, (2048, 2048))
    assert places.interpolated
    some = slice(1000, 1016)
    x, y = np.meshgrid(np.arange(shape[1]), np.arange(some.start, some.stop))
    expected = np.stack(pixel_to_pixel(frame, image, x, y))[..., places.box[1]]
    assert np.abs(places(some.start, some.stop) - expected).max() < 1e-8


def test_over_the_pole_of_a_cylindrical_map_positions_are_exact():
    frame, shape = frame_at(45.0, 90.0)
    image = image_wcs(180.0, 89.0, 0.1, 3600, projection="CAR")
    places = PixelMap(frame, shape, image, (3600, 3600))
    assert not places.interpolated
    np.testing.assert_array_equal(places(0, shape[0]), exact(frame, shape, image))
    assert TOLERANCE_PX < STATED_PX


@pytest.mark.filterwarnings("ignore:.*'WCS.all_world2pix' failed to converge")
def test_a_strong_distortion_does_not_fold_far_sky_onto_an_image():
    frame, shape = frame_at(10.0, 0.0)
    image = image_wcs(10.0, 0.0, 1 / 60, 40)
    image.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    a = np.zeros((3, 3))
    a[2, 0] = 0.02  # x + 0.02 x^2 turns back 25 px from the middle
    image.sip = Sip(a, np.zeros((3, 3)), None, None, image.wcs.crpix)
    image.wcs.set()
    values = np.ones((40, 40), np.float32)
    expected, _ = reproject_interp((values, image), frame, shape_out=shape)
    found = coadd([Cut(values, values, image)], frame, shape, "bilinear")
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))


@pytest.fixture(scope="module")
def overlapping():
    """Four images around a tile, turned against each other, with holes and uneven weights."""
    rng = np.random.default_rng(8)
    frame, shape = frame_at(40.0, 30.0)
    cuts = []
    for ra, dec, turn in ((39.5, 29.6, 0), (40.6, 29.7, 20), (40.0, 30.5, 65), (41.0, 30.6, 5)):
        values = rng.normal(size=(80, 90)).astype(np.float32)
        weight = rng.uniform(0.5, 2.0, values.shape).astype(np.float32)
        holes = rng.random(values.shape) < 0.01
        values[holes], weight[holes] = np.nan, 0.0
        cuts.append(Cut(values, weight, image_wcs(ra, dec, 0.015, 80, turn=turn)))
    return cuts, frame, shape


@pytest.mark.parametrize(
    ("how", "function"),
    [
        ("bilinear", partial(reproject_interp, order="bilinear")),
        ("nearest", partial(reproject_interp, order="nearest-neighbor")),
        ("adaptive", partial(reproject_adaptive, conserve_flux=False)),
    ],
)
def test_a_mean_is_what_reproject_makes_of_the_same_images(overlapping, how, function):
    cuts, frame, shape = overlapping
    update_wrapper(function, function.func)
    total, seen = reproject_and_coadd(
        [(cut.values, cut.wcs) for cut in cuts], frame, shape_out=shape,
        input_weights=[cut.weight for cut in cuts], reproject_function=function,
    )  # fmt: skip
    ours = coadd(iter(cuts), frame, shape, how)
    np.testing.assert_array_equal(np.isfinite(ours), seen > 0)
    assert 0.2 < np.isfinite(ours).mean() < 0.95
    np.testing.assert_allclose(ours[seen > 0], total[seen > 0], atol=1e-6)


@pytest.mark.parametrize("how", ["bilinear", "nearest", "adaptive"])
def test_inverse_variances_add_up_and_stand_where_the_mean_does(overlapping, how):
    cuts, frame, shape = overlapping
    mean, ivar = coadd_with_ivar(cuts, frame, shape, how)
    np.testing.assert_allclose(mean, coadd(cuts, frame, shape, how), rtol=1e-12)
    np.testing.assert_array_equal(ivar > 0, np.isfinite(mean))
    alone = sum(coadd_with_ivar([cut], frame, shape, how)[1] for cut in cuts)
    np.testing.assert_allclose(ivar, alone, rtol=1e-5)


def test_a_mean_of_nothing_has_no_data(overlapping):
    _, frame, shape = overlapping
    assert np.isnan(coadd([], frame, shape, "bilinear")).all()
    far = Cut(np.ones((9, 9), np.float32), np.ones((9, 9), np.float32), image_wcs(45, 35, 0.01, 9))
    for how in ("bilinear", "nearest", "adaptive"):
        assert np.isnan(coadd([far], frame, shape, how)).all()


def test_memory_does_not_grow_with_the_number_of_images():
    frame, shape = frame_at(19.0, -1.0, scale=20.0)
    peaks = []
    for count in (2, 8):
        tracemalloc.start()
        coadd(images(count), frame, shape, "bilinear")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one = 2 * 4 * 300**2  # bytes of the values and weights of an image
    assert peaks[1] - peaks[0] < one


def images(count):
    for number in range(count):
        values = np.ones((300, 300), np.float32)
        yield Cut(values, values.copy(), image_wcs(19.0, -1.0 + 0.01 * number, 20 / 3600, 300))
