import numpy as np
import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import AugmentationSettings, TrainSettings
from clusterscan.networks.normalise import Normalisation
from clusterscan.train.batches import augment, centred, crops_with_margin, epoch_rows

NETWORK = NetworkSettings(size_px=16, window_px=8, output_stride=4)
PLAIN = Normalisation("standard", 1.0, (0.0, 0.0), (1.0, 1.0))


def test_an_epoch_shows_every_positive_once_and_walks_through_the_negatives(made_examples):
    examples = made_examples(400)
    keep = (examples.label == 0) | (np.arange(400) % 16 == 1)
    examples = type(examples)(
        **{k: v[keep] if isinstance(v, np.ndarray) else v for k, v in vars(examples).items()}
    )
    positive, negative = examples.rows("train", 1), examples.rows("train", 0)
    rows = epoch_rows(examples, TrainSettings(negatives_per_positive=2), np.random.default_rng(1))
    assert sorted(r for r in rows if r in positive) == sorted(positive)
    drawn = [r for r in rows if r in negative]
    assert len(drawn) == 2 * len(positive) == len(set(drawn))
    longer = epoch_rows(
        examples,
        TrainSettings(least_examples_per_epoch=3 * len(rows)),
        np.random.default_rng(1),
    )
    assert len(longer) == 3 * len(rows)
    assert not set(longer) & set(examples.rows("validation"))
    assert not set(longer) & set(examples.rows("test"))


def test_without_augmentation_a_crop_is_the_images_centre(made_examples):
    nothing = AugmentationSettings(rotation="none", flips=False, shift_px=0)
    examples = made_examples(8)
    images = crops_with_margin(examples, PLAIN, NETWORK, nothing)
    crops = augment(images, 16, nothing, np.random.default_rng(1))
    np.testing.assert_array_equal(crops.numpy(), examples.images[:, :, 4:20, 4:20])


def test_quarter_turns_and_flips_keep_the_pixel_values(made_examples):
    examples = made_examples(32)
    settings = AugmentationSettings(shift_px=0)
    images = crops_with_margin(examples, PLAIN, NETWORK, settings)
    crops = augment(images, 16, settings, np.random.default_rng(1))
    plain = augment(
        images,
        16,
        AugmentationSettings(rotation="none", flips=False, shift_px=0),
        np.random.default_rng(1),
    )
    for changed, crop in zip(crops, plain, strict=True):
        assert torch.equal(changed.flatten().sort().values, crop.flatten().sort().values)
    # Eight orientations: almost all of them differ from the original.
    assert sum(torch.equal(a, b) for a, b in zip(crops, plain, strict=True)) < 12


@pytest.mark.parametrize("size", [24, 16])
def test_shifts_move_the_object_by_up_to_the_setting(made_examples, size):
    images = np.zeros((200, 1, size, size), np.float16)
    images[:, :, size // 2, size // 2] = 1
    settings = AugmentationSettings(rotation="none", flips=False, shift_px=3)
    crops = augment(torch.from_numpy(images), 16, settings, np.random.default_rng(1))
    place = crops[:, 0].flatten(1).argmax(1).numpy()
    assert sorted(set(place // 16)) == sorted(set(place % 16)) == list(range(5, 12))


def test_turning_by_any_angle_keeps_a_round_object_in_place():
    y, x = np.mgrid[:33, :33] - 16.0
    blob = torch.from_numpy(np.exp(-(x**2 + y**2) / 18)).float().expand(5, 1, 33, 33)
    settings = AugmentationSettings(rotation="any", flips=False, shift_px=0)
    turned = augment(blob, 33, settings, np.random.default_rng(1))
    # Linear interpolation is off by up to f'' / 8 along each axis, f'' = 1 / 9 at the peak.
    np.testing.assert_allclose(turned.numpy(), blob.numpy(), atol=2 / 72 + 0.001)


def test_small_stamps_are_continued_by_reflection():
    row = np.arange(4.0).reshape(1, 1, 1, 4).repeat(4, axis=2)
    wide = centred(row, 8)
    np.testing.assert_array_equal(wide[0, 0, 0], [1, 0, 0, 1, 2, 3, 3, 2])
    np.testing.assert_array_equal(centred(wide, 4), row)
