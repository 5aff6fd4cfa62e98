"""The report is self-contained, escaped, the same every time, and survives missing parts."""

import dataclasses
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from clusterscan.formats.catalogue_columns import catalogue_columns
from clusterscan.publish.catalogue import build_catalogue
from clusterscan.publish.report import render_report, write_report
from clusterscan.publish.report_gallery import gallery_section
from clusterscan.publish.report_inputs import read_scores


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


def test_the_same_inputs_give_the_same_bytes(run, html, tmp_path):
    write_report(tmp_path / "report.html", run, gallery_count=2)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html


def test_a_simulated_sky_is_announced_first_and_a_real_one_is_not(run, html):
    assert html.index("SIMULATED SKY") < html.index("<header>")
    release = dataclasses.replace(run.release, simulated=False)
    real = dataclasses.replace(run, release=release, models=(), problems=())
    assert "SIMULATED SKY" not in render_report(real, gallery_count=0)


def test_the_headline_compares_networks_with_the_filter(run, page):
    text = " ".join(" ".join(page.text).split())
    scores = read_scores(run.validation)
    networks = scores.combined.at(0.8).completeness.value
    filters = scores.best_filter.at(0.8).completeness.value
    assert networks > filters
    assert f"{networks:.0%} completeness, networks" in text
    assert f"{filters:.0%} completeness, plain filter" in text


def test_the_gallery_tells_true_from_false(page):
    text = " ".join(page.text)
    for title in ("New clusters", "Known clusters found again", "False candidates"):
        assert title in text


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


def test_a_damaged_image_does_not_stop_the_report(run, tmp_path):
    shutil.copytree(run.root, tmp_path / "run")
    for path in (tmp_path / "run" / "tiles").rglob("*.fits"):
        path.write_bytes(b"no FITS file")
    damaged = dataclasses.replace(run, root=tmp_path / "run")
    section = gallery_section(damaged, read_scores(run.validation), 1)
    # The maps are whole, so each card still shows one picture a model.
    assert {len(card.pictures) for group in section.groups for card in group.cards} == {4}
