"""Stamps are data from strangers: hostile names, bombs and wrong files are refused."""

import contextlib
import gzip
import io
import os
import zipfile
from functools import partial

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from clusterscan.config.image_sources import StampsSource
from clusterscan.core.errors import SourceError
from clusterscan.fetch.stamp_files import StampFiles, Stamps, decode


def stamps(path, **values):
    settings = {
        "path": str(path),
        "pixel_scale_arcsec": 0.1,
        "size_px": 20,
        "bands": ["i", "r", "g"],
        **values,
    }
    return Stamps(StampsSource(**settings))


def png(side=20, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue(), pixels


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as handle:
        for name, data in members.items():
            handle.writestr(name, data)
    return path


def test_a_stamp_reads_alike_from_a_zip_and_a_folder_with_north_up(tmp_path):
    data, pixels = png()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(data)
    archive(tmp_path / "a.zip", {"a.png": data})
    for path in (tmp_path / "folder", tmp_path / "a.zip"):
        stamp = stamps(path).read("a.png")
        assert stamp.dtype == np.float32
        # The picture's first row is north; FITS counts rows from the south.
        np.testing.assert_array_equal(stamp, pixels.transpose(2, 0, 1)[:, ::-1])


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:\\e.png"])
def test_a_member_that_points_outside_is_refused(tmp_path, name):
    path = archive(tmp_path / "a.zip", {"good.png": png()[0], name: png()[0]})
    with pytest.raises(SourceError, match="points outside"):
        stamps(path).members()


def test_only_listed_members_can_be_read(tmp_path):
    (tmp_path / "secret.png").write_bytes(png()[0])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(png()[0])
    os.symlink(tmp_path / "secret.png", tmp_path / "folder" / "link.png")
    folder = stamps(tmp_path / "folder")
    assert folder.members() == ["a.png"]
    for name in ("../secret.png", "link.png", str(tmp_path / "secret.png")):
        with pytest.raises(SourceError, match="holds no stamp"):
            folder.read(name)


def test_what_is_no_image_is_not_listed_and_cannot_pose_as_one(tmp_path):
    path = archive(
        tmp_path / "a.zip",
        {"a.png": png()[0], "run.sh": b"#!/bin/sh", "fake.png": b"#!/bin/sh\necho", "d/": b""},
    )
    assert stamps(path).members() == ["a.png", "fake.png"]
    with pytest.raises(SourceError, match="not a JPEG or PNG"):
        stamps(path).read("fake.png")


def test_other_image_formats_are_not_decoded_even_under_a_good_name(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20)).save(buffer, "TIFF")
    path = archive(tmp_path / "a.zip", {"a.png": buffer.getvalue()})
    with pytest.raises(SourceError, match="not a JPEG or PNG"):
        stamps(path).read("a.png")


def test_a_zip_bomb_and_an_oversized_member_are_refused_unread(tmp_path):
    bomb = archive(tmp_path / "a.zip", {"a.png": bytes(5_000_000)})
    with pytest.raises(SourceError, match="times its size"):
        stamps(bomb).members()
    with pytest.raises(SourceError, match="max_member_bytes: 1000"):
        stamps(archive(tmp_path / "b.zip", {"a.png": png()[0]}), max_member_bytes=1000).members()


def test_a_pixel_bomb_is_refused_by_its_header(tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(buffer, "PNG")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(buffer.getvalue())
    with pytest.raises(SourceError, match=r"a\.png"):
        stamps(tmp_path / "folder").read("a.png")


def test_a_stamp_of_another_size_or_cut_short_is_refused(tmp_path):
    data = png()[0]
    path = archive(tmp_path / "a.zip", {"a.png": png(30)[0], "b.png": data[: len(data) // 2]})
    with pytest.raises(SourceError, match=r"30 × 30 px, but size_px is 20"):
        stamps(path).read("a.png")
    with pytest.raises(SourceError, match=r"b\.png"):
        stamps(path).read("b.png")


def test_too_many_members_and_a_file_that_is_no_zip_are_refused(tmp_path):
    path = archive(tmp_path / "a.zip", {f"{i}.png": b"x" for i in range(5)})
    with pytest.raises(SourceError, match="max_members: 4"):
        stamps(path, max_members=4).members()
    (tmp_path / "b.zip").write_text("no zip")
    with pytest.raises(SourceError, match="neither a folder nor a zip"):
        stamps(tmp_path / "b.zip").members()


def test_the_token_changes_with_any_stamp(tmp_path):
    first = stamps(archive(tmp_path / "a.zip", {"a.png": png(seed=1)[0]})).token()
    second = stamps(archive(tmp_path / "b.zip", {"a.png": png(seed=2)[0]})).token()
    assert first != second


def test_every_perseus_label_has_its_stamp(real_data):
    import pandas as pd

    folder = real_data / "images/perseus"
    labels = pd.read_csv(folder / "pcc_labels.csv")
    source = stamps(folder / "stamps200.zip", size_px=200)
    assert set(labels["stamp200"]) == set(source.members())


def test_a_member_that_cannot_be_unpacked_is_named(tmp_path):
    whole = archive(tmp_path / "a.zip", {"a.png": png()[0]}).read_bytes()
    entry = whole.rfind(b"PK\x01\x02")
    for local, central, value in ((6, 8, 1), (8, 10, 99)):  # encrypted; an unknown method
        data = bytearray(whole)
        data[local] = data[entry + central] = value
        (tmp_path / "a.zip").write_bytes(data)
        with pytest.raises(SourceError, match=r"a\.png cannot be unpacked"):
            stamps(tmp_path / "a.zip").read("a.png")
    data = bytearray(whole)
    data[36:42] = b"\xff" * 6
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.png cannot be unpacked"):
        stamps(tmp_path / "a.zip").read("a.png")


def test_a_member_that_claims_to_be_packed_into_nothing_is_refused(tmp_path):
    data = bytearray(archive(tmp_path / "a.zip", {"a.png": png()[0]}).read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = (0).to_bytes(4, "little") + (50_000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(SourceError, match="damaged or hostile"):
        stamps(tmp_path / "a.zip").members()


def fits_file(planes, *, scale=0.1, at=(150.0, 2.0), ctype=("RA---TAN", "DEC--TAN"), form=None):
    """Return FITS bytes: a plane or cube, or with ``form`` one extension a band."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ctype, at
    wcs.wcs.cdelt = np.broadcast_to(scale, 2) / 3600 * [-1, 1]
    wcs.wcs.crpix = [(n + 1) / 2 for n in planes.shape[:-3:-1]]
    header = wcs.to_header()
    if form is None:
        hdus = [fits.PrimaryHDU(planes, header)]
    else:
        made = [form(p, header, name=f"SCI_{b}") for p, b in zip(planes, "irg", strict=True)]
        hdus = [fits.PrimaryHDU(), *made]
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


def floats(seed=0, shape=(3, 20, 20)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_fits_stamp_keeps_its_rows_its_numbers_and_its_gaps(tmp_path):
    planes = floats()
    planes[1, 2, 3], planes[0, 0, 0] = np.nan, np.inf
    files = {"a.fits": fits_file(planes), "b.fits.gz": gzip.compress(fits_file(planes))}
    source = stamps(archive(tmp_path / "a.zip", files))
    want = planes.copy()
    want[0, 0, 0] = np.nan  # infinite is no value
    for name in files:
        np.testing.assert_array_equal(source.read(name), want)


def test_fits_bands_may_lie_in_named_extensions_packed_or_not(tmp_path):
    planes = floats()
    packed = partial(fits.CompImageHDU, compression_type="GZIP_1", quantize_level=0)
    files = {
        "a.fits": fits_file(planes, form=fits.ImageHDU),
        "b.fits": fits_file(planes, form=packed),
    }
    names = {"i": "SCI_I", "r": "SCI_R", "g": "SCI_G"}
    source = stamps(archive(tmp_path / "a.zip", files), extensions=names)
    for name in files:
        np.testing.assert_array_equal(source.read(name), planes)
    wrong = stamps(tmp_path / "a.zip", extensions=names | {"g": "SCI_U"})
    with pytest.raises(SourceError, match=r"no image extension SCI_U \(it has SCI_I"):
        wrong.read("a.fits")


def test_a_fits_stamp_says_where_it_is_and_how_large_its_pixels_are():
    image = decode(fits_file(floats(shape=(21, 31)), scale=0.4), "a.fits")
    assert image.planes.shape == (1, 21, 31)
    assert image.pixel_scale_arcsec == pytest.approx(0.4, abs=1e-6)
    assert (image.ra_deg, image.dec_deg) == pytest.approx((150.0, 2.0), abs=1e-9)
    pole = fits_file(floats(), at=(0.0, 90.0), ctype=("GLON-TAN", "GLAT-TAN"))
    there = decode(pole, "b.fits")
    # The Galactic pole in ICRS, Hipparcos catalogue vol. 1, sect. 1.5.3.
    assert (there.ra_deg, there.dec_deg) == pytest.approx((192.85948, 27.12825), abs=1e-4)
    bare = io.BytesIO()
    fits.PrimaryHDU(floats()).writeto(bare)
    assert decode(bare.getvalue(), "c.fits").pixel_scale_arcsec is None


def test_fits_stamps_that_cannot_serve_are_named(tmp_path):
    whole = fits_file(floats())
    table = io.BytesIO()
    fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])]).writeto(table)
    files = {
        "cut.fits": whole[:-4000],
        "text.fits": b"SIMPLE  = what",
        "table.fits": table.getvalue(),
        "planes.fits": fits_file(floats(shape=(2, 20, 20))),
        "large.fits": fits_file(floats(shape=(3, 30, 30))),
        "scale.fits": fits_file(floats(), scale=0.2),
        "oblong.fits": fits_file(floats(), scale=(0.1, 0.2)),
        "bomb.fits.gz": gzip.compress(bytes(9_000_000)),
        "broken.fits.gz": gzip.compress(whole)[:500],
    }
    source = stamps(archive(tmp_path / "a.zip", files), size_px=20)
    for name, told in {
        "cut.fits": "not a complete FITS image",
        "text.fits": "not a complete FITS image",
        "table.fits": "holds no image",
        "planes.fits": "has 2 channels",
        "large.fits": "has 30 × 30 px",
        "scale.fits": "0.2 arcsec by its WCS",
        "oblong.fits": "square pixels",
        "bomb.fits.gz": "unpacks to more than",
        "broken.fits.gz": "cannot be unpacked",
    }.items():
        with pytest.raises(SourceError, match=told) as error:
            source.read(name)
        assert name in str(error.value)


def test_stamps_may_be_oblong_and_deep_pictures_keep_their_depth(tmp_path):
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    source = stamps(
        archive(tmp_path / "a.zip", {"a.png": buffer.getvalue()}), size_px=None, bands=["r"]
    )
    np.testing.assert_array_equal(source.read("a.png")[0], deep[::-1])


def test_a_blank_fits_image_is_no_bomb_but_a_lenient_reader_refuses_only_the_member(tmp_path):
    blank = fits_file(np.zeros((3, 200, 200), np.float32))
    path = archive(tmp_path / "a.zip", {"a.fits": blank, "b.png": png()[0]})
    assert stamps(path, size_px=None).read("a.fits").shape == (3, 200, 200)
    files = StampFiles(path, max_member_bytes=10_000, strict=False)
    assert files.members() == ["a.fits", "b.png"]
    with pytest.raises(SourceError, match=r"a\.fits is larger than"):
        files.read_bytes("a.fits")
    assert files.read_bytes("b.png") == png()[0]


def test_damaged_bytes_never_raise_anything_but_a_clear_error():
    rng = np.random.default_rng(0)
    whole = {
        "a.png": png()[0],
        "b.fits": fits_file(floats()),
        "c.fits.gz": gzip.compress(fits_file(floats())),
        "d.jpg": jpeg(),
    }
    for name, data in whole.items():
        for _ in range(60):
            bad = bytearray(data)
            for place in rng.integers(0, min(len(bad), 3000), 4):
                bad[place] = rng.integers(0, 256)
            with contextlib.suppress(SourceError):
                image = decode(bytes(bad), f"x.zip: {name}", bands=3, side_px=20)
                assert image.planes.shape == (3, 20, 20)


def jpeg():
    buffer = io.BytesIO()
    Image.fromarray(png()[1]).save(buffer, "JPEG")
    return buffer.getvalue()


def test_header_keywords_give_a_position_where_there_is_no_wcs():
    buffer = io.BytesIO()
    hdu = fits.PrimaryHDU(floats())
    hdu.header["RA"], hdu.header["DEC"] = -10.0, 45.0
    hdu.writeto(buffer)
    image = decode(buffer.getvalue(), "a.fits")
    assert (image.ra_deg, image.dec_deg) == (350.0, 45.0)
    assert image.pixel_scale_arcsec is None


def test_what_a_mac_packs_beside_each_file_is_no_stamp(tmp_path):
    shadow = b"\x00\x05\x16\x07 attributes, no image"
    names = {"set/a.png": png()[0], "__MACOSX/set/._a.png": shadow, "set/._a.png": shadow}
    assert stamps(archive(tmp_path / "a.zip", names)).members() == ["set/a.png"]
    for name, data in names.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert stamps(tmp_path / "folder").members() == ["set/a.png"]


@pytest.mark.parametrize("key", ["CRVAL1", "CRPIX2", "CDELT1"])
def test_a_fits_stamp_that_does_not_say_its_place_is_not_taken_to_be_at_ra_0(key):
    with fits.open(io.BytesIO(fits_file(floats()))) as hdus:
        del hdus[0].header[key]
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    with pytest.raises(SourceError, match=rf"lacks a number for {key}"):
        decode(buffer.getvalue(), "a.fits")
