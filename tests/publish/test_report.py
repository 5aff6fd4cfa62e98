"""The report is self-contained, escaped, the same every time, and survives missing parts."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from clusterscan.formats.catalogue_columns import catalogue_columns
from clusterscan.publish.catalogue import build_catalogue
from clusterscan.publish.report import reference_text, render_report, write_report
from clusterscan.publish.report_inputs import read_scores
from clusterscan.publish.report_quality import finding_section
from clusterscan.publish.summary import build_summary


class Page(HTMLParser):
    """Collects what the tests ask about a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.links, self.text, self.sections = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag == "img":
            self.images.append(attributes)
        if tag == "section":
            self.sections.append(attributes["id"])
        self.links += [v for k, v in attrs if k in ("href", "src")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def html(run):
    return render_report(run, gallery_count=2)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_every_section_is_there(page):
    assert page.sections == [
        "problems", "finding", "sky", "maps", "gallery", "catalogue", "examples", "training",
        "costs", "run",
    ]  # fmt: skip


def test_the_page_needs_nothing_from_outside(html, page):
    for link in page.links:
        assert link.startswith(("data:image/", "#"))
    assert "http://" not in re.sub(r"data:image/[^\"]+", "", html)
    assert "https://" not in html
    assert "@import" not in html
    assert "script" not in page.tags


def test_the_page_is_small_and_every_image_has_a_text(html, page):
    assert len(html) < 6e6
    assert len(page.images) > 20
    assert all(image["alt"].strip() for image in page.images)


def test_names_from_catalogues_cannot_break_out(html, page):
    assert "<script>" not in html
    assert "<b>cut" not in html
    assert '<script>alert("x")</script>' in "".join(page.text)


def test_equal_inputs_give_equal_bytes(run, tmp_path):
    small = dataclasses.replace(run, models=run.models[1:2], validation={})
    write_report(tmp_path / "report.html", small, gallery_count=1)
    again = render_report(small, gallery_count=1)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == again


def test_a_simulated_sky_is_announced_first(html):
    assert html.index("SIMULATED SKY") < html.index("<header>")
    assert "REAL IMAGES" not in html


def test_the_headline_compares_networks_with_the_filter(run, page):
    text = " ".join(" ".join(page.text).split())
    scores = read_scores(run.validation)
    networks = scores.combined.at(0.8).completeness.value
    filters = scores.best_filter.at(0.8).completeness.value
    assert networks > filters
    assert f"{networks:.0%} completeness, networks" in text
    assert f"{filters:.0%} completeness, plain filter" in text


def test_a_run_with_nothing_to_show_still_gives_a_page(run, tmp_path):
    columns = catalogue_columns(run.models, ["sz"], simulated=False)
    nothing = {"ra_deg": np.zeros(0), "dec_deg": np.zeros(0)}
    bare = dataclasses.replace(
        run, root=tmp_path, catalogue=build_catalogue(nothing, columns, tile_order=5),
        known=None, truth=None, validation={}, costs=(), problems=(), region_of=None,
    )  # fmt: skip
    page = Page(render_report(bare))
    assert "run" in page.sections
    text = " ".join(page.text)
    assert "no validation to show" in text
    assert "There is no map of resnet18 on unwise." in text


# --- real images ---------------------------------------------------------------------------------

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
    assert "SIMULATED SKY" not in html
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
    summary = build_summary(real)
    finder = summary["completeness_and_purity"]["networks"]
    assert finder["completeness_in_bins"]["rmag"][0] == {
        "from": 14.0, "to": 18.0, "n": 4, "value": 0.75, "low": 0.1, "high": 0.8,
    }  # fmt: skip
    assert finder["purity_in_bins"]["rmag"][1]["value"] is None
    assert "real (observed) sky" in summary["headline"][0]
