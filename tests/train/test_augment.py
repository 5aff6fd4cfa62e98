import numpy as np
import pytest
import torch

from clusterscan.config.train import AugmentationSettings
from clusterscan.train.augment import Changes, changed, draw_changes, margin_px

NOTHING = {"rotation": "none", "flips": "none", "shift_px": 0}


def stored(images):
    """Images (n, bands, L, L) as training keeps them, bands innermost."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))


def one(**what):
    """Changes of a single example."""
    plain = {"quarters": 0, "angle_rad": None, "mirror_y": False, "mirror_x": False,
             "move_px": (0, 0)}  # fmt: skip
    return Changes(**{k: None if v is None else np.array([v]) for k, v in (plain | what).items()})


def scene(size=12, bands=2):
    return np.random.default_rng(5).normal(size=(1, bands, size, size)).astype(np.float16)


@pytest.mark.parametrize("mirror_y", [False, True])
@pytest.mark.parametrize("mirror_x", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turns_mirrors_and_moves_are_numpys(quarters, mirror_y, mirror_x):
    image = scene()
    what = one(quarters=quarters, mirror_y=mirror_y, mirror_x=mirror_x, move_px=(1, -2))
    found = changed(stored(image), np.array([0]), 8, what)
    expected = np.rot90(image[0, :, 3:11, 0:8], quarters, (1, 2))
    expected = expected[:, :: -1 if mirror_y else 1, :: -1 if mirror_x else 1]
    np.testing.assert_array_equal(found[0].numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_interpolating_by_whole_quarters_gives_what_quarter_turns_give(quarters):
    """Rotation by +90 degrees as affine_grid counts it is numpy's by -90."""
    image = scene()
    exact = one(quarters=quarters, mirror_x=True)
    smooth = one(angle_rad=quarters * np.pi / 2, mirror_x=True)
    a, b = (changed(stored(image), np.array([0]), 12, what) for what in (exact, smooth))
    turned = changed(stored(image), np.array([0]), 12, one(quarters=-quarters % 4, mirror_x=True))
    assert min((a - b).abs().max(), (turned - b).abs().max()) < 1e-4


def test_a_move_beyond_the_image_continues_by_reflection():
    row = np.arange(6, dtype=np.float16)[None, None, None].repeat(6, axis=2)
    found = changed(stored(row), np.array([0]), 6, one(move_px=(0, 2)))
    np.testing.assert_array_equal(found[0, 0, 0], [2, 3, 4, 5, 4, 3])


def test_interpolated_moves_and_mirrors_agree_with_exact_ones():
    image = scene(16)
    for what in ({"move_px": (2, -1)}, {"mirror_y": True, "move_px": (1, 0)}):
        exact = changed(stored(image), np.array([0]), 8, one(**what))
        smooth = changed(stored(image), np.array([0]), 8, one(**what, angle_rad=0.0))
        torch.testing.assert_close(exact, smooth, atol=1e-4, rtol=0)


def test_turning_by_any_angle_keeps_a_round_object_in_place():
    y, x = np.mgrid[:33, :33] - 16.0
    blob = np.exp(-(x**2 + y**2) / 18).astype(np.float16)[None, None]
    settings = AugmentationSettings(rotation="any", flips=False, shift_px=0)
    changes = draw_changes(5, settings, np.random.default_rng(1))
    turned = changed(stored(blob), np.zeros(5, int), 33, changes)
    # Linear interpolation is off by up to f'' / 8 along each axis, f'' = 1 / 9 at the peak.
    expected = np.broadcast_to(blob, (5, 1, 33, 33)).astype(np.float32)
    np.testing.assert_allclose(turned.numpy(), expected, atol=2 / 72 + 0.001)


def test_an_object_off_the_centre_goes_round_it():
    """A blob 8 px to the right of the centre is found at every one of Pruitt's 15 angles."""
    y, x = np.mgrid[:33, :33] - 16.0
    blob = np.exp(-((x - 8) ** 2 + y**2) / 8).astype(np.float16)[None, None]
    settings = AugmentationSettings(rotation="steps", flips="none", shift_px=0)
    changes = draw_changes(400, settings, np.random.default_rng(1))
    turned = changed(stored(blob), np.zeros(400, int), 33, changes).numpy()[:, 0]
    peak = turned.reshape(400, -1).argmax(1)
    angle = np.rad2deg(np.arctan2(peak // 33 - 16, peak % 33 - 16)) % 360
    np.testing.assert_allclose(np.hypot(peak // 33 - 16, peak % 33 - 16), 8, atol=0.8)
    assert set(np.rint(angle / 24).astype(int) % 15) == set(range(15))
    assert np.abs(angle / 24 - np.rint(angle / 24)).max() < 0.2


def test_turns_within_some_degrees_stay_within_them():
    settings = AugmentationSettings(rotation=15, flips="none", shift_px=0)
    angle = np.rad2deg(draw_changes(2000, settings, np.random.default_rng(1)).angle_rad)
    assert -15 <= angle.min() < -14.8
    assert 14.8 < angle.max() <= 15
    assert abs(angle.mean()) < 4 * 15 / np.sqrt(3 * 2000)


def test_horizontal_flips_leave_top_and_bottom_as_they_are():
    def drawn(flips):
        settings = AugmentationSettings(rotation="none", flips=flips, shift_px=0)
        return draw_changes(1000, settings, np.random.default_rng(1))

    horizontal, both, none = drawn("horizontal"), drawn("both"), drawn("none")
    assert not horizontal.mirror_y.any()
    for mirrored in (horizontal.mirror_x, both.mirror_x, both.mirror_y):
        assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(1000)
    assert not none.mirror_x.any()
    assert AugmentationSettings(flips=True).flips == "both"
    assert AugmentationSettings(flips=False).flips == "none"


@pytest.mark.parametrize("size", [24, 16])
def test_shifts_move_the_object_by_up_to_the_setting(size):
    images = np.zeros((200, 1, size, size), np.float16)
    images[:, :, size // 2, size // 2] = 1
    settings = AugmentationSettings(rotation="none", flips=False, shift_px=3)
    changes = draw_changes(200, settings, np.random.default_rng(1))
    crops = changed(stored(images), np.arange(200), 16, changes)
    place = crops[:, 0].flatten(1).argmax(1).numpy()
    assert sorted(set(place // 16)) == sorted(set(place % 16)) == list(range(5, 12))


def test_another_survey_moves_by_the_same_angle_on_the_sky():
    changes = one(move_px=(4, -6)).moved(5.5 / 11.0)
    assert changes.move_px.tolist() == [[2, -3]]


@pytest.mark.parametrize("zoom", [(1.0, 1.0), (0.7, 1.4)])
@pytest.mark.parametrize("rotation", ["any", "steps", 30.0, "quarter"])
def test_the_margin_holds_all_that_a_change_can_bring_into_the_crop(rotation, zoom):
    """Nothing but the reflected rim, which is marked here, may lie outside the margin."""
    settings = AugmentationSettings(rotation=rotation, shift_px=3, zoom=zoom)
    side = 20 + 2 * margin_px(20, settings)
    image = np.zeros((1, 1, side + 40, side + 40), np.float16)
    inner = slice(20, side + 20)
    image[:] = 1
    image[:, :, inner, inner] = 0
    changes = draw_changes(300, settings, np.random.default_rng(3))
    crops = changed(stored(image), np.zeros(300, int), 20, changes)
    assert crops.max() == 0


def test_a_zoom_magnifies_about_the_centre():
    image = np.zeros((1, 1, 41, 41), np.float16)
    y, x = np.mgrid[-20:21, -20:21]
    image[0, 0] = np.exp(-(x**2 + y**2) / (2 * 3.0**2))
    found = changed(stored(image), np.array([0]), 41, one(angle_rad=0.3, zoom=2.0))[0, 0].numpy()
    expected = np.exp(-(x**2 + y**2) / (2 * 6.0**2))
    assert np.abs(found - expected).max() < 0.03  # linear interpolation


def test_zooms_stay_between_their_limits_and_leave_other_draws_as_they_are():
    plain = draw_changes(500, AugmentationSettings(rotation="any"), np.random.default_rng(3))
    settings = AugmentationSettings(rotation="any", zoom=(0.8, 1.5))
    zoomed = draw_changes(500, settings, np.random.default_rng(3))
    np.testing.assert_array_equal(plain.move_px, zoomed.move_px)
    np.testing.assert_array_equal(plain.angle_rad, zoomed.angle_rad)
    assert plain.zoom is None
    assert 0.8 <= zoomed.zoom.min() < 0.82
    assert 1.46 < zoomed.zoom.max() <= 1.5


def test_a_zoom_that_falls_is_refused():
    with pytest.raises(ValueError, match=r"zoom = \[1.5, 0.8\] must rise"):
        AugmentationSettings(zoom=(1.5, 0.8))
