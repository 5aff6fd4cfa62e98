"""The figures of a study's report, PNG files below ``plots``, and its galleries of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clusterscan.measure.breakdown import recall_by
from clusterscan.measure.labelled import class_probability, to_labelled
from clusterscan.networks.attribution import attribute
from clusterscan.networks.card import load_model
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.report import look
from clusterscan.report.classifier_plots import (
    plot_confusion,
    plot_probabilities,
    plot_recall,
    plot_reliability,
    plot_roc_and_precision,
)
from clusterscan.report.document import Picture
from clusterscan.report.stamp_gallery import (
    Entry,
    Stamp,
    caption,
    most_confident,
    plot_gallery,
    stamp,
)
from clusterscan.report.training_plots import plot_history, plot_range_test
from clusterscan.train.examples import Examples
from clusterscan_studies.colour_magnitude import REGIONS, colour_magnitude_regions
from clusterscan_studies.config.study import ColourMagnitude, RecallBy
from clusterscan_studies.results import Outcome

MOST_CURVES = 5  # of repeats in one figure
_REGION = "colour-magnitude region"


def experiment_figures(
    outcome: Outcome, metrics: Mapping[int, Mapping[str, Any]], folder: Path
) -> list[Picture]:
    """Draw the figures of one experiment.

    Parameters
    ----------
    outcome : Outcome
        The trained networks of the experiment.
    metrics : mapping of int to mapping
        Measures of the test part by seed.
    folder : Path
        Folder of the PNG files.
    """
    title, first = outcome.title, outcome.first
    few = {f"repeat {n}": m for n, m in enumerate(list(metrics.values())[:MOST_CURVES], start=1)}
    file = folder / "history.png"
    plot_history(first.history["epochs"], file, best_epoch=first.card["training"].get("best_epoch"))
    caption = "First repeat; the epoch whose weights were kept is marked."
    drawn = [look.file_picture(file, f"Training of {title} by epoch", caption, wide=True)]
    if first.range_tests:
        file = folder / "range_test.png"
        plot_range_test(first.range_tests, file)
        chosen = ", ".join(f"{test['chosen']:.2g}" for test in first.range_tests)
        caption = f"Learning-rate range test; the optimiser got the chosen rate: {chosen}."
        drawn.append(look.file_picture(file, f"Range test of {title}", caption))
    file = folder / "roc_precision.png"
    plot_roc_and_precision(few, file)
    alt = f"ROC and precision-recall curves of {title}"
    drawn.append(look.file_picture(file, alt, "Test part.", wide=True))
    file = folder / "reliability.png"
    plot_reliability(few, file)
    caption = "Predicted probabilities, and the share of correct predictions."
    drawn.append(look.file_picture(file, f"Reliability of {title}", caption))
    file = folder / "confusion.png"
    plot_confusion(next(iter(metrics.values())), file)
    caption = "Test part of the first repeat."
    drawn.append(look.file_picture(file, f"Confusion matrix of {title}", caption))
    if len(outcome.classes) == 2:
        file = folder / "probabilities.png"
        seed, table = next(iter(outcome.tested.items()))
        probability = class_probability(table, outcome.classes)
        plot_probabilities(table["label"].to_numpy(), probability, outcome.classes, file)
        caption = f"Test part of the first repeat (seed {seed}), by true class."
        drawn.append(look.file_picture(file, f"Histogram of probabilities of {title}", caption))
    return drawn


def recall_figure(
    outcomes: Sequence[Outcome], settings: RecallBy, folder: Path, name: str
) -> Picture | None:
    """Draw the recall of experiments by a column; None if none of them has it."""
    named = {}
    for outcome in outcomes:
        _, table = next(iter(outcome.tested.items()))
        column = settings.column or _REGION
        if settings.regions is not None:
            table = _with_regions(table, settings.regions)
        if column in table.columns and len(outcome.classes) == 2:
            named[outcome.title] = recall_by(
                table,
                column,
                outcome.classes,
                edges=settings.edges,
                categories=None if settings.regions is None else REGIONS,
            )
    if not named:
        return None
    file = folder / f"recall_{name}.png"
    plot_recall(named, file, title=settings.title)
    alt = f"Recall by {settings.title} of {len(named)} experiments"
    survey = f", {outcomes[0].survey}" if outcomes[0].survey else ""
    text = f"Recall by {settings.title}{survey}; first repeat of each experiment."
    return look.file_picture(file, alt, text, wide=True)


def _with_regions(table: pd.DataFrame, settings: ColourMagnitude) -> pd.DataFrame:
    """Add the colour-magnitude region of each example, if the table has the columns for it."""
    if not {*settings.colour, settings.magnitude} <= set(table.columns):
        return table
    colour = np.zeros(len(table))
    for column, factor in settings.colour.items():
        colour += factor * table[column].to_numpy(float)
    magnitude = table[settings.magnitude].to_numpy(float)
    return table.assign(**{_REGION: colour_magnitude_regions(colour, magnitude, settings.sequence)})


def gallery_figure(outcome: Outcome, examples: Examples, count: int, file: Path) -> Picture:
    """Draw the gallery of an experiment's first repeat.

    Parameters
    ----------
    outcome : Outcome
        The trained networks of the experiment.
    examples : Examples
        Its training and test examples.
    count : int
        Examples of each kind.
    file : Path
        The PNG file.
    """
    training = outcome.first
    table = training.predictions("test")
    data = to_labelled(table, outcome.classes)
    chosen = most_confident(data, count)
    rows = np.concatenate([*chosen.values()]).astype(int)
    # Predictions are stored by example id, in an order of their own.
    row_of = {name: row for row, name in enumerate(examples.example_id.tolist())}
    places = np.array([row_of[name] for name in table["example_id"].iloc[rows]], dtype=int)
    shown = _stamps(training.folder, examples, places, data.positive)
    pictures = dict(zip(rows.tolist(), shown, strict=True))
    names = table["object_id"].where(table["object_id"] != "", table["example_id"]).to_numpy()
    groups = {
        kind: [Entry(str(names[row]), caption(data, row), pictures[int(row)]) for row in found]
        for kind, found in chosen.items()
    }
    plot_gallery(groups, file)
    return look.file_picture(
        file,
        f"Most confident right and wrong answers of {outcome.title}",
        f"{outcome.label}: first repeat, test part. Below each image: the parts of it that raise "
        "the probability of the class of interest.",
        colours=256,
        wide=True,
    )


def _stamps(
    folder: Path, examples: Examples, rows: np.ndarray, target: int
) -> list[tuple[Stamp, ...]]:
    """Return the images of examples with attribution, one for each view that has an image."""
    network, card = load_model(folder)
    images = [
        centre(view.images[rows].astype(np.float32), size)
        for view, size in zip(examples.views, network.sizes_px, strict=True)
    ]
    # The same crop and normalisation as in training: an attribution map of other inputs would
    # explain another network.
    inputs = [
        torch.from_numpy(apply(image, Normalisation.from_json(seen["normalisation"])))
        for image, seen in zip(images, card["views"], strict=True)
    ]
    there = np.stack([view.present[rows] for view in examples.views], axis=1)
    found: list[list[Stamp]] = [[] for _ in rows]
    for index, view in enumerate(examples.views):
        maps = attribute(network, index, inputs, target, present=torch.from_numpy(there))
        for at in np.flatnonzero(there[:, index]):
            shown = stamp(
                images[index][at],
                view.unit,
                name=view.name if len(examples.views) > 1 else "",
                pixel_scale_arcsec=view.pixel_scale_arcsec,
                attribution=maps[at],
            )
            found[at].append(shown)
    return [tuple(stamps) for stamps in found]


def centre(images: np.ndarray, size_px: int) -> np.ndarray:
    """Return the central pixels of images (..., M, M), as training crops them."""
    first = (images.shape[-1] - size_px) // 2
    window = slice(first, first + size_px)
    return images[..., window, window]
