"""Masks cover the sky that they should, wherever it lies, and say what became of every row."""

import healpy
import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy_healpix import HEALPix
from mocpy import MOC
from pydantic import TypeAdapter, ValidationError

from clusterscan.config.preprocess import MapMask, MaskSettings, PreprocessSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError, SourceError
from clusterscan.formats.healpix_map import HealpixMap
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import BAD_PLANES
from clusterscan.formats.raw_image import RawImage, write_raw
from clusterscan.formats.tile_image import read_tile
from clusterscan.preprocess.make_tile import preprocess_file, preprocess_tile
from clusterscan.preprocess.mask_maps import digest, masked_pixels
from clusterscan.preprocess.mask_regions import (
    COLUMNS,
    Directions,
    draw,
    radius_arcmin,
    regions_of,
    touching,
)
from clusterscan.preprocess.tile_masks import MapHere, TileMasks

ORDER, SCALE = 6, 60.0
PLACES = [(359.999, 0.01), (0.0, 90.0), (211.0, -89.9), (83.0, 45.0), (45.0, -60.0)]
STARS = {
    "kind": "stars", "use": "exclude", "radius": {"kind": "legacy_surveys"},
    "table": {"kind": "file", "path": "t.csv", "format": "csv",
              "columns": {"ra_deg": "ra", "dec_deg": "dec", "mag": "G"}},
}  # fmt: skip


def settings(**changes):
    return TypeAdapter(MaskSettings).validate_python({**STARS, **changes})


def frame_at(ra, dec, scale=SCALE):
    tile = int(sky.owning_cell(np.array([ra]), np.array([dec]), ORDER)[0])
    return tile, *sky.tile_frame(tile, ORDER, scale, 10.0)


def regions(ra, dec, a_deg, b_deg=None, pa_deg=0.0, bits=132):
    values = {"bits": bits, "ra_deg": ra, "dec_deg": dec, "a_deg": a_deg}
    values |= {"b_deg": a_deg if b_deg is None else b_deg, "pa_deg": pa_deg}
    return pd.DataFrame(values, index=range(np.size(ra))).astype(COLUMNS)


def pixels(wcs, shape):
    y, x = np.indices(shape)
    return wcs.pixel_to_world(x, y)


def drawn(wcs, shape, rows):
    mask = np.zeros(shape, np.uint8)
    draw(mask, Directions(wcs, shape), rows)
    return mask


@pytest.mark.parametrize(("ra", "dec"), PLACES)
@pytest.mark.parametrize("radius_deg", [0.02, 0.3])
def test_a_circle_is_every_pixel_within_its_radius_wherever_it_lies(ra, dec, radius_deg):
    _, wcs, shape = frame_at(ra, dec)
    mask = drawn(wcs, shape, regions(ra, dec, radius_deg))
    separation = pixels(wcs, shape).separation(SkyCoord(ra, dec, unit="deg")).deg
    undecided = np.abs(separation - radius_deg) < 1e-9
    np.testing.assert_array_equal((mask == 132)[~undecided], (separation <= radius_deg)[~undecided])
    assert mask.any()


def test_a_star_just_below_ra_360_masks_pixels_on_both_sides_of_ra_0():
    _, wcs, shape = frame_at(359.999, 0.01)
    ra = pixels(wcs, shape).ra.deg[drawn(wcs, shape, regions(359.999, 0.01, 0.1)) > 0]
    assert ((ra > 359.9) | (ra < 0.1)).all()
    assert (ra > 359.9).sum() > 10
    assert (ra < 0.1).sum() > 10


def test_a_star_at_the_pole_masks_all_right_ascensions():
    _, wcs, shape = frame_at(10.0, 90.0)
    ra = pixels(wcs, shape).ra.deg[drawn(wcs, shape, regions(77.0, 90.0, 0.2)) > 0]
    assert (np.histogram(ra, bins=8, range=(0, 360))[0] > 10).sum() >= 6  # the tile holds a part


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_an_image_in_another_projection_or_frame_is_masked_at_the_same_sky(ra, dec):
    centre = SkyCoord(ra, dec, unit="deg").galactic
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLON-SIN", "GLAT-SIN"]
    wcs.wcs.crval = [centre.l.deg, centre.b.deg]
    wcs.wcs.cdelt = [-1 / 60, 1 / 60]
    wcs.wcs.crpix = [40.0, 45.0]
    shape = (90, 80)
    mask = drawn(wcs, shape, regions(ra, dec, 0.21))
    separation = pixels(wcs, shape).separation(SkyCoord(ra, dec, unit="deg")).deg
    np.testing.assert_array_equal(mask > 0, separation <= 0.21)


def test_an_ellipse_lies_along_its_position_angle_east_of_north():
    ra, dec, angle = 83.0, 60.0, 30.0
    _, wcs, shape = frame_at(ra, dec)
    mask = drawn(wcs, shape, regions(ra, dec, 0.2, 0.05, angle)) > 0
    where, centre = pixels(wcs, shape), SkyCoord(ra, dec, unit="deg")
    turned = np.radians(centre.position_angle(where).deg - angle)
    separation = np.radians(where.separation(centre).deg)
    along, across = np.tan(separation) * np.cos(turned), np.tan(separation) * np.sin(turned)
    a, b = np.tan(np.radians([0.2, 0.05]))
    value = (along / a) ** 2 + (across / b) ** 2
    fine = np.abs(value - 1) > 1e-6
    np.testing.assert_array_equal(mask[fine], (value <= 1)[fine])
    assert mask.sum() == pytest.approx(np.pi * 0.2 * 0.05 * 3600, rel=0.1)  # pixels of 1 arcmin


def test_regions_beside_an_image_reach_in_by_their_own_radius_and_none_is_missed():
    rng = np.random.default_rng(1)
    _, wcs, shape = frame_at(0.0, 89.0)
    directions = Directions(wcs, shape)
    count = 150
    radius = 10 ** rng.uniform(-2, 0.7, count)
    rows = regions(rng.uniform(0, 360, count), rng.uniform(84, 90, count), radius)
    near = touching(directions, rows)
    for i in range(count):
        reaches = drawn(wcs, shape, rows.iloc[[i]]).any()
        assert near[i] or not reaches
    assert 10 < near.sum() < count - 10
    assert not touching(directions, regions(180.0, -89.0, 3.0))[0]  # behind the tangent plane


def test_the_legacy_surveys_radius_is_that_of_their_code():
    magnitude = np.array([0.0, 8.0, 13.0])
    rule = settings().radius
    np.testing.assert_allclose(
        radius_arcmin(rule, magnitude) / 60, 1630.0 / 3600.0 * 1.396 ** (-magnitude)
    )


def test_a_rule_of_points_is_logarithmic_between_them_and_ends_with_the_last():
    rule = settings(radius={"kind": "points", "source": "test", "points": [[5, 10], [9, 0.1]]})
    np.testing.assert_allclose(
        radius_arcmin(rule.radius, np.array([2.0, 5.0, 7.0, 9.0, 9.01])), [10, 10, 1, 0.1, 0]
    )
    with pytest.raises(ValidationError, match="must ascend"):
        settings(radius={"kind": "points", "source": "test", "points": [[9, 1], [5, 10]]})


def test_a_loglinear_rule_loses_a_decade_in_one_over_its_slope():
    rule = settings(radius={"kind": "loglinear", "source": "t", "at_zero_arcmin": 40, "slope": 0.2})
    np.testing.assert_allclose(radius_arcmin(rule.radius, np.array([0.0, 5.0, 10.0])), [40, 4, 0.4])


def stars(*magnitudes):
    table = pd.DataFrame({"mag": magnitudes, "ra_deg": 10.0, "dec_deg": 5.0})
    return table.assign(name=[f"s{n}" for n in range(len(table))])


def test_a_star_without_a_magnitude_stops_the_run_or_is_counted():
    with pytest.raises(CatalogueError, match=r"t: 1 of 3 rows lack mag.*row 2 \(s1.*leave_out"):
        regions_of(settings(), stars(8.0, np.nan, 9.0), "t")
    left, counts = regions_of(settings(without_magnitude="leave_out"), stars(8.0, np.nan), "t")
    assert (len(left), counts) == (
        1,
        {"rows": 2, "with a mask": 1, "unmeasured": 1, "too small": 0},
    )
    largest, _ = regions_of(
        settings(without_magnitude="largest", max_arcmin=7.0), stars(8.0, np.nan), "t"
    )
    assert largest["a_deg"].iloc[1] * 60 == pytest.approx(7.0)


@pytest.mark.parametrize("sentinel", [-9.99, -99.0, -999.0, np.inf])
def test_what_catalogues_write_for_no_magnitude_is_no_bright_star(sentinel):
    with pytest.raises(CatalogueError, match="1 of 2 rows lack mag"):
        regions_of(settings(), stars(8.0, sentinel), "t")
    left, counts = regions_of(settings(without_magnitude="leave_out"), stars(8.0, sentinel), "t")
    assert (len(left), counts["unmeasured"]) == (1, 1)


def test_the_brightest_stars_of_the_infrared_are_masked():
    regions, _ = regions_of(settings(), stars(-4.0), "t")
    assert len(regions) == 1


def test_every_row_is_masked_or_counted_with_its_reason():
    mask = settings(faintest_mag=12.0, without_magnitude="leave_out", min_arcmin=0.5)
    rows, counts = regions_of(mask, stars(-3.0, 11.0, 12.5, np.nan), "t")
    assert counts == {"rows": 4, "with a mask": 2, "unmeasured": 1, "too small": 1}
    np.testing.assert_allclose(rows["a_deg"] * 60, [60.0, 1630 / 60 * 1.396**-11.0], rtol=1e-6)


def test_an_empty_table_is_an_error():
    with pytest.raises(CatalogueError, match="has no rows"):
        regions_of(settings(), stars(), "t")


def test_hyperleda_sizes_are_diameters_in_tenths_of_an_arcminute():
    values = {k: v for k, v in STARS.items() if k not in ("kind", "radius")}
    columns = {"ra_deg": "a", "dec_deg": "d", "size": "s", "axis_ratio": "r", "pa_deg": "p"}
    mask = TypeAdapter(MaskSettings).validate_python(
        {**values, "kind": "galaxies", "size": "log_d25", "axis_ratio": "log_a_over_b",
         "table": {**STARS["table"], "columns": columns}}
    )  # fmt: skip
    table = pd.DataFrame(
        {"name": ["M 31", "x"], "ra_deg": 10.7, "dec_deg": 41.3, "size": [3.25, 1.0],
         "axis_ratio": [0.41, 0.3], "pa_deg": [35.0, np.nan]}
    )  # fmt: skip
    rows, _ = regions_of(mask, table, "t")
    # M 31: logd25 3.25 is 178 arcmin, and its ratio 0.41 makes it 69 arcmin wide (HyperLEDA).
    np.testing.assert_allclose(rows["a_deg"] * 120, [177.8, 1.0], rtol=1e-3)
    np.testing.assert_allclose(rows["b_deg"] * 120, [69.2, 1.0], rtol=1e-3)  # no angle: a circle


def map_mask(path, **values):
    return MapMask(**{"kind": "map", "path": str(path), "use": "exclude", **values})


@pytest.mark.parametrize(("ra", "dec"), PLACES)
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
@pytest.mark.parametrize("ordering", ["nested", "ring"])
def test_a_healpix_mask_is_the_pixel_under_each_position(tmp_path, ra, dec, frame, ordering):
    grid = HEALPix(256, ordering)
    values = (np.arange(grid.npix) % 3 > 0).astype(np.float32)
    table = fits.BinTableHDU.from_columns([fits.Column("M", "E", array=values)])
    said = "G" if frame == "galactic" else "C"
    table.header.update(NSIDE=256, ORDERING=ordering.upper(), COORDSYS=said)
    table.writeto(tmp_path / "m.fits")
    _, wcs, shape = frame_at(ra, dec)
    mask = map_mask(tmp_path / "m.fits", format="healpix", bad="below")
    found = masked_pixels(mask, tmp_path / "m.fits", Directions(wcs, shape))
    there = pixels(wcs, shape).transform_to(frame).spherical
    expected = values[grid.lonlat_to_healpix(there.lon, there.lat)] < 0.5
    assert (found != expected).mean() < 1e-3  # positions on a border, in another library
    assert 0.2 < found.mean() < 0.5


@pytest.mark.parametrize(("ra", "dec"), [*PLACES, (180.0, 10.0)])
def test_a_mask_in_car_is_the_pixel_under_each_position_over_its_seam_and_at_the_poles(
    tmp_path, ra, dec
):
    step = 0.5
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---CAR", "DEC--CAR"]
    wcs.wcs.crval, wcs.wcs.cdelt = [0.0, 0.0], [-step, step]
    wcs.wcs.crpix = [360.5, 181.0]
    values = np.random.default_rng(2).random((361, 720)).astype(np.float32)
    fits.PrimaryHDU(values, wcs.to_header()).writeto(tmp_path / "m.fits")
    _, frame, shape = frame_at(ra, dec)
    mask = map_mask(tmp_path / "m.fits", format="image", bad="below", threshold=0.4)
    found = masked_pixels(mask, tmp_path / "m.fits", Directions(frame, shape))
    where = pixels(frame, shape)
    row = np.rint((where.dec.deg + 90) / step).astype(int)
    # Column 0 is centred on RA 179.75, and RA falls.
    column = np.rint((179.75 - where.ra.deg) / step).astype(int) % 720
    assert (found != (values[row, column] < 0.4)).mean() < 0.03  # borders of mask pixels
    assert found.any()


def cone(ra, dec, radius_deg):
    lon, lat, radius = (value * u.deg for value in (ra, dec, radius_deg))
    return MOC.from_cone(lon=lon, lat=lat, radius=radius, max_depth=10)


@pytest.mark.parametrize(("ra", "dec"), PLACES)
@pytest.mark.parametrize("bad", ["inside", "outside"])
def test_a_moc_masks_what_it_holds_or_what_it_does_not(tmp_path, ra, dec, bad):
    moc = cone(ra, dec, 0.4)
    moc.save(tmp_path / "m.fits", format="fits")
    _, wcs, shape = frame_at(ra, dec)
    mask = map_mask(tmp_path / "m.fits", format="moc", bad=bad)
    found = masked_pixels(mask, tmp_path / "m.fits", Directions(wcs, shape))
    inside = moc.contains_skycoords(pixels(wcs, shape))
    assert (found != (inside == (bad == "inside"))).mean() < 1e-3
    assert digest(mask, tmp_path / "m.fits", wcs, shape) != ""


def test_a_mask_file_that_says_nothing_of_a_tile_has_no_digest(tmp_path):
    cone(10, 0, 0.4).save(tmp_path / "m.fits", format="fits")
    _, wcs, shape = frame_at(200.0, 30.0)
    far = map_mask(tmp_path / "m.fits", format="moc", bad="inside")
    assert digest(far, tmp_path / "m.fits", wcs, shape) == ""
    with pytest.raises(ValidationError, match="is not possible with format moc"):
        map_mask("m.fits", format="moc", bad="below")
    (tmp_path / "no.fits").write_bytes(b"not a MOC")
    with pytest.raises(SourceError, match="not a MOC"):
        digest(far, tmp_path / "no.fits", wcs, shape)


def raw_tile(path, bands=("a", "b"), fill=None, source_mask=None, ivar=None, n=1):
    tile = 3000
    spec = ImageSpec("test", bands, "uK", SCALE, ORDER, 10.0, binning=n)
    wcs, shape = sky.tile_frame(tile, ORDER, SCALE, 10.0, n)
    image = np.random.default_rng(3).normal(size=(len(bands), *shape)).astype(np.float32)
    mask = np.zeros(shape, np.uint8) if source_mask is None else source_mask(shape)
    if fill is not None:
        fill(image)
    write_raw(path, RawImage(image, mask, wcs, "uK", ivar and ivar(image)), bands, tile)
    return spec, wcs, shape


def test_saturated_pixels_of_one_band_are_marked_before_binning(tmp_path):
    def fill(image):
        image[0, 11, 20] = 50.0
        image[1, 30, 40] = 50.0

    spec, _, _ = raw_tile(tmp_path / "raw.fits", fill=fill, n=2)
    masks = [{"kind": "saturation", "levels": {"a": 50.0}}]
    tile = preprocess_tile(tmp_path / "raw.fits", PreprocessSettings(binning=2, masks=masks), spec)
    assert np.argwhere(tile.mask & 2).tolist() == [[5, 10]]
    assert (tile.mask[5, 10] & BAD_PLANES) != 0


@pytest.mark.parametrize(("use", "bit"), [("exclude", 128), ("flag", 64)])
def test_what_the_source_masks_means_what_the_settings_say(tmp_path, use, bit):
    def source_mask(shape):
        mask = np.zeros(shape, np.uint8)
        mask[4:8, 4:8] = 4
        return mask

    spec, _, _ = raw_tile(tmp_path / "raw.fits", source_mask=source_mask)
    masks = [{"kind": "source", "plane": "bright_star", "use": use}]
    tile = preprocess_tile(tmp_path / "raw.fits", PreprocessSettings(masks=masks), spec)
    assert np.unique(tile.mask).tolist() == [0, 4 | bit]
    assert (tile.mask == (4 | bit)).sum() == 16


def test_masks_that_do_not_reach_a_tile_leave_its_bytes_as_they_are(tmp_path):
    spec, _, _ = raw_tile(tmp_path / "raw.fits")
    plain = PreprocessSettings(background={"kind": "median"})
    assert preprocess_file(tmp_path / "raw.fits", tmp_path / "1.fits", plain, spec).status == "ok"
    far = TileMasks(regions(200.0, -60.0, 0.5))
    listed = PreprocessSettings(background={"kind": "median"}, masks=[STARS])
    preprocess_file(tmp_path / "raw.fits", tmp_path / "2.fits", listed, spec, far)
    assert (tmp_path / "1.fits").read_bytes() == (tmp_path / "2.fits").read_bytes()
    assert listed.without_lists().model_dump(mode="json") == plain.model_dump(mode="json")
    assert "masks" not in plain.model_dump(mode="json")


def test_the_background_is_measured_on_sky_that_no_mask_covers(tmp_path):
    def fill(image):
        image[:, 20:60, 20:60] += 1000.0

    spec, wcs, _ = raw_tile(tmp_path / "raw.fits", fill=fill)
    centre = wcs.pixel_to_world(39.5, 39.5)
    masks = TileMasks(regions(centre.ra.deg, centre.dec.deg, 0.5))
    settings = PreprocessSettings(background={"kind": "median"})
    tile = preprocess_tile(tmp_path / "raw.fits", settings, spec, masks)
    quiet = tile.mask == 0
    np.testing.assert_allclose(np.median(tile.image[:, quiet], axis=1), 0.0, atol=1e-6)
    assert not quiet[20:60, 20:60].any()


def test_a_mask_file_that_changed_since_it_was_listed_is_refused(tmp_path):
    spec, wcs, shape = raw_tile(tmp_path / "raw.fits")
    centre = wcs.pixel_to_world(40, 40)
    path = tmp_path / "m.fits"
    moc = cone(centre.ra.deg, centre.dec.deg, 0.2)
    moc.save(path, format="fits")
    mask = map_mask(path, format="moc", bad="inside")
    noted = digest(mask, path, wcs, shape)
    masks = TileMasks(maps=(MapHere(mask, path, noted),), frame=(wcs, shape))
    tile = preprocess_tile(tmp_path / "raw.fits", PreprocessSettings(), spec, masks)
    area_arcmin2 = moc.sky_fraction * 148_510_660
    assert (tile.mask == 32 | 128).sum() == pytest.approx(area_arcmin2, rel=0.02)
    cone(centre.ra.deg, centre.dec.deg, 0.3).save(path, format="fits", overwrite=True)
    with pytest.raises(SourceError, match="changed since it was listed"):
        preprocess_tile(tmp_path / "raw.fits", PreprocessSettings(), spec, masks)


def test_compressed_tiles_hold_the_same_values_and_the_same_bytes_every_time(tmp_path):
    spec, _, _ = raw_tile(tmp_path / "raw.fits", source_mask=lambda s: np.zeros(s, np.uint8))
    for name, how in (("0", "none"), ("1", "gzip"), ("2", "gzip")):
        settings = PreprocessSettings(compression=how)
        preprocess_file(tmp_path / "raw.fits", tmp_path / f"{name}.fits", settings, spec)
    plain, packed = (read_tile(tmp_path / f"{n}.fits") for n in "01")
    np.testing.assert_array_equal(packed.image, plain.image)
    np.testing.assert_array_equal(packed.mask, plain.mask)
    assert packed.wcs.to_header_string() == plain.wcs.to_header_string()
    sizes = [(tmp_path / f"{n}.fits").stat().st_size for n in "01"]
    assert sizes[1] < sizes[0]
    assert (tmp_path / "1.fits").read_bytes() == (tmp_path / "2.fits").read_bytes()


def test_a_mask_of_logicals_masks_what_the_same_mask_of_numbers_does(tmp_path):
    good = np.arange(12 * 64**2) % 3 > 0
    for name, values in (("bool", good), ("float", good.astype(float))):
        healpy.write_map(
            tmp_path / f"{name}.fits", values, nest=True, coord="C", dtype=values.dtype
        )
    assert fits.getheader(tmp_path / "bool.fits", 1)["TFORM1"].endswith("L")
    _, wcs, shape = frame_at(83.0, 45.0)
    found = {}
    for name in ("bool", "float"):
        path = tmp_path / f"{name}.fits"
        found[name] = masked_pixels(
            map_mask(path, format="healpix", bad="below"), path, Directions(wcs, shape)
        )
        values, _ = HealpixMap(path).read(wcs, shape, nearest=True)
        np.testing.assert_array_equal(values > 0, ~found[name])  # as footprints are read
    np.testing.assert_array_equal(found["bool"], found["float"])
    assert 0.2 < found["bool"].mean() < 0.5


def test_a_mask_image_of_unsigned_integers_is_read_as_one_of_floats(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---CAR", "DEC--CAR"], [0.0, 0.0]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-0.5, 0.5], [360.5, 181.0]
    bits = np.random.default_rng(4).integers(0, 2, (361, 720)) * 40_000
    _, frame, shape = frame_at(83.0, 45.0)
    found = []
    for kind in (np.uint16, np.float32):
        path = tmp_path / f"{np.dtype(kind)}.fits"
        fits.PrimaryHDU(bits.astype(kind), wcs.to_header()).writeto(path)
        mask = map_mask(path, format="image", bad="above", threshold=0)
        found.append(masked_pixels(mask, path, Directions(frame, shape)))
    np.testing.assert_array_equal(*found)
    assert 0.2 < found[0].mean() < 0.8


def test_a_mask_larger_than_a_tangent_plane_holds_is_refused():
    table = {**STARS["table"], "columns": {"ra_deg": "ra", "dec_deg": "dec", "radius_arcmin": "r"}}
    mask = TypeAdapter(MaskSettings).validate_python(
        {"kind": "points", "use": "exclude", "table": table}
    )
    rows = pd.DataFrame(
        {"name": ["a", "b"], "ra_deg": 1.0, "dec_deg": 2.0, "radius_arcmin": [3600.0, 1e9]}
    )
    assert len(regions_of(mask, rows[:1], "t")[0]) == 1
    with pytest.raises(CatalogueError, match=r"1 of 2 masks.*row 2 \(b, 1e\+09 arcmin\)"):
        regions_of(mask, rows, "t")


def test_a_least_radius_above_the_largest_is_refused():
    with pytest.raises(ValidationError, match="min_arcmin = 90 exceeds max_arcmin = 60"):
        settings(min_arcmin=90)
