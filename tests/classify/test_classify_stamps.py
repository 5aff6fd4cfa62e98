"""Stamps get the probabilities that the network gives their pixels, and no bad one harms others."""

import gzip
import json
import re
import zipfile

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import expit
from tests.classify.conftest import (
    BANDS,
    SCALE,
    SIZE,
    TEMPERATURE,
    fits_bytes,
    picture,
    pixels,
    view,
    write_folder,
)

from clusterscan.core.errors import ModelError
from clusterscan.networks.card import load_model, save_model
from clusterscan.networks.registry import build

SCALE_GIVEN = ("--pixel-scale", SCALE)


def expected(model, planes):
    """Return the calibrated probability by the definition: sigmoid(logit / temperature)."""
    network, _ = load_model(model)
    inputs = torch.from_numpy((planes[None].astype(np.float32) - 100) / 40)
    with torch.no_grad():
        return expit(network(inputs).numpy()[0] / TEMPERATURE)


def table_of(path):
    return pd.read_parquet(path).set_index("id")


def test_every_format_gives_the_network_s_own_probability(model, tmp_path, classify):
    planes = {name: pixels(seed) for seed, name in enumerate(("png", "fits", "gz", "cube"))}
    files = {
        "sdss_ra=49.5_dec=-41.25.png": picture(planes["png"]),
        "b.fits": fits_bytes(planes["fits"]),
        "c.fits.gz": gzip.compress(fits_bytes(planes["gz"])),
    }
    folder = write_folder(tmp_path / "stamps", files)
    out = tmp_path / "out.parquet"
    code, said = classify("--model", model, "--stamps", folder, "--output", out, *SCALE_GIVEN)
    assert code == 0, said
    table = table_of(out)
    assert table["status"].tolist() == ["ok"] * 3
    for name, key in (("sdss_ra=49.5_dec=-41.25", "png"), ("b", "fits"), ("c", "gz")):
        want = expected(model, planes[key])
        assert table.loc[name, "probability_member"] == pytest.approx(want, abs=1e-6)
        assert table.loc[name, "probability_other"] == pytest.approx(1 - want, abs=1e-6)
    assert tuple(table.loc["sdss_ra=49.5_dec=-41.25", ["ra_deg", "dec_deg"]]) == (49.5, -41.25)
    assert tuple(table.loc["b", ["ra_deg", "dec_deg"]]) == pytest.approx((10.0, 20.0), abs=1e-9)


def test_a_jpeg_in_a_zip_and_in_a_folder_are_one(model, tmp_path, classify):
    data = picture(pixels(1), "JPEG")
    folder = write_folder(tmp_path / "folder", {"a.jpg": data})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", data)
    for source in (folder, tmp_path / "a.zip"):
        out = tmp_path / f"{source.stem}.parquet"
        assert classify("--model", model, "--stamps", source, "--output", out, *SCALE_GIVEN)[0] == 0
    pd.testing.assert_frame_equal(
        table_of(tmp_path / "folder.parquet"), table_of(tmp_path / "a.parquet")
    )


def test_a_bad_stamp_becomes_a_row_with_its_reason_and_loses_nothing_else(
    model, tmp_path, classify
):
    good, gap = pixels(1), pixels(2).astype(np.float32)
    gap[:, 3, 4] = np.nan
    whole = picture(good)
    files = {
        "a_good.png": whole,
        "b_cut.png": whole[: len(whole) // 2],
        "c_text.jpg": b"this is no image",
        "d_small.png": picture(pixels(1, SIZE - 2)),
        "e_nan.fits": fits_bytes(np.full((3, SIZE, SIZE), np.nan)),
        "f_gap.fits": fits_bytes(gap),
        "g_cut.fits": fits_bytes(np.zeros((3, 40, 40)))[:9000],
        "h_one_band.fits": fits_bytes(good[:1]),
        "i_wide.fits": fits_bytes(pixels(1, 30), scale=0.3),
        "j_empty.png": b"",
        "k_good.png": whole,
    }
    folder = write_folder(tmp_path / "stamps", files)
    out = tmp_path / "out.parquet"
    code, said = classify("--model", model, "--stamps", folder, "--output", out, *SCALE_GIVEN)
    assert code == 0, said
    table = table_of(out)
    assert table["status"].to_dict() == {
        "a_good": "ok",
        "b_cut": "unreadable",
        "c_text": "unreadable",
        "d_small": "wrong_size",
        "e_nan": "no_values",
        "f_gap": "ok",
        "g_cut": "unreadable",
        "h_one_band": "wrong_bands",
        "i_wide": "wrong_scale",
        "j_empty": "unreadable",
        "k_good": "ok",
    }
    bad = table["status"] != "ok"
    probability = table[["probability_other", "probability_member"]]
    assert probability[bad].isna().all().all()
    assert probability[~bad].sum(axis=1).to_numpy() == pytest.approx(1.0)
    same = table.loc[["a_good", "k_good"], "probability_member"]
    assert same.iloc[0] == pytest.approx(same.iloc[1])
    assert (table["reason"] == "").equals(~bad)
    assert "not a JPEG or PNG" in table.loc["c_text", "reason"]
    assert "3 of 11 classified" in said
    assert "1 no_values" in said
    # A missing pixel counts as background: 0 after normalisation, the median before.
    filled = np.where(np.isnan(gap), 100.0, gap)
    want = expected(model, filled)
    assert table.loc["f_gap", "probability_member"] == pytest.approx(want, abs=1e-6)


def test_it_fails_where_nothing_can_be_classified_and_says_why(model, tmp_path, classify):
    folder = write_folder(tmp_path / "stamps", {"a.fits": fits_bytes(pixels(1)[:2])})
    out = tmp_path / "out.parquet"
    code, said = classify("--model", model, "--stamps", folder, "--output", out)
    assert code == 1
    assert "none of 1 could be classified" in said
    assert "2 bands" in said
    assert "model.json" in said
    assert table_of(out)["status"].tolist() == ["wrong_bands"]


def test_finer_pixels_are_averaged_where_that_is_exact(model, tmp_path, classify):
    planes = pixels(4)
    finer = planes.repeat(3, axis=1).repeat(3, axis=2)
    wider = np.pad(finer, ((0, 0), (6, 6), (9, 9)))  # oblong, of which the centre counts
    files = {"a.fits": fits_bytes(wider, SCALE / 3), "b.fits": fits_bytes(planes, SCALE)}
    folder = write_folder(tmp_path / "stamps", files)
    out = tmp_path / "out.parquet"
    assert classify("--model", model, "--stamps", folder, "--output", out)[0] == 0
    table = table_of(out)
    assert table.loc["a", "probability_member"] == pytest.approx(
        table.loc["b", "probability_member"], abs=1e-6
    )


def test_other_pixel_sizes_are_refused_unless_resampling_is_asked_for(model, tmp_path, classify):
    flat = np.full((3, 40, 40), 120.0)
    folder = write_folder(tmp_path / "stamps", {"a.fits": fits_bytes(flat, 0.3)})
    out = tmp_path / "out.parquet"
    common = ("--model", model, "--stamps", folder, "--output", out)
    code, said = classify(*common)
    assert code == 1
    assert "allow resampling" in said
    assert classify(*common, "--resample")[0] == 0
    # A flat image is flat at any pixel size.
    want = expected(model, np.full((3, SIZE, SIZE), 120.0))
    assert table_of(out).loc["a", "probability_member"] == pytest.approx(want, abs=1e-6)


def test_pictures_need_a_pixel_size_and_a_wcs_must_agree_with_it(model, tmp_path, classify):
    folder = write_folder(tmp_path / "stamps", {"a.png": picture(pixels(1))})
    out = tmp_path / "out.parquet"
    code, said = classify("--model", model, "--stamps", folder, "--output", out)
    assert code == 1
    assert "give --pixel-scale" in said
    assert "0.4 arcsec" in said
    assert not out.exists()
    (folder / "a.png").unlink()
    write_folder(folder, {"b.fits": fits_bytes(pixels(1), 0.2)})
    code, said = classify("--model", model, "--stamps", folder, "--output", out, *SCALE_GIVEN)
    assert code == 1
    assert "0.2 arcsec by its WCS" in said


def test_named_bands_are_put_in_the_model_s_order_and_others_refused(model, tmp_path, classify):
    planes = pixels(6)
    folder = write_folder(tmp_path / "stamps", {"a.fits": fits_bytes(planes[::-1])})
    out = tmp_path / "out.parquet"
    common = ("--model", model, "--stamps", folder, "--output", out)
    assert classify(*common, "--bands", "g,r,i")[0] == 0
    want = expected(model, planes)
    assert table_of(out).loc["a", "probability_member"] == pytest.approx(want, abs=1e-6)
    code, said = classify(*common, "--bands", "u,r,i")
    assert code == 1
    assert "model.json" in said
    assert "bands ['i', 'r', 'g']" in said


def test_a_grey_model_reads_the_mean_of_the_channels(model, tmp_path, classify):
    network, _ = load_model(model)
    grey = build(network.settings, 1, seed=2).eval()
    folder = tmp_path / "grey"
    save_model(folder, grey, {"views": [view(bands=("grey",))], "classes": ["other", "member"]})
    planes = pixels(7)
    stamps = write_folder(tmp_path / "stamps", {"a.png": picture(planes)})
    out = tmp_path / "out.parquet"
    assert classify("--model", folder, "--stamps", stamps, "--output", out, *SCALE_GIVEN)[0] == 0
    mean = planes.astype(np.float32).mean(axis=0, keepdims=True).astype(np.float16)
    with torch.no_grad():
        logit = grey(torch.from_numpy((mean[None].astype(np.float32) - 100) / 40)).numpy()[0]
    assert table_of(out).loc["a", "probability_member"] == pytest.approx(expit(logit), abs=1e-6)


def test_csv_holds_what_parquet_holds_whatever_the_chunks(model, tmp_path, classify):
    files = {f"{n:02d}.png": picture(pixels(n)) for n in range(13)}
    files["05.png"] = b"broken"
    folder = write_folder(tmp_path / "stamps", files)
    common = ("--model", model, "--stamps", folder, *SCALE_GIVEN)
    assert classify(*common, "--output", tmp_path / "a.parquet")[0] == 0
    assert classify(*common, "--output", tmp_path / "b.csv", "--batch-size", 3)[0] == 0
    parquet = pd.read_parquet(tmp_path / "a.parquet")
    csv = pd.read_csv(tmp_path / "b.csv", dtype={"id": str}, keep_default_na=True)
    assert parquet["id"].tolist() == csv["id"].tolist() == sorted(csv["id"])
    for name in ("probability_member", "probability_other"):
        np.testing.assert_allclose(csv[name], parquet[name], atol=1e-6)
    about = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"clusterscan"])
    assert about["classes"] == ["other", "member"]
    assert about["calibration"] == "temperature"
    assert about["views"][0]["bands"] == list(BANDS)


def test_an_error_midway_leaves_the_former_output_as_it_was(model, tmp_path, classify, monkeypatch):
    folder = write_folder(tmp_path / "stamps", {"a.fits": fits_bytes(pixels(1))})
    out = tmp_path / "out.parquet"
    out.write_bytes(b"former")

    def fail(*_):
        raise ModelError("the network burst")

    monkeypatch.setattr("clusterscan.classify.classifier.Classifier.probabilities", fail)
    code, said = classify("--model", model, "--stamps", folder, "--output", out)
    assert code == 1
    assert "the network burst" in said
    assert out.read_bytes() == b"former"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--output", "out.txt"), r"\.parquet or \.csv"),
        (("--output", "o.csv", "--columns", "id=a"), "means nothing with --stamps"),
    ],
)
def test_options_that_make_no_sense_are_refused_first(
    model, tmp_path, classify, arguments, told, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "stamps", {"a.fits": fits_bytes(pixels(1))})
    code, said = classify("--model", model, "--stamps", folder, *arguments)
    assert code == 1
    assert re.search(told, said)


def test_a_folder_without_images_and_a_missing_model_are_named(model, tmp_path, classify):
    folder = write_folder(tmp_path / "stamps", {"a.txt": b"text"})
    out = tmp_path / "o.csv"
    code, said = classify("--model", model, "--stamps", folder, "--output", out)
    assert code == 1
    assert "holds no JPEG, PNG or FITS" in said
    code, said = classify("--model", tmp_path / "none", "--stamps", folder, "--output", out)
    assert code == 1
    assert "model.json cannot be read" in said


def test_stamps_that_are_not_there_are_named(model, tmp_path, classify):
    code, said = classify(
        "--model", model, "--stamps", tmp_path / "no.zip", "--output", tmp_path / "o.csv"
    )
    assert code == 1
    assert "no.zip: there is no such folder or zip file" in said


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_classified(
    model, tmp_path, classify
):
    folder = write_folder(tmp_path / "stamps", {"a.fits": fits_bytes(pixels(1))})
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "o.csv"
    code, said = classify("--model", model, "--stamps", folder, "--output", out)
    assert code == 1
    assert "o.csv cannot be written (" in said
    assert "classified in" not in said


@pytest.mark.parametrize("name", ["tpu", "meta", "cpu:x", "GPU"])
def test_a_device_that_networks_do_not_run_on_is_refused_in_one_line(name):
    from clusterscan.networks.device import choose_device

    with pytest.raises(ModelError, match=f"device = '{name}' is none of auto, cpu, cuda"):
        choose_device(name)


def test_a_reason_is_the_same_in_every_run(model, tmp_path, classify):
    """It once held the address of the image in memory."""
    folder = write_folder(
        tmp_path / "stamps", {"a.png": b"<html>", "b.fits": fits_bytes(pixels(1))}
    )
    out = tmp_path / "o.csv"
    assert (
        classify("--model", model, "--stamps", folder, "--output", out, "--pixel-scale", SCALE)[0]
        == 0
    )
    assert "is not a JPEG or PNG image; restore the file" in out.read_text()
    assert "0x" not in out.read_text()


def test_memory_is_bounded_by_chunks_not_by_the_number_of_stamps(model, tmp_path):
    from clusterscan.classify.stamps import StampReading, StampRows
    from clusterscan.networks.card import read_card

    data = fits_bytes(pixels(1))
    folder = write_folder(tmp_path / "stamps", {f"{n}.fits": data for n in range(40)})
    rows = StampRows(folder, read_card(model), SIZE, StampReading())
    read = []
    original = rows.row
    rows.row = lambda member: read.append(member) or original(member)
    chunks = rows.chunks(5, workers=1)
    next(chunks)
    assert len(read) <= 5 * 4  # the chunk in hand and those read ahead
    assert sum(len(chunk) for chunk in chunks) == 35
