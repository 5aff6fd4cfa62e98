"""What the page says of gaps and costs, and how the published figures are judged."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clusterscan.measure.combined_table import Run, combined_table
from clusterscan.report.document import Details, to_html, to_markdown
from clusterscan.report.look import file_picture
from clusterscan_studies.measures import differences
from clusterscan_studies.page import (
    MARKDOWN_SECTIONS,
    gap_section,
    reduced_section,
    study_document,
)


def row(accuracies, published, half=0.03):
    """Return the combined table of one experiment with an accuracy a seed."""
    runs = [
        Run(
            "net", {"accuracy": a, "intervals": {"accuracy": [a - half, a + half]}},
            seed=seed, title="Net", published={"accuracy": published},
        )
        for seed, a in enumerate(accuracies)
    ]  # fmt: skip
    return combined_table(runs, ["accuracy"])


def test_a_difference_counts_seeds_test_objects_and_the_papers_own_spread():
    (record,) = row([0.80, 0.84, 0.88], (0.90, 0.02)).to_dict("records")
    (found,) = differences(record, ["accuracy"])
    assert found.difference == pytest.approx(-0.06)
    assert found.sigma == pytest.approx(math.sqrt(0.03**2 + 0.04**2 + 0.02**2))
    assert not found.is_large


def test_a_gap_without_any_explanation_is_named():
    table = row([0.50, 0.52], (0.90, 0.02))
    open_gap = gap_section(table, [], ["accuracy"])
    assert open_gap.notes == ["Not explained yet: Net."]
    of_another = [{"experiments": ("other",), "text": "Not this one."}]
    assert gap_section(table, of_another, ["accuracy"]).notes == ["Not explained yet: Net."]
    own = [{"experiments": ("net",), "text": "Few examples."}]
    explained = gap_section(table, own, ["accuracy"])
    assert explained.notes == []
    assert explained.tables[0].rows[0][2] == "Few examples."
    assert gap_section(row([0.89, 0.91], (0.90, 0.02)), [], ["accuracy"]).notes == []


def test_the_full_form_reduces_nothing():
    assert reduced_section(()).is_empty


def test_a_page_says_that_it_is_reduced_and_carries_its_pictures(tmp_path: Path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    picture = file_picture(tmp_path / "a.png", "squares", "A caption")
    assert picture.uri.startswith("data:image/png;base64,")
    study = {
        "title": "T & T", "about": "a", "simulated": False, "data_note": "Real stamps.",
        "seed": 1, "paper": {"authors": "B", "year": 2020, "title": "C", "reference": "D"},
    }  # fmt: skip
    stage = {"name": "t", "study": study, "quick": True, "reduced": [("a.b", "2", "1")]}
    details = [Details("Net", pictures=[picture])]
    text = to_html(study_document(stage, [], details))
    assert picture.uri in text
    assert "<h1>T &amp; T</h1>" in text
    assert "REDUCED FORM" in text
    assert "REAL IMAGES" in text
    full = to_html(study_document(stage | {"quick": False}, [], details))
    assert "REDUCED FORM" not in full


def test_a_measure_that_is_not_there_makes_no_difference():
    assert differences({"accuracy": math.nan, "accuracy_published": 0.9}, ["accuracy"]) == []
    assert differences(pd.Series({"recall": 0.5}).to_dict(), ["recall"]) == []


def test_the_markdown_twin_has_the_tables_and_says_what_is_simulated():
    paper = {"authors": "A. Author", "year": 2020, "title": "On", "reference": "J 1"}
    study = {
        "title": "T", "about": "a", "simulated": True, "data_note": "Note.", "paper": paper,
        "seed": 1,
    }  # fmt: skip
    section = gap_section(row([0.50, 0.52], (0.90, 0.02)), [], ["accuracy"])
    stage = {"name": "t", "study": study, "quick": True, "reduced": ()}
    text = to_markdown(study_document(stage, [section], []), MARKDOWN_SECTIONS)
    assert "**SIMULATED IMAGES.** Note." in text
    assert "| Net | accuracy −0.390" in text
    assert "Not explained yet: Net." in text
