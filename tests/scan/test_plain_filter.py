"""The plain filters against theory: noise of unit variance, signal of the expected height."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.integrate import quad

from clusterscan.config.scan import (
    FilterSettings,
    MatchedFilterSettings,
    MultiscaleFilterSettings,
)
from clusterscan.core.errors import ImageError
from clusterscan.physics.sz_effect import (
    beam_window,
    projected_profile,
    sz_uk,
    template_window,
)
from clusterscan.scan.matched_filter import (
    filter_with_template,
    matched_filter,
    noise_covariance,
    wave_numbers,
)
from clusterscan.scan.plain_filter import filter_tile

SCALE_ARCMIN = 0.5
SIZE = 256


def compton_profile(theta_arcmin, theta500):
    """The Compton y of a cluster with unit centre, unsmoothed."""
    x, y = projected_profile()
    return np.interp(theta_arcmin / theta500, x, y, right=0.0)


def sz_cluster(settings, y0, theta500, centre=(128, 128)):
    """A cluster painted by brute force: profile on a fine grid, beam by real-space convolution."""
    fine = 5
    axis = (np.arange(SIZE * fine) + 0.5) / fine - 0.5
    dy, dx = np.meshgrid(axis - centre[0], axis - centre[1], indexing="ij")
    profile = y0 * compton_profile(np.hypot(dy, dx) * SCALE_ARCMIN, theta500)
    profile = profile.reshape(SIZE, fine, SIZE, fine).mean(axis=(1, 3))
    from scipy.ndimage import gaussian_filter

    bands = []
    for nu, fwhm in zip(settings.frequencies_ghz, settings.beam_fwhm_arcmin, strict=True):
        sigma = fwhm / np.sqrt(8 * np.log(2)) / SCALE_ARCMIN
        bands.append(sz_uk(nu) * gaussian_filter(profile, sigma, truncate=6))
    return np.stack(bands)


def all_good(shape):
    return np.zeros(shape, dtype=np.uint8)


def test_the_sz_spectrum_has_its_published_null_and_rayleigh_jeans_limit():
    assert sz_uk(217.5) == pytest.approx(0, abs=2e4)
    assert sz_uk(0.01) == pytest.approx(-2 * 2.7255e6, rel=1e-6)
    # Carlstrom, Holder & Reese 2002: -1.0 at about 150 GHz in units of T_CMB y
    assert sz_uk(150.0) / 2.7255e6 == pytest.approx(-0.953, abs=0.003)


def test_the_projected_profile_agrees_with_adaptive_quadrature():
    from clusterscan.physics.sz_effect import EXTENT_R500, pressure_shape

    def line_of_sight(x):
        top = np.sqrt(EXTENT_R500**2 - x**2)
        return quad(
            lambda s: pressure_shape(np.hypot(x, s)), 0, top, limit=200, points=[0.01, 0.1]
        )[0]

    centre = line_of_sight(1e-9)
    x, y = projected_profile()
    for at in (0.03, 0.3, 1.0, 3.0):
        assert np.interp(at, x, y) == pytest.approx(line_of_sight(at) / centre, rel=2e-3)


def test_the_template_in_fourier_space_agrees_with_the_one_in_real_space():
    k = wave_numbers((512, 512), 0.25)
    image = np.fft.ifft2(template_window(k, 2.0) * beam_window(k, 1.4)).real / 0.25**2
    fine = np.linspace(-8, 8, 641)
    radius = np.hypot(fine[:, None], fine)
    sigma = 1.4 / np.sqrt(8 * np.log(2))
    beam = np.exp(-0.5 * (radius / sigma) ** 2)
    expected = np.sum(beam * compton_profile(radius, 2.0)) / beam.sum()
    assert image[0, 0] == pytest.approx(expected, rel=2e-3)


def test_the_amplitude_of_an_injected_cluster_is_unbiased_and_its_error_is_theory():
    settings = MatchedFilterSettings()
    signal = sz_cluster(settings, 1e-4, 2.0)
    k = wave_numbers((SIZE, SIZE), SCALE_ARCMIN)
    sigma_px = np.array([20.0, 20.0, 40.0])
    noise = np.broadcast_to(np.diag(sigma_px**2), (SIZE, SIZE, 3, 3))
    response = np.array([sz_uk(f) for f in settings.frequencies_ghz])
    beams = np.stack([beam_window(k, f) for f in settings.beam_fwhm_arcmin])
    template = response[:, None, None] * beams * template_window(k, 2.0) / SCALE_ARCMIN**2
    amplitude, sigma = filter_with_template(signal, template, noise)
    assert amplitude[128, 128] == pytest.approx(1e-4, rel=0.01)
    # White noise: the information is the sum of squares of the template over its variance.
    theory = (np.sum((signal / 1e-4) ** 2, axis=(1, 2)) / sigma_px**2).sum() ** -0.5
    assert sigma == pytest.approx(theory, rel=0.01)
    rng = np.random.default_rng(1)
    drawn, _ = filter_with_template(
        rng.normal(size=signal.shape) * sigma_px[:, None, None], template, noise
    )
    assert drawn.std() == pytest.approx(theory, rel=0.05)


def test_a_cluster_in_white_noise_gets_its_theoretical_signal_to_noise():
    settings = MatchedFilterSettings(theta500_arcmin=(2.0,), point_source_snr=None)
    signal = sz_cluster(settings, 1.5e-4, 2.0)
    sigma_px = np.array([30.0, 30.0, 60.0])
    expected = np.sqrt((np.sum(signal**2, axis=(1, 2)) / sigma_px**2).sum())
    measured = []
    for seed in range(12):
        noise = np.random.default_rng(seed).normal(size=signal.shape) * sigma_px[:, None, None]
        snr, _ = filter_tile(
            signal + noise,
            all_good(signal.shape[1:]),
            30.0,
            np.array([128.0]),
            np.array([128.0]),
            settings,
        )
        measured.append(snr[0])
    assert expected > 8
    # The measured noise holds the cluster itself, which costs a few per cent.
    assert np.mean(measured) == pytest.approx(expected, abs=0.5 + 0.05 * expected)


def test_a_field_of_cmb_and_noise_has_unit_signal_to_noise_rms():
    rng = np.random.default_rng(3)
    k = wave_numbers((SIZE, SIZE), SCALE_ARCMIN)
    red = np.fft.ifft2(np.fft.fft2(rng.normal(size=k.shape)) / (0.02 + k**1.5)).real
    cmb = 100 * red / red.std()
    settings = MatchedFilterSettings(theta500_arcmin=(2.0,), point_source_snr=None)
    maps = np.stack([cmb + rng.normal(0, s, cmb.shape) for s in (20, 20, 40)])
    x, y = rng.uniform(30, 225, (2, 4000))
    snr, reason = filter_tile(maps, all_good(cmb.shape), 30.0, x, y, settings)
    assert not reason.any()
    assert snr.std() == pytest.approx(1.0, abs=0.07)
    assert snr.mean() == pytest.approx(0.0, abs=0.1)


def test_more_sizes_only_raise_the_signal_to_noise():
    rng = np.random.default_rng(4)
    maps = rng.normal(0, 20, (3, 128, 128))
    good = np.ones((128, 128), dtype=bool)
    one, _, _ = matched_filter(maps, good, 0.5, MatchedFilterSettings(theta500_arcmin=(2.0,)))
    two, _, _ = matched_filter(maps, good, 0.5, MatchedFilterSettings(theta500_arcmin=(1.0, 2.0)))
    assert (two >= one).all()


def test_a_bright_radio_source_neither_hides_clusters_nor_looks_like_one():
    settings = MatchedFilterSettings()
    maps = sz_cluster(settings, 1.5e-4, 2.0, centre=(60, 60))
    maps += np.random.default_rng(5).normal(0, 25, maps.shape)
    source = np.zeros_like(maps)
    y, x = np.indices((SIZE, SIZE))
    r2 = ((y - 128.3) ** 2 + (x - 127.6) ** 2) * SCALE_ARCMIN**2
    for band, fwhm in enumerate(settings.beam_fwhm_arcmin):
        source[band] = (4000, 3000, 2500)[band] * np.exp(-4 * np.log(2) * r2 / fwhm**2)
    good = np.ones((SIZE, SIZE), dtype=bool)
    as_is = settings.model_copy(update={"point_source_snr": None})
    without, _, _ = matched_filter(maps, good, 0.5, settings)
    cleaned, _, _ = matched_filter(maps + source, good, 0.5, settings)
    left, _, _ = matched_filter(maps + source, good, 0.5, as_is)
    assert without[60, 60] > 8
    assert cleaned[60, 60] == pytest.approx(without[60, 60], rel=0.05)
    assert left[60, 60] < 0.8 * without[60, 60]
    assert cleaned[108:148, 108:148].max() < 5


def test_noise_spectra_of_correlated_bands_are_recovered():
    rng = np.random.default_rng(6)
    shared, own = rng.normal(size=(2, 200, 180)) * 3
    maps = np.stack([shared, 0.5 * shared + own])
    k = wave_numbers((200, 180), 0.5)
    covariance = noise_covariance(maps, np.ones((200, 180)), k)
    expected = np.array([[9, 4.5], [4.5, 11.25]])
    np.testing.assert_allclose(covariance[20:80, 20:80].mean(axis=(0, 1)), expected, rtol=0.08)
    assert (np.linalg.eigvalsh(covariance[::9, ::9]) > 0).all()


def test_a_field_of_faint_sources_has_unit_signal_to_noise_rms_in_the_multiscale_filter():
    rng = np.random.default_rng(7)
    image = rng.normal(0, 5, (2, 1000, 1000))
    sources = rng.integers(0, 1000, (2, 4000))
    image[:, sources[0], sources[1]] += rng.exponential(30, 4000)
    settings = MultiscaleFilterSettings(scales_arcsec=(45.0,), noise_radius_arcmin=15)
    x, y = rng.uniform(100, 900, (2, 4000))
    snr, reason = filter_tile(image, all_good((1000, 1000)), 2.75, x, y, settings)
    assert not reason.any()
    assert np.std(snr) == pytest.approx(1.0, abs=0.1)


def test_a_clump_of_faint_sources_stands_out_and_one_bright_star_does_not():
    rng = np.random.default_rng(8)
    image = rng.normal(0, 5, (2, 900, 900))
    clump = np.rint(rng.normal(450, 12, (2, 60))).astype(int)
    np.add.at(image, (slice(None), clump[0], clump[1]), 60.0)
    image[:, 200:203, 200:203] += 1e5
    settings = MultiscaleFilterSettings(scales_arcsec=(45.0,), noise_radius_arcmin=15)
    where = np.array([450.0, 201.0])
    snr, _ = filter_tile(image, all_good((900, 900)), 2.75, where, where, settings)
    assert snr[0] > 8
    assert snr[1] < snr[0] / 3


def test_holes_and_edges_raise_no_signal_in_the_multiscale_filter():
    image = np.full((1, 600, 600), 100.0) + np.random.default_rng(9).normal(0, 1, (1, 600, 600))
    mask = all_good((600, 600))
    mask[250:330, 250:330] = 4
    mask[:, :150] = 1
    x, y = np.random.default_rng(10).uniform(0, 599, (2, 3000))
    settings = MultiscaleFilterSettings(signal_colour=(1.0,), noise_radius_arcmin=15)
    snr, reason = filter_tile(image, mask, 2.75, x, y, settings)
    assert np.nanmax(snr) < 6
    assert (reason[x < 149] == 1).all()
    inside = (x > 251) & (x < 329) & (y > 251) & (y < 329)
    assert (reason[inside] == 2).all()
    assert np.isnan(snr[reason > 0]).all()
    assert np.isfinite(snr[reason == 0]).all()


@pytest.mark.parametrize("settings", [MatchedFilterSettings(), MultiscaleFilterSettings()])
def test_a_tile_without_coverage_is_all_invalid(settings):
    bands = 3 if settings.kind == "matched" else 2
    image = np.full((bands, 64, 64), np.nan)
    x = np.array([3.0, 70.0])
    snr, reason = filter_tile(image, np.zeros((64, 64), np.uint8), 30.0, x, x, settings)
    assert np.isnan(snr).all()
    assert reason.tolist() == [1, 1]


def test_a_constant_image_gives_no_signal():
    image = np.full((2, 200, 200), 7.0)
    x = np.array([100.0])
    snr, reason = filter_tile(image, all_good((200, 200)), 2.75, x, x, MultiscaleFilterSettings())
    assert (snr == 0).all()
    assert not reason.any()


def test_a_wrong_number_of_bands_is_refused():
    x = np.array([30.0])
    with pytest.raises(ImageError, match="2 bands"):
        filter_tile(np.zeros((2, 64, 64)), all_good((64, 64)), 30.0, x, x, MatchedFilterSettings())
    with pytest.raises(ImageError, match="do not fit"):
        filter_tile(np.zeros((2, 64, 64)), all_good((64, 60)), 30.0, x, x, MatchedFilterSettings())


def test_settings_refuse_what_does_not_fit_together():
    with pytest.raises(ValidationError, match="one of each for every band"):
        MatchedFilterSettings(beam_fwhm_arcmin=(1.0,))
    with pytest.raises(ValidationError, match="colour"):
        MultiscaleFilterSettings(signal_colour=(0.0, 0.0))
    with pytest.raises(ValidationError):
        TypeAdapter(FilterSettings).validate_python({"kind": "multiscale", "theta500_arcmin": [1]})
