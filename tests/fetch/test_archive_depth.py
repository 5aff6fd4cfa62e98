"""Inverse variances and bit masks of archives reach the tile, in its units and pixels."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from pydantic import ValidationError

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import ArchiveBand, ArchiveSource
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.coadd import area_ratio
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.raw_image import read_raw

ORDER = 6
STEP = 0.02


def car(rows=2400, centre_row=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---CAR", "DEC--CAR"]
    wcs.wcs.crval, wcs.wcs.cdelt = [0.0, 0.0], [-STEP, STEP]
    wcs.wcs.crpix = [-499.5, centre_row]
    return wcs


def write(path, values, wcs, unit="uK"):
    header = wcs.to_header()
    header["BUNIT"] = unit
    fits.PrimaryHDU(values, header).writeto(path, overwrite=True)


def fetched(tmp_path, band, tile, *, unit="uK", scale=72.0, inverse_variance=True, **values):
    spec = ImageSpec("test", ("f",), unit, scale, ORDER, 5.0, inverse_variance=inverse_variance)
    settings = ArchiveSource(kind="archive", files={"f": band}, **values)
    source = open_source(settings, spec, access=Access(DownloadSettings(), tmp_path / "cache"))
    offered = tokens_by_tile(source.objects([tile]), [tile])
    outcome = source.prepare(offered).fetch_tile(tile, tmp_path / "raw.fits")
    assert outcome.status == "ok", outcome.reason
    return read_raw(tmp_path / "raw.fits", ("f",))


def tile_at(ra, dec):
    return int(sky.owning_cell(np.array([ra]), np.array([dec]), ORDER)[0])


@pytest.fixture(params=[0.0, 60.0], ids=["equator", "60 degrees north"])
def noisy(tmp_path, request):
    """A map in CAR of white noise and its inverse variance, around a declination."""
    dec, sigma = request.param, 30.0
    rng = np.random.default_rng(4)
    wcs = car(centre_row=200.5 - dec / STEP)
    values = rng.normal(0, sigma, (400, 1000)).astype(np.float32)
    write(tmp_path / "map.fits", values, wcs)
    write(tmp_path / "ivar.fits", np.full_like(values, sigma**-2), wcs)
    band = {"image": str(tmp_path / "map.fits"), "weight": str(tmp_path / "ivar.fits")}
    return tmp_path, band, tile_at(340.0, dec), dec, sigma


def covered(raw):
    return raw.mask == 0


def test_the_noise_of_large_patches_is_what_the_inverse_variance_says(noisy):
    folder, band, tile, dec, sigma = noisy
    raw = fetched(folder, band, tile)
    pixel_ratio = (72.0 / 3600 / STEP) ** 2 / np.cos(np.radians(dec))
    middle = raw.ivar[0][covered(raw)]
    np.testing.assert_allclose(np.median(middle), sigma**-2 * pixel_ratio, rtol=0.02)
    # Means over 8 x 8 pixels: variance addition, against the scatter of the map itself.
    ny, nx = (side // 8 * 8 for side in raw.mask.shape)
    blocks = raw.image[0][:ny, :nx].reshape(ny // 8, 8, nx // 8, 8).mean(axis=(1, 3))
    expected = np.sqrt(1 / np.median(middle) / 64)
    assert np.std(blocks) == pytest.approx(expected, rel=0.2)


def test_inverse_variances_follow_the_units_of_the_values(noisy):
    folder, band, tile, _, _ = noisy
    plain, scaled = (fetched(folder, {**band, "scale_by": by}, tile) for by in (1.0, 1000.0))
    np.testing.assert_allclose(scaled.ivar * 1e6, plain.ivar, rtol=1e-5)


def test_flux_in_a_pixel_keeps_its_noise_on_pixels_of_its_own_size(tmp_path):
    dec, sigma, scale = 0.0, 5.0, STEP * 3600
    wcs = car(centre_row=200.5)
    values = np.random.default_rng(5).normal(0, sigma, (400, 1000)).astype(np.float32)
    write(tmp_path / "map.fits", values, wcs, unit="nanomaggy")
    write(tmp_path / "ivar.fits", np.full_like(values, sigma**-2), wcs)
    band = {"image": str(tmp_path / "map.fits"), "weight": str(tmp_path / "ivar.fits")}
    tile = tile_at(340.0, dec)
    raw = fetched(tmp_path, band, tile, unit="nanomaggy", scale=scale, quantity="flux")
    assert np.median(raw.ivar[0][covered(raw)]) == pytest.approx(sigma**-2, rel=0.01)
    double = fetched(tmp_path, band, tile, unit="nanomaggy", scale=2 * scale, quantity="flux")
    # Four pixels' flux: four times the variance.
    assert np.median(double.ivar[0][covered(double)]) == pytest.approx(sigma**-2 / 4, rel=0.01)


def test_where_there_are_no_data_the_inverse_variance_is_0(noisy):
    folder, band, tile, _, _ = noisy
    with fits.open(folder / "ivar.fits", mode="update") as hdus:
        hdus[0].data[:200] = 0.0
    raw = fetched(folder, band, tile)
    assert (raw.ivar[0][raw.mask == 1] == 0).all()
    assert (raw.ivar[0][raw.mask == 0] > 0).all()
    assert (raw.mask == 1).any()


def test_a_source_that_is_not_asked_for_inverse_variances_writes_none(noisy):
    folder, band, tile, _, _ = noisy
    fetched(folder, band, tile, inverse_variance=False)
    with fits.open(folder / "raw.fits") as hdus:
        assert not [hdu.name for hdu in hdus if hdu.name.startswith("IVAR")]


@pytest.mark.parametrize("dec", [0.0, 45.0, -75.0])
def test_pixels_of_a_cylindrical_map_shrink_with_the_cosine_of_declination(dec):
    wcs, shape = sky.tile_frame(tile_at(30.0, dec), ORDER, 60.0, 0.0)
    ratio = area_ratio(wcs, shape, car())(np.arange(shape[0]))
    y, x = np.indices(shape)
    there = wcs.pixel_to_world(x, y)
    off_axis = there.separation(wcs.pixel_to_world(*(np.array(shape[::-1]) - 1) / 2))
    # A tangent plane's pixels shrink too, with the cube of the cosine of their distance.
    expected = (60 / 3600 / STEP) ** 2 / np.cos(there.dec.rad) * np.cos(off_axis.rad) ** 3
    np.testing.assert_allclose(ratio, expected, rtol=2e-3)


@pytest.fixture
def masked(tmp_path):
    wcs, (ny, nx) = sky.tile_frame(tile_at(0.0, 10.0), ORDER, 72.0, 5.0)
    bits = np.zeros((ny, nx), np.int32)
    bits[10:12, 20] = 1 << 30
    bits[30, 40] = 1 << 2 | 1 << 5
    bits[31, 40] = 1 << 7
    write(tmp_path / "map.fits", np.ones((ny, nx), np.float32), wcs)
    write(tmp_path / "msk.fits", bits, wcs)
    band = {"image": str(tmp_path / "map.fits"), "mask": str(tmp_path / "msk.fits")}
    band["mask_bits"] = {"bright_star": [30, 3], "saturated": [5], "survey_mask": [2]}
    return tmp_path, band


def test_the_bits_of_a_surveys_mask_become_planes_of_the_tile(masked):
    folder, band = masked
    raw = fetched(folder, band, tile_at(0.0, 10.0), inverse_variance=False)
    assert {tuple(p): int(raw.mask[tuple(p)]) for p in np.argwhere(raw.mask & 62)} == {
        (10, 20): 4, (11, 20): 4, (30, 40): 2 | 32,
    }  # fmt: skip


def test_a_mask_without_bits_and_one_of_real_numbers_are_refused(masked):
    folder, band = masked
    with pytest.raises(ValidationError, match="belong together"):
        ArchiveBand(**{**band, "mask_bits": {}})
    with pytest.raises(SourceError, match="bit mask has integers"):
        fetched(folder, {**band, "mask": band["image"]}, tile_at(0.0, 10.0))


def test_bands_without_masks_keep_their_fingerprints():
    plain = ArchiveBand(image="a.fits").model_dump(mode="json")
    assert not [key for key in plain if key.startswith("mask")]
