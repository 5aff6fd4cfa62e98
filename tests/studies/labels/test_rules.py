"""Rules give the classes that their definitions say, and name what does not fit."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from clusterscan.core.errors import CatalogueError
from clusterscan_studies.config.labels import ClassMap, Cut, LabelSettings, RedshiftWindows
from clusterscan_studies.labels.rules import apply_cuts, by_classes, by_redshift
from clusterscan_studies.labels.table import read_label_table


def test_seven_classes_become_two_whatever_their_spelling():
    rule = ClassMap(kind="classes", classes={"other": [0, 1, 2, 6], "member": [3, 5]}, dropped=[4])
    want = [0, 0, 0, 1, -1, 1, 0]
    for values in (range(7), np.arange(7.0), [str(n) for n in range(7)], [" 0", *"123456"]):
        table = pd.DataFrame({"class": list(values)})
        labels = by_classes(table, rule, "labels.csv")
        assert labels.label.tolist() == want
        assert labels.counts == {"class_dropped": 1, "class_unknown": 0}
    assert labels.classes == ("other", "member")


def test_a_class_that_nobody_mapped_is_named_with_its_object():
    rule = ClassMap(kind="classes", classes={"a": ["x"], "b": ["y"]})
    table = pd.DataFrame({"object_id": ["G1", "G2"], "class": ["x", "z"]})
    with pytest.raises(CatalogueError, match=r"labels\.csv: object G2, column class: 'z'"):
        by_classes(table, rule, "labels.csv")
    lenient = rule.model_copy(update={"others": "drop"})
    assert by_classes(table, lenient, "labels.csv").label.tolist() == [0, -1]


def test_redshift_windows_part_stars_members_and_background():
    rule = RedshiftWindows(
        kind="redshift",
        windows={"star": (None, 0.01), "member": (0.01, 0.033), "background": (0.033, None)},
        classes={"other": ["star", "background"], "member": ["member"]},
        unknown=[-9.0],
    )
    z = [-0.0004, 0.0, 0.00999, 0.01, 0.0179, 0.03299, 0.033, 1.2, np.nan, -9.0]
    labels = by_redshift(pd.DataFrame({"redshift": z}), rule, "t")
    assert labels.label.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, -1, -1]
    assert labels.counts == {"redshift_unknown": 2, "redshift_outside": 0}


@pytest.mark.parametrize(
    ("windows", "told"),
    [
        ({"a": (0.0, 0.02), "b": (0.01, 0.03)}, "overlap"),
        ({"a": (0.02, 0.01), "b": (0.03, 0.04)}, "empty"),
    ],
)
def test_windows_that_overlap_or_are_empty_are_refused(windows, told):
    with pytest.raises(ValidationError, match=told):
        RedshiftWindows(kind="redshift", windows=windows)


def test_cuts_keep_their_limits_and_count_what_they_drop():
    table = pd.DataFrame({"r": [19.4, 19.41, 18.0, np.nan], "g": [20.0, 20.0, 21.0, 22.0]})
    cuts = [
        Cut(name="bright", of="r", max=19.4),
        Cut(name="red", of={"g": 1, "r": -1}, max=1.0),
    ]
    kept, counts = apply_cuts(table, cuts, "t")
    assert kept["r"].tolist() == [19.4]
    assert counts == {"cut_bright": 2, "cut_red": 1}
    lenient = [Cut(name="bright", of="r", max=19.4, unknown="keep")]
    assert apply_cuts(table, lenient, "t")[1] == {"cut_bright": 1}


def test_a_cut_that_leaves_nothing_or_finds_no_number_says_so():
    table = pd.DataFrame({"object_id": ["G1", "G2"], "r": ["19", "faint"]})
    with pytest.raises(CatalogueError, match=r"object G2, column r: 'faint' is no number"):
        apply_cuts(table, [Cut(name="c", of="r", max=20)], "t.csv")
    with pytest.raises(CatalogueError, match="leaves no row"):
        apply_cuts(pd.DataFrame({"r": [1.0]}), [Cut(name="c", of="r", min=2)], "t.csv")
    with pytest.raises(CatalogueError, match="needs the column q"):
        apply_cuts(table, [Cut(name="c", of="q", min=2)], "t.csv")


def label_settings(tmp_path, table, **changes):
    table.to_csv(tmp_path / "labels.csv", index=False)
    values = {
        "path": str(tmp_path / "labels.csv"),
        "columns": {
            "object_id": "id",
            "member": "file",
            "ra_deg": "ra",
            "dec_deg": "dec",
            "class": "type",
        },
        "rule": {"kind": "classes", "classes": {"other": [0], "member": [1]}},
        **changes,
    }
    return LabelSettings.model_validate(values)


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "id": ["A", "A", "B", "C"],
            "file": ["a1.png", "a2.png", "b.png", "c.png"],
            "ra": [10.0, 10.0, -10.0, 200.0],
            "dec": [0.0, 0.0, 45.0, -45.0],
            "type": [1, 1, 0, 0],
        }
    )


def test_one_object_may_have_several_stamps_but_one_class(tmp_path, table):
    found = read_label_table(label_settings(tmp_path, table))
    assert found.table["label"].tolist() == [1, 1, 0, 0]
    assert found.table["ra_deg"].tolist() == [10.0, 10.0, 350.0, 200.0]
    assert found.counts["class_member"] == 2
    table.loc[1, "type"] = 0
    with pytest.raises(CatalogueError, match=r"A \(a1\.png: member, a2\.png: other\)"):
        read_label_table(label_settings(tmp_path, table))


def test_a_class_without_members_names_the_file_and_the_cuts(tmp_path, table):
    cuts = [{"name": "west", "of": "ra_deg", "min": 100}]
    settings = label_settings(tmp_path, table, cuts=cuts)
    with pytest.raises(CatalogueError, match=r"labels\.csv: class member has no members .*'west'"):
        read_label_table(settings)


def test_repeated_files_empty_ids_and_impossible_places_are_refused(tmp_path, table):
    with pytest.raises(CatalogueError, match=r"'a1\.png' stands in column file twice"):
        read_label_table(label_settings(tmp_path, pd.concat([table, table.iloc[:1]])))
    with pytest.raises(CatalogueError, match=r"row 3, column id is empty"):
        read_label_table(label_settings(tmp_path, table.assign(id=["A", "A", " ", "C"])))
    placeless = table.assign(dec=[0.0, 0.0, 450.0, -45.0])
    with pytest.raises(CatalogueError, match="450"):
        read_label_table(label_settings(tmp_path, placeless))
    dropped = read_label_table(label_settings(tmp_path, placeless, bad_rows="drop", rule={
        "kind": "classes", "classes": {"other": [0], "member": [1]}}))  # fmt: skip
    assert dropped.table["member"].tolist() == ["a1.png", "a2.png", "c.png"]
    assert dropped.counts["dropped_positions"] == 1


def test_long_identifiers_survive_and_rounded_ones_are_refused(tmp_path, table):
    ids = [588023670779740411, 588023670779740411, 588023670779740412, 588023670779740413]
    found = read_label_table(label_settings(tmp_path, table.assign(id=ids)))
    assert found.table["object_id"].tolist() == [str(n) for n in ids]
    with pytest.raises(CatalogueError, match="decimal numbers"):
        read_label_table(label_settings(tmp_path, table.assign(id=[*ids[:3], np.nan])))


def test_a_catalogue_nearby_makes_the_label_and_brings_columns(tmp_path, table):
    catalogue = pd.DataFrame({"RA": [370.0 - 360, 200.0], "DE": [1 / 3600, -45.0], "Z": [0.02, 9]})
    catalogue.to_csv(tmp_path / "known.csv", index=False)
    known = {
        "name": "known",
        "kind": "generic",
        "path": str(tmp_path / "known.csv"),
        "format": "csv",
        "columns": {"ra_deg": "RA", "dec_deg": "DE", "z": "Z"},
    }
    rule = {
        "kind": "match",
        "catalogue": known,
        "radius_arcsec": 2.0,
        "matched": "cluster",
        "others": "field",
    }
    attach = [{"catalogue": known, "radius_arcsec": 2.0, "columns": {"redshift": "z"}}]
    settings = label_settings(tmp_path, table, rule=rule, attach=attach)
    found = read_label_table(settings)
    assert found.classes == ("field", "cluster")
    assert found.table["label"].tolist() == [1, 1, 0, 1]
    np.testing.assert_array_equal(found.table["redshift"], [0.02, 0.02, np.nan, 9.0])
    # One to one, the entry goes to one row alone.
    single = label_settings(tmp_path, table, rule={**rule, "one_to_one": True})
    with pytest.raises(CatalogueError, match="different classes"):
        read_label_table(single)


def test_perseus_loses_as_many_galaxies_as_published(real_data):
    """Pruitt: 272 objects at r < 19.4, 230 of them without the red ones."""
    settings = LabelSettings.model_validate(
        {
            "path": str(real_data / "images/perseus/pcc_labels.csv"),
            "columns": {
                "object_id": "id",
                "member": "stamp200",
                "ra_deg": "ra",
                "dec_deg": "dec",
                "class": "class7",
                "r_mag": "rmag",
                "g_r": "c12",
                "r_z": "c13",
            },
            "cuts": [
                {"name": "bright", "of": "r_mag", "max": 19.4},
                {"name": "red", "of": {"g_r": 1, "r_z": 1}, "max": 1.8, "unknown": "keep"},
            ],
            "rule": {
                "kind": "classes",
                "classes": {"other": [0, 1, 2, 6], "member": [3, 5]},
                "dropped": [4],
            },
        }
    )
    found = read_label_table(settings)
    assert 5437 - found.counts["cut_bright"] == 272
    assert 272 - found.counts["cut_red"] == 230
    assert found.counts["class_dropped"] == 2
    assert found.counts["class_member"] == 122
    assert len(found.table) == 228
