"""The tiles of an atlas are found, downloaded once and put together."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from clusterscan.config.image_sources import AtlasSettings
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch import image_files
from clusterscan.fetch.archive import Atlas
from clusterscan.fetch.source import tokens_by_tile

PLACES = {
    "equator": (100.0, 1.0),
    "RA 0": (0.3, 40.0),
    "RA 180": (180.2, -20.0),
    "north pole": (0.0, 90.0),
    "south pole": (0.0, -90.0),
    "near a pole": (77.0, 84.0),
    "galactic centre": (266.4, -29.0),
}


CENTRES = {"0000p302": (0.0, 30.2), "0015p302": (1.5, 30.2), "3585p302": (358.5, 30.2)}


@pytest.fixture
def atlas(server, tmp_path, archive, coadd):
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


def test_atlas_tiles_are_downloaded_once_and_averaged_by_inverse_variance(
    atlas, server, tmp_path, tile_at, fetched, positions
):
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


def test_an_atlas_tile_that_the_server_lacks_is_sky_without_data(
    atlas, server, tmp_path, tile_at, fetched
):
    for path in [path for path in server.files if "0000p302" not in path]:
        del server.files[path]
    raw = fetched(tmp_path, atlas(), tile_at(0.3, 30.2, 5))
    assert 0.2 < (raw.mask == 0).mean() < 1.0
    assert np.unique(raw.image[0][raw.mask == 0]).tolist() == [0.0]


@pytest.mark.parametrize("part", ["img-m.fits", "invvar-m.fits.gz"])
def test_a_damaged_atlas_file_is_never_data(atlas, server, tmp_path, part, tile_at):
    source, tile = atlas(), tile_at(0.3, 30.2, 5)
    offered = tokens_by_tile(source.objects([tile]), [tile])
    for path in [path for path in server.files if path.endswith(part)]:
        server.files[path] = server.files[path][:-400]
    with pytest.raises(SourceError, match=r"truncated|damaged gzip"):
        source.prepare(offered).fetch_tile(tile, tmp_path / "raw.fits")


@pytest.mark.parametrize("limit", [1 << 27, 1000])
def test_a_gzipped_weight_is_read_as_if_it_were_not(
    atlas, server, tmp_path, tile_at, fetched, monkeypatch, limit
):
    plain, tile = atlas(), tile_at(0.3, 30.2, 5)
    expected = fetched(tmp_path, plain, tile)
    for path in [path for path in server.files if path.endswith(".gz")]:
        server.files[path.removesuffix(".gz")] = gzip.decompress(server.files[path])
    weight = plain.settings.files["W1"].weight.removesuffix(".gz")
    monkeypatch.setattr(image_files, "_MOST_UNPACKED_BYTES", limit)
    for source in (plain, atlas(weight=weight)):
        np.testing.assert_array_equal(fetched(tmp_path, source, tile).image, expected.image)


def test_a_release_is_listed_without_a_request_and_what_it_lacks_is_sky_without_data(
    atlas, server, tmp_path, tile_at, fetched
):
    for path in [path for path in server.files if "0000p302" not in path]:
        del server.files[path]
    source, tile = atlas(), tile_at(0.3, 30.2, 5)
    source = replace(source, settings=source.settings.model_copy(update={"versions": "release"}))
    tokens = {item.token for item in source.objects([tile])}
    assert tokens == {"weak released"}
    assert not server.requests
    raw = fetched(tmp_path, source, tile)
    assert np.unique(raw.image[0][raw.mask == 0]).tolist() == [0.0]
    asked = len(server.requests)
    fetched(tmp_path, source, tile)
    assert len(server.requests) == asked  # neither what came nor what there is not


def test_a_map_of_a_release_that_is_not_there_is_an_error(server, tmp_path, archive, fetch):
    files = {"f": {"image": f"{server.base}/gone.fits"}}
    source = archive(tmp_path, files, versions="release")
    with pytest.raises(SourceError, match="404"):
        fetch(source, 0, tmp_path / "raw.fits")


def test_the_next_listing_sees_a_changed_file(atlas, server, tile_at):
    source, tile = atlas(), tile_at(0.3, 30.2, 5)
    first = {item.name: item.token for item in source.objects([tile])}
    path = next(path for path in server.files if path.endswith("img-m.fits"))
    server.files[path] += b" "
    second = {item.name: item.token for item in source.objects([tile])}
    changed = [name for name in first if first[name] != second[name]]
    assert len(changed) == 1
    assert path.rpartition("/")[2] in changed[0]


def test_the_real_atlas_of_unwise_names_the_tiles_that_lie_over_a_position(
    tmp_path, real_data, tile_at
):
    path = real_data / "footprints/wise-tiles.fits.gz"
    settings = AtlasSettings(table=str(path))
    table, atlas = Table.read(path), Atlas(settings, path)  # read once for all places
    for ra, dec in [*PLACES.values(), (359.99, -0.01)]:
        tile = tile_at(ra, dec, 6)
        frame = sky.tile_frame(tile, 6, 60.0, 5.0)
        found = set(atlas.users({tile: frame}))
        wcs, (ny, nx) = frame
        y, x = (v[::3, ::3] for v in np.indices((ny, nx)))
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


def test_the_table_of_tiles_may_be_on_the_server_and_its_names_numbers(
    server, tmp_path, tile_at, archive, fetched, coadd
):
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


def test_names_that_lead_elsewhere_are_refused(tmp_path, archive):
    Table({"coadd_id": ["../../etc"], "ra": [0.0], "dec": [0.0]}).write(tmp_path / "t.csv")
    source = archive(
        tmp_path, {"f": {"image": "x/{tile}.fits"}}, atlas={"table": str(tmp_path / "t.csv")}
    )
    with pytest.raises(SourceError, match="not the name of a tile"):
        source.objects([0])
