"""Batches of crops: which examples an epoch shows, and how each is changed before it is seen."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import AugmentationSettings, TrainSettings
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.train.dataset import Examples


def crops_with_margin(
    examples: Examples,
    normalisation: Normalisation,
    network: NetworkSettings,
    augmentation: AugmentationSettings,
) -> torch.Tensor:
    """Return normalised images with just the margin that augmentation needs.

    Images that are smaller than that are continued by reflection, as stamps have no
    surroundings of their own.

    Returns
    -------
    float16 tensor, shape (n, bands, L, L)
        L has the parity of the crop, so the crop's centre is the image's centre; an example
        whose own parity is the other one lies half a pixel off.
    """
    margin = augmentation.shift_px
    if augmentation.rotation == "any":
        margin += int(np.ceil(network.size_px * (np.sqrt(2) - 1) / 2))
    side = network.size_px + 2 * min(margin, _spare(examples.size_px, network.size_px))
    out = np.empty((len(examples), len(examples.bands), side, side), dtype=np.float16)
    for start in range(0, len(examples), 256):
        block = slice(start, start + 256)
        out[block] = centred(apply(examples.images[block], normalisation), side)
    return torch.from_numpy(out)


def _spare(size: int, crop: int) -> int:
    return max(0, (size - crop) // 2)


def centred(images: np.ndarray, side: int) -> np.ndarray:
    """Return the central ``side`` pixels of images (..., y, x), reflected at the edges if short."""
    have = images.shape[-1]
    if have >= side:
        first = (have - side) // 2
        return images[..., first : first + side, first : first + side]
    before = (side - have) // 2
    pad = (before, side - have - before)
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [pad, pad], mode="symmetric")


def epoch_rows(examples: Examples, settings: TrainSettings, rng: np.random.Generator) -> np.ndarray:
    """Draw the rows that one epoch shows, in random order.

    Every positive appears equally often; the negatives are drawn without repeats as long as
    there are enough, so that epochs walk through a larger pool.
    """
    positive = examples.rows("train", 1)
    negative = examples.rows("train", 0)
    per_round = len(positive) * (1 + settings.negatives_per_positive)
    rounds = max(1, int(np.ceil(settings.least_examples_per_epoch / per_round)))
    count = max(1, round(rounds * len(positive) * settings.negatives_per_positive))
    drawn = np.concatenate([np.tile(positive, rounds), _draw(negative, count, rng)])
    return rng.permutation(drawn)


def _draw(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    rounds = int(np.ceil(count / len(rows)))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:count]


def augment(
    images: torch.Tensor,
    size_px: int,
    settings: AugmentationSettings,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Return randomly turned, mirrored and moved crops.

    Parameters
    ----------
    images : float tensor, shape (B, bands, L, L)
        Images with margin.
    size_px : int
        Crop size N.
    settings : AugmentationSettings
        What to change.
    rng : numpy.random.Generator
        Source of the changes, the same whatever device the images are on.

    Returns
    -------
    float32 tensor, shape (B, bands, N, N)
    """
    images = images.float()
    if settings.rotation == "any":
        images = _rotate_any(images, rng)
    turns = rng.integers(4, size=len(images)) if settings.rotation == "quarter" else None
    mirror = rng.integers(2, size=len(images)) if settings.flips else None
    spare = (images.shape[-1] - size_px) // 2
    most = settings.shift_px
    moves = rng.integers(-most, most + 1, size=(len(images), 2))
    if spare < most:
        pad = most - spare
        images = functional.pad(images, (pad, pad, pad, pad), mode="reflect")
        spare = most
    out = images.new_empty((*images.shape[:2], size_px, size_px))
    for i in range(len(images)):
        y, x = moves[i] + spare
        crop = images[i, :, y : y + size_px, x : x + size_px]
        if turns is not None:
            crop = torch.rot90(crop, int(turns[i]), (1, 2))
        if mirror is not None and mirror[i]:
            crop = crop.flip(2)
        out[i] = crop
    return out


def _rotate_any(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    angle = torch.from_numpy(rng.uniform(0, 2 * np.pi, size=len(images))).to(images)
    c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([torch.stack([c, -s, zero], 1), torch.stack([s, c, zero], 1)], 1)
    grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
