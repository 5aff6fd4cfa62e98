"""The optical sky: published colours and counts, depth, and the same sky in every frame."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clusterscan.config.simulation import OpticalSettings, SimulationSettings
from clusterscan.core import sky
from clusterscan.core.errors import ConfigError
from clusterscan.simulate.galaxies import (
    draw_field_galaxies,
    field_galaxies_of_cell,
    members_of_cell,
)
from clusterscan.simulate.halos import halos_of_cell
from clusterscan_studies.simulate import optical
from clusterscan_studies.simulate.optical import OpticalPsf, pixel_noise, render_optical
from clusterscan_studies.simulate.optical_sources import (
    OpticalGalaxies,
    characteristic_i,
    field_of_cell,
    galaxy_colours,
    members_seen_of_cell,
    stars_of_cell,
)

SEED = 11
CELLS = range(17680, 17688)
AREA = len(CELLS) * sky.cell_area_deg2(6)
DATA = Path(os.environ.get("CLUSTERSCAN_DATA", Path(__file__).resolve().parents[4] / "shared/data"))
SPECTRA = DATA / "objects" / "sdss_dr14_spectro_10k.csv.gz"


@pytest.fixture(scope="module")
def galaxies(settings):
    parts = [field_of_cell(c, SEED, settings) for c in CELLS]
    parts += [members_seen_of_cell(c, SEED, settings) for c in CELLS]
    return OpticalGalaxies.concatenate(parts)


# --- magnitudes and colours -----------------------------------------------------------------------


def test_characteristic_magnitudes_are_those_of_redmapper():
    # Rykoff et al. 2016, Eq. 9 at z = 1, where ln z = 0, and near its middle
    np.testing.assert_allclose(characteristic_i(np.array([1.0])), 22.44)
    assert characteristic_i(np.array([0.3]))[0] == pytest.approx(18.85, abs=0.05)


@pytest.mark.skipif(not SPECTRA.is_file(), reason=f"no SDSS spectra at {SPECTRA}")
def test_red_galaxies_have_the_colours_of_sdss_galaxies():
    table = pd.read_csv(SPECTRA)
    table = table[table["class"] == "GALAXY"]
    for low, high in ((0.03, 0.06), (0.06, 0.09), (0.09, 0.12)):
        here = table[table["redshift"].between(low, high)]
        colour = (here["g"] - here["r"]).to_numpy()
        # the red sequence is the upper peak: its place is the mode above the middle
        histogram, edges = np.histogram(colour, np.arange(0.4, 1.3, 0.05))
        upper = edges[:-1] > np.median(colour)
        peak = edges[:-1][upper][histogram[upper].argmax()] + 0.025
        red = np.median((here["r"] - here["i"])[colour > peak - 0.05])
        z = np.array([(low + high) / 2])
        _, r_i, g_r = galaxy_colours(z, np.array([True]))
        assert g_r[0] == pytest.approx(peak, abs=0.08)
        assert r_i[0] == pytest.approx(red, abs=0.05)


def test_red_galaxies_are_redder_than_others_at_every_redshift():
    z = np.linspace(0.0, 1.5, 50)
    for red, blue in zip(
        galaxy_colours(z, np.ones(50, bool)), galaxy_colours(z, np.zeros(50, bool)), strict=True
    ):
        assert (red > blue).all()
    assert (np.diff(galaxy_colours(z, np.ones(50, bool))[2]) > 0).all()


def test_galaxy_counts_are_published_ones_where_most_galaxies_are(galaxies):
    # Yasuda et al. 2001, AJ 122, 1104: about 1100 galaxies per deg2 and magnitude at r = 20
    r = galaxies.mag[1]
    counts = ((r > 19.5) & (r < 20.5)).sum() / AREA
    assert counts == pytest.approx(1100, rel=0.4)


def test_star_counts_at_high_latitude_are_published_ones(settings):
    # SDSS at b = -57: some 400 to 600 stars per deg2 and magnitude at r = 18 (Chen et al. 2001)
    r = np.concatenate([stars_of_cell(c, SEED, settings)[2][1] for c in CELLS])
    counts = ((r > 17.5) & (r < 18.5)).sum() / AREA
    assert 250 < counts < 800


def test_galaxies_of_both_skies_are_the_same_objects(settings):
    cell = CELLS[0]
    drawn = draw_field_galaxies(cell, SEED, settings)
    ra, _, _, w2 = field_galaxies_of_cell(cell, SEED, settings)
    np.testing.assert_array_equal(ra, drawn.ra_deg)
    np.testing.assert_array_equal(w2, drawn.w2_mag)
    seen = field_of_cell(cell, SEED, settings)
    assert set(seen.ra_deg) <= set(ra)
    members = members_of_cell(cell, SEED, settings.halos)
    assert set(members_seen_of_cell(cell, SEED, settings).dec_deg) <= set(members.dec_deg)
    assert members.red[: len(halos_of_cell(cell, SEED, settings.halos))].all()


def test_members_lie_on_their_clusters_red_sequence(settings):
    cell = CELLS[0]
    members = members_of_cell(cell, SEED, settings.halos)
    seen = members_seen_of_cell(cell, SEED, settings)
    near = seen.take(seen.red & (seen.z < 0.5))
    assert len(near.z) > 20
    _, _, g_r = galaxy_colours(near.z, near.red)
    residual = near.mag[0] - near.mag[1] - g_r
    assert residual.std() == pytest.approx(settings.optical.red_scatter_mag, rel=0.3)
    assert len(members.red) == len(members.w1_mag)


# --- light on pixels ------------------------------------------------------------------------------


def test_the_gaussians_stand_for_a_moffat_profile():
    psf = OpticalPsf(2.4, 0.2)
    r = np.linspace(0, 4.8 / 0.2, 60)
    a, v = psf.gaussians
    sum_of = (a / (2 * np.pi * v) * np.exp(-0.5 * r[:, None] ** 2 / v)).sum(axis=1)
    exact = optical.moffat(r**2, 2.4 / 0.2)
    assert np.abs(sum_of - exact).max() < 0.07 * exact[0]
    assert a.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("half_light", [0.0, 2.0, 6.0])
def test_discs_hold_half_their_light_within_the_half_light_radius(half_light):
    psf = OpticalPsf(1e-3, 1.0)
    layer = (np.array([100.3]), np.array([99.6]), np.array([500.0]), half_light)
    image = optical.convolved([layer], psf, (201, 201))
    assert image.sum() == pytest.approx(500.0, rel=1e-3)
    if half_light > 3:  # smaller ones are widened by the pixels
        y, x = np.indices(image.shape)
        inside = np.hypot(x - 100.3, y - 99.6) < half_light
        assert image[inside].sum() == pytest.approx(250.0, rel=0.06)


def test_pixel_noise_gives_the_depth_of_the_survey(make_frame):
    empty = SimulationSettings(optical=OpticalSettings(galaxies=False, agn=False, stars=False))
    frame = make_frame(150, 2, 200, 1.2)
    image, mask = render_optical(
        *frame, bands=("g", "r", "i"), seed=SEED, settings=empty, noise_key=(1,)
    )
    assert not mask.any()
    for plane, fwhm, depth in zip(
        image, empty.optical.seeing_fwhm_arcsec, empty.optical.depth_5sigma_ab_mag, strict=True
    ):
        y, x = np.indices((41, 41)) - 20
        template = optical.moffat((x**2 + y**2).astype(float), fwhm / 1.2)
        error = plane.std() / np.sqrt((template**2).sum())
        assert 22.5 - 2.5 * np.log10(5 * error) == pytest.approx(depth, abs=0.1)


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(150.0, 2.0), (0.0, -0.1), (40.0, 89.95)])
def test_overlapping_images_show_the_same_sky(make_frame, settings, ra_deg, dec_deg):
    first = make_frame(ra_deg, dec_deg, 160, 2.0, angle_deg=20)
    second = make_frame(ra_deg, dec_deg, 160, 2.0, angle_deg=20, shift=(50, 30))
    (a, mask_a), (b, mask_b) = (
        render_optical(*f, bands=("r",), seed=SEED, settings=settings, noise_key=None)
        for f in (first, second)
    )
    sigma = pixel_noise(settings, 2.0, "r")
    np.testing.assert_allclose(a[:, 30:, 50:], b[:, :-30, :-50], rtol=5e-3, atol=0.2 * sigma)
    np.testing.assert_array_equal(mask_a[30:, 50:], mask_b[:-30, :-50])


def test_a_band_is_the_same_whichever_others_are_asked_for(make_frame, settings):
    frame = make_frame(150, 2, 64, 2.0)
    arguments = {"seed": SEED, "settings": settings, "noise_key": (5, 1)}
    both, _ = render_optical(*frame, bands=("r", "g"), **arguments)
    alone, _ = render_optical(*frame, bands=("g",), **arguments)
    np.testing.assert_array_equal(both[1], alone[0])


def test_a_rich_cluster_shows_more_red_galaxies_than_the_field(make_frame, settings):
    members = [members_seen_of_cell(c, SEED, settings) for c in CELLS]
    near = [m.take((m.z < 0.3) & (m.mag[1] < 20)) for m in members]
    cell = int(np.argmax([len(m.z) for m in near]))
    halos = halos_of_cell(CELLS[cell], SEED, settings.halos)
    rich = int(np.argmax(halos.richness * (halos.z < 0.3)))
    centre = halos.ra_deg[rich], halos.dec_deg[rich]
    frame = make_frame(*centre, 120, 1.2)
    on, _ = render_optical(*frame, bands=("r",), seed=SEED, settings=settings, noise_key=None)
    off_frame = make_frame(centre[0], centre[1] + 0.3, 120, 1.2)
    off, _ = render_optical(*off_frame, bands=("r",), seed=SEED, settings=settings, noise_key=None)
    level = 3 * pixel_noise(settings, 1.2, "r")
    assert (on > level).mean() > (off > level).mean()


def test_saturated_stars_are_clipped_and_masked(make_frame, settings):
    ra, dec, mag = stars_of_cell(CELLS[0], SEED, settings)
    star = int(mag[1].argmin())
    assert mag[1, star] < settings.optical.saturation_ab_mag
    frame = make_frame(ra[star], dec[star], 101, 1.2)
    image, mask = render_optical(*frame, bands=("r",), seed=SEED, settings=settings, noise_key=None)
    assert mask[50, 50] == 2 | 4
    assert image[0, 50, 50] == image[0].max()


def test_an_unknown_band_is_refused_by_name(make_frame, settings):
    with pytest.raises(ConfigError, match=r"has no \['z'\]"):
        render_optical(
            *make_frame(150, 2, 16, 2.0), bands=("g", "z"), seed=SEED, settings=settings,
            noise_key=None,
        )  # fmt: skip
