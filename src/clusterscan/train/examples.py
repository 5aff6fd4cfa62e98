"""Labelled examples in memory: what each shows in one or several surveys, and what it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

SPLITS = ("train", "validation", "test")
CLASSES = ("other", "cluster")
"""What the labels 0 and 1 of a clusterscan run mean."""


@dataclass(frozen=True)
class View:
    """The examples as one survey sees them.

    Attributes
    ----------
    name : str
        The survey.
    images : float16 ndarray, shape (n, bands, M, M)
        In the survey's unit; missing pixels NaN.
    bands : tuple of str
        Names of the bands.
    pixel_scale_arcsec : float
        Pixel size [arcsec].
    unit : str
        Unit of the pixels, empty if unknown.
    present : bool ndarray, shape (n,)
        Whether the survey has an image of the example.
    """

    name: str
    images: np.ndarray
    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    unit: str
    present: np.ndarray

    @property
    def size_px(self) -> int:
        """Side of the images [px]."""
        return self.images.shape[-1]


@dataclass(frozen=True)
class Examples:
    """Labelled images.

    Attributes
    ----------
    views : tuple of View
        One a survey, rows in the same order.
    label : int64 ndarray, shape (n,)
        Class, 0 to K - 1; of two classes 1 is what is looked for.
    classes : tuple of str
        Names of the K classes.
    split, kind, example_id, object_id : str ndarray, shape (n,)
        object_id is empty where an example shows no catalogued object.
    ra_deg, dec_deg : float64 ndarray, shape (n,)
        ICRS [deg]; NaN if unknown.
    redshift : float64 ndarray, shape (n,)
        NaN if unknown.
    weight : float32 ndarray, shape (n,)
        How much each example counts in the loss.
    columns : dict of str to ndarray
        Everything else that is known of the examples.
    """

    views: tuple[View, ...]
    label: np.ndarray
    classes: tuple[str, ...]
    split: np.ndarray
    kind: np.ndarray
    example_id: np.ndarray
    object_id: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    redshift: np.ndarray
    weight: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, split: str, label: int | None = None) -> np.ndarray:
        """Return the row numbers of a split, of one label if given."""
        chosen = self.split == split
        if label is not None:
            chosen &= self.label == label
        return np.flatnonzero(chosen)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many examples of each class each split has."""
        return {
            split: {name: len(self.rows(split, k)) for k, name in enumerate(self.classes)}
            for split in SPLITS
        }

    def sha256(self) -> str:
        """Return a checksum of all that training can see."""
        layout = [[v.name, v.bands, v.pixel_scale_arcsec, v.images.shape] for v in self.views]
        digest = hashlib.sha256(json.dumps([layout, self.classes]).encode())
        for text in (self.example_id, self.object_id, self.split, self.kind):
            digest.update("\0".join(text.tolist()).encode())
        digest.update(np.ascontiguousarray(self.label, dtype=np.int64).data)
        digest.update(np.ascontiguousarray(self.weight, dtype=np.float32).data)
        for view in self.views:
            digest.update(np.ascontiguousarray(view.images).data)
            digest.update(np.ascontiguousarray(view.present).data)
        return digest.hexdigest()
