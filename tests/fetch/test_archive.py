"""Published maps and images show their sky on every tile, and only what is needed is read."""

import gzip
import io
import tracemalloc

import healpy as hp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from reproject import reproject_from_healpix, reproject_interp

from clusterscan import sky
from clusterscan.config.download import DownloadSettings
from clusterscan.config.source_archive import ArchiveSource, AtlasSettings
from clusterscan.errors import SourceError
from clusterscan.fetch.archive.atlas import Atlas
from clusterscan.fetch.archive.units import factor
from clusterscan.fetch.download.access import Access
from clusterscan.fetch.raw import read_raw
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import ImageSpec, tokens_by_tile

ORDER, SCALE = 4, 300.0
PLACES = {
    "equator": (100.0, 1.0),
    "RA 0": (0.3, 40.0),
    "RA 180": (180.2, -20.0),
    "north pole": (0.0, 90.0),
    "south pole": (0.0, -90.0),
    "near a pole": (77.0, 84.0),
    "galactic centre": (266.4, -29.0),
}


def tile_at(ra, dec, order=ORDER):
    return int(sky.owning_cell(np.array([ra]), np.array([dec]), order)[0])


def archive(tmp_path, files, *, unit="uK_CMB", scale=SCALE, order=ORDER, **values):
    bands = {
        band: entry if isinstance(entry, dict) else {"image": str(entry)}
        for band, entry in files.items()
    }
    spec = ImageSpec("test", tuple(bands), unit, scale, order, 20.0)
    settings = ArchiveSource(kind="archive", files=bands, **values)
    quick = DownloadSettings(retries=1, backoff_s=0.01, stall_s=2.0)
    return open_source(settings, spec, access=Access(quick, tmp_path / "cache"))


def fetch(source, tile, path):
    offered = tokens_by_tile(source.objects([tile]), [tile])
    return source.prepare(offered).fetch_tile(tile, path)


def fetched(tmp_path, source, tile):
    path = tmp_path / "raw.fits"
    outcome = fetch(source, tile, path)
    assert outcome.status == "ok", outcome.reason
    return read_raw(path, source.spec.bands)


def positions(raw):
    y, x = np.nonzero(raw.mask == 0)
    return y, x, raw.wcs.pixel_to_world(x, y)


# --- the full sky in a cylindrical projection ------------------------------------------------


def car_wcs(frame, step=0.5, rows=361, columns=720):
    names = {"icrs": ("RA---CAR", "DEC--CAR"), "galactic": ("GLON-CAR", "GLAT-CAR")}[frame]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = names
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.cdelt = [-step, step]
    wcs.wcs.crpix = [columns / 2 + 0.5, (rows + 1) / 2]
    return wcs


def car_sky(frame, function):
    wcs = car_wcs(frame)
    y, x = np.indices((361, 720))
    where = wcs.pixel_to_world(x, y).spherical
    values = function(where.lon.deg.ravel(), where.lat.deg.ravel()).reshape(361, 720)
    return values.astype(np.float32), wcs


@pytest.fixture(scope="module")
def car_maps(tmp_path_factory, sky_function):
    folder = tmp_path_factory.mktemp("car")
    for frame in ("icrs", "galactic"):
        values, wcs = car_sky(frame, sky_function)
        cube = np.stack([values, 0 * values, 0 * values])  # I, Q, U
        header = wcs.to_header()
        header["BUNIT"] = "uK"
        fits.PrimaryHDU(cube, header).writeto(folder / f"{frame}.fits")
    return folder


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_a_full_sky_map_in_car_shows_its_sky_everywhere(
    tmp_path, car_maps, sky_function, frame, place
):
    source = archive(tmp_path, {"f": car_maps / f"{frame}.fits"})
    raw = fetched(tmp_path, source, tile_at(*PLACES[place]))
    assert (raw.mask == 0).all()
    y, x, where = positions(raw)
    there = where.transform_to(frame).spherical
    expected = sky_function(there.lon.deg, there.lat.deg)
    # Half a degree of a sky of curvature 16 (cos 4y) at most: (0.5 deg)^2 / 8 * 16.
    assert np.abs(raw.image[0, y, x] - expected).max() < 3e-4


@pytest.mark.parametrize("place", ["equator", "galactic centre", "near a pole"])
def test_a_cut_is_what_reproject_makes_of_the_whole_map(tmp_path, car_maps, place):
    path = car_maps / "icrs.fits"
    raw = fetched(tmp_path, archive(tmp_path, {"f": path}), tile_at(*PLACES[place]))
    with fits.open(path) as hdus:
        whole = (hdus[0].data[0], WCS(hdus[0].header).celestial)
    expected, _ = reproject_interp(whole, raw.wcs, shape_out=raw.mask.shape)
    np.testing.assert_allclose(raw.image[0], expected, atol=2e-5)


def test_of_a_map_of_gigabytes_only_the_cut_is_read(tmp_path):
    rows, columns, step = 10320, 43200, 0.5 / 60  # of the size of ACT's, almost all holes
    wcs = car_wcs("icrs", step, rows, columns)
    wcs.wcs.crpix = [columns / 2 + 0.5, 63.0 / step]  # Dec -63 to 23
    header = fits.PrimaryHDU(header=wcs.to_header()).header
    header["BITPIX"], header["NAXIS"] = -32, 3
    for axis, length in enumerate((columns, rows, 3), start=1):
        header.insert(f"NAXIS{axis - 1}" if axis > 1 else "NAXIS", (f"NAXIS{axis}", length), True)
    path = tmp_path / "act.fits"
    with path.open("wb") as handle:
        handle.write(header.tostring().encode())
        size = 4 * rows * columns * 3
        handle.truncate(handle.tell() + size + -size % 2880)
    assert path.stat().st_size > 5e9
    source = archive(
        tmp_path, {"f": path}, scale=30.0, order=5, versions="mtime"
    )  # the checksum of 5 GB of holes would be most of this test's time
    tracemalloc.start()
    raw = fetched(tmp_path, source, tile_at(150.0, 2.0, 5))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (raw.image == 0).all()
    assert peak < 100e6


def test_no_inverse_variance_is_no_data(tmp_path, car_maps):
    with fits.open(car_maps / "icrs.fits") as hdus:
        header, shape = hdus[0].header, hdus[0].shape
    ivar = np.ones(shape, np.float32)
    ivar[:, :, 100:] = 0.0
    fits.PrimaryHDU(ivar, header).writeto(tmp_path / "ivar.fits")
    band = {"image": str(car_maps / "icrs.fits"), "weight": str(tmp_path / "ivar.fits")}
    source = archive(tmp_path, {"f": band})
    edge = float(WCS(header).celestial.pixel_to_world_values(100, 180)[0])
    raw = fetched(tmp_path, source, tile_at(edge, 0.0))
    _, _, where = positions(raw)
    assert 0.1 < (raw.mask == 0).mean() < 0.99
    assert (where.ra.deg > edge).all()
    assert fetch(source, tile_at(0.0, 0.0), tmp_path / "none.fits").status == "no_coverage"


def test_a_field_has_no_data_on_the_other_side_of_the_sky(tmp_path):
    wcs = car_wcs("icrs")
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [30.0, 10.0], [40.0, 40.0]
    wcs.wcs.cdelt = [-0.05, 0.05]
    fits.PrimaryHDU(np.ones((80, 80), np.float32), wcs.to_header()).writeto(tmp_path / "a.fits")
    source = archive(tmp_path, {"f": tmp_path / "a.fits"})
    for ra, dec in ((210.0, -10.0), (120.0, 0.0), (30.0, 60.0), (0.0, 90.0)):
        assert fetch(source, tile_at(ra, dec), tmp_path / "raw.fits").status == "no_coverage"
    assert (fetched(tmp_path, source, tile_at(30.0, 10.0)).image.max()) == 1.0


# --- HEALPix ---------------------------------------------------------------------------------

NSIDE = 64


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("nest", [True, False])
def test_a_healpix_map_in_galactic_coordinates_shows_its_sky(tmp_path, sky_function, place, nest):
    lon, lat = hp.pix2ang(NSIDE, np.arange(12 * NSIDE**2), nest=nest, lonlat=True)
    values = sky_function(lon, lat)
    path = tmp_path / "map.fits"
    columns = {"column_names": ["I_STOKES", "Q_STOKES"], "column_units": "K_CMB"}
    hp.write_map(path, [values, 0 * values], nest=nest, coord="G", dtype=np.float32, **columns)
    source = archive(tmp_path, {"f": path}, format="healpix")
    raw = fetched(tmp_path, source, tile_at(*PLACES[place]))
    y, x, where = positions(raw)
    there = where.galactic
    interpolated = hp.get_interp_val(values, there.l.deg, there.b.deg, nest=nest, lonlat=True)
    np.testing.assert_allclose(raw.image[0, y, x], 1e6 * interpolated, rtol=1e-6)
    assert np.abs(1e-6 * raw.image[0, y, x] - sky_function(there.l.deg, there.b.deg)).max() < 3e-3


@pytest.mark.parametrize("place", PLACES)
def test_the_real_wmap_sky_is_what_reproject_makes_of_it(tmp_path, real_data, place):
    path = real_data / "images/wmap/wmap_band_iqumap_r9_7yr_V_v4_udgraded32.fits"
    band = {"image": str(path), "unit": "mK"}  # the file names neither unit nor frame
    source = archive(tmp_path, {"V": band}, format="healpix", scale=600.0, frame="galactic")
    raw = fetched(tmp_path, source, tile_at(*PLACES[place]))
    with fits.open(path) as hdus:
        values = np.asarray(hdus[1].data.field(0)).ravel()
        nested = hdus[1].header["ORDERING"] != "RING"
    expected, _ = reproject_from_healpix(
        (1000.0 * values.astype(float), "galactic"), raw.wcs, shape_out=raw.mask.shape,
        nested=nested,
    )  # fmt: skip
    np.testing.assert_allclose(raw.image[0], expected, rtol=1e-5, atol=1e-3)


def test_pixels_without_data_spoil_what_is_interpolated_from_them(tmp_path):
    values = np.ones(12 * NSIDE**2)
    tile = tile_at(10.0, 10.0)
    vector = hp.ang2vec(10.0, 10.0, lonlat=True)
    values[hp.query_disc(NSIDE, vector, np.radians(1.0))] = hp.UNSEEN
    hp.write_map(tmp_path / "map.fits", values, coord="C", dtype=np.float32, column_units="uK_CMB")
    raw = fetched(tmp_path, archive(tmp_path, {"f": tmp_path / "map.fits"}, format="healpix"), tile)
    y, x = np.nonzero(raw.mask)
    bad = raw.wcs.pixel_to_world(x, y).separation(SkyCoord(10.0, 10.0, unit="deg")).deg
    assert y.size > 100
    assert bad.max() < 1.0 + 2.5 * np.degrees(hp.nside2resol(NSIDE))
    np.testing.assert_allclose(raw.image[raw.image != 0], 1.0, rtol=1e-6)


def test_a_map_that_does_not_say_its_frame_must_be_told(tmp_path):
    hp.write_map(tmp_path / "map.fits", np.ones(12 * NSIDE**2), dtype=np.float32)
    source = archive(tmp_path, {"f": tmp_path / "map.fits"}, format="healpix")
    with pytest.raises(SourceError, match=r"give source\.frame"):
        fetch(source, 0, tmp_path / "raw.fits")
    band = {"image": str(tmp_path / "map.fits"), "column": "U"}
    source = archive(tmp_path, {"f": band}, format="healpix", frame="galactic")
    with pytest.raises(SourceError, match="no column 'U'"):
        fetch(source, 0, tmp_path / "raw.fits")


# --- units -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        ("K_CMB", "uK_CMB", 1e6),
        ("K", "uK_CMB", 1e6),
        ("mK,thermodynamic", "uK_CMB", 1e3),
        ("uK", "uK_CMB", 1.0),
        ("MJy/sr", "kJy / sr", 1e3),
        ("nanomaggy (Vega)", "nanomaggy (Vega)", 1.0),
    ],
)
def test_units_of_the_same_kind_are_converted(have, want, expected):
    assert factor(have, want) == pytest.approx(expected)


def test_plancks_factors_are_near_those_of_its_frequencies():
    from astropy import units as u
    from astropy.cosmology import Planck15

    for channel, ghz in (("HFI100", 100), ("HFI143", 143), ("HFI217", 217), ("HFI353", 353)):
        at = u.thermodynamic_temperature(ghz * u.GHz, Planck15.Tcmb0)
        mono = (1 * u.K).to_value("MJy / sr", equivalencies=at)
        assert factor("K_CMB", "MJy/sr", channel) == pytest.approx(mono, rel=0.06)
        assert factor("MJy/sr", "uK_CMB", channel) == pytest.approx(1e6 / mono, rel=0.06)


@pytest.mark.parametrize(("have", "want"), [("MJy/sr", "uK_CMB"), ("count", "K"), ("x y", "uK")])
def test_a_unit_that_cannot_be_converted_is_an_error(have, want):
    with pytest.raises(SourceError, match="no conversion"):
        factor(have, want)


# --- an atlas over http, as unWISE's ---------------------------------------------------------


def coadd(ra, dec, value, side=120, scale=60.0, unit="Vega nanomaggies"):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(side + 1) / 2] * 2
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    buffer = io.BytesIO()
    header = wcs.to_header()
    header["BUNIT"] = unit
    fits.PrimaryHDU(np.full((side, side), value, np.float32), header).writeto(buffer)
    return buffer.getvalue()


CENTRES = {"0000p302": (0.0, 30.2), "0015p302": (1.5, 30.2), "3585p302": (358.5, 30.2)}


@pytest.fixture
def atlas(server, tmp_path):
    """Serve three coadds with gzipped inverse variances, of 2 degrees and 1.3 apart."""
    names = list(CENTRES)
    ra, dec = np.array([CENTRES[name] for name in names]).T
    far = Table({"coadd_id": ["1800m300"], "ra": [180.0], "dec": [-30.0]})
    table = Table({"coadd_id": names, "ra": ra, "dec": dec})
    for name, a, d in far.iterrows():
        table.add_row((name, a, d))
    table.write(tmp_path / "tiles.fits")
    for number, (name, centre) in enumerate(CENTRES.items()):
        stem = f"/neo7/{name[:3]}/{name}/unwise-{name}-w1"
        server.files[f"{stem}-img-m.fits"] = coadd(*centre, float(number))
        invvar = coadd(*centre, 1.0 + 2.0 * number, unit="")
        server.files[f"{stem}-invvar-m.fits.gz"] = gzip.compress(invvar)
    stem = server.base + "/neo7/{tile3}/{tile}/unwise-{tile}-w1"
    files = {"image": stem + "-img-m.fits", "weight": stem + "-invvar-m.fits.gz"}

    def source(**changes):
        return archive(
            tmp_path,
            {"W1": {**files, "unit": "nanomaggy (Vega)", **changes}},
            unit="nanomaggy (Vega)",
            scale=60.0,
            order=5,
            atlas={
                "table": str(tmp_path / "tiles.fits"), "size_px": 120, "pixel_scale_arcsec": 60.0,
            },
        )  # fmt: skip

    return source


def test_atlas_tiles_are_downloaded_once_and_averaged_by_inverse_variance(atlas, server, tmp_path):
    source, tile = atlas(), tile_at(0.3, 30.2, 5)
    names = {item.name.split(":")[1] for item in source.objects([tile])}
    assert "0000p302" in names
    assert "1800m300" not in names
    server.requests.clear()
    raw = fetched(tmp_path, source, tile)
    assert len(server.counted("GET")) == 2 * len(names)
    y, x, where = positions(raw)
    edge = [abs((where.ra.deg - ra + 180) % 360 - 180) * np.cos(np.radians(30)) < 0.9 for ra, _ in
            CENTRES.values()]  # fmt: skip
    values = raw.image[0, y, x]
    alone = edge[0] & ~edge[1] & ~edge[2]
    both = edge[0] & edge[1]
    assert both.sum() > 50
    weighted = (0.0 * 1.0 + 1.0 * 3.0) / 4.0
    assert np.isclose(values[both], weighted, atol=1e-5).mean() > 0.99  # but at their very edges
    inner = alone & (np.abs((where.ra.deg + 180) % 360 - 180) < 0.3)
    np.testing.assert_allclose(values[inner], 0.0, atol=1e-6)


def test_an_atlas_tile_that_the_server_lacks_is_sky_without_data(atlas, server, tmp_path):
    for path in [path for path in server.files if "0000p302" not in path]:
        del server.files[path]
    raw = fetched(tmp_path, atlas(), tile_at(0.3, 30.2, 5))
    assert 0.2 < (raw.mask == 0).mean() < 1.0
    assert np.unique(raw.image[0][raw.mask == 0]).tolist() == [0.0]


@pytest.mark.parametrize("part", ["img-m.fits", "invvar-m.fits.gz"])
def test_a_damaged_atlas_file_is_never_data(atlas, server, tmp_path, part):
    source, tile = atlas(), tile_at(0.3, 30.2, 5)
    offered = tokens_by_tile(source.objects([tile]), [tile])
    for path in [path for path in server.files if path.endswith(part)]:
        server.files[path] = server.files[path][:-400]
    with pytest.raises(SourceError, match=r"cut short|damaged gzip"):
        source.prepare(offered).fetch_tile(tile, tmp_path / "raw.fits")


def test_the_next_listing_sees_a_changed_file(atlas, server):
    source, tile = atlas(), tile_at(0.3, 30.2, 5)
    first = {item.name: item.token for item in source.objects([tile])}
    path = next(path for path in server.files if path.endswith("img-m.fits"))
    server.files[path] += b" "
    second = {item.name: item.token for item in source.objects([tile])}
    changed = [name for name in first if first[name] != second[name]]
    assert len(changed) == 1
    assert path.rpartition("/")[2] in changed[0]


def test_the_real_atlas_of_unwise_names_the_tiles_that_lie_over_a_position(tmp_path, real_data):
    path = real_data / "footprints/wise-tiles.fits.gz"
    settings = AtlasSettings(table=str(path))
    table = Table.read(path)
    for ra, dec in [*PLACES.values(), (359.99, -0.01)]:
        tile = tile_at(ra, dec, 6)
        frame = sky.tile_frame(tile, 6, 60.0, 5.0)
        found = set(Atlas(settings, path).users({tile: frame}))
        wcs, (ny, nx) = frame
        y, x = np.indices((ny, nx))
        where = wcs.pixel_to_world(x.ravel(), y.ravel())
        first = where[0]
        apart = sky.separation_deg(table["ra"], table["dec"], first.ra.deg, first.dec.deg)
        near = table[apart < 4.0]
        needed = set()
        for row in near:
            local = SkyCoord(row["ra"], row["dec"], unit="deg").skyoffset_frame()
            there = where.transform_to(local)
            half = np.degrees(np.tan(np.radians(1024 * 2.75 / 3600)))
            lon, lat = np.radians(there.lon.wrap_at("180d").deg), np.radians(there.lat.deg)
            # Tangent-plane coordinates of a square around the centre.
            xi, eta = np.degrees(np.tan(lon)), np.degrees(np.tan(lat) / np.cos(lon))
            if (np.maximum(np.abs(xi), np.abs(eta)) < half).any():
                needed.add(str(row["coadd_id"]))
        assert needed <= found
        assert len(found) <= len(needed) + 6
        assert needed


def test_the_table_of_tiles_may_be_on_the_server_and_its_names_numbers(server, tmp_path):
    Table({"SRVMAP": [52048, 3120], "RA_CEN": [10.0, 200.0], "DE_CEN": [0.0, 0.0]}).write(
        tmp_path / "tiles.fits"
    )
    server.files["/tiles.fits"] = (tmp_path / "tiles.fits").read_bytes()
    server.files["/048/052/em01_052048.fits"] = coadd(10.0, 0.0, 3.0, unit="")
    source = archive(
        tmp_path,
        {"x": {"image": server.base + "/{end3}/{tile3}/em01_{tile}.fits"}},
        order=6,
        scale=60.0,
        atlas={
            "table": f"{server.base}/tiles.fits", "name": "SRVMAP", "digits": 6, "ra": "RA_CEN",
            "dec": "DE_CEN", "size_px": 120, "pixel_scale_arcsec": 60.0,
        },
    )  # fmt: skip
    raw = fetched(tmp_path, source, tile_at(10.0, 0.0, 6))
    assert raw.image.max() == 3.0


def test_names_that_lead_elsewhere_are_refused(tmp_path):
    Table({"coadd_id": ["../../etc"], "ra": [0.0], "dec": [0.0]}).write(tmp_path / "t.csv")
    source = archive(
        tmp_path, {"f": {"image": "x/{tile}.fits"}}, atlas={"table": str(tmp_path / "t.csv")}
    )
    with pytest.raises(SourceError, match="no name of a tile"):
        source.objects([0])


# --- counts, exposure and background ---------------------------------------------------------


def test_the_real_rosat_field_keeps_its_count_rate(tmp_path, real_data):
    folder = real_data / "images/rosat_a3158"
    band = {
        "image": str(folder / "b_37.fits.gz"),
        "exposure": str(folder / "expose_mask_37.fits.gz"),
        "background": str(folder / "back_37.fits.gz"),
    }
    scale = 14.947308
    source = archive(tmp_path, {"x": band}, unit="count / s", scale=scale, order=6, quantity="flux")
    cluster = SkyCoord(55.72, -53.63, unit="deg")
    raw = fetched(tmp_path, source, tile_at(cluster.ra.deg, cluster.dec.deg, 6))
    y, x, where = positions(raw)
    got = raw.image[0, y, x][where.separation(cluster).arcmin < 8].sum()
    counts, exposure, background = (
        fits.getdata(band[part]).astype(float) for part in ("image", "exposure", "background")
    )
    header = fits.getheader(band["image"])
    header.rename_keyword("RADECSYS", "RADESYS")
    wcs = WCS(header).celestial
    yy, xx = np.nonzero(exposure > 0)
    near = wcs.pixel_to_world(xx, yy).separation(cluster).arcmin < 8
    rate = ((counts - background) / np.where(exposure > 0, exposure, 1))[yy, xx]
    assert got == pytest.approx(rate[near].sum(), rel=0.01)
    assert got > 0.5  # a bright cluster


def test_pointings_of_unlike_exposure_add_up_as_counts_do(tmp_path):
    for number, (rate, seconds) in enumerate(((2.0, 100.0), (4.0, 300.0))):
        stem = tmp_path / f"p{number}p000"
        for part, value in (("img", rate * seconds), ("exp", seconds)):
            stem.with_suffix(f".{part}.fits").write_bytes(coadd(10.0, 0.0, value, unit="count"))
    table = {"coadd_id": ["p0p000", "p1p000"], "ra": [10.0] * 2, "dec": [0.0] * 2}
    Table(table).write(tmp_path / "t.csv")
    stem = str(tmp_path / "{tile}")
    source = archive(
        tmp_path,
        {"x": {"image": stem + ".img.fits", "exposure": stem + ".exp.fits"}},
        unit="count / s",
        scale=60.0,
        order=6,
        atlas={"table": str(tmp_path / "t.csv"), "size_px": 120, "pixel_scale_arcsec": 60.0},
        quantity="flux",
    )
    raw = fetched(tmp_path, source, tile_at(10.0, 0.0, 6))
    values = raw.image[0][raw.mask == 0]
    np.testing.assert_allclose(values, (200.0 + 1200.0) / 400.0, rtol=1e-3)


# --- settings and faults ---------------------------------------------------------------------


def test_files_that_do_not_belong_together_are_named(tmp_path):
    (tmp_path / "a.fits").write_bytes(coadd(10.0, 0.0, 1.0))
    (tmp_path / "w.fits").write_bytes(coadd(10.0, 0.0, 1.0, side=60))
    tile = tile_at(10.0, 0.0)
    band = {"image": str(tmp_path / "a.fits")}

    def attempt(**changes):
        source = archive(tmp_path, {"f": {**band, **changes}}, unit="count")
        return fetch(source, tile, tmp_path / "raw.fits")

    with pytest.raises(SourceError, match="same grid"):
        attempt(weight=str(tmp_path / "w.fits"))
    with pytest.raises(SourceError, match="no conversion from 'Vega nanomaggies' to 'count'"):
        attempt()
    with pytest.raises(SourceError, match="band's `extension`"):
        attempt(extension="SCI")
    with pytest.raises(SourceError, match=r"there is no .*gone\.fits"):
        attempt(image=str(tmp_path / "gone.fits"))
    assert attempt(scale_by=2.0).status == "ok"


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"files": {"f": {"image": "a-{tile}.fits"}}}, "`atlas` is needed"),
        ({"files": {"f": {"image": "{id}.fits"}}}, "means nothing here"),
        ({"files": {"f": {"image": "a", "weight": "b"}}, "format": "healpix"}, "by itself"),
        ({"files": {"f": {"image": "a"}}, "atlas": {"table": "t"}}, "must name"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        ArchiveSource(kind="archive", **values)


# --- headers that say less than they must ----------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("CRVAL1", None, "lacks a number for CRVAL1"),
        ("CRVAL2", "abc", "lacks a number for CRVAL2"),
        ("CRPIX1", None, "lacks a number for CRPIX1"),
        ("CDELT2", None, "lacks a number for CDELT2"),
        ("CDELT1", 0.0, "a damaged celestial WCS"),
        ("CTYPE1", None, "celestial WCS"),
    ],
)
def test_an_image_that_does_not_say_its_place_is_an_error_and_not_at_ra_0_dec_0(
    tmp_path, keyword, value, words
):
    header = car_wcs("icrs").to_header()
    del header[keyword]
    if value is not None:
        header[keyword] = value
    path = tmp_path / "map.fits"
    fits.PrimaryHDU(np.ones((361, 720), np.float32), header).writeto(path)
    source = archive(tmp_path, {"f150": path})
    with pytest.raises(SourceError, match=rf"map\.fits: .*{words}"):
        fetch(source, tile_at(100.0, 1.0), tmp_path / "raw.fits")


def test_a_healpix_map_is_not_looked_for_in_an_image(tmp_path):
    path = tmp_path / "map.fits"
    hp.write_map(path, np.arange(12 * 16**2, dtype=np.float32), nest=True, coord="C")
    files = {"f150": {"image": str(path), "extension": 0}}
    source = archive(tmp_path, files, format="healpix")
    with pytest.raises(SourceError, match=r"map\.fits: no table 0; correct extension"):
        fetch(source, tile_at(100.0, 1.0), tmp_path / "raw.fits")
