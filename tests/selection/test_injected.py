"""Injected clusters: the same from every tile, far from each other, with the sky's own physics."""

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.special import ndtr

from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.config.simulation import HaloSettings, SimulationSettings
from clusterscan.config.validation import InjectionGrid, SzSignal
from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.formats.tile_image import TileImage
from clusterscan.physics.sz_effect import shape_at, sz_uk
from clusterscan.selection import probe as probes
from clusterscan.selection.probe import (
    add_signal,
    as_halos,
    galaxies_signal,
    injected_in,
    sz_signal,
)

GRID = InjectionGrid()
SZ = SzSignal(kind="sz", frequencies_ghz=(97.8, 149.6), beam_fwhm_arcmin=(2.0, 1.4))


def tile_image(ra, dec, size=120, scale_arcsec=30.0, bands=("f090", "f150")):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(size + 1) / 2] * 2
    wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
    wcs.wcs.set()
    blank = np.zeros((len(bands), size, size), np.float32)
    return TileImage(blank, np.zeros((size, size), np.uint8), wcs, "uK_CMB", bands)


def one_cluster(mass=5e14, z=0.5, scatter=0.0):
    table = injected_in([4440], 5, GRID, 1).iloc[[3]].copy()
    return table.assign(m500c_msun=mass, z=z, gas=scatter, galaxies=scatter)


def test_tiles_agree_on_a_cluster_whoever_asks():
    one = injected_in([4440], 5, GRID, 7)
    both = injected_in([4441, 4440], 5, GRID, 7)
    again = both[both["tile"] == 4440].reset_index(drop=True)
    assert one.equals(again)
    assert not one["z"].equals(injected_in([4440], 5, GRID, 8)["z"])


def test_every_node_of_the_grid_comes_equally_often_and_draws_stay_in_their_bin():
    found = injected_in([4440, 4443], 5, GRID, 1)
    counts = np.bincount(found["mass_bin"] * (len(GRID.z_edges) - 1) + found["z_bin"])
    assert counts.min() >= 4
    edges = np.array(GRID.m500c_edges_msun)
    assert (np.searchsorted(edges, found["m500c_msun"]) - 1 == found["mass_bin"]).all()
    edges = np.array(GRID.z_edges)
    assert (np.searchsorted(edges, found["z"]) - 1 == found["z_bin"]).all()


def test_clusters_lie_in_their_own_cell_and_away_from_each_other():
    found = injected_in([4440, 4441, 4442, 4443], 5, GRID, 1)
    ra, dec = found["ra_deg"].to_numpy(), found["dec_deg"].to_numpy()
    np.testing.assert_array_equal(sky.owning_cell(ra, dec, GRID.cell_order), found["cell"])
    apart = sky.separation_deg(ra[:, None], dec[:, None], ra, dec)
    np.fill_diagonal(apart, 9.0)
    assert 60 * apart.min() > 5.0  # twice the radius of a match


def test_the_sz_signal_is_the_profile_seen_through_the_beam():
    cluster = one_cluster()
    tile = tile_image(cluster["ra_deg"].iloc[0], cluster["dec_deg"].iloc[0])
    halos = as_halos(cluster, HaloSettings())
    seen = sz_signal(tile, halos, SZ)
    # Beams keep the integral: compare with the profile's own, out to where the stamp reaches.
    theta = np.linspace(0, 20, 4001)
    profile = halos.compton_amplitude[0] * shape_at(theta / halos.theta500_arcmin[0])
    expected = np.trapezoid(2 * np.pi * theta * profile, theta) * sz_uk(149.6)
    assert seen[1].sum() * 0.5**2 == pytest.approx(expected, rel=0.05)
    peak = np.unravel_index(seen[1].argmin(), seen[1].shape)
    assert max(abs(p - 59.5) for p in peak) <= 0.5


def test_the_galaxies_add_light_where_the_cluster_is_and_none_elsewhere():
    cluster = one_cluster(mass=8e14)
    tile = tile_image(cluster["ra_deg"].iloc[0], cluster["dec_deg"].iloc[0], 200, 5.5, ("W1", "W2"))
    how = PreprocessSettings(binning=2, combine="sum")
    light = galaxies_signal(tile, as_halos(cluster, HaloSettings()), how, 1)
    assert light.shape == (2, 200, 200)
    again = galaxies_signal(tile, as_halos(cluster, HaloSettings()), how, 1)
    np.testing.assert_array_equal(light, again)
    y, x = np.indices((200, 200)) - 99.5
    inner = np.hypot(x, y) < 30
    assert light[0][inner].sum() / inner.sum() > 5 * light[0][~inner].sum() / (~inner).sum()
    nothing = galaxies_signal(tile, as_halos(cluster.iloc[:0], HaloSettings()), how, 1)
    assert not nothing.any()


def test_pixels_without_coverage_stay_as_they_are_and_wrong_bands_are_refused():
    cluster = one_cluster()
    tile = tile_image(cluster["ra_deg"].iloc[0], cluster["dec_deg"].iloc[0])
    tile.mask[50:70, 50:70] = 1
    halos = as_halos(cluster, HaloSettings())
    changed = add_signal(tile, halos, SZ, PreprocessSettings(), 1)
    assert not changed.image[:, 50:70, 50:70].any()
    assert changed.image.any()
    one_band = SzSignal(kind="sz", frequencies_ghz=(150.0,), beam_fwhm_arcmin=(1.4,))
    with pytest.raises(ImageError, match="bands"):
        add_signal(tile, halos, one_band, PreprocessSettings(), 1)


def test_scrambled_images_keep_power_and_cross_power_and_lose_their_shape():
    rng = np.random.default_rng(0)
    one = rng.exponential(1.0, (60, 70))
    image = np.stack([one, 2 * one + rng.normal(0, 0.1, one.shape)])
    new = probes.scrambled(image, np.random.default_rng(1))
    np.testing.assert_allclose(np.cov(new.reshape(2, -1)), np.cov(image.reshape(2, -1)), rtol=1e-4)
    np.testing.assert_allclose(new.mean(axis=(1, 2)), image.mean(axis=(1, 2)), rtol=1e-5)
    inside = np.abs(new[0] - new[0].mean()) < new[0].std()
    assert inside.mean() == pytest.approx(ndtr(1) - ndtr(-1), abs=0.02)  # Gaussian now
    with pytest.raises(ValueError, match="no bands to exchange"):
        probes.shuffled(image[:1])
    np.testing.assert_array_equal(probes.inverted(probes.inverted(image)), image)


def test_a_sky_without_halos_has_none_that_shine():
    from clusterscan.simulate.halos import halos_of_cell

    settings = probes.without_halos(SimulationSettings()).halos
    assert sum(len(halos_of_cell(c, 1, settings)) for c in range(17_000, 17_020)) == 0
