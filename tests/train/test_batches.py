import dataclasses
import threading

import numpy as np
import pytest
import torch

from clusterscan.config.train import AugmentationSettings, TrainSettings
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.train.batches import Crops, PlainBatches, TrainBatches, ahead, centred, with_margin

NOTHING = AugmentationSettings(rotation="none", flips="none", shift_px=0)
CPU = torch.device("cpu")


def plain(bands=2):
    return Normalisation("standard", 1.0, (0.0,) * bands, (1.0,) * bands)


def crops_of(examples, settings, sizes=(16,), **options):
    normalisations = [plain(len(view.bands)) for view in examples.views]
    return Crops(examples, normalisations, sizes, settings, CPU, **options)


def test_without_augmentation_a_crop_is_the_images_centre(examples):
    crops = crops_of(examples, TrainSettings(augmentation=NOTHING))
    rows = np.array([3, 0, 7])
    expected = examples.views[0].images[rows][:, :, 4:20, 4:20].astype(np.float32)
    changed = crops.augmented(rows, np.random.default_rng(1))
    np.testing.assert_array_equal(changed.views[0], expected)
    np.testing.assert_array_equal(crops.plain(rows).views[0], expected)
    assert changed.label.tolist() == [1, 0, 1]


def test_small_stamps_are_continued_by_reflection():
    row = np.arange(4.0).reshape(1, 1, 1, 4).repeat(4, axis=2)
    wide = centred(row, 8)
    np.testing.assert_array_equal(wide[0, 0, 0], [1, 0, 0, 1, 2, 3, 3, 2])
    np.testing.assert_array_equal(centred(wide, 4), row)


def test_stamps_are_levelled_by_the_crop_as_where_the_model_is_used(examples):
    level = np.arange(160)[:, None, None, None] * np.float16(0.25)
    images = (examples.views[0].images + level).astype(np.float16)
    images[:, :, :4] += 50  # a bright margin, which the network does not see
    view = dataclasses.replace(examples.views[0], images=images)
    own = Normalisation("standard", 1.0, (0.0, 0.0), (1.0, 1.0), background="image")
    found = with_margin(view, own, 16, AugmentationSettings(shift_px=2)).numpy()
    crops = images[:, :, 4:20, 4:20]
    expected = apply(crops, own).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[:, 2:-2, 2:-2], expected, atol=2e-2)


def test_values_beyond_half_precision_stay_finite(examples):
    view = dataclasses.replace(examples.views[0], images=np.full((1, 2, 24, 24), 6e4, np.float16))
    tiny = Normalisation("standard", 1.0, (0.0, 0.0), (0.01, 0.01))
    assert torch.isfinite(with_margin(view, tiny, 16, NOTHING)).all()


def test_a_step_is_the_same_whenever_and_wherever_an_epoch_begins(examples):
    settings = TrainSettings(batch_size=16)
    whole = TrainBatches(crops_of(examples, settings), stage=0)
    whole.set_epoch(3)
    expected = list(whole)
    assert len(expected) == len(whole) == 8
    later = TrainBatches(crops_of(examples, settings), stage=0)
    later.set_epoch(3)
    later.load_state_dict({"done": 2})
    for found, batch in zip(later, expected[2:], strict=True):
        assert torch.equal(found.views[0], batch.views[0])
        assert torch.equal(found.label, batch.label)
        assert found.place == batch.place
    assert later.state_dict() == {"done": 8}
    assert len(list(later)) == 8


def test_epochs_stages_and_seeds_differ(examples):
    def first(epoch=0, stage=0, seed=1):
        batches = TrainBatches(crops_of(examples, TrainSettings(seed=seed)), stage)
        batches.set_epoch(epoch)
        return next(iter(batches)).views[0]

    seen = [first(), first(epoch=1), first(stage=1), first(seed=2)]
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert torch.equal(first(), first())


def test_validation_shows_every_example_once_and_in_order(examples):
    crops = crops_of(examples, TrainSettings())
    rows = examples.rows("validation")
    label = torch.cat([batch.label for batch in PlainBatches(crops, rows, 7)])
    np.testing.assert_array_equal(label, examples.label[rows])


def test_surveys_are_dropped_at_random_but_never_all(examples, made_view):
    second = made_view(examples.label, name="act", scale=11.0, bands=1)
    second = dataclasses.replace(second, present=np.arange(160) % 4 > 0)
    both = dataclasses.replace(examples, views=(*examples.views, second))
    crops = crops_of(both, TrainSettings(), sizes=(16, 8), drop_survey=0.5)
    rows = np.repeat(np.arange(160), 10)
    batch = crops.augmented(rows, np.random.default_rng(1))
    had = np.stack([view.present[rows] for view in both.views], axis=1)
    kept = batch.present.numpy()
    assert (kept <= had).all()
    assert kept.any(axis=1).all()
    # Each is hidden with 1/2, but one of two hidden ones comes back: 1/2 + 1/4 / 2.
    assert kept[had.all(axis=1)].mean() == pytest.approx(5 / 8, abs=0.04)
    assert [tuple(view.shape[1:]) for view in batch.views] == [(2, 16, 16), (1, 8, 8)]
    np.testing.assert_array_equal(crops.plain(rows).present, had)


def test_a_view_with_other_pixels_turns_and_moves_with_the_first(made_view):
    """The same sky at half the scale: averaging the finer crop gives the coarser one."""
    rng = np.random.default_rng(2)
    fine = rng.normal(size=(40, 1, 32, 32)).astype(np.float16)
    coarse = fine.astype(float).reshape(40, 1, 16, 2, 16, 2).mean(axis=(3, 5)).astype(np.float16)
    view = made_view(np.zeros(40, int), bands=1)
    from clusterscan.train.augment import changed, draw_changes

    settings = AugmentationSettings(rotation="quarter", flips="both", shift_px=2)
    changes = draw_changes(40, settings, rng)
    changes = dataclasses.replace(changes, move_px=changes.move_px * 2)
    a = changed(torch.from_numpy(fine.transpose(0, 2, 3, 1).copy()), np.arange(40), 16, changes)
    b = changed(
        torch.from_numpy(coarse.transpose(0, 2, 3, 1).copy()), np.arange(40), 8, changes.moved(0.5)
    )
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(a, 2), b, atol=5e-3, rtol=0)
    assert view.present.all()


def test_things_made_ahead_come_in_order_with_one_in_the_making():
    seen, where = [], []

    def maker(number):
        def make():
            seen.append(number)
            where.append(threading.current_thread())
            return number

        return make

    found = []
    for item in ahead([maker(i) for i in range(5)]):
        found.append(item)
    assert found == seen == list(range(5))
    assert threading.main_thread() not in where
    assert list(ahead([])) == []


def test_an_error_in_the_making_is_raised_where_the_thing_is_wanted():
    def broken():
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        list(ahead([lambda: 1, broken]))
