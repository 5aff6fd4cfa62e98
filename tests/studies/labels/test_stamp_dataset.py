"""Stamps and labels become examples; whatever does not fit is named with file and mending."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError
from tests.classify.conftest import fits_bytes
from tests.studies.labels.conftest import picture

from clusterscan.core.errors import CatalogueError, ImageError, ProductError, SourceError
from clusterscan.sample.crops import StampTooSmallError, _area_means, fit_stamp
from clusterscan.sample.leakage import find_leakage, sdss_field
from clusterscan.train.examples import read_examples as read_for_training
from clusterscan_studies.config.stamp_data import StampDataset
from clusterscan_studies.labels.table import read_label_table
from clusterscan_studies.stamp_dataset import give_parts, make_dataset


def test_examples_keep_labels_columns_positions_and_pixels(stamps):
    table, images, path, counts = stamps.make()
    assert len(table) == 60
    assert table["example_id"].tolist() == [f"stamp-G{n:02d}" for n in range(60)]
    assert (table["label"] == (stamps.table["type"] == 1)).all()
    np.testing.assert_array_equal(table["g_mag"], stamps.table["g"])
    assert table["split"].value_counts().to_dict() == {"train": 36, "validation": 12, "test": 12}
    assert counts["train_member"] == 12
    # 20 px at 0.5" are averaged by twos; the central 8 of the 10 px stay; north is up.
    with Image.open(io.BytesIO(stamps.images["07.png"])) as image:
        pixels = np.asarray(image, float)[::-1].transpose(2, 0, 1)
    means = pixels[:, 2:18, 2:18].reshape(3, 8, 2, 8, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(images[7], means.astype(np.float16))
    about = json.loads(pq.read_schema(path).metadata[b"clusterscan"])
    assert about == {
        "bands": ["i", "r", "g"],
        "classes": ["other", "member"],
        "pixel_scale_arcsec": 1.0,
        "size_px": 8,
        "unit": "display",
    }
    trainable = read_for_training([path])
    assert trainable.classes == ("other", "member")
    np.testing.assert_array_equal(trainable.columns["g_mag"], stamps.table["g"])


def test_the_same_settings_give_the_same_bytes(stamps):
    settings = stamps.settings()
    for name in ("a", "b"):
        make_dataset(settings, stamps.root / f"{name}.parquet")
    first, second = ((stamps.root / f"{n}.parquet").read_bytes() for n in "ab")
    assert first == second


def test_columns_with_gaps_text_and_rows_without_a_join_key_survive(stamps):
    stamps.table["note"] = [None, "a"] * 30
    stamps.table["mixed"] = ["1", "x", None] * 20
    stamps.table.loc[10:, "field"] = np.nan
    columns = stamps.settings().labels.columns | {"note": "note", "mixed": "mixed"}
    table, _, path, _ = stamps.make(
        labels={
            "columns": columns,
            "rule": {"kind": "classes", "classes": {"a": [0, 1], "b": [2]}},
        },
        join_columns=["field"],
    )
    assert table["note"].isna().tolist() == [True, False] * 30
    assert table["mixed"].tolist()[:2] == ["1", "x"]
    assert table["group"].nunique() == 5 + 50  # rows without a field are joined to none
    assert read_for_training([path]).columns["note"].tolist()[:2] == ["", "a"]


def test_grey_is_the_mean_of_the_bands(stamps):
    _, colour, _, _ = stamps.make()
    _, grey, path, _ = stamps.make(grey=True)
    np.testing.assert_allclose(grey[:, 0], colour.astype(float).mean(axis=1), rtol=2e-3)
    assert json.loads(pq.read_schema(path).metadata[b"clusterscan"])["bands"] == ["grey"]


def test_labels_without_images_are_named_or_dropped(stamps):
    del stamps.images["05.png"]
    with pytest.raises(SourceError, match=r"stamps\.zip: 1 of 60 stamps .* '05\.png'"):
        stamps.make()
    table, _, _, counts = stamps.make(missing_images="drop")
    assert len(table) == 59
    assert counts["without_image"] == 1


def test_images_without_labels_are_named_or_ignored(stamps):
    stamps.images["stranger.png"] = picture(999)
    with pytest.raises(CatalogueError, match=r"1 of 61 images .* 'stranger\.png'"):
        stamps.make()
    assert len(stamps.make(unlabelled_images="ignore")[0]) == 60


def test_rows_that_a_cut_leaves_out_need_no_image(stamps):
    del stamps.images["59.png"]
    labels = {"cuts": [{"name": "bright", "of": "g_mag", "max": 25.0}]}
    assert len(stamps.make(labels=labels)[0]) == 51


def test_a_stamp_that_is_no_image_stops_with_its_name(stamps):
    stamps.images["05.png"] = b"#!/bin/sh"
    with pytest.raises(SourceError, match=r"stamps\.zip: 05\.png is not a JPEG or PNG"):
        stamps.make()
    assert not (stamps.root / "out" / "examples.parquet").exists()


def test_a_stamp_too_small_or_of_an_odd_scale_is_named(stamps):
    with pytest.raises(ImageError, match=r"00\.png has 20 × 20 px of 0\.5 arcsec, but 24"):
        stamps.make(size_px=12)
    with pytest.raises(ImageError, match="allow resampling"):
        stamps.make(pixel_scale_arcsec=0.8)
    assert stamps.make(pixel_scale_arcsec=0.8, resample=True)[1].shape == (60, 3, 8, 8)


def test_missing_pixels_stay_missing_and_a_stamp_without_any_value_is_named(stamps):
    gap = np.ones((3, 20, 20), np.float32)
    gap[0, 6:8, 6:8] = np.nan  # one pixel of the example
    gap[1, 6, 6] = np.nan  # a quarter of it
    stamps.table["file"] = [f"{n:02d}.fits" for n in range(60)]
    rng = np.random.default_rng(0)
    stamps.images = {
        name: fits_bytes(rng.normal(size=(3, 20, 20)), 0.5) for name in stamps.table["file"]
    }
    stamps.images["07.fits"] = fits_bytes(gap, 0.5)
    _, images, _, _ = stamps.make()
    where = np.argwhere(np.isnan(images[7]))
    assert where.tolist() == [[0, 2, 2]]
    assert np.isfinite(np.delete(images, 7, axis=0)).all()
    stamps.images["07.fits"] = fits_bytes(np.full((3, 20, 20), np.nan), 0.5)
    with pytest.raises(ImageError, match=r"07\.fits has no pixel with a value"):
        stamps.make()


def test_one_image_under_two_names_is_kept_together(stamps):
    # Types 0 and 2 are one class; six pairs of its stamps are the same file.
    for n in (0, 6, 12, 18, 24, 30):
        stamps.images[f"{n + 2:02d}.png"] = stamps.images[f"{n:02d}.png"]
    for seed in range(3):
        table = stamps.make(
            split={"kind": "objects", "validation": 0.2, "test": 0.2, "seed": seed}
        )[0].set_index("object_id")
        for n in (0, 6, 12, 18, 24, 30):
            pair = table.loc[[f"G{n:02d}", f"G{n + 2:02d}"]]
            assert pair["split"].nunique() == 1
            assert pair["group"].tolist() == [f"G{n:02d}"] * 2


def test_one_image_under_names_of_two_classes_is_refused(stamps):
    stamps.images["01.png"] = stamps.images["00.png"]
    with pytest.raises(CatalogueError, match=r"00\.png: other, 01\.png: member"):
        stamps.make()


def given_parts(stamps):
    stamps.table["part"] = ["train", "train", "train", "val", "test"] * 12
    columns = stamps.settings().labels.columns | {"part": "part"}
    split = {"kind": "column", "column": "part", "train": ["train"], "validation": ["val"]}
    return {"labels": {"columns": columns}, "split": {**split, "test": ["test"]}}


def test_a_given_split_is_taken_as_it_is_and_unknown_parts_are_named(stamps):
    given = given_parts(stamps)
    table = stamps.make(**given)[0]
    assert table["split"].value_counts().to_dict() == {"train": 36, "validation": 12, "test": 12}
    stamps.table.loc[3, "part"] = "holdout"
    with pytest.raises(CatalogueError, match="object G03, column part: 'holdout'"):
        stamps.make(**given)


def test_the_audit_stops_a_given_split_that_tears_near_objects_apart(stamps):
    given = given_parts(stamps)
    with pytest.raises(ProductError, match=r"pairs of examples within 0\.7"):
        stamps.make(**given, join_radius_arcsec=42)  # neighbours are 40" apart


def test_the_audit_stops_a_given_split_with_one_image_in_two_parts(stamps):
    given = given_parts(stamps)
    stamps.images["03.png"] = stamps.images["05.png"]  # both of class other
    with pytest.raises(ProductError, match=r"stamp-G03 = stamp-G05"):
        stamps.make(**given)


def test_joins_by_radius_columns_and_several_stamps_of_an_object(stamps):
    table = stamps.make(join_columns=["field"], labels={
        "rule": {"kind": "classes", "classes": {"a": [0, 1], "b": [2]}}})[0]  # fmt: skip
    assert (table.groupby("field")["split"].nunique() == 1).all()
    stamps.table["id"] = [f"G{n // 6:02d}-{n % 3}" for n in range(60)]
    table, _, _, _ = stamps.make()
    assert (table.groupby("object_id")["split"].nunique() == 1).all()
    assert table["example_id"].is_unique
    assert table["example_id"].iloc[:2].tolist() == ["stamp-G00-0-0", "stamp-G00-0-1"]


def test_folds_and_cells_and_a_guard_leave_no_shared_sky(stamps):
    folds = {"kind": "folds", "folds": 3, "order": 13, "test": 2, "validation": 0}
    table = stamps.make(split=folds)[0]
    assert set(table["fold"]) == {0, 1, 2}
    assert (table.loc[table["fold"] == 2, "split"] == "test").all()
    guarded, _, _, counts = stamps.make(split=folds, guard_arcsec=41)
    assert counts["guarded"] == len(table) - len(guarded) > 0
    # Neighbours 40" apart are never in two parts now, and the test part is whole.
    assert find_leakage(table, 41 / 60).close_pairs
    assert not find_leakage(guarded, 41 / 60).close_pairs
    assert (guarded["split"] == "test").sum() == (table["split"] == "test").sum()


def test_one_image_twice_keeps_together_also_by_strata(stamps):
    stamps.images["03.png"] = stamps.images["00.png"]
    split = {"kind": "objects", "validation": 0.2, "test": 0.3, "strata": "class"}
    for seed in range(3):
        table = stamps.make(split={**split, "seed": seed})[0].set_index("object_id")
        assert table.loc["G00", "split"] == table.loc["G03", "split"]


def test_data_sets_of_one_table_agree_on_parts_by_strata(stamps):
    split = {"kind": "objects", "validation": 0.2, "test": 0.3, "strata": "class", "seed": 1}
    rules = (
        {"kind": "classes", "classes": {"other": [0, 2], "member": [1]}},
        {"kind": "classes", "classes": {"zero": [0], "two": [2]}, "dropped": [1]},
    )
    first, second = (
        stamps.make(split=split, labels={"rule": rule}, unlabelled_images="ignore")[0]
        for rule in rules
    )
    part = dict(zip(first["object_id"], first["split"], strict=True))
    assert len(second) == 40
    assert [part[name] for name in second["object_id"]] == second["split"].tolist()
    share = first.groupby("class")["split"].value_counts().unstack()
    assert (share["test"] == 6).all()
    assert (share["validation"] == 4).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"join_columns": ["nothing"]}, "not in labels.columns"),
        ({"split": {"kind": "folds", "folds": 3, "test": 3, "validation": 0}}, "below folds = 3"),
        ({"split": {"kind": "objects", "validation": 0.5, "test": 0.5}}, "leaves nothing"),
        ({"source": {"extensions": {"i": "I"}}}, "one extension for each band"),
    ],
)
def test_settings_that_cannot_be_are_refused(stamps, changes, told):
    with pytest.raises(ValidationError, match=told):
        stamps.settings(**changes)


def test_positions_are_asked_for_where_they_are_needed(stamps):
    columns = {"object_id": "id", "member": "file", "class": "type"}
    labels = {"columns": columns}
    with pytest.raises(ValidationError, match="needs positions"):
        stamps.settings(labels=labels, guard_arcsec=3)
    table = stamps.make(labels=labels)[0]
    assert table["ra_deg"].isna().all()


def test_fitting_takes_whole_pixels_and_the_middle():
    planes = np.arange(2 * 12 * 10, dtype=np.float32).reshape(2, 12, 10)
    np.testing.assert_array_equal(fit_stamp(planes, 1.0, 4, 1.0), planes[:, 4:8, 3:7])
    means = planes[:, 2:10, 1:9].reshape(2, 4, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(fit_stamp(planes, 1.0, 4, 2.0), means)
    with pytest.raises(StampTooSmallError, match="10 × 12 px"):
        fit_stamp(planes, 1.0, 11, 1.0)


def test_resampling_by_areas_keeps_means_and_is_exact_for_whole_ratios():
    planes = np.random.default_rng(0).random((2, 24, 24)).astype(np.float32)
    np.testing.assert_allclose(
        _area_means(planes, 3.0, 8), fit_stamp(planes, 1.0, 8, 3.0), rtol=1e-6
    )
    whole = fit_stamp(planes, 1.0, 10, 2.4, resample=True)
    np.testing.assert_allclose(whole.mean(axis=(1, 2)), planes.mean(axis=(1, 2)), rtol=1e-6)
    finer = fit_stamp(planes, 1.0, 30, 0.8, resample=True)
    np.testing.assert_allclose(finer.mean(axis=(1, 2)), planes.mean(axis=(1, 2)), rtol=1e-6)
    # A slope stays one, about the same centre, but for its steps of whole pixels.
    slope = np.tile(np.arange(24.0, dtype=np.float32), (1, 24, 1))
    row = fit_stamp(slope, 1.0, 8, 2.5, resample=True)[0, 0]
    np.testing.assert_allclose(row, 11.5 + 2.5 * (np.arange(8) - 3.5), atol=0.06)


def real_settings(real_data, **changes):
    folder = real_data / "images/mergers"
    return StampDataset.model_validate(
        {
            "kind": "stamps",
            "source": {
                "path": str(folder / "images.zip"),
                "pixel_scale_arcsec": 0.1,
                "size_px": 423,
                "bands": ["R", "G", "B"],
            },
            "labels": {
                "path": str(folder / "labels.csv"),
                "columns": {"object_id": "objid", "member": "file", "class": "class_name"},
                "rule": {
                    "kind": "classes",
                    "classes": {
                        "other": ["elliptical", "edge_on", "spiral_cw", "spiral_acw", "dont_know"],
                        "merger": ["merger"],
                    },
                },
                **changes.pop("labels", {}),
            },
            "size_px": 70,
            "pixel_scale_arcsec": 0.6,
            "join_sdss_fields": True,
            "split": {"kind": "objects", "validation": 0.15, "test": 0.25, "strata": "class"},
            **changes,
        }
    )


def test_galaxy_zoo_mergers_become_examples_without_positions(real_data, tmp_path):
    columns = {"object_id": "objid", "member": "file", "class": "class_name", "number": "objid"}
    # Only some of the images, for time.
    cut = [{"name": "few", "of": "number", "max": 587727e12}]
    settings = real_settings(
        real_data,
        labels={"columns": columns, "cuts": cut},
        unlabelled_images="ignore",
        resample=True,
        split={"kind": "objects", "validation": 0.2, "test": 0.2},
    )
    counts = make_dataset(settings, tmp_path / "mergers.parquet")
    assert counts["rows"] == 1030
    examples = read_for_training([tmp_path / "mergers.parquet"])
    assert examples.classes == ("other", "merger")
    assert np.isnan(examples.ra_deg).all()
    assert all(name.isdecimal() and len(name) == 18 for name in examples.object_id)


def test_all_mergers_are_split_alike_and_fields_stay_whole(real_data):
    settings = real_settings(real_data)
    labels = read_label_table(settings.labels)
    assert labels.counts["class_merger"] == 81
    table, guarded = give_parts(labels.table, labels.everything, {}, settings)
    assert guarded == 0
    merger = table[table["label"] == 1]["split"].value_counts()
    assert merger.to_dict() == {"train": 49, "test": 20, "validation": 12}
    field = sdss_field(table["object_id"], "t")
    assert (pd.Series(table["split"].to_numpy()).groupby(field).nunique() == 1).all()
    assert len(np.unique(field)) == 1026
