"""The X-ray sky: published fluxes, counts and profiles, and the same photons in every image."""

import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM

from clusterscan.config.simulation import SimulationSettings
from clusterscan.config.simulation_xray import XraySettings
from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.physics import cosmology
from clusterscan.simulate.halos import halos_of_cell
from clusterscan_studies.simulate import xray, xray_sources
from clusterscan_studies.simulate.xray import render_xray
from clusterscan_studies.simulate.xray_sources import (
    AGN,
    CLUSTER,
    GALAXY,
    XraySources,
    sources_of_cell,
)
from clusterscan_studies.simulate.xray_telescope import (
    INSTRUMENTS,
    ROSAT,
    XMM,
    pointing_of_cell,
    pointings_around,
)

SEED = 11
CELLS = range(17680, 17704)
AREA = len(CELLS) * sky.cell_area_deg2(6)
POINTING = 70730
RAW = SimulationSettings(xray=XraySettings(smoothing_fwhm_arcsec=0.0))


@pytest.fixture(scope="module")
def sources(settings):
    return XraySources.concatenate([sources_of_cell(c, SEED, settings) for c in CELLS])


# --- luminosities and fluxes ----------------------------------------------------------------------


def test_luminosities_agree_with_those_of_sz_selected_clusters():
    # Bulbul et al. 2019, ApJ 871, 50, core-included, 0.5-2 keV, at its pivots: 4.12e44 erg/s
    luminosity = xray_sources.mean_luminosity(np.array([6.35e14]), np.array([0.45]))
    assert luminosity[0] == pytest.approx(4.12e44, rel=0.15)


def test_temperatures_follow_the_published_relation():
    # Vikhlinin et al. 2009: 5 keV at 3.02e14 Msun / h and z = 0
    mass = 3.02e14 / cosmology.planck18().h
    assert xray_sources.temperature_kev(np.array([mass]), np.array([0.0]))[0] == pytest.approx(5.0)


def test_flux_is_luminosity_over_the_sphere_where_the_band_does_not_move():
    planck = cosmology.planck18()
    astropy = FlatLambdaCDM(H0=planck.H0, Om0=planck.Om0)
    z, mass = np.array([0.05]), np.array([3e14])
    flux = xray_sources.observed_flux(np.array([1e44]), mass, z)[0]
    sphere = 4 * np.pi * astropy.luminosity_distance(z[0]).to_value("cm") ** 2
    # at z = 0.05 a band of a 5 keV plasma shifts by few per cent of its energy
    assert flux == pytest.approx(1e44 / sphere, rel=0.05)


def test_a_flat_photon_energy_spectrum_gains_by_the_band_alone(monkeypatch):
    # For f(E) ~ E^-0.4 exp(-E / kT) and kT to infinity, the ratio of bands is (1 + z)^0.6
    monkeypatch.setattr(xray_sources, "temperature_kev", lambda m, z: np.full(np.shape(z), 1e6))
    z = np.array([0.0, 0.5, 1.0])
    k = xray_sources.k_correction(np.full(3, 1e6), z)
    np.testing.assert_allclose(k, (1 + z) ** 0.6, rtol=1e-4)


def test_source_counts_make_the_published_part_of_the_background():
    # Moretti et al. 2003: 94.3 % of 7.53e-12 erg/s/cm2/deg2 between 2.4e-17 and 1e-11
    flux = np.geomspace(2.4e-17, 1e-11, 20_000)
    above = xray_sources.source_counts(flux)
    total = ((above[:-1] - above[1:]) * np.sqrt(flux[1:] * flux[:-1])).sum()
    assert total == pytest.approx(0.943 * 7.53e-12, rel=0.05)


def test_active_galaxies_are_drawn_by_the_published_counts(sources):
    flux = sources.flux[sources.kind == AGN]
    for limit in (2e-15, 1e-14, 5e-14):
        expected = float(xray_sources.source_counts(np.array(limit))) * AREA
        assert abs((flux > limit).sum() - expected) < 4 * np.sqrt(expected)


def test_clusters_are_as_many_as_the_400_deg2_survey_found(sources):
    # Burenin et al. 2007, ApJS 172, 561: 242 extended sources above 1.4e-13 in 397 deg2
    flux = sources.flux[sources.kind == CLUSTER]
    density = (flux > 1.4e-13).sum() / AREA
    assert 0.5 * 0.61 < density < 2.0 * 0.61


def test_normal_galaxies_are_few_among_the_sources(sources):
    # Georgakakis et al. 2004: of order 1 deg-2 at 1e-14 erg/s/cm2
    assert 0.3 < (sources.flux[sources.kind == GALAXY] > 1e-14).sum() / AREA < 4.0


def test_two_gaussians_a_halo_whatever_the_scatter():
    still = SimulationSettings(xray=XraySettings(luminosity_scatter_ln=0.0))
    wide = SimulationSettings(xray=XraySettings(luminosity_scatter_ln=0.8))
    from clusterscan_studies.simulate.xray_sources import clusters_of_cell

    a, b = (clusters_of_cell(17680, SEED, s) for s in (still, wide))
    both = np.intersect1d(a.index, b.index)
    pick = [np.isin(c.index, both) for c in (a, b)]
    np.testing.assert_array_equal(a.core_arcsec[pick[0]], b.core_arcsec[pick[1]])


# --- the telescopes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("radius", "part"), [(15.0, 0.70), (30.0, 0.85), (60.0, 0.93)])
def test_the_xmm_psf_encircles_the_tabulated_energy(radius, part):
    # XMM-Newton SAS, eupper: 0.68 to 0.71, 0.83 to 0.88, 0.92 to 0.95 of the three cameras
    u = np.linspace(0, 1, 2001)
    r = XMM.psf_radius(u, np.zeros(2001))
    assert np.interp(radius, r, u) == pytest.approx(part, abs=0.04)


def test_the_rosat_psf_has_the_published_width():
    # Hasinger et al. 1992: about 25 arcsec full width on axis at 1 keV, 1.5 arcmin at 20 arcmin
    rng = np.random.default_rng(0)
    for off_axis, fwhm in ((0.0, 25.0), (20.0, 84.0)):
        x = np.full(20_000, off_axis)
        dx, _ = ROSAT.psf_offsets(rng, x, np.zeros(20_000))
        assert dx.std() * 60 * 2.355 == pytest.approx(fwhm, rel=0.05)


def test_stars_off_axis_are_longer_across_the_direction_to_the_axis():
    rng = np.random.default_rng(1)
    x = np.full(20_000, 12.0)
    along, across = XMM.psf_offsets(rng, x, np.zeros(20_000))
    assert np.median(np.abs(across)) > 1.5 * np.median(np.abs(along))


@pytest.mark.parametrize("tube", [XMM, ROSAT])
def test_nothing_is_seen_outside_the_field(tube):
    r = tube.field_radius_arcmin
    axis = np.linspace(-1.2 * r, 1.2 * r, 301)
    x, y = np.meshgrid(axis, axis)
    live = tube.live(x, y)
    assert live.min() == 0.0
    assert live.max() <= 1.0 + 1e-12
    assert (live[np.hypot(x, y) > r] == 0).all()
    assert (live[np.hypot(x, y) < 0.9 * r] > 0).mean() > 0.95


def test_detector_coordinates_come_back_at_the_poles_too():
    for cell in (0, POINTING, 12 * 4**7 - 1):
        pointing = pointing_of_cell(cell, SEED, XraySettings())
        x, y = np.array([0.0, 5.0, -12.0]), np.array([0.0, -9.0, 7.0])
        ra, dec = pointing.to_sky(x, y)
        back = pointing.to_detector(sky.unit_vectors(ra, dec))
        np.testing.assert_allclose(back, [x, y], atol=1e-6)
        off = sky.separation_deg(ra, dec, pointing.ra_deg, pointing.dec_deg) * 60
        np.testing.assert_allclose(off, np.hypot(x, y), rtol=1e-4, atol=1e-6)


# --- photons --------------------------------------------------------------------------------------


def test_the_background_is_as_bright_as_measured(settings):
    empty = SimulationSettings(
        xray=XraySettings(
            agn_counts=0.0, galaxies=False, exposure_scatter_ln=0.0, background_scatter_ln=0.0,
            noisy_chip_part=0.0,
        )
    )  # fmt: skip
    pointing = pointing_of_cell(POINTING, SEED, empty.xray)
    photons = xray.photons_of_pointing(POINTING, SEED, empty)
    inner = np.hypot(photons.x, photons.y) < 4.0
    axis = np.linspace(-4, 4, 801)
    x, y = np.meshgrid(axis, axis)
    disc = np.hypot(x, y) < 4.0
    expected = pointing.background_counts(x, y)[disc].sum() * (axis[1] - axis[0]) ** 2
    # groups too faint to see are in there as well
    assert inner.sum() == pytest.approx(expected, rel=0.1)


def test_a_cluster_has_the_counts_of_its_flux_and_a_beta_profile(settings):
    # the brightest cluster well inside a field, all else switched off
    quiet = SimulationSettings(
        xray=XraySettings(agn_counts=0.0, galaxies=False, background=0.0, exposure_ks=300.0,
                          exposure_scatter_ln=0.0, noisy_chip_part=0.0)
    )  # fmt: skip
    best = None
    for cell in range(POINTING, POINTING + 12):
        pointing = pointing_of_cell(cell, SEED, quiet.xray)
        found = xray.sources_near(pointing, SEED, quiet)
        x, y = pointing.to_detector(sky.unit_vectors(found.ra_deg, found.dec_deg))
        near = np.flatnonzero((found.kind == CLUSTER) & (np.hypot(x, y) < 7))
        row = near[found.flux[near].argmax()]
        if best is None or found.flux[row] > best[1].flux[best[2]]:
            best = cell, found, row, x[row], y[row]
    cell, found, row, x, y = best
    pointing = pointing_of_cell(cell, SEED, quiet.xray)
    photons = xray.photons_of_pointing(cell, SEED, quiet)
    radius = 60 * np.hypot(photons.x - x, photons.y - y)
    core = found.core_arcsec[row]
    far = 3 * max(core, 15.0)
    counts = (radius < far).sum()
    on_axis = xray.expected_counts(pointing, found)[row]
    seen = pointing.instrument.vignetting(np.hypot(x, y))
    expected = on_axis * seen * xray_sources.beta_part(far / core) / 0.97
    # gaps take up to 15 %, the telescope scatters some out, neighbours add
    assert 0.7 * expected < counts < 1.2 * expected
    inner = ((radius < far / 3).sum()) / counts
    wide = xray_sources.beta_part(far / 3 / core) / xray_sources.beta_part(far / core)
    assert inner == pytest.approx(wide, abs=0.15)


def test_photons_are_the_same_whenever_they_are_drawn(settings):
    first = xray.photons_of_pointing(POINTING, SEED, settings)
    xray.photons_of_pointing.cache_clear()
    again = xray.photons_of_pointing(POINTING, SEED, settings)
    np.testing.assert_array_equal(first.x, again.x)
    other = xray.photons_of_pointing(POINTING + 1, SEED, settings)
    assert len(other.x) != len(first.x)


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(150.0, 2.0), (0.0, -0.1), (40.0, 89.9)])
def test_overlapping_images_show_the_same_photons(make_frame, ra_deg, dec_deg):
    first = make_frame(ra_deg, dec_deg, 200, 4.0, angle_deg=20)
    second = make_frame(ra_deg, dec_deg, 200, 4.0, angle_deg=20, shift=(50, 30))
    (a, mask_a), (b, mask_b) = (render_xray(*f, seed=SEED, settings=RAW) for f in (first, second))
    np.testing.assert_array_equal(a[:, 30:, 50:], b[:, :-30, :-50])
    # the exposure is interpolated between every 16th pixel, so an edge may move by a pixel
    assert (mask_a[30:, 50:] != mask_b[:-30, :-50]).mean() < 0.002


def test_an_image_holds_the_pointings_photons(make_frame):
    pointing = pointing_of_cell(POINTING, SEED, RAW.xray)
    frame = make_frame(pointing.ra_deg, pointing.dec_deg, 120, 4.0)
    image, mask = render_xray(*frame, seed=SEED, settings=RAW)
    photons = xray.photons_of_pointing(POINTING, SEED, RAW)
    x, y = frame[0].all_world2pix(*pointing.to_sky(photons.x, photons.y), 0)
    inside = (np.abs(x - 59.5) < 60) & (np.abs(y - 59.5) < 60)
    assert image.sum() * (4.0 / 60) ** 2 == pytest.approx(inside.sum(), rel=2e-3)
    assert image.dtype == np.float32
    assert mask.dtype == np.uint8


def test_smoothing_keeps_the_counts(make_frame, settings):
    pointing = pointing_of_cell(POINTING, SEED, settings.xray)
    frame = make_frame(pointing.ra_deg, pointing.dec_deg, 200, 4.0)
    smooth, mask = render_xray(*frame, seed=SEED, settings=settings)
    raw, _ = render_xray(*frame, seed=SEED, settings=RAW)
    assert not mask[20:-20, 20:-20].all()
    assert smooth.sum() == pytest.approx(raw.sum(), rel=0.03)
    # what is left of the noise of pixels without sources: 4 px2 / (4 pi sigma^2) of a Gaussian
    assert np.median(np.abs(smooth - np.median(smooth))) < raw[0].std() / 5


def test_rates_do_not_depend_on_the_exposure(make_frame):
    rates = []
    for exposure in (20.0, 80.0):
        s = SimulationSettings(
            xray=XraySettings(exposure_ks=exposure, exposure_corrected=True, agn_counts=0.0,
                              galaxies=False, noisy_chip_part=0.0)
        )  # fmt: skip
        pointing = pointing_of_cell(POINTING, SEED, s.xray)
        frame = make_frame(pointing.ra_deg, pointing.dec_deg, 120, 4.0)
        image, mask = render_xray(*frame, seed=SEED, settings=s)
        rates.append(np.median(image[0][mask == 0]))
    assert rates[0] == pytest.approx(rates[1], rel=0.1)


def test_nothing_is_covered_between_the_fields(make_frame, settings):
    pointing = pointing_of_cell(POINTING, SEED, settings.xray)
    frame = make_frame(pointing.ra_deg, pointing.dec_deg, 400, 10.0)
    image, mask = render_xray(*frame, seed=SEED, settings=settings)
    # circles of 15 arcmin on a grid of 27.5 arcmin fill 85 to 95 % of the sky
    assert 0.03 < (mask == 1).mean() < 0.3
    assert (image[0][mask == 1] == 0).all()
    assert (image[0][mask == 0] > 0).mean() > 0.95


def test_every_pointing_that_reaches_a_place_is_found():
    near = pointings_around(150.0, 2.0, 0.5, SEED, XraySettings())
    wide = pointings_around(150.0, 2.0, 3.0, SEED, XraySettings())
    separation = [sky.separation_deg(150.0, 2.0, p.ra_deg, p.dec_deg) for p in wide]
    reach = 0.5 + INSTRUMENTS["xmm"].field_radius_arcmin / 60
    assert {p.cell for p in near} == {
        p.cell for p, s in zip(wide, separation, strict=True) if s <= reach
    }


def test_rosat_images_can_be_made_as_well(make_frame):
    s = SimulationSettings(
        xray=XraySettings(instrument="rosat", exposure_ks=3.0, agn_flux_min=1e-14,
                          smoothing_fwhm_arcsec=30.0)
    )  # fmt: skip
    frame = make_frame(30.0, -20.0, 64, 30.0)
    image, mask = render_xray(*frame, seed=SEED, settings=s)
    assert np.isfinite(image).all()
    # 3 ks of 2.9e-4 ct/s/arcmin2 on axis, half of it at the edge, and sources
    assert 0.2 < image[0][mask == 0].mean() < 2.0


def test_a_galactic_frame_is_refused(settings):
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.cdelt = [-0.01, 0.01]
    with pytest.raises(ImageError, match="RA/Dec"):
        render_xray(wcs, (10, 10), seed=SEED, settings=settings)


def test_halos_behind_the_gas_are_those_of_the_other_surveys(sources, settings):
    gas = sources.take(sources.kind == CLUSTER)
    row = int(gas.flux.argmax())
    halos = halos_of_cell(int(gas.cell[row]), SEED, settings.halos)
    assert gas.ra_deg[row] == halos.ra_deg[gas.index[row]]
    assert gas.dec_deg[row] == halos.dec_deg[gas.index[row]]
