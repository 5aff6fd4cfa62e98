"""HiPS trees show the same sky as an independent reading of the same files."""

import json
import shutil

import healpy as hp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import HipsSource
from clusterscan.core import sky
from clusterscan.core.errors import ConfigError, SourceError
from clusterscan.fetch.download.checks import ContentError
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.hips import parse_properties
from clusterscan.fetch.hips_tiles import cells_of_image, check_tile, face_wcs, read_tile, to_frame
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import NO_COVERAGE
from clusterscan.formats.raw_image import read_raw

TILE_ORDER = 4
TOLERANCE = 0.03  # a pixel of the synthetic trees is 0.46 deg: up to 0.03 of its slope


def spec(**values):
    return ImageSpec(
        **{
            "survey": "test",
            "bands": ("f",),
            "unit": "K",
            "pixel_scale_arcsec": 240.0,
            "tile_order": TILE_ORDER,
            "halo_arcmin": 30.0,
            **values,
        }
    )


def hips(address, folder, download=None, image=None, **values):
    settings = HipsSource(kind="hips", **{"trees": {"f": str(address)}, **values})
    access = Access(download or DownloadSettings(), folder / "cache")
    return open_source(settings, image or spec(), access=access)


def fetch(source, tiles, destination):
    """Do what the stage does: list, prepare, fetch; return the outcome of the last tile."""
    offered = tokens_by_tile(source.objects(tiles), tiles)
    prepared = source.prepare(offered)
    return [prepared.fetch_tile(tile, destination) for tile in tiles][-1]


def owner(ra, dec, order=TILE_ORDER):
    return int(sky.owning_cell(np.array([ra]), np.array([dec]), order)[0])


def positions(raw, frame):
    y, x = np.indices(raw.mask.shape)
    ra, dec = raw.wcs.pixel_to_world_values(x.ravel(), y.ravel())
    lon, lat = to_frame(ra, dec, frame)
    return lon, lat


PLACES = {
    "equator at RA 0": (0.01, 0.01),
    "north pole": (12.0, 89.9),
    "south pole": (200.0, -89.9),
    "where three faces meet": (0.0, 41.81),
    "where four faces meet": (45.0, 0.0),
    "a southern face": (271.0, -41.8),
    "galactic pole": (192.86, 27.13),
    "galactic centre": (266.4, -29.0),
}


@pytest.mark.parametrize("frame", ["equatorial", "galactic"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_tile_shows_the_sky_of_the_tree(hips_trees, tmp_path, sky_function, frame, place):
    source = hips(hips_trees / frame, tmp_path)
    tile = owner(*place)
    assert fetch(source, [tile], tmp_path / "raw.fits").status == "ok"
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    assert not raw.mask.any()  # no seams between tiles or faces
    assert raw.unit == "K"
    lon, lat = positions(raw, "icrs" if frame == "equatorial" else frame)
    expected = sky_function(lon, lat).reshape(raw.mask.shape)
    assert np.abs(raw.image[0] - expected).max() < TOLERANCE
    assert np.abs(raw.image[0] - expected).mean() < 1e-3


@pytest.mark.parametrize("frame", ["equatorial", "galactic"])
def test_a_tile_equals_healpys_interpolation_of_the_same_files(
    hips_trees, tmp_path, sky_function, frame
):
    nside = 128
    whole = sky_function(*hp.pix2ang(nside, np.arange(12 * nside**2), nest=True, lonlat=True))
    tile = owner(100.0, 35.0)
    fetch(hips(hips_trees / frame, tmp_path), [tile], tmp_path / "raw.fits")
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    lon, lat = positions(raw, "icrs" if frame == "equatorial" else frame)
    theirs = hp.get_interp_val(whole, lon, lat, nest=True, lonlat=True).reshape(raw.mask.shape)
    np.testing.assert_allclose(raw.image[0], theirs, atol=5e-4)


def test_the_nearest_pixel_is_that_of_healpy(hips_trees, tmp_path, sky_function):
    nside = 128
    tile = owner(45.0, 0.0)
    fetch(
        hips(hips_trees / "galactic", tmp_path, resampling="nearest"), [tile], tmp_path / "r.fits"
    )
    raw = read_raw(tmp_path / "r.fits", ("f",))
    lon, lat = positions(raw, "galactic")
    ipix = hp.ang2pix(nside, lon, lat, nest=True, lonlat=True)
    expected = sky_function(*hp.pix2ang(nside, ipix, nest=True, lonlat=True))
    same = np.isclose(raw.image[0].ravel(), expected, atol=1e-5)
    assert same.mean() > 0.999  # positions on the border between two pixels may fall either way


@pytest.mark.parametrize("face", range(12))
def test_a_faces_wcs_puts_every_pixel_where_healpy_does(face):
    side = 16
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    ipix = hp.xyf2pix(side, x.ravel(), y.ravel(), face, nest=True)
    lon, lat = hp.pix2ang(side, ipix, nest=True, lonlat=True)
    column, row = face_wcs(face, side, "icrs").world_to_pixel_values(lon, lat)
    np.testing.assert_allclose(column, y.ravel(), atol=1e-9)
    np.testing.assert_allclose(row, side - 1 - x.ravel(), atol=1e-9)


def test_every_pixel_of_an_image_has_its_cell_listed():
    for place in PLACES.values():
        wcs, shape = sky.tile_frame(owner(*place), TILE_ORDER, 240.0, 30.0)
        y, x = np.indices(shape)
        for frame in ("icrs", "galactic"):
            ra, dec = wcs.pixel_to_world_values(x.ravel(), y.ravel())
            lon, lat = to_frame(ra, dec, frame)
            needed = np.unique(sky.owning_cell(lon, lat, 6))
            assert set(needed) <= set(cells_of_image(wcs, shape, frame, 6, 1.0))


def test_missing_tiles_are_sky_without_coverage(hips_trees, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(hips_trees / "equatorial", tree)
    source = hips(tree, tmp_path)
    tile = owner(45.0, 10.0)
    listed = source.objects([tile])
    assert len(listed) > 1
    gone = int(listed[0].name.rpartition("Npix")[2])
    (tree / f"Norder3/Dir0/Npix{gone}.fits").unlink()
    assert len(source.objects([tile])) == len(listed) - 1
    outcome = fetch(source, [tile], tmp_path / "raw.fits")
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    lon, lat = positions(raw, "icrs")
    hole = (sky.owning_cell(lon, lat, 3) == gone).reshape(raw.mask.shape)
    assert (raw.mask[hole] == NO_COVERAGE).all()
    assert outcome.counts["covered"] == (raw.mask == 0).sum()
    # Interpolation beside the hole needs pixels in it: one pixel around it is lost at most.
    near = np.zeros_like(hole)
    for dy in range(-16, 17, 4):
        for dx in range(-16, 17, 4):
            near |= np.roll(hole, (dy, dx), (0, 1))
    assert (raw.mask[~near] == 0).all()


def test_tiles_of_nan_are_no_data(hips_trees, tmp_path, fits_bytes):
    tree = tmp_path / "tree"
    shutil.copytree(hips_trees / "equatorial", tree)
    empty = fits_bytes(np.full((16, 16), np.nan, np.float32))
    source = hips(tree, tmp_path)
    tile = owner(100.0, 35.0)
    for item in source.objects([tile]):
        (tree / f"{item.name.partition(':')[2]}.fits").write_bytes(empty)
    assert fetch(source, [tile], tmp_path / "raw.fits").status == "no_coverage"
    assert not (tmp_path / "raw.fits").exists()


def test_a_tree_over_http_gives_the_same_bytes_as_its_folder(
    hips_trees, tmp_path, server, quick_downloads
):
    folder = hips_trees / "galactic"
    server.files = {
        f"/t/{p.relative_to(folder).as_posix()}": p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }
    tiles = [owner(45.0, 10.0), owner(47.0, 12.0)]
    fetch(hips(folder, tmp_path), tiles, tmp_path / "1.fits")
    source = hips(f"{server.base}/t/", tmp_path, quick_downloads())
    names = [item.name for item in source.objects(tiles)]
    server.requests.clear()
    faulty = f"/t/{names[0].partition(':')[2]}.fits"
    server.faults[faulty] = [("html",), ("truncate", 3000)]
    fetch(source, tiles, tmp_path / "2.fits")
    assert (tmp_path / "1.fits").read_bytes() == (tmp_path / "2.fits").read_bytes()
    # `objects` asks for properties and each version, `prepare` for each tile: nothing twice.
    assert len(server.requests) <= 1.2 * 2 * (len(names) + 1) + 2


def test_a_tile_that_cannot_be_had_fails_with_the_servers_words(
    hips_trees, tmp_path, server, quick_downloads
):
    folder = hips_trees / "equatorial"
    server.files = {
        f"/{p.relative_to(folder).as_posix()}": p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }
    source = hips(server.base, tmp_path, quick_downloads(retries=1))
    tile = owner(45.0, 10.0)
    offered = tokens_by_tile(source.objects([tile]), [tile])
    bad = f"/{offered[tile][0].partition('=')[0].partition(':')[2]}.fits"
    server.faults[bad] = [("status", 403, "Embargo until spring")] * 5
    with pytest.raises(SourceError, match="Embargo until spring"):
        source.prepare(offered).fetch_tile(tile, tmp_path / "raw.fits")
    assert not (tmp_path / "raw.fits").exists()
    server.faults.clear()
    assert source.prepare(offered).fetch_tile(tile, tmp_path / "raw.fits").status == "ok"


def test_a_cached_tile_that_was_damaged_is_not_used(hips_trees, tmp_path, server, quick_downloads):
    folder = hips_trees / "equatorial"
    server.files = {
        f"/{p.relative_to(folder).as_posix()}": p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }
    source = hips(server.base, tmp_path, quick_downloads())
    tile = owner(45.0, 10.0)
    fetch(source, [tile], tmp_path / "1.fits")
    kept = sorted((tmp_path / "cache").rglob("Npix*.fits"))[0]
    data = bytearray(kept.read_bytes())
    data[3000] ^= 4
    kept.write_bytes(bytes(data))
    with pytest.raises(SourceError, match="damaged on this disk"):
        fetch(source, [tile], tmp_path / "2.fits")
    fetch(source, [tile], tmp_path / "2.fits")
    assert (tmp_path / "1.fits").read_bytes() == (tmp_path / "2.fits").read_bytes()


def test_cached_tiles_without_a_checksum_of_today_are_used_and_not_asked_for(
    hips_trees, tmp_path, server, quick_downloads
):
    folder = hips_trees / "equatorial"
    for path in folder.rglob("*"):
        if path.is_file():
            server.files[f"/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    source = hips(server.base, tmp_path, quick_downloads())
    tile = owner(45.0, 10.0)
    fetch(source, [tile], tmp_path / "1.fits")
    for path in (tmp_path / "cache").rglob("Npix*.fits.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        del record["checksum"]
        path.write_text(json.dumps({**record, "sha256": "0" * 64}), encoding="utf-8")
    asked = len(server.requests)
    fetch(source, [tile], tmp_path / "2.fits")
    assert (tmp_path / "1.fits").read_bytes() == (tmp_path / "2.fits").read_bytes()
    asked_anew = [path for method, path, _ in server.requests[asked:] if method == "GET"]
    assert not any("Npix" in path for path in asked_anew)


def test_wrong_tiles_are_refused(tmp_path, fits_bytes):
    where = {"frame": "icrs", "order": 3, "ipix": 100, "width": 64}
    lon, lat = hp.pix2ang(8, 300, nest=True, lonlat=True)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [lon, lat]
    wcs.wcs.crpix = [32.5, 32.5]
    wcs.wcs.cdelt = [-0.1, 0.1]
    cases = {
        "lacks a number for CRVAL2": {k: v for k, v in wcs.to_header().items() if k != "CRVAL2"},
        "NPIX is 101": {"ORDER": 3, "NPIX": 101},
        "in cell 300": dict(wcs.to_header()),
    }
    for words, header in cases.items():
        (tmp_path / "t.fits").write_bytes(fits_bytes(**header))
        with pytest.raises(ContentError, match=words):
            check_tile(tmp_path / "t.fits", **where)
    check_tile(tmp_path / "t.fits", **{**where, "ipix": 300})
    with pytest.raises(ContentError, match="64 × 64 px"):
        check_tile(tmp_path / "t.fits", **{**where, "ipix": 300, "width": 32})


def test_integer_tiles_are_scaled_and_their_blanks_are_nan(fits_bytes):
    array = np.array([[1, 2], [-32768, 4]], np.int16)
    data = fits_bytes(array, padded=False, BLANK=-32768, BSCALE=0.5, BZERO=10.0)
    assert b"-32768  " in data
    data = data.replace(b"-32768  ", b"-32768.0")  # as DSS tiles have it, against the standard
    values = read_tile(data, "t", no_data=12.0)
    np.testing.assert_array_equal(values, np.array([[10.5, 11.0], [np.nan, np.nan]], np.float32))


def test_properties_choose_the_order():
    text = "hips_order=9\nhips_frame=galactic\nhips_tile_width = 512\nhips_tile_format=png fits\n"
    known = parse_properties(text, "x")
    for order in (3, 6, 9):
        side = 3600 * hp.nside2resol(2**order * 512, arcmin=True) / 60
        assert known.pixel_scale_arcsec(order) == pytest.approx(side, rel=1e-6)
        assert known.best_order(side) == order
        assert known.best_order(side * 1.01) == order
    assert known.best_order(1e-3) == 9
    assert known.best_order(1e5) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hips_frame=mars", "equatorial and galactic"),
        ("hips_tile_format=jpeg", "pictures"),
        ("hips_order=many", "not a HiPS properties file"),
        ("hips_tile_width=500", "not a valid HiPS"),
    ],
)
def test_strange_properties_are_refused(line, words):
    good = "hips_order=9\nhips_frame=galactic\nhips_tile_width=512\nhips_tile_format=fits\n"
    with pytest.raises(SourceError, match=words):
        parse_properties(good + line, "x")
    with pytest.raises(SourceError, match="equatorial"):
        parse_properties("<html>not found</html>", "x")


def test_a_survey_must_have_a_tree_for_each_band(tmp_path):
    with pytest.raises(ConfigError, match="no tree for g"):
        hips(tmp_path, tmp_path, image=spec(bands=("f", "g")))
    with pytest.raises(ValueError, match="not among the bands of trees"):
        HipsSource(kind="hips", trees={"f": "x"}, scale_by={"g": 2.0})


def test_an_order_that_the_tree_lacks_is_refused(hips_trees, tmp_path):
    with pytest.raises(SourceError, match="orders 3 to 3"):
        hips(hips_trees / "galactic", tmp_path, order=5).objects([0])


# --- real trees ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_trees(real_data):
    folder = real_data / "images/hips"
    if not folder.is_dir():
        pytest.skip(f"no real HiPS trees at {folder}")
    return folder


@pytest.mark.parametrize(
    ("ra", "dec"), [(275.196, -16.172), (266.834, -28.385)], ids=["M17", "Sgr B2"]
)
def test_planck_sources_stand_where_they_should(real_trees, tmp_path, ra, dec):
    image = spec(unit="uK_CMB", pixel_scale_arcsec=60.0)
    source = hips(real_trees / "Planck-HFI143", tmp_path, image=image, scale_by={"f": 1e6})
    assert fetch(source, [owner(ra, dec)], tmp_path / "raw.fits").status == "ok"
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    lon, lat = positions(raw, "icrs")
    near = (sky.separation_deg(lon, lat, ra, dec) < 0.5).reshape(raw.mask.shape)
    y, x = np.unravel_index(np.argmax(np.where(near, raw.image[0], -np.inf)), near.shape)
    peak = raw.wcs.pixel_to_world_values(x, y)
    assert sky.separation_deg(*peak, ra, dec) * 60 < 7.3  # the beam's full width
    assert raw.image[0, y, x] > 20 * np.median(raw.image[0])
    assert 5e4 < raw.image[0, y, x] < 5e5  # 0.1 K


def test_planck_tiles_equal_healpys_reading_of_the_same_files(real_trees, tmp_path):
    image = spec(unit="K_CMB", pixel_scale_arcsec=60.0)
    tree = real_trees / "Planck-HFI143"
    fetch(hips(tree, tmp_path, image=image), [owner(266.834, -28.385)], tmp_path / "raw.fits")
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    lon, lat = positions(raw, "galactic")
    nside, width = 2048, 256
    pixels, weights = hp.get_interp_weights(nside, lon, lat, nest=True, lonlat=True)
    nearest = hp.ang2pix(nside, lon, lat, nest=True, lonlat=True)
    around = np.vstack([nearest, hp.get_all_neighbours(nside, nearest, nest=True)])

    def values(ipix):
        found = np.full(ipix.shape, np.nan)
        for cell in np.unique(ipix >> 16):
            path = tree / f"Norder3/Dir0/Npix{cell}.fits"
            if not path.is_file():
                continue
            array = np.frombuffer(path.read_bytes()[2880:], ">f4").reshape(width, width)
            here = ipix >> 16 == cell
            x, y, _ = hp.pix2xyf(nside, ipix[here], nest=True)
            found[here] = array[width - 1 - x % width, y % width]
        return found

    theirs = (values(pixels) * weights).sum(axis=0)
    ours = np.where(raw.mask == 0, raw.image[0], np.nan).ravel()
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.mean() > 0.9
    box = values(around)[:, both]
    slack = 1e-6
    # Any interpolation lies between the pixel's neighbours, so two differ by no more than that.
    assert (ours[both] >= np.nanmin(box, axis=0) - slack).all()
    assert (ours[both] <= np.nanmax(box, axis=0) + slack).all()
    error = np.std(ours[both] - theirs[both])
    assert error < 0.01 * np.std(theirs[both])


def test_dss_stars_stand_where_tycho_says(real_trees, real_data, tmp_path):
    stars = Table.read(real_data / "objects/tycho2-mag6.fits")
    lon, lat = np.array(stars["RA"], float), np.array(stars["DEC"], float)
    excess, turned = [], []
    for path in sorted((real_trees / "DSS2Red/Norder3/Dir0").glob("*.fits")):
        cell = int(path.stem.removeprefix("Npix"))
        array = read_tile(path.read_bytes(), str(path))
        inside = sky.owning_cell(lon, lat, 3) == cell
        x, y, _ = hp.pix2xyf(
            4096, hp.ang2pix(4096, lon[inside], lat[inside], nest=True, lonlat=True), nest=True
        )
        row, column = 511 - x % 512, y % 512
        level, spread = np.nanmedian(array), np.nanstd(array)
        excess += list((array[row, column] - level) / spread)
        turned += list((array[511 - row, column] - level) / spread)
    assert len(excess) > 20
    assert np.median(excess) > 3
    assert np.median(turned) < 1


def test_dss_fits_tiles_show_the_same_as_their_jpegs(real_trees):
    for path in sorted((real_trees / "DSS2Red/Norder3/Dir0").glob("*.fits")):
        values = read_tile(path.read_bytes(), str(path))
        low, high = np.nanpercentile(values, [1, 99])
        values = np.nan_to_num(np.clip(values, low, high), nan=low)
        picture = np.asarray(Image.open(path.with_suffix(".jpg")).convert("L"), float)
        # The first row of a JPEG is the last one of FITS; brightness is stretched otherwise.
        turned = [picture, picture[:, ::-1], picture[::-1, ::-1], picture.T, picture[::-1].T]
        rest = [np.corrcoef(values.ravel(), other.ravel())[0, 1] for other in turned]
        assert np.corrcoef(values.ravel(), picture[::-1].ravel())[0, 1] > 0.3 + max(rest)


def test_galactic_positions_agree_with_astropys_frames():
    there = SkyCoord([0.0, 120.0], [10.0, -60.0], unit="deg").galactic
    lon, lat = to_frame(np.array([0.0, 120.0]), np.array([10.0, -60.0]), "galactic")
    np.testing.assert_allclose([lon, lat], [there.l.deg, there.b.deg])
