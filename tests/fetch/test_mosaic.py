"""A tile's image is an exact cut of the mosaic."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.config.image_sources import MosaicSource
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.mosaic import Mosaic
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.raw_image import read_raw

SCALE = 10.0
SHAPE = (301, 401)
BANDS = ("i", "g")
RA, DEC = 0.02, 41.0  # across RA 0


def spec(**values):
    return ImageSpec(
        **{
            "survey": "test",
            "bands": BANDS,
            "unit": "adu",
            "pixel_scale_arcsec": SCALE,
            "tile_order": 8,
            "halo_arcmin": 1.0,
            **values,
        }
    )


def frame():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [RA, DEC]
    wcs.wcs.cdelt = [-SCALE / 3600, SCALE / 3600]
    wcs.wcs.crpix = [200.3, 150.8]
    return wcs


def write_mosaic(folder):
    y, x = np.indices(SHAPE)
    header = frame().to_header()
    count = np.ones(SHAPE, np.uint8)
    count[100:120, 200:250] = 0
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU((x + 1000 * y).astype(np.float32), header, name="R"),
        fits.ImageHDU((2 * x).astype(np.float32), header, name="B"),
        fits.ImageHDU(count, header, name="N"),
    ]
    fits.HDUList(hdus).writeto(folder / "mosaic.fits")
    return folder / "mosaic.fits"


@pytest.fixture
def path(tmp_path):
    return write_mosaic(tmp_path)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Fetch every tile of the mosaic once: its source, and the raw image of each tile with data."""
    folder = tmp_path_factory.mktemp("mosaic")
    source, found = mosaic(write_mosaic(folder)), {}
    for tile in source.tiles():
        if source.fetch_tile(tile, folder / "raw.fits").status == "ok":
            found[tile] = read_raw(folder / "raw.fits", BANDS)
    return source, found


def mosaic(path, coverage="N", **values):
    extensions = {"i": "R", "g": "B"}
    settings = MosaicSource(kind="mosaic", path=str(path), extensions=extensions, coverage=coverage)
    return Mosaic(settings, spec(**values))


def test_pixels_are_copied_and_keep_their_place_on_the_sky(tiles):
    for raw in tiles[1].values():
        y, x = np.nonzero(raw.mask == 0)
        y, x = y[::97], x[::97]
        ra, dec = raw.wcs.pixel_to_world_values(x, y)
        mosaic_x, mosaic_y = frame().world_to_pixel_values(ra, dec)
        expected = np.rint(mosaic_x) + 1000 * np.rint(mosaic_y)
        np.testing.assert_array_equal(raw.image[0, y, x], expected)
        np.testing.assert_allclose(mosaic_x, np.rint(mosaic_x), atol=1e-6)


def test_a_distorted_mosaic_is_refused(path):
    """Its cuts would need the distortion moved with them, in every later stage."""
    with fits.open(path, mode="update") as hdus:
        for hdu in hdus[1:]:
            hdu.header["CTYPE1"], hdu.header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
            hdu.header["A_ORDER"] = hdu.header["B_ORDER"] = 2
            hdu.header["A_2_0"] = 1e-5
    with pytest.raises(SourceError, match=r"distorted .*source\.kind: archive"):
        mosaic(path).tiles()


def test_every_covered_pixel_is_in_the_image_of_the_tile_that_owns_it(tiles):
    source, raws = tiles
    y, x = np.indices(SHAPE)
    ra, dec = frame().pixel_to_world_values(x.ravel(), y.ravel())
    owner = sky.owning_cell(ra, dec, 8).reshape(SHAPE)
    covered = np.ones(SHAPE, bool)
    covered[100:120, 200:250] = False
    assert set(np.unique(owner)) <= set(source.tiles())
    for tile in np.unique(owner[covered]).tolist():
        raw = raws[tile]
        values = raw.image[0][raw.mask == 0]
        mine = (x + 1000 * y)[covered & (owner == tile)]
        assert np.isin(mine, values).all()


def test_a_window_on_any_covered_pixel_of_the_tile_lies_in_the_image(tiles):
    source, raws = tiles
    half = int(60 * source.spec.halo_arcmin / SCALE)
    for tile, raw in raws.items():
        y, x = np.nonzero(raw.mask == 0)
        own = sky.owning_cell(*raw.wcs.pixel_to_world_values(x, y), 8) == tile
        ny, nx = raw.mask.shape
        assert ((y[own] >= half) & (y[own] < ny - half)).all()
        assert ((x[own] >= half) & (x[own] < nx - half)).all()


def test_holes_and_sky_beyond_the_border_are_masked(tiles):
    source, raws = tiles
    covered = 0
    pixels = {}
    for tile, raw in raws.items():
        y0, _, x0, _ = source.box(tile)
        y, x = np.nonzero(raw.mask == 0)
        pixels[tile] = set(zip((y + y0).tolist(), (x + x0).tolist(), strict=True))
        covered += len(pixels[tile])
    union = set().union(*pixels.values())
    assert len(union) == SHAPE[0] * SHAPE[1] - 20 * 50
    assert covered > len(union)  # tiles share their halos


def test_a_tile_far_away_has_no_coverage(path, tmp_path):
    source = mosaic(path)
    for ra, dec in ((180.0, -41.0), (90.0, 0.0), (5.0, 41.0)):
        tile = int(sky.owning_cell(np.array([ra]), np.array([dec]), 8)[0])
        assert source.fetch_tile(tile, tmp_path / "raw.fits").status == "no_coverage"
        assert not (tmp_path / "raw.fits").exists()


def test_boxes_of_binned_surveys_start_on_one_common_grid(path):
    source = mosaic(path, binning=4)
    boxes = [source.box(tile) for tile in source.tiles()]
    assert all(side % 4 == 0 for box in boxes if box for side in box)


def test_the_same_cut_gives_the_same_bytes(path, tmp_path):
    source = mosaic(path)
    tile = int(sky.owning_cell(np.array([RA]), np.array([DEC]), 8)[0])
    source.fetch_tile(tile, tmp_path / "1.fits")
    source.fetch_tile(tile, tmp_path / "2.fits")
    assert (tmp_path / "1.fits").read_bytes() == (tmp_path / "2.fits").read_bytes()
    assert b"DATE" not in (tmp_path / "1.fits").read_bytes()


def test_objects_name_the_file_with_its_checksum_for_tiles_it_reaches(path):
    source = mosaic(path)
    far = int(sky.owning_cell(np.array([180.0]), np.array([0.0]), 8)[0])
    before = tokens_by_tile(source.objects([*source.tiles(), far]), [*source.tiles(), far])
    assert before[far] == []
    assert all(tokens for tile, tokens in before.items() if tile != far)
    with path.open("r+b") as handle:
        handle.seek(-1, 2)
        handle.write(b"\1")
    after = tokens_by_tile(source.objects(source.tiles()), source.tiles())
    assert all(after[tile] != before[tile] for tile in after)


def test_a_wrong_pixel_scale_or_extension_is_refused(path, tmp_path):
    with pytest.raises(SourceError, match="pixel_scale_arcsec: 5"):
        mosaic(path, pixel_scale_arcsec=5.0).tiles()
    with pytest.raises(SourceError, match="no extension for band z"):
        mosaic(path, bands=("z",)).tiles()


def test_cuts_of_the_perseus_mosaic_equal_its_pixels(real_data, tmp_path):
    path = real_data / "images/perseus/perseus_sdss_gri_mosaic_0p4as.fits.fz"
    bands = ("i", "r", "g")
    settings = MosaicSource(
        kind="mosaic",
        path=str(path),
        extensions=dict(zip(bands, "RGB", strict=True)),
        coverage="NSTAMP",
    )
    wanted = spec(bands=bands, unit="display", pixel_scale_arcsec=0.4, halo_arcmin=0.24)
    source = Mosaic(settings, wanted)
    assert {27213, 27218, 27219, 27224} <= set(source.tiles())
    assert source.fetch_tile(27222, tmp_path / "raw.fits").status == "ok"
    raw = read_raw(tmp_path / "raw.fits", bands)
    y0, y1, x0, x1 = source.box(27222)
    with fits.open(path) as hdus:
        ny, nx = hdus["G"].shape
        here = (slice(y0, min(y1, ny)), slice(max(x0, 0), min(x1, nx)))
        plane, count = hdus["G"].section[here], hdus["NSTAMP"].section[here]
    inner = (slice(0, plane.shape[0]), slice(max(0, -x0), max(0, -x0) + plane.shape[1]))
    np.testing.assert_array_equal(raw.mask[inner] == 0, count > 0)
    np.testing.assert_array_equal(raw.image[1][inner][count > 0], plane[count > 0])
