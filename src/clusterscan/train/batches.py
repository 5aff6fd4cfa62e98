"""From examples to the tensors of each step: normalised crops, batches, the order of an epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from clusterscan.config.train import AugmentationSettings, TrainSettings
from clusterscan.core.errors import ConfigError
from clusterscan.networks.fusion import hide_surveys
from clusterscan.networks.normalise import FLOAT16_MAX, Normalisation, apply
from clusterscan.train.augment import changed, draw_changes, margin_px
from clusterscan.train.examples import Examples, View
from clusterscan.train.losses import example_weights
from clusterscan.train.recipe import Draw, generator

T = TypeVar("T")

# Images stay on a GPU if they take at most this share of its memory.
_SHARE_OF_GPU = 0.25


class Batch(NamedTuple):
    """The examples of one step.

    Attributes
    ----------
    views : tuple of float32 tensors, shape (B, bands, N, N)
        Normalised crops, one tensor per view.
    present : bool tensor, shape (B, views)
        True for the views that an example has.
    label : int64 tensor, shape (B,)
        Classes.
    weight : float32 tensor, shape (B,)
        Weights in the loss.
    place : tuple of int
        The place of the step in the training: stage, epoch, step, process.
    """

    views: tuple[torch.Tensor, ...]
    present: torch.Tensor
    label: torch.Tensor
    weight: torch.Tensor
    place: tuple[int, ...]


class Crops:
    """All examples, normalised, as crops with the margin that augmentation needs.

    Parameters
    ----------
    examples : Examples
        All splits.
    normalisations : sequence of Normalisation
        One per view.
    sizes_px : sequence of int
        Crop size of each view.
    settings : TrainSettings
        Augmentation and class weights.
    device : torch.device
        The device that trains.
    drop_survey : float
        Probability that a training example hides a view that it has; one view always stays.
    """

    def __init__(
        self,
        examples: Examples,
        normalisations: Sequence[Normalisation],
        sizes_px: Sequence[int],
        settings: TrainSettings,
        device: torch.device,
        *,
        drop_survey: float = 0.0,
    ):
        self.examples = examples
        self.sizes_px = tuple(sizes_px)
        self.settings = settings
        self.device = device
        self.drop_survey = drop_survey
        self.scales = _relative_scales(examples.views)
        images = [
            with_margin(view, normalisation, size, settings.augmentation, scale=scale)
            for view, normalisation, size, scale in zip(
                examples.views, normalisations, sizes_px, self.scales, strict=True
            )
        ]
        self.images = [image.to(home(images, device)) for image in images]
        self.present = np.stack([view.present for view in examples.views], axis=1)
        self.label = torch.from_numpy(examples.label)
        self.weight = torch.from_numpy(
            example_weights(
                examples.label,
                examples.weight,
                examples.split == "train",
                len(examples.classes),
                settings,
            )
        )

    def augmented(
        self, rows: np.ndarray, rng: np.random.Generator, place: tuple[int, ...] = ()
    ) -> Batch:
        """Return training examples with random turns, mirrors, moves and hidden views."""
        changes = draw_changes(len(rows), self.settings.augmentation, rng)
        # Order of draws: changes first, then hidden surveys. Another order would be another
        # training.
        present = self.present[rows]
        if self.drop_survey:
            present = hide_surveys(present, self.drop_survey, rng)
        views = [
            changed(images, rows, size, changes.moved(scale))
            for images, size, scale in zip(self.images, self.sizes_px, self.scales, strict=True)
        ]
        if self.device.type == "cuda" and views[0].device.type == "cpu":
            views = [view.pin_memory() for view in views]  # so that the copy does not wait
        return self._batch(rows, views, present, place)

    def plain(self, rows: np.ndarray) -> Batch:
        """Return examples without augmentation."""
        views = [
            _centre(images[torch.from_numpy(rows).to(images.device)], size)
            for images, size in zip(self.images, self.sizes_px, strict=True)
        ]
        return self.on_device(self._batch(rows, views, self.present[rows], ()))

    def _batch(
        self,
        rows: np.ndarray,
        views: Sequence[torch.Tensor],
        present: np.ndarray,
        place: tuple[int, ...],
    ) -> Batch:
        picked = torch.from_numpy(rows)
        return Batch(
            tuple(views), torch.from_numpy(present), self.label[picked], self.weight[picked], place
        )

    def on_device(self, batch: Batch) -> Batch:
        """Copy a batch to the device."""

        def copy(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(self.device, non_blocking=True)

        views = tuple(copy(view) for view in batch.views)
        return Batch(views, copy(batch.present), copy(batch.label), copy(batch.weight), batch.place)


def with_margin(
    view: View,
    normalisation: Normalisation,
    size_px: int,
    augmentation: AugmentationSettings,
    *,
    scale: float = 1.0,
) -> torch.Tensor:
    """Normalise images and keep just the margin around the crop that augmentation needs.

    Images smaller than the crop are continued by reflection, as stamps have no surroundings.

    Parameters
    ----------
    view : View
        Images.
    normalisation : Normalisation
        Scaling of each band.
    size_px : int
        Crop size.
    augmentation : AugmentationSettings
        Largest turn, move and zoom.
    scale : float
        Pixels of this view in one pixel of ``shift_px``.

    Returns
    -------
    float16 tensor, shape (n, L, L, bands)
        L has the parity of the crop, so the crop's centre is the image's centre. Examples of
        the other parity lie half a pixel off.
    """
    # No more margin than the images have: what is missing is reflected when crops are cut.
    spare = max(0, (view.size_px - size_px) // 2)
    side = size_px + 2 * min(margin_px(size_px, augmentation, scale), spare)
    # float16, with the bands last: one look-up then fetches a pixel in all bands (`changed`), and
    # blocks keep the float32 inputs of all images from being in memory at once.
    out = np.empty((len(view.images), side, side, len(view.bands)), dtype=np.float16)
    for start in range(0, len(out), 256):
        block = slice(start, start + 256)
        inputs = centred(_inputs(view.images[block], normalisation, size_px), side)
        out[block] = np.clip(inputs, -FLOAT16_MAX, FLOAT16_MAX).transpose(0, 2, 3, 1)
    return torch.from_numpy(out)


def _inputs(images: np.ndarray, normalisation: Normalisation, size_px: int) -> np.ndarray:
    """Return network inputs of whole images, with the background of their central crops.

    A scan subtracts the median of each crop, not of the crop with the margin for augmentation.
    """
    if normalisation.background != "image":
        return apply(images, normalisation)
    crops = centred(images, size_px).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a crop without any value is all NaN
        level = np.nanmedian(crops, axis=(-2, -1), keepdims=True)
    return apply(images - level, replace(normalisation, background="kept"))


def centred(images: np.ndarray, side: int) -> np.ndarray:
    """Cut the central ``side`` pixels of images (..., y, x), reflected at the edges if short."""
    have = images.shape[-1]
    if have >= side:
        first = (have - side) // 2
        return images[..., first : first + side, first : first + side]
    before = (side - have) // 2
    pad = (before, side - have - before)
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [pad, pad], mode="symmetric")


def _centre(images: torch.Tensor, size_px: int) -> torch.Tensor:
    first = (images.shape[1] - size_px) // 2
    crops = images[:, first : first + size_px, first : first + size_px].float()
    return crops.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def home(images: Sequence[torch.Tensor], device: torch.device) -> torch.device:
    """Choose where images are kept: on a GPU with room for them, else in main memory."""
    if device.type != "cuda":
        return torch.device("cpu")
    size = sum(image.numel() * image.element_size() for image in images)
    # Share of all memory, not of the free memory: the choice must be the same in every run, because
    # augmentation on another device rounds differently and would change the weights.
    room = _SHARE_OF_GPU * torch.cuda.get_device_properties(device).total_memory
    return device if size <= room else torch.device("cpu")


def _relative_scales(views: Sequence[View]) -> list[float]:
    """Return the number of each view's pixels along one pixel of the first view."""
    first = views[0].pixel_scale_arcsec
    return [first / view.pixel_scale_arcsec if view.pixel_scale_arcsec else 1.0 for view in views]


class TrainBatches:
    """The steps of each epoch of a stage, as Lightning iterates over them.

    All random draws of a step depend on its place (stage, epoch, step, process) alone. So a
    checkpoint keeps only the number of steps done, and a resumed epoch goes on with the same
    batches as if it had never stopped.
    """

    def __init__(self, crops: Crops, stage: int):
        self._crops = crops
        self._stage = stage
        self._epoch = 0
        self._start = 0
        self._done = 0
        self._length = len(self._steps(0))
        self.sampler = self  # Lightning tells a loader's sampler which epoch it is

    def __len__(self) -> int:
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self._epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return the number of steps of the epoch that were given out."""
        return {"done": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration start after the steps that were given out."""
        self._start = int(state["done"])

    def __iter__(self) -> Iterator[Batch]:
        # Used once: only the epoch that a checkpoint interrupted starts in its middle.
        start, self._start = self._start, 0
        rank, world = rank_and_world()
        chosen = self._steps(self._epoch)
        # Each step draws from a generator of its own, so making batches in a second thread, or
        # skipping the steps before a checkpoint, changes no random number.
        makers = [self._maker(chosen[i], i, rank, world) for i in range(start, len(chosen))]
        on_cpu = self._crops.images[0].device.type == "cpu"
        batches = ahead(makers) if on_cpu else (make() for make in makers)
        for number, batch in enumerate(batches):
            self._done = start + number + 1
            yield self._crops.on_device(batch)

    def _steps(self, epoch: int) -> list[np.ndarray]:
        settings = self._crops.settings
        rng = generator(settings.seed, Draw.EPOCH, self._stage, epoch)
        return steps(epoch_rows(self._crops.examples, settings, rng), settings.batch_size)

    def _maker(self, rows: np.ndarray, step: int, rank: int, world: int) -> Callable[[], Batch]:
        place = (self._stage, self._epoch, step, rank)

        def make() -> Batch:
            rng = generator(self._crops.settings.seed, Draw.STEP, *place)
            # Every world-th row: the processes together see the step that one process would see.
            return self._crops.augmented(rows[rank::world], rng, place)

        return make


def range_test_batches(crops: Crops, stage: int) -> Iterator[Batch]:
    """Yield training batches without end, for the range test of a stage."""
    settings = crops.settings
    rng = generator(settings.seed, Draw.RANGE_TEST, stage)
    while True:
        for rows in steps(epoch_rows(crops.examples, settings, rng), settings.batch_size):
            yield crops.on_device(crops.augmented(rows, rng))


class PlainBatches:
    """Chosen rows of the examples without augmentation, step by step."""

    def __init__(self, crops: Crops, rows: np.ndarray, batch_size: int = 64):
        self._crops = crops
        self._parts = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Batch]:
        return (self._crops.plain(rows) for rows in self._parts)


def ahead(makers: Sequence[Callable[[], T]]) -> Iterator[T]:
    """Call functions in a second thread, each while the result before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for make in makers:
            now, coming = coming, pool.submit(make)
            if now is not None:
                yield now.result()
        if coming is not None:
            yield coming.result()


def rank_and_world() -> tuple[int, int]:
    """Return the number of this process among those that share each step, and their count."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def epoch_rows(examples: Examples, settings: TrainSettings, rng: np.random.Generator) -> np.ndarray:
    """Draw the rows that one epoch shows, in random order.

    Every positive appears equally often. Negatives are drawn without repeats as long as there are
    enough, so that several epochs together show more of a large pool. Without
    ``negatives_per_positive`` every training example appears equally often. The number of rows
    is the same in all epochs.

    Raises
    ------
    ConfigError
        If the settings draw negatives for positives but there are more than two classes.
    """
    if settings.negatives_per_positive is None:
        rows = examples.rows("train")
        return rng.permutation(np.tile(rows, _rounds(len(rows), settings)))
    if len(examples.classes) > 2:
        raise ConfigError(
            f"train.negatives_per_positive = {settings.negatives_per_positive:g} has no meaning "
            f"for the {len(examples.classes)} classes {', '.join(examples.classes)}; set it to "
            "null, and class_weights: balanced if some are rare"
        )
    positive, negative = examples.rows("train", 1), examples.rows("train", 0)
    rounds = _rounds(len(positive) * (1 + settings.negatives_per_positive), settings)
    count = max(1, round(rounds * len(positive) * settings.negatives_per_positive))
    drawn = np.concatenate([np.tile(positive, rounds), _draw(negative, count, rng)])
    return rng.permutation(drawn)


def _rounds(examples_per_round: float, settings: TrainSettings) -> int:
    return max(1, int(np.ceil(settings.least_examples_per_epoch / examples_per_round)))


def _draw(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    # Whole permutations one after the other: no row comes twice before all have come once.
    rounds = int(np.ceil(count / len(rows)))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:count]


def steps(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an epoch's rows into steps.

    A last step of fewer than half a batch is left out: its batch statistics would be useless.
    """
    starts = range(0, len(rows), batch_size)
    return [
        rows[start : start + batch_size]
        for start in starts
        if len(rows) - start >= batch_size // 2 or start == 0
    ]
