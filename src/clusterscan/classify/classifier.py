"""A trained model as a function: images of objects to calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clusterscan.measure.calibration import apply_to_logits
from clusterscan.networks.card import load_model
from clusterscan.networks.device import channels_last, choose_device, fixed_threads
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.networks.turns import turned_logits

Images = Sequence[np.ndarray | None]


class Classifier:
    """A model folder, loaded.

    Parameters
    ----------
    folder : Path
        Holds weights and card.
    device : str
        'auto', 'cpu' or 'cuda[:n]'.
    threads : int
        CPU threads; sums depend on their number in the last bit.

    Attributes
    ----------
    card : dict
        The model's card.
    classes : tuple of str
        Names of the classes.
    views : list of dict
        What the model reads: survey, bands, pixel_scale_arcsec, ...
    sizes_px : tuple of int
        Side of each view's crop [px].
    """

    def __init__(self, folder: Path, device: str = "auto", threads: int = 1):
        network, self.card = load_model(folder)
        self._device = choose_device(device)
        self._network = channels_last(network).to(self._device)
        self._threads = threads
        self.classes = tuple(str(name) for name in self.card["classes"])
        self.views: list[dict[str, Any]] = list(self.card["views"])
        self.sizes_px = network.sizes_px
        self._normalisations = [Normalisation.from_json(v["normalisation"]) for v in self.views]

    @property
    def surveys(self) -> tuple[str, ...]:
        """Names of the views."""
        return tuple(str(view["survey"]) for view in self.views)

    def probabilities(self, images: Sequence[Images]) -> np.ndarray:
        """Return calibrated probabilities, float64, shape (n, classes).

        Parameters
        ----------
        images : sequence of n sequences
            One image a view, float ndarray of shape (bands, N, N), missing pixels NaN; None
            where an object lacks the view.
        """
        if not images:
            return np.empty((0, len(self.classes)))
        present = np.array([[one is not None for one in row] for row in images])
        views = [
            self._inputs(index, [row[index] for row in images]) for index in range(len(self.views))
        ]
        there = torch.from_numpy(present).to(self._device)
        with torch.inference_mode(), fixed_threads(self._threads):
            if self.card.get("average_turns", False):
                logits = turned_logits(self._network, views, there)
            else:
                logits = self._network.of_views(views, there)
        return apply_to_logits(self.card["calibration"], logits.float().cpu().numpy())

    def _inputs(self, index: int, images: Images) -> torch.Tensor:
        size, bands = self.sizes_px[index], len(self.views[index]["bands"])
        stack = np.zeros((len(images), bands, size, size), dtype=np.float32)
        for place, image in zip(stack, images, strict=True):
            if image is not None:
                place[:] = image
        inputs = torch.from_numpy(apply(stack, self._normalisations[index]))
        return inputs.to(self._device, memory_format=torch.channels_last)

    def about(self) -> dict[str, Any]:
        """Return what a table of probabilities should say of the model that made it."""
        calibration = self.card["calibration"]
        return {
            "model": str(self.card["file"]),
            "weights_sha256": self.card["weights"]["sha256"],
            "classes": list(self.classes),
            "calibration": None if calibration is None else calibration["kind"],
            "views": [
                {key: view[key] for key in ("survey", "bands", "pixel_scale_arcsec", "unit")}
                for view in self.views
            ],
        }
