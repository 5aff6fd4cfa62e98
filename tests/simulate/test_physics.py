"""The physics behind the simulated sky, against published numbers and other libraries."""

import numpy as np
import pytest
from astropy.cosmology import Planck18
from astropy.io import fits
from astropy.table import Table

from clusterscan.config.simulation import MicrowaveSettings
from clusterscan.physics import cosmology, sz_effect
from clusterscan.physics.mass_function import halo_table, mass_of_richness, mean_richness
from clusterscan.physics.psf import PSFS, wing_profile_r2
from clusterscan.simulate import galaxies, microwave_sky, stars
from clusterscan.simulate.sky_cells import GENERATION_AREA_DEG2

Z = np.array([0.1, 0.5, 1.0, 1.8])


def test_distances_and_densities_agree_with_astropy():
    np.testing.assert_allclose(
        cosmology.angular_distance_mpc(Z), Planck18.angular_diameter_distance(Z).value, rtol=2e-3
    )
    np.testing.assert_allclose(
        cosmology.critical_density_msun_mpc3(Z),
        Planck18.critical_density(Z).to("Msun / Mpc3").value,
        rtol=3e-3,
    )


def test_mass_function_is_that_of_an_independent_sum():
    table = halo_table(5e12, 0.05, 2.0)
    from colossus.lss import mass_function

    # N(> M) per deg2 by direct quadrature over a fine grid of redshifts and masses
    z = np.linspace(0.05, 2.0, 60)
    ln_mass = np.linspace(np.log(1e14), np.log(4e15), 120)
    h = cosmology.planck18().h
    inner = [
        np.trapezoid(
            mass_function.massFunction(
                np.exp(ln_mass) * h, x, mdef="500c", model="tinker08", q_out="dndlnM"
            ),
            ln_mass,
        )
        for x in z
    ]
    volume = Planck18.differential_comoving_volume(z).to("Mpc3 / deg2").value
    expected = np.trapezoid(np.array(inner) * h**3 * volume, z)
    middle = (table.ln_mass_edges[1:] + table.ln_mass_edges[:-1]) / 2
    n = table.per_deg2.sum(axis=1)
    cumulative = np.interp(np.log(1e14), middle, n[::-1].cumsum()[::-1] - n / 2)
    assert cumulative == pytest.approx(expected, rel=0.03)


def test_the_pressure_profile_has_the_published_volume_integrals():
    # Arnaud et al. 2010, Sect. 6.3: I(1) = 0.6145, I(5) = 1.1037
    for end, published in ((1.0, 0.6145), (5.0, 1.1037)):
        x = np.linspace(1e-6, end, 200_000)
        value = np.trapezoid(3 * sz_effect.P0_H70 * sz_effect.pressure_shape(x) * x**2, x)
        assert value == pytest.approx(published, rel=2e-3)


def test_projection_conserves_the_volume_integral():
    s, g = sz_effect.projected_shape()
    fine = np.linspace(0, 5, 200_000)
    projected = np.trapezoid(2 * np.pi * fine * np.interp(fine, s, g), fine)
    assert projected * sz_effect.P0_H70 / (4 * np.pi / 3) == pytest.approx(1.1037, rel=2e-3)


@pytest.mark.parametrize("z", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("mass", [1e14, 3e14, 8e14])
def test_y500_follows_the_published_relation(mass, z):
    # Arnaud et al. 2010, Eq. 20: E^-2/3 Y500 = 10^-4.739 (M500 / 3e14 h70^-1)^1.79 h70^-5/2 Mpc2;
    # its slope is the profile's 5/3 + 0.12.
    h70 = cosmology.planck18().H0 / 70
    expansion = cosmology.expansion(np.array(z))
    published = 10**-4.739 * (mass * h70 / 3e14) ** 1.79 * h70**-2.5 * expansion ** (2 / 3)
    x = np.linspace(1e-6, 1, 100_000)
    spherical = np.trapezoid(4 * np.pi * sz_effect.pressure_shape(x) * x**2, x)
    ours = sz_effect.compton_amplitude(mass, z) * spherical * cosmology.r500_mpc(mass, z) ** 2
    assert float(ours) == pytest.approx(published, rel=0.03)


def test_the_sz_effect_vanishes_at_217_ghz_and_is_twice_y_at_low_frequency():
    assert abs(sz_effect.sz_uk(217.5)) < 0.02 * abs(sz_effect.sz_uk(150.0))
    assert sz_effect.sz_uk(1.0) == pytest.approx(-2 * 2.7255e6, rel=1e-3)


def test_jansky_to_kelvin_agrees_with_astropy():
    from astropy import units as u

    for ghz in (98.0, 150.0, 220.0):
        equivalency = u.thermodynamic_temperature(ghz * u.GHz, T_cmb=2.7255 * u.K)
        expected = (1 * u.Jy / u.sr).to_value(u.uK, equivalencies=equivalency)
        assert sz_effect.uk_sr_per_jansky(ghz) == pytest.approx(expected, rel=1e-4)


def test_the_cmb_table_has_the_planck_peaks():
    # Planck 2015 results XI, Table E.1: first peak 5733 uK2 at l = 220, second 2582 at 537.
    ell = np.arange(150, 1000)
    dl = microwave_sky.cmb_cl(ell) * ell * (ell + 1) / (2 * np.pi)
    first = ell[:250][np.argmax(dl[:250])]
    assert abs(first - 220) < 3
    assert dl.max() == pytest.approx(5733, rel=0.01)
    second = slice(500 - 150, 600 - 150)
    assert dl[second].max() == pytest.approx(2582, rel=0.015)


def test_unresolved_sources_have_the_power_that_act_measured():
    # Dunkley et al. 2013: at 148 GHz and l = 3000, 7 uK2 dusty and 3 uK2 radio (below 15 mJy)
    poisson = microwave_sky.unresolved_power(MicrowaveSettings(), cut_jy=0.015)[1, 1]
    dl = poisson * 3000 * 3001 / (2 * np.pi)
    assert 7 < dl < 14


def test_radio_counts_are_those_of_spt():
    # Everett et al. 2020: about 1.5 synchrotron sources per deg2 above 6 mJy at 150 GHz
    flux = np.geomspace(6e-3, 5, 400)
    number = np.trapezoid(microwave_sky.radio_counts(flux), flux)
    assert 1.2 < number < 3.0


def test_richness_agrees_with_the_spt_clusters_themselves(real_data):
    clusters = Table.read(real_data / "clusters" / "SPT-ECS.fits")
    good = (clusters["LAMBDA_CHISQ"] > 20) & (clusters["XI"] > 5) & (clusters["M500"] > 0)
    good &= (clusters["REDSHIFT"] > 0.25) & (clusters["REDSHIFT"] < 0.8)
    mass = np.array(clusters["M500"][good], dtype=float) * 1e14
    z = np.array(clusters["REDSHIFT"][good], dtype=float)
    ratio = np.array(clusters["LAMBDA_CHISQ"][good]) / mean_richness(mass, z)
    assert np.median(ratio) == pytest.approx(1.0, abs=0.12)


def test_richness_and_mass_are_inverse():
    lam = mean_richness(np.array([1e14, 4e14]), np.array([0.3, 0.9]))
    np.testing.assert_allclose(
        mass_of_richness(lam, np.array([0.3, 0.9])), [1e14, 4e14], rtol=1e-10
    )


def test_characteristic_magnitudes_are_those_of_cluster_galaxies():
    # Andreon 2006: 16.30 at z = 0.5; MaDCoWS (Gonzalez et al. 2019): about 16.9 at z = 1
    assert galaxies.characteristic_w1(np.array(0.5)) == pytest.approx(16.30, abs=0.1)
    assert galaxies.characteristic_w1(np.array(1.0)) == pytest.approx(16.9, abs=0.15)


def test_galaxy_counts_are_euclidean_to_16_mag_and_flatter_beyond():
    mag = np.array([13.0, 15.0, 17.0, 19.0])
    slope = np.diff(np.log10(galaxies.published_counts(mag))) / 2
    assert slope[0] == pytest.approx(0.6, abs=0.01)
    assert slope[1] > slope[2] > 0.2


def test_drawn_galaxies_have_the_published_counts(settings):
    cells = range(20000, 20004)
    w1 = np.concatenate(
        [galaxies.field_galaxies_of_cell(c, 11, settings)[2] for c in cells]
        + [galaxies.members_of_cell(c, 11, settings.halos).w1_mag for c in cells]
    )
    edges = np.array([14.0, 15.0, 16.0, 17.0, 18.0, 19.0])
    middle = np.arange(14.05, 19.0, 0.1)
    per_deg2 = np.histogram(w1, edges)[0] / (len(cells) * GENERATION_AREA_DEG2)
    published = np.histogram(middle, edges, weights=galaxies.published_counts(middle) * 0.1)[0]
    np.testing.assert_allclose(per_deg2, published, rtol=0.15)


def test_members_are_counted_as_richness_counts_them():
    # lambda = members above 0.2 L*, red only
    assert galaxies.members_per_richness(0.2) == pytest.approx(1 / galaxies.RED_PART)
    assert galaxies.members_per_richness(0.02) > galaxies.members_per_richness(0.2)


def test_stars_and_galaxies_are_equally_many_at_a_magnitude_of_fourteen_to_fifteen():
    # Fazio et al. 2004 and Jarrett et al. 2017: stars dominate at m < 14, galaxies at m > 15.5
    mag = np.arange(12.0, 17.0, 0.1)
    ratio = stars.star_counts(90.0, 75.0, mag) / galaxies.published_counts(mag)
    crossing = mag[np.argmin(np.abs(np.log(ratio)))]
    assert 14.0 < crossing < 15.5


def test_star_counts_rise_towards_the_galactic_plane():
    mag = np.array([14.0])
    counts = [stars.star_counts(90.0, b, mag)[0] for b in (90, 60, 30, 15, 5)]
    assert (np.diff(counts) > 0).all()
    assert counts[3] / counts[0] > 4


def test_psf_mixtures_are_those_of_the_published_fits(real_data):
    for band, psf in enumerate(PSFS, start=1):
        path = real_data / "images" / "wise_psf" / f"w{band}psffit.fits"
        with fits.open(path) as hdus:
            mean = np.array([row[0].mean() for row in hdus[1].data])
        amplitudes = [mean[0], mean[1], 1 - mean[0] - mean[1]]
        variances = (mean[8:11] + mean[14:17]) / 2
        np.testing.assert_allclose(psf.amplitudes, amplitudes, atol=0.01)
        np.testing.assert_allclose(psf.variances_native, variances, rtol=0.05)


def test_the_wing_follows_the_measured_psf(real_data):
    with fits.open(real_data / "images" / "wise_psf" / "wise-psf-w1-500-500.fits") as hdus:
        image = hdus[0].data.astype(float)
    image /= image.sum()
    y, x = np.indices(image.shape) - image.shape[0] // 2
    r = np.hypot(x, y)
    for radius in (28.0, 36.0, 45.0):
        measured = image[np.abs(r - radius) < 4].mean()
        model = PSFS[0].profile_r2(np.array([radius**2]), 2.75) + wing_profile_r2(
            np.array([radius**2])
        )
        assert 0.4 < float(model[0]) / measured < 2.5


def test_psf_mixtures_hold_all_the_flux_and_have_the_width_of_wise():
    for psf, fwhm_arcsec in zip(PSFS, (6.1, 6.4), strict=True):
        assert sum(psf.amplitudes) == pytest.approx(1.0)
        r = np.linspace(0, 4, 4001)
        light = psf.profile_r2(r**2, 2.75)
        half = 2 * np.interp(-0.5, -light / light[0], r) * 2.75
        assert half == pytest.approx(fwhm_arcsec, rel=0.12)
