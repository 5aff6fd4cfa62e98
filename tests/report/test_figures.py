"""Figures: drawn from whatever there is, the same bytes each time, nothing outside the axes."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from clusterscan.core.errors import ProductError
from clusterscan.measure.breakdown import recall_rows
from clusterscan.measure.labelled import labelled
from clusterscan.measure.scores import metrics_of
from clusterscan.report import classifier_plots as plots
from clusterscan.report import look, training_plots
from clusterscan.report import stamp_gallery as gallery
from clusterscan.report.stretch import NO_DATA, as_rgb, on_image, overlaid

HISTORY = [
    {"epoch": e, "loss": 1 / e, "validation_loss": 1.2 / e, "learning_rate": 0.1 / e,
     "validation_roc_auc": 1 - 0.3 / e, "validation_accuracy": None, "stage": s}
    for e, s in ((1, "head"), (2, "head"), (3, "all"))
]  # fmt: skip
CURVE = {"learning_rate": [1e-4, 1e-3, 1e-2, 1e-1], "loss": [0.7, 0.6, 0.4, 3.0], "chosen": 3e-3}


@dataclass
class Curve:
    learning_rate: list
    loss: list
    chosen: float


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    monkeypatch.setattr(look, "DPI", 40)


def every_figure(folder):
    rng = np.random.default_rng(11)
    chance = rng.random(80)
    binary = (rng.random(80) < chance).astype(int), chance
    four_classes = rng.integers(4, size=80), rng.dirichlet(np.ones(4), 80)
    two = metrics_of(labelled(*binary, ("field", "cluster")), bootstrap=20)
    four = metrics_of(labelled(*four_classes, "abcd"), bootstrap=20)
    empty = metrics_of(labelled([], [], "ab"))
    rows = recall_rows(np.arange(9) % 2 == 0, np.arange(9), edges=(0, 4, 6, 8, 20))
    groups = recall_rows(
        np.arange(9) % 2 == 0, np.array(list("aabbbccca")), parts=np.array(list("xyxyxyxyx"))
    )
    draw_gallery(folder / "gallery.png")
    training_plots.plot_history(HISTORY, folder / "history.png", best_epoch=2)
    training_plots.plot_history(HISTORY[:1], folder / "short.png")
    training_plots.plot_range_test(CURVE, folder / "range.png", used=1e-4)
    training_plots.plot_range_test(
        [{**CURVE, "stage": "head"}, Curve(**CURVE)], folder / "ranges.svg"
    )
    training_plots.plot_range_test(None, folder / "no_range.png")
    plots.plot_roc_and_precision({"test": two, "none": empty, "four": four}, folder / "roc.png")
    plots.plot_roc_and_precision({}, folder / "no_roc.png")
    plots.plot_reliability({"test": two, "none": empty, "four": four}, folder / "reliability.pdf")
    plots.plot_probabilities(*binary, ("field", "cluster"), folder / "two.png")
    plots.plot_probabilities(*four_classes, "abcd", folder / "four.png", of=2)
    plots.plot_probabilities(np.empty(0), np.empty(0), "ab", folder / "nothing.png")
    plots.plot_confusion(four, folder / "confusion.png")
    plots.plot_confusion(empty, folder / "confusion0.png")
    plots.plot_recall({"a": rows, "b": rows[:2]}, folder / "recall.png", title="Redshift")
    plots.plot_recall({"a": rows[1:]}, folder / "log.png", title="Mass", log=True)
    plots.plot_recall({"a": groups}, folder / "group.png", title="Region")
    plots.plot_recall({"a": []}, folder / "no_recall.png", title="Redshift")


def draw_gallery(path, count=3):
    rng = np.random.default_rng(1)
    sky, heat = rng.normal(size=(2, 20, 20)), rng.random((5, 5))
    pair = (
        gallery.stamp(sky, "nJy", name="infrared", pixel_scale_arcsec=3.0, attribution=heat),
        gallery.stamp(sky[:1], "uK_CMB", name="microwave", pixel_scale_arcsec=30.0),
    )
    entries = [gallery.Entry(f"a long name of example {n}", "p = 0.9", pair) for n in range(count)]
    gallery.plot_gallery({"true positives": entries, "false positives": []}, path, title="x")


def test_every_figure_can_be_drawn_with_much_little_or_nothing(tmp_path):
    every_figure(tmp_path)
    assert len(list(tmp_path.iterdir())) == 18


def test_figures_are_the_same_bytes_each_time(tmp_path):
    once = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        for kind in ("png", "svg", "pdf"):
            training_plots.plot_range_test(CURVE, folder / f"range.{kind}")
        draw_gallery(folder / "gallery.png", count=1)
        once.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()})
    assert len(once[0]) == 4
    assert once[0] == once[1]


def test_the_history_of_the_range_test_marks_the_rate_chosen(tmp_path):
    training_plots.plot_range_test(CURVE, tmp_path / "range.svg", used=CURVE["chosen"])
    training_plots.plot_range_test(CURVE, tmp_path / "other.svg", used=1e-4)
    assert (tmp_path / "range.svg").read_bytes() != (tmp_path / "other.svg").read_bytes()


def test_the_most_confident_are_the_surest_of_each_kind():
    label = np.array([1, 1, 1, 0, 0, 0, 1])
    probability = np.array([0.9, 0.6, 0.1, 0.2, 0.8, 0.7, 0.95])
    data = labelled(label, probability, ("no", "yes"))
    found = {k: v.tolist() for k, v in gallery.most_confident(data, 2).items()}
    assert found == {
        "true positives": [6, 0],
        "false positives": [4, 5],
        "false negatives": [2],
        "true negatives": [3],
    }


def test_the_most_confident_show_each_object_once():
    label, probability = np.ones(4, dtype=int), np.array([0.7, 0.9, 0.8, 0.6])
    data = labelled(label, probability, ("no", "yes"), groups=np.array(["x", "x", "y", "y"]))
    assert gallery.most_confident(data, 5)["true positives"].tolist() == [1, 2]


def test_the_most_confident_of_one_class_among_many():
    probability = np.array([[0.1, 0.2, 0.7], [0.3, 0.1, 0.6], [0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])
    data = labelled(np.array([2, 0, 2, 0]), probability, "abc")
    found = {k: v.tolist() for k, v in gallery.most_confident(data, 2, positive=2).items()}
    assert list(found.values()) == [[0], [1], [2], [3]]
    assert gallery.caption(data, 1, positive=2) == "p = 0.600 (a)"
    assert gallery.caption(data, 3, positive=2) == "p < 0.001 (a)"


def test_images_for_display_are_shown_as_they_are_first_row_at_the_bottom():
    image = np.zeros((3, 2, 2))
    image[:, 0, 1] = (10, 20, 300)  # lower right
    found = as_rgb(image, "display")
    assert found[1, 1].tolist() == [10, 20, 255]
    assert found[0].sum() == 0


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
@pytest.mark.parametrize("unit", ["nanomaggy", "uK_CMB", "display", ""])
def test_any_number_of_bands_in_any_unit_makes_an_image(bands, unit):
    image = np.random.default_rng(1).normal(size=(bands, 9, 7))
    image[0, 0, 0] = np.nan
    found = as_rgb(image, unit)
    assert (found.shape, found.dtype) == ((9, 7, 3), np.uint8)
    assert tuple(found[-1, 0]) == NO_DATA
    assert (as_rgb(np.full_like(image, np.nan), unit) == NO_DATA).all()
    assert len(np.unique(as_rgb(np.zeros_like(image), unit))) <= 3


def test_a_stretched_image_does_not_depend_on_its_unit_of_brightness():
    image = np.random.default_rng(1).normal(size=(3, 16, 16))
    image[:, 8, 8] = 50.0
    np.testing.assert_array_equal(as_rgb(image), as_rgb(1e-6 * image + 3.0))


def test_a_red_source_is_red_and_a_cold_spot_blue():
    image = np.random.default_rng(1).normal(0, 0.1, (3, 15, 15))
    image[2, 7, 7] += 30  # the band with the longest wavelength comes last
    red, _, blue = as_rgb(image)[7, 7].astype(int)
    assert red > blue + 100
    cold = np.random.default_rng(1).normal(0, 1.0, (2, 15, 15))
    cold[:, 7, 7] = -8
    red, _, blue = as_rgb(cold, "uK")[7, 7].astype(int)
    assert blue > red + 50


def test_attribution_lies_where_its_image_is():
    weight = np.zeros((4, 4))
    weight[0, 3] = 1.0  # lower right
    large = on_image(weight, (40, 80))
    assert large.shape == (40, 80)
    assert np.unravel_index(large.argmax(), large.shape)[0] >= 30
    assert np.unravel_index(large.argmax(), large.shape)[1] >= 60
    assert (large.min(), large.max()) == (0, pytest.approx(1, abs=0.1))
    image = np.full((40, 80, 3), 100, dtype=np.uint8)
    shown = overlaid(image, np.where(weight > 0, weight, np.nan))
    assert len(np.unique(shown[0, 0])) == 1  # grey where nothing mattered
    assert len(np.unique(shown[-1, -1])) == 3


def test_images_with_wrong_axes_are_refused():
    with pytest.raises(ProductError, match="image \\(4, 4\\)"):
        gallery.stamp(np.zeros((4, 4)))
    with pytest.raises(ProductError, match="attribution \\(2, 2, 2\\)"):
        gallery.stamp(np.zeros((1, 4, 4)), attribution=np.zeros((2, 2, 2)))


def test_an_empty_gallery_is_still_a_picture(tmp_path):
    gallery.plot_gallery({}, tmp_path / "empty.png")
    assert Image.open(tmp_path / "empty.png").size[0] > 100


def test_a_legend_of_long_names_stays_within_the_figure():
    figure, axes = plt.subplots(figsize=(5.6, 4), layout="constrained")
    for number in range(4):
        axes.plot([0, 1], label=f"Baseline, our training, each galaxy tested once, {number}")
    look.legend_below(figure, axes, columns=3)
    figure.canvas.draw()
    (legend,) = figure.legends
    shown = legend.get_window_extent()
    plt.close(figure)
    assert 0 <= shown.x0 < shown.x1 <= figure.bbox.width
