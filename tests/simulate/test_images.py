"""Images of the simulated sky: the same sky in every frame, and the right amount of light."""

import itertools

import numpy as np
import pytest
from astropy.wcs import WCS

from clusterscan.config.simulation import InfraredSettings, MicrowaveSettings, SimulationSettings
from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.physics import sz_effect
from clusterscan.physics.psf import PSFS
from clusterscan.simulate import infrared, microwave, microwave_sky
from clusterscan.simulate.canvas import Frame, convolve_gaussians, deposit
from clusterscan.simulate.halos import halos_of_cell
from clusterscan.simulate.infrared import render_infrared
from clusterscan.simulate.microwave import render_microwave
from clusterscan.simulate.microwave_sky import gaussian_sky
from clusterscan.simulate.sky_cells import Kind

SEED = 11
PLACES = [(150.0, 2.0), (0.0, -0.1), (40.0, 89.95), (210.0, -89.9)]


@pytest.fixture(scope="module")
def small_stars():
    """Return settings quick enough for many small images."""
    return SimulationSettings(infrared=InfraredSettings(stars_max_per_deg2=5e3))


# --- the same sky in every frame -----------------------------------------------------------------


@pytest.mark.parametrize(("ra_deg", "dec_deg"), PLACES)
def test_overlapping_infrared_images_show_the_same_sky(make_frame, small_stars, ra_deg, dec_deg):
    first = make_frame(ra_deg, dec_deg, 160, 2.75, angle_deg=20)
    second = make_frame(ra_deg, dec_deg, 160, 2.75, angle_deg=20, shift=(50, 30))
    images = [
        render_infrared(*f, seed=SEED, settings=small_stars, noise_key=None)
        for f in (first, second)
    ]
    (a, mask_a), (b, mask_b) = images
    # 0.2 nanomaggies: 5 % of the pixel noise, ringing of sources just outside one of the frames
    np.testing.assert_allclose(a[:, 30:, 50:], b[:, :-30, :-50], rtol=2e-3, atol=0.2)
    np.testing.assert_array_equal(mask_a[30:, 50:] & 4, mask_b[:-30, :-50] & 4)


@pytest.mark.parametrize(("ra_deg", "dec_deg"), PLACES)
def test_overlapping_microwave_images_show_the_same_sky(make_frame, settings, ra_deg, dec_deg):
    first = make_frame(ra_deg, dec_deg, 100, 30.0, angle_deg=-35)
    second = make_frame(ra_deg, dec_deg, 100, 30.0, angle_deg=-35, shift=(40, 25))
    a, b = (
        render_microwave(*f, seed=SEED, settings=settings, noise_key=None) for f in (first, second)
    )
    np.testing.assert_allclose(a[:, 25:, 40:], b[:, :-25, :-40], rtol=1e-3, atol=0.2)


def test_tiles_of_the_survey_agree_across_their_border(settings):
    first, second = 20000, int(sky.neighbours(20000, 6)[0])
    images = {}
    for tile in (first, second):
        wcs, shape = sky.tile_frame(tile, 6, 30.0, 20.0)
        image = render_microwave(wcs, shape, seed=SEED, settings=settings, noise_key=None)
        images[tile] = wcs, image
    wcs, image = images[first]
    ny, nx = image.shape[1:]
    y, x = np.mgrid[0:ny:3, 0:nx:3]
    px, py = images[second][0].all_world2pix(*wcs.all_pix2world(x.ravel(), y.ravel(), 0), 0)
    other = images[second][1]
    inside = (px > 5) & (py > 5) & (px < other.shape[2] - 6) & (py < other.shape[1] - 6)
    assert inside.sum() > 200
    from scipy.ndimage import map_coordinates

    moved = map_coordinates(other[0], [py[inside], px[inside]], order=3)
    difference = moved - image[0][y.ravel()[inside], x.ravel()[inside]]
    assert np.std(difference) < 0.5  # uK, of about 100; pixels sample point sources differently


def test_noise_belongs_to_the_image_and_the_sky_does_not(make_frame, settings):
    frame = make_frame(150, 2, 64, 30.0)
    clean, one, two, again = (
        render_microwave(*frame, seed=SEED, settings=settings, noise_key=key)
        for key in (None, (5, 1), (5, 2), (5, 1))
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, two)
    assert abs(np.corrcoef((one - clean)[0].ravel(), (two - clean)[0].ravel())[0, 1]) < 0.3


# --- the right amount of light --------------------------------------------------------------------


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.25), (0.1, -0.45)])
def test_a_deposited_source_becomes_the_psf_wherever_in_the_pixel_it_lies(offset):
    x, y = 64 + offset[0], 64 + offset[1]
    psf = PSFS[0]
    grid = deposit(np.array([x]), np.array([y]), np.array([[1000.0]]), (257, 257))[0]
    image = convolve_gaussians(grid, psf.amplitudes, psf.variances_px2(2.75), spline=True)
    yy, xx = np.mgrid[0:257, 0:257]
    exact = 1000 * psf.profile_r2((xx - x) ** 2 + (yy - y) ** 2, 2.75)
    assert image.sum() == pytest.approx(1000.0, rel=1e-4)
    inner = np.s_[30:100, 30:100]
    assert np.abs(image[inner] - exact[inner]).max() < 0.04 * exact.max()


def test_pixel_noise_gives_the_depth_of_the_survey(make_frame, settings):
    quiet = SimulationSettings(infrared=InfraredSettings(stars=False, galaxies=False))
    frame = make_frame(150, 2, 300, 2.75)
    image, mask = render_infrared(*frame, seed=SEED, settings=quiet, noise_key=1)
    assert not mask.any()
    for band, psf in enumerate(PSFS):
        y, x = np.indices((61, 61)) - 30
        template = psf.profile_r2((x**2 + y**2).astype(float), 2.75)
        # error of the optimal flux estimate: sigma / sqrt(sum psf^2)
        error = image[band].std() / np.sqrt((template**2).sum())
        depth = 22.5 - 2.5 * np.log10(5 * error)
        published = settings.infrared.depth_5sigma_vega_mag[band]
        assert depth == pytest.approx(published, abs=0.05)


def test_microwave_noise_has_the_white_level_at_high_multipoles(make_frame):
    nothing = MicrowaveSettings(
        cmb=False, sz=False, radio_counts=0, dusty_counts=0, clustered_cib_uk2=0
    )
    frame = make_frame(150, 2, 256, 30.0)
    image = render_microwave(
        *frame, seed=SEED, settings=SimulationSettings(microwave=nothing), noise_key=3
    )
    for band in range(3):
        ell, cl = _spectrum(image[band], 0.5)
        high = (ell > 12000) & (ell < 18000)
        level = np.sqrt(cl[high].mean()) / (np.pi / 180 / 60)
        assert level == pytest.approx(nothing.white_noise_uk_arcmin[band], rel=0.05)


def test_the_cmb_has_the_input_spectrum(make_frame):
    # 3 patches of 6 deg; sample variance of a bin of 200 multipoles is about 3 % for each
    ratios = []
    for ra, dec in ((30.0, 10.0), (200.0, -60.0), (0.0, 88.0)):
        wcs, shape = make_frame(ra, dec, 360, 60.0)
        field = gaussian_sky(Frame(wcs, shape, 0).pixel_vectors(), seed=SEED, kind=Kind.CMB)
        ell, cl = _spectrum(field, 1.0)
        edges = np.array([500, 800, 1100, 1400, 1700, 2000, 2500, 3000])
        expected = _spectrum_mean(microwave_sky.cmb_cl, ell, edges)
        ratios.append(_spectrum_mean(None, ell, edges, cl) / expected)
    mean = np.mean(ratios, axis=0)
    np.testing.assert_allclose(mean, 1.0, atol=0.12)
    assert mean.mean() == pytest.approx(1.0, abs=0.05)


def _spectrum(field, scale_arcmin):
    """Return multipoles and the flat-sky power of a windowed field."""
    n = field.shape[0]
    window = np.outer(np.hanning(n), np.hanning(n))
    pixel = scale_arcmin * np.pi / 180 / 60
    modes = np.fft.fft2((field - field.mean()) * window)
    cl = np.abs(modes) ** 2 * pixel**2 / (window**2).sum()
    f = np.fft.fftfreq(n)
    return 2 * np.pi * np.hypot(f[:, None], f[None, :]) / pixel, cl


def _spectrum_mean(function, ell, edges, cl=None):
    values = function(ell) if cl is None else cl
    weight = ell**2
    return np.array(
        [
            (values * weight)[(ell >= low) & (ell < high)].mean()
            for low, high in itertools.pairwise(edges)
        ]
    )


def test_a_cluster_lowers_f090_by_its_compton_parameter(make_frame):
    halos = halos_of_cell(20000, SEED, SimulationSettings().halos)
    big = int(np.argmax(halos.y500_arcmin2))
    only_sz = SimulationSettings(
        microwave=MicrowaveSettings(cmb=False, radio_counts=0, dusty_counts=0, clustered_cib_uk2=0)
    )
    frame = make_frame(halos.ra_deg[big], halos.dec_deg[big], 241, 30.0)
    image = render_microwave(*frame, seed=SEED, settings=only_sz, noise_key=None)
    y, x = np.indices(frame[1]) - 120
    disc = np.hypot(x, y) * 0.5 < 4 * halos.theta500_arcmin[big]
    ring = (np.hypot(x, y) * 0.5 > 50) & ~disc
    measured = (image[0][disc] - np.median(image[0][ring])).sum() * 0.25
    expected = sz_effect.sz_uk(97.8) * halos.y500_arcmin2[big]
    # within 4 R500 the profile holds up to 2.2 times Y(R500); neighbours add some
    assert 1.0 < measured / expected < 3.0
    assert image[0][115:126, 115:126].min() < 5 * np.median(image[0][ring])
    assert np.abs(image[2]).max() < 0.1 * np.abs(image[0]).max()


def test_objects_beyond_the_border_shine_in(make_frame, settings):
    halos = halos_of_cell(20000, SEED, settings.halos)
    big = int(np.argmax(halos.y500_arcmin2))
    # an image that ends 2 arcmin short of the cluster's centre
    shift_deg = (16 + 2) / 60
    frame = make_frame(halos.ra_deg[big], halos.dec_deg[big] - shift_deg, 64, 30.0)
    only_sz = SimulationSettings(
        microwave=MicrowaveSettings(cmb=False, radio_counts=0, dusty_counts=0, clustered_cib_uk2=0)
    )
    image = render_microwave(*frame, seed=SEED, settings=only_sz, noise_key=None)
    row = image[0].mean(axis=1)
    assert image[0][-4:, 28:36].mean() < 2 * row[:32].mean() < 0


# --- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ra_deg", "dec_deg"), PLACES)
def test_images_are_finite_and_deterministic_everywhere(make_frame, small_stars, ra_deg, dec_deg):
    frame = make_frame(ra_deg, dec_deg, (90, 120), 2.75)
    image, mask = render_infrared(*frame, seed=SEED, settings=small_stars, noise_key=(5, 9))
    again, _ = render_infrared(*frame, seed=SEED, settings=small_stars, noise_key=(5, 9))
    assert image.dtype == np.float32
    assert mask.dtype == np.uint8
    assert image.shape == (2, 90, 120)
    assert np.isfinite(image).all()
    np.testing.assert_array_equal(image, again)


def test_bright_stars_are_saturated_inside_and_masked_around(make_frame):
    from clusterscan.simulate.stars import bright_stars_of_cell

    settings = SimulationSettings()
    cell = 20000
    ra, dec, w1, _ = bright_stars_of_cell(cell, SEED, settings.infrared)
    star = int(np.argmin(w1))
    frame = make_frame(ra[star], dec[star], 201, 2.75)
    image, mask = render_infrared(*frame, seed=SEED, settings=settings, noise_key=None)
    assert mask[100, 100] & infrared.BRIGHT_STAR
    if w1[star] < settings.infrared.saturation_vega_mag[0] - 0.2:
        assert mask[100, 100] & infrared.SATURATED
    assert image[0, 100, 100] == image[0].max()


def test_a_galactic_frame_is_refused():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.crval = [10.0, 20.0]
    wcs.wcs.cdelt = [-0.01, 0.01]
    with pytest.raises(ImageError, match="RA/Dec"):
        Frame(wcs, (10, 10), 0)


def test_pixels_too_coarse_for_the_beams_are_refused(make_frame, settings):
    wcs, shape = make_frame(10, 10, 32, 120.0)
    with pytest.raises(ImageError, match="use at most"):
        render_microwave(wcs, shape, seed=SEED, settings=settings, noise_key=None)


def test_bands_are_named_in_the_order_of_the_planes():
    assert infrared.BANDS == ("W1", "W2")
    assert microwave.BANDS == ("f090", "f150", "f220")
