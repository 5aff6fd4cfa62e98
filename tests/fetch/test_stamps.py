"""Stamps are data from strangers: hostile names, bombs and wrong files are refused."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from clusterscan.config.source import StampsSource
from clusterscan.errors import SourceError
from clusterscan.fetch.stamps import Stamps


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
    with pytest.raises(SourceError, match="no JPEG or PNG"):
        stamps(path).read("fake.png")


def test_other_image_formats_are_not_decoded_even_under_a_good_name(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20)).save(buffer, "TIFF")
    path = archive(tmp_path / "a.zip", {"a.png": buffer.getvalue()})
    with pytest.raises(SourceError, match="no JPEG or PNG"):
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
