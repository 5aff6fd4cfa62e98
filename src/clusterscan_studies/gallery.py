"""The most confident right and wrong answers of an experiment, with what the network looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from clusterscan.measure.labelled import to_labelled
from clusterscan.networks.attribution import attribute
from clusterscan.networks.card import load_model
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.report.stamp_gallery import (
    Entry,
    Picture,
    caption,
    most_confident,
    picture,
    plot_gallery,
)
from clusterscan.train.examples import Examples
from clusterscan_studies.figures import Drawn
from clusterscan_studies.results import Outcome


def gallery_figure(outcome: Outcome, examples: Examples, count: int, file: Path) -> Drawn:
    """Draw an experiment's gallery, of its first repeat.

    Parameters
    ----------
    outcome : Outcome
        What the experiment left.
    examples : Examples
        What it was trained and tested on.
    count : int
        Examples of each kind.
    file : Path
        The figure.
    """
    training = outcome.first
    table = training.predictions("test")
    data = to_labelled(table, outcome.classes)
    chosen = most_confident(data, count)
    rows = np.concatenate([*chosen.values()]).astype(int)
    row_of = {name: row for row, name in enumerate(examples.example_id.tolist())}
    places = np.array([row_of[name] for name in table["example_id"].iloc[rows]], dtype=int)
    shown = _pictures(training.folder, examples, places, data.positive)
    pictures = dict(zip(rows.tolist(), shown, strict=True))
    names = table["object_id"].where(table["object_id"] != "", table["example_id"]).to_numpy()
    groups = {
        kind: [Entry(str(names[row]), caption(data, row), pictures[int(row)]) for row in found]
        for kind, found in chosen.items()
    }
    plot_gallery(groups, file)
    return Drawn(
        file,
        f"Most confident right and wrong answers of {outcome.title}",
        f"{outcome.label}: first repeat, test part. Below each image: what in it spoke for the "
        "class looked for.",
        wide=True,
    )


def _pictures(
    folder: Path, examples: Examples, rows: np.ndarray, target: int
) -> list[tuple[Picture, ...]]:
    """Return the pictures of examples, one for each view that has an image."""
    network, card = load_model(folder)
    images = [
        centre(view.images[rows].astype(np.float32), size)
        for view, size in zip(examples.views, network.sizes_px, strict=True)
    ]
    inputs = [
        torch.from_numpy(apply(image, Normalisation.from_json(seen["normalisation"])))
        for image, seen in zip(images, card["views"], strict=True)
    ]
    there = np.stack([view.present[rows] for view in examples.views], axis=1)
    found: list[list[Picture]] = [[] for _ in rows]
    for index, view in enumerate(examples.views):
        maps = attribute(network, index, inputs, target, present=torch.from_numpy(there))
        for at in np.flatnonzero(there[:, index]):
            shown = picture(
                images[index][at],
                view.unit,
                name=view.name if len(examples.views) > 1 else "",
                pixel_scale_arcsec=view.pixel_scale_arcsec,
                attribution=maps[at],
            )
            found[at].append(shown)
    return [tuple(pictures) for pictures in found]


def centre(images: np.ndarray, size_px: int) -> np.ndarray:
    """Return the central pixels of images (..., M, M), as training crops them."""
    first = (images.shape[-1] - size_px) // 2
    window = slice(first, first + size_px)
    return images[..., window, window]
