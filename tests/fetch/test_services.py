"""Services that cut images to order: what was asked for arrives, and nothing else counts."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astroquery.hips2fits import hips2fitsClass

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import CutoutsSource, Hips2fitsSource
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.raw_image import read_raw

PLACES = [(0.2, 30.0), (180.0, -45.0), (45.0, 90.0), (200.0, -89.0)]
ORDER = 9  # of the tiles of the cutouts; with coarse pixels, so that images are small


class Service(ThreadingHTTPServer):
    """Answers as hips2fits and as the viewer do, of a sky given by a function."""

    daemon_threads = True

    def __init__(self, function):
        super().__init__(("127.0.0.1", 0), Handler)
        self.function = function
        self.asked = []
        self.spoil = None  # changes an answer's (header, values)
        self.clamp = 3000
        self.covered = lambda ra, dec: np.ones(np.shape(ra), bool)
        self.release = "2021-05-01T00:00Z"

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        parts = urlsplit(self.path)
        values = {key: texts[0] for key, texts in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, values))
        {"/hips2fits": self.hips2fits, "/cutout": self.cutout, "/p": self.properties}[parts.path](
            values
        )

    def properties(self, values):
        text = f"hips_order = 9\nhips_frame = equatorial\nhips_release_date={self.server.release}\n"
        self.send(200, text.encode())

    def hips2fits(self, values):
        if values["hips"] != "CDS/P/test":
            body = {"title": "Bad Request", "description": f"No HiPS matches {values['hips']}"}
            self.send(404, json.dumps(body).encode(), "application/json")
            return
        cards = json.loads(values["wcs"])
        header = fits.Header({key: cards[key] for key in cards if not key.startswith("NAXIS")})
        self.image(header, (cards["NAXIS2"], cards["NAXIS1"]), [1.0])

    def cutout(self, values):
        side = min(int(values["size"]), self.server.clamp)
        bands = [b for b in values["bands"] if b in "grz"] == list(values["bands"])
        bands = values["bands"] if bands else "grz"  # as the viewer: others, without a word
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [float(values["ra"]), float(values["dec"])]
        wcs.wcs.crpix = [(side + 1) / 2] * 2
        step = float(values["pixscale"]) / 3600
        wcs.wcs.cd = [[-step, 0.0], [0.0, step]]
        header = wcs.to_header()
        header["BANDS"] = bands
        for number, band in enumerate(bands):
            header[f"BAND{number}"] = band
        self.image(header, (side, side), [1.0 + "grz".index(band) for band in bands])

    def image(self, header, shape, factors):
        y, x = np.indices(shape)
        where = WCS(header).pixel_to_world(x, y).icrs
        ra, dec = where.ra.deg, where.dec.deg
        values = self.server.function(ra.ravel(), dec.ravel()).reshape(shape)
        values = np.where(self.server.covered(ra, dec), values, 0.0).astype(np.float32)
        planes = np.stack([np.float32(factor) * values for factor in factors])
        planes = planes[0] if len(factors) == 1 else planes
        if self.path.startswith("/cutout") and not self.server.covered(ra, dec).any():
            planes, header["OVERLAP"] = None, False
        if self.server.spoil is not None:
            header, planes = self.server.spoil(header, planes)
        buffer = io.BytesIO()
        fits.PrimaryHDU(planes, header).writeto(buffer)
        self.send(200, buffer.getvalue(), "application/fits")

    def send(self, status, body, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def service(sky_function):
    made = Service(sky_function)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def tile_at(ra, dec, order):
    return int(sky.owning_cell(np.array([ra]), np.array([dec]), order)[0])


def opened(settings, spec, tmp_path, **values):
    quick = {"retries": 1, "backoff_s": 0.01, "stall_s": 5.0, "deadline_s": 30.0}
    access = Access(DownloadSettings(**{**quick, **values}), tmp_path / "cache")
    return open_source(settings, spec, access=access)


def hips2fits(service, tmp_path, hips="CDS/P/test", offline=False, **values):
    spec = ImageSpec("test", ("f",), "adu", 300.0, 4, 20.0)
    settings = Hips2fitsSource(
        kind="hips2fits", hips={"f": hips}, server=f"{service.base}/hips2fits", **values
    )
    return opened(settings, spec, tmp_path, offline=offline)


def cutouts(service, tmp_path, scale=12.0, **values):
    spec = ImageSpec("test", ("r", "g"), "nanomaggy", scale, ORDER, 1.0)
    settings = CutoutsSource(
        kind="cutouts",
        **{
            "layer": "test",
            "bands": {"g": "g", "r": "r"},
            "server": f"{service.base}/cutout",
            "native_scale_arcsec": 4.0,
            "max_px": 240,
            "resampling": "bilinear",
            **values,
        },
    )
    return opened(settings, spec, tmp_path)


def fetch(source, tile, path):
    return source.prepare(tokens_by_tile(source.objects([tile]), [tile])).fetch_tile(tile, path)


@pytest.mark.parametrize("place", PLACES)
def test_hips2fits_gives_the_tiles_own_image(service, tmp_path, sky_function, place):
    source, tile = hips2fits(service, tmp_path, scale_by={"f": 2.0}), tile_at(*place, 4)
    assert fetch(source, tile, tmp_path / "raw.fits").status == "ok"
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    y, x = np.indices(raw.mask.shape)
    where = raw.wcs.pixel_to_world(x.ravel(), y.ravel())
    expected = 2.0 * sky_function(where.ra.deg, where.dec.deg)
    np.testing.assert_allclose(raw.image[0].ravel(), expected, atol=1e-5)
    assert len(service.asked) == 1


def test_the_request_is_the_one_that_astroquery_sends(service, tmp_path):
    source, tile = hips2fits(service, tmp_path), tile_at(10.0, 10.0, 4)
    fetch(source, tile, tmp_path / "raw.fits")
    wcs, (ny, nx) = sky.tile_frame(tile, 4, 300.0, 20.0)
    wcs.pixel_shape = (nx, ny)
    client = hips2fitsClass()
    client.server = f"{service.base}/hips2fits"
    answer = client.query_with_wcs("CDS/P/test", wcs)
    ours, theirs = (asked for _, asked in service.asked)
    assert ours == theirs
    np.testing.assert_array_equal(answer[0].data, read_raw(tmp_path / "raw.fits", ("f",)).image[0])


def test_an_unknown_hips_is_a_failure_in_the_servers_words(service, tmp_path):
    source = hips2fits(service, tmp_path, hips="CDS/P/other")
    with pytest.raises(SourceError, match="No HiPS matches CDS/P/other"):
        fetch(source, 0, tmp_path / "raw.fits")


def moved(header, planes):
    header["CRVAL1"] += 0.1
    return header, planes


def placeless(header, planes):
    bands = {key: header[key] for key in header if key.startswith("BAND")}
    return fits.Header(bands), planes


def half_placed(header, planes):
    del header["CRVAL2"]
    return header, planes


SPOILT = {
    "another place": (moved, "wrong position on the sky"),
    "no place": (placeless, "no celestial WCS"),
    "a place that is not said": (half_placed, "lacks a number for CRVAL2"),
    "another size": (lambda h, p: (h, p[..., 1:]), "an image of"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT.keys())
@pytest.mark.parametrize("kind", [hips2fits, cutouts])
def test_another_image_than_was_asked_for_is_never_data(service, tmp_path, kind, spoil, words):
    service.spoil = spoil
    source = kind(service, tmp_path)
    with pytest.raises(SourceError, match=words):
        fetch(source, tile_at(10.0, 10.0, source.spec.tile_order), tmp_path / "raw.fits")
    assert not (tmp_path / "raw.fits").exists()


def test_what_arrived_is_not_asked_for_again_and_serves_offline(service, tmp_path):
    tile = tile_at(10.0, 10.0, 4)
    fetch(hips2fits(service, tmp_path), tile, tmp_path / "a.fits")
    fetch(hips2fits(service, tmp_path), tile, tmp_path / "b.fits")
    fetch(hips2fits(service, tmp_path, offline=True), tile, tmp_path / "c.fits")
    assert len(service.asked) == 1
    bodies = {(tmp_path / f"{name}.fits").read_bytes() for name in "abc"}
    assert len(bodies) == 1
    with pytest.raises(SourceError, match="offline, and not in the cache"):
        fetch(hips2fits(service, tmp_path, offline=True), tile + 1, tmp_path / "d.fits")


def test_an_answer_damaged_in_the_cache_is_asked_for_again(service, tmp_path):
    tile = tile_at(10.0, 10.0, 4)
    fetch(hips2fits(service, tmp_path), tile, tmp_path / "a.fits")
    (kept,) = (p for p in (tmp_path / "cache/files").rglob("*") if p.stat().st_size > 10_000)
    data = bytearray(kept.read_bytes())
    data[-3000] ^= 1  # of the same size, and still FITS
    kept.write_bytes(data)
    fetch(hips2fits(service, tmp_path), tile, tmp_path / "b.fits")
    assert len(service.asked) == 2
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


def test_a_new_release_of_the_tree_is_a_new_version(service, tmp_path):
    source = hips2fits(service, tmp_path, properties={"f": f"{service.base}/p"})
    fetch(source, 0, tmp_path / "raw.fits")
    assert "2021-05-01" in source.objects([0])[0].token
    service.release = "2022-01-01T00:00Z"
    assert "2022-01-01" in source.objects([0])[0].token
    fetch(source, 0, tmp_path / "raw.fits")
    assert [path for path, _ in service.asked].count("/hips2fits") == 2


@pytest.mark.parametrize("place", PLACES)
def test_cutouts_put_together_show_the_sky_and_keep_its_flux(
    service, tmp_path, sky_function, place
):
    source, tile = cutouts(service, tmp_path), tile_at(*place, ORDER)
    outcome = fetch(source, tile, tmp_path / "raw.fits")
    assert outcome.counts["covered"] == outcome.counts["pixels"]
    raw = read_raw(tmp_path / "raw.fits", ("r", "g"))
    y, x = np.indices(raw.mask.shape)
    where = raw.wcs.pixel_to_world(x.ravel(), y.ravel())
    flux = sky_function(where.ra.deg, where.dec.deg) * 9.0  # 12 arcsec pixels of 4 arcsec ones
    np.testing.assert_allclose(raw.image[1].ravel(), flux, rtol=2e-4)
    np.testing.assert_allclose(raw.image[0].ravel(), 2.0 * flux, rtol=2e-4)
    assert all(int(asked["size"]) <= 240 for _, asked in service.asked)
    assert {asked["pixscale"] for _, asked in service.asked} == {"4.0"}
    assert outcome.counts["cutouts"] == len(service.asked)


def test_finer_pixels_are_averaged_by_default(service, tmp_path, sky_function):
    source, tile = cutouts(service, tmp_path, resampling="adaptive"), tile_at(*PLACES[0], ORDER)
    fetch(source, tile, tmp_path / "raw.fits")
    raw = read_raw(tmp_path / "raw.fits", ("r", "g"))
    y, x = np.indices(raw.mask.shape)
    where = raw.wcs.pixel_to_world(x.ravel(), y.ravel())
    flux = sky_function(where.ra.deg, where.dec.deg) * 9.0
    np.testing.assert_allclose(raw.image[1].ravel(), flux, rtol=2e-4)


def test_neighbouring_tiles_share_cutouts(service, tmp_path):
    tile = tile_at(10.0, 10.0, ORDER)
    other = int(sky.neighbours(tile, ORDER)[0])
    source = cutouts(service, tmp_path)
    for number in (tile, other):
        fetch(source, number, tmp_path / "raw.fits")
    objects = source.objects([tile, other])
    assert len(service.asked) == len(objects)
    assert any(len(item.tiles) == 2 for item in objects)


def test_sky_outside_of_the_layer_is_no_coverage(service, tmp_path):
    tile = tile_at(10.0, 10.0, ORDER)
    service.covered = lambda ra, dec: ra < 10.0
    fetch(cutouts(service, tmp_path), tile, tmp_path / "raw.fits")
    raw = read_raw(tmp_path / "raw.fits", ("r", "g"))
    y, x = np.nonzero(raw.mask == 0)
    assert 0.1 < (raw.mask == 0).mean() < 0.9
    assert raw.wcs.pixel_to_world(x, y).ra.deg.max() < 10.0 + 12.0 / 3600
    service.covered = lambda ra, dec: np.zeros(np.shape(ra), bool)
    far = tile_at(100.0, 10.0, ORDER)
    assert fetch(cutouts(service, tmp_path), far, tmp_path / "no.fits").status == "no_coverage"


def test_a_band_that_the_viewer_replaces_without_a_word_is_found_out(service, tmp_path):
    source = cutouts(service, tmp_path, bands={"g": "g", "r": "y"})
    with pytest.raises(SourceError, match=r"instead of"):
        fetch(source, tile_at(10.0, 10.0, ORDER), tmp_path / "raw.fits")


def test_an_image_that_the_viewer_makes_smaller_without_a_word_is_found_out(service, tmp_path):
    service.clamp = 100
    with pytest.raises(SourceError, match="an image of"):
        fetch(cutouts(service, tmp_path), tile_at(10.0, 10.0, ORDER), tmp_path / "raw.fits")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"layer": "ls-dr9", "bands": {"i": "i"}}, "layer ls-dr9 has g, r, z"),
        ({"layer": "mystery", "bands": {"g": "g"}}, "give native_scale_arcsec"),
        ({"layer": "ls-dr9", "bands": {"W1": "w1"}}, "one character"),
        ({"layer": "ls-dr9", "bands": {"g": "g", "h": "g"}}, "name the same"),
        ({"layer": "ls-dr9", "bands": {"g": "g"}, "max_px": 4000}, "3000"),
    ],
)
def test_wrong_layers_and_bands_are_refused_before_anything_is_asked(values, match):
    with pytest.raises(ValueError, match=match):
        CutoutsSource(kind="cutouts", **values)


def test_at_the_native_scale_an_image_of_the_legacy_surveys_stays_below_the_limit():
    spec = ImageSpec("test", ("g",), "nanomaggy", 1.0, 6, 1.0)
    settings = CutoutsSource(kind="cutouts", layer="ls-dr10", bands={"g": "g"})
    source = open_source(settings, spec, access=Access(DownloadSettings(), None))
    _, (side, _) = source.cell_frame(0)
    assert 1500 < side <= 3000
    assert source.order == 10
