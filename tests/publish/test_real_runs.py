"""Runs on real, small, finely resolved images: colours, arcseconds, bins, and what is said."""

import dataclasses

import numpy as np
import pytest

from clusterscan.publish import report_gallery as gallery
from clusterscan.publish.report import reference_text, render_report
from clusterscan.publish.report_inputs import read_scores
from clusterscan.publish.report_quality import finding_section
from clusterscan.publish.summary import build_summary

CATALOGS = [{"name": "members", "role": "known"}, {"name": "truth", "role": "truth"}]
EDGES = [14.0, 18.0, 20.0]


def fraction(k, n):
    return {"k": k, "n": n, "value": [a / b if b else None for a, b in zip(k, n, strict=True)]}


def validation():
    rmag = {"column": "rmag", "edges": EDGES, "low": [0.1, 0.2], "high": [0.8, 0.9]}
    method = {
        "reference": {"threshold": 0.4},
        "bins": {
            "completeness": [{**rmag, **fraction([3, 1], [4, 2])}],
            "purity": [{**rmag, **fraction([3, 0], [5, 0])}],
        },
        "curve": {"completeness": [0.5], "purity": [0.5]},
    }
    return {"methods": {"networks": method}, "reference_purity": 0.5, "confidence": 0.68}


@pytest.fixture(scope="module")
def real(run):
    release = dataclasses.replace(run.release, simulated=False, area_deg2=0.2345)
    return dataclasses.replace(
        run, release=release, config={"catalogs": CATALOGS}, validation=validation(),
        models=(), problems=(), truth=None,
    )  # fmt: skip


def test_a_report_on_real_images_says_so_first_and_names_its_reference(real):
    html = render_report(real, gallery_count=0)
    assert html.index("REAL IMAGES") < html.index("<header>")
    assert reference_text(real) == "the catalogue truth"
    assert "0.23 deg²" in html


def test_without_a_truth_catalogue_the_known_ones_are_the_reference(real):
    known = dataclasses.replace(real, config={"catalogs": CATALOGS[:1]})
    assert reference_text(known) == "the catalogue members"
    assert reference_text(dataclasses.replace(real, config={})) == "a reference catalogue"


def test_completeness_and_purity_in_magnitude_bins_stand_in_report_and_summary(real):
    scores = read_scores(real.validation)
    tables = finding_section(scores, simulated=False).tables
    complete, pure = (t for t in tables if "r magnitude" in t.header)
    assert complete.rows[0] == ["14 to 18", "4", "75.0% (10.0% to 80.0%)"]
    assert pure.rows[0] == ["14 to 18", "60.0% (10.0% to 80.0%) of 5"]
    assert pure.rows[1] == ["18 to 20", "–"]
    summary = build_summary(
        release=real.release, title="x", catalogue=real.catalogue, models=(), scores=scores,
        n_tiles=2,
    )  # fmt: skip
    finder = summary["completeness_and_purity"]["networks"]
    assert finder["completeness_in_bins"]["rmag"][0] == {
        "from": 14.0, "to": 18.0, "n": 4, "value": 0.75, "low": 0.1, "high": 0.8,
    }  # fmt: skip
    assert finder["purity_in_bins"]["rmag"][1]["value"] is None
    assert "real (observed) sky" in summary["headline"][0]


@pytest.mark.parametrize(("width", "bar"), [(0.8, "10″"), (5.5, "2′"), (0.2, "2″"), (30, "10′")])
def test_bars_have_round_lengths_in_arcseconds_or_arcminutes(width, bar):
    rgb = np.zeros((gallery.SIDE_PX, gallery.SIDE_PX, 3), dtype=np.uint8)
    assert gallery.marked_picture(rgb, "sdss", width, "x").caption == f"sdss, bar {bar}"
