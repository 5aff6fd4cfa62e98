import dataclasses

import numpy as np
import pytest

from clusterscan.core.errors import ProductError
from clusterscan.train.views import grey, join_views, select_bands, shown_by_all, stack_views


def some(examples, rows, **changes):
    """Return some rows of examples of one view."""
    view = examples.views[0]
    view = dataclasses.replace(view, images=view.images[rows], present=view.present[rows])
    arrays = {
        f.name: getattr(examples, f.name)[rows]
        for f in dataclasses.fields(examples)
        if isinstance(getattr(examples, f.name), np.ndarray)
    }
    return dataclasses.replace(examples, views=(view,), **(arrays | changes))


def test_joining_keeps_every_example_that_any_survey_shows(made_examples):
    first = some(made_examples(48), np.arange(32))
    second = some(made_examples(48, bands=1, size=16), np.arange(16, 48)[::-1])
    both = join_views({"unwise": first, "act": second})
    assert both.example_id.tolist()[:32] == first.example_id.tolist()
    assert sorted(both.example_id.tolist()) == [f"e{i:04d}" for i in range(48)]
    unwise, act = both.views
    assert (unwise.name, act.name) == ("unwise", "act")
    assert unwise.present.tolist() == [True] * 32 + [False] * 16
    assert act.present.tolist() == [False] * 16 + [True] * 32
    assert np.isnan(act.images[:16].astype(float)).all()
    # Row 20 is e0020 in both; the second survey has it in row 47 - 20.
    np.testing.assert_array_equal(act.images[20], second.views[0].images[47 - 20])
    np.testing.assert_array_equal(both.label, [int(name[1:]) % 2 for name in both.example_id])


def test_columns_that_one_survey_lacks_are_unknown_there(made_examples):
    whole = made_examples(48)
    mag = np.arange(32.0)
    first = some(whole, np.arange(32), columns={"mag": mag, "field": np.repeat("north", 32)})
    both = join_views({"a": first, "b": some(whole, np.arange(16, 48))})
    np.testing.assert_array_equal(both.columns["mag"], [*mag, *[np.nan] * 16])
    assert both.columns["field"].tolist() == ["north"] * 32 + [""] * 16


def test_surveys_that_disagree_about_an_example_are_refused(examples):
    with pytest.raises(ProductError, match="'e0000' has label '1' in survey b, but '0'"):
        join_views({"a": examples, "b": dataclasses.replace(examples, label=1 - examples.label)})
    split = np.where(examples.split == "test", "train", examples.split)
    with pytest.raises(ProductError, match="has split 'train' in survey b, but 'test'"):
        join_views({"a": examples, "b": dataclasses.replace(examples, split=split)})
    with pytest.raises(ProductError, match="survey b has the classes"):
        join_views({"a": examples, "b": dataclasses.replace(examples, classes=("x", "y"))})


def test_stacked_views_are_one_image_of_all_bands(examples, made_examples):
    other = made_examples(160, seed=2, bands=1)
    both = join_views({"xray": examples, "optical": other})
    (view,) = stack_views(both).views
    assert view.bands == ("xray_u1", "xray_u2", "optical_u1")
    np.testing.assert_array_equal(view.images[:, :2], examples.views[0].images)
    np.testing.assert_array_equal(view.images[:, 2:], other.views[0].images)
    small = join_views({"xray": examples, "optical": made_examples(160, size=16)})
    with pytest.raises(ProductError, match=r"optical has images of 16 px .* xray 24 px"):
        stack_views(small)


def test_bands_are_chosen_by_name_in_the_order_given(examples):
    (view,) = select_bands(examples, ["u2", "u1"]).views
    assert view.bands == ("u2", "u1")
    np.testing.assert_array_equal(view.images, examples.views[0].images[:, ::-1])
    with pytest.raises(ProductError, match="no band 'u3'; the examples have u1, u2"):
        select_bands(examples, ["u1", "u3"])


def test_a_view_without_any_chosen_band_is_left_out(examples, made_view):
    second = made_view(examples.label, name="act")
    both = dataclasses.replace(examples, views=(*examples.views, second))
    assert [v.name for v in select_bands(both, ["a2"]).views] == ["act"]


def test_grey_is_the_mean_of_the_bands_that_have_a_value(examples):
    images = examples.views[0].images.copy()
    images[0, 0, 3, 4] = np.nan
    images[0, :, 5, 6] = np.nan
    view = dataclasses.replace(examples.views[0], images=images)
    (shown,) = grey(dataclasses.replace(examples, views=(view,))).views
    assert shown.bands == ("grey",)
    mean = examples.views[0].images.astype(float).mean(axis=1)
    np.testing.assert_allclose(shown.images[1:, 0], mean[1:], atol=2e-3)
    assert shown.images[0, 0, 3, 4] == images[0, 1, 3, 4]
    assert np.isnan(shown.images[0, 0, 5, 6])


def test_surveys_that_share_no_example_of_a_class_say_which_settings_make_them(made_examples):
    """As where one learns from listed clusters and the other from injected ones."""
    first = made_examples(48)
    of_one_survey = np.where(first.label == 1, "injected-", "") + first.example_id
    second = dataclasses.replace(first, example_id=of_one_survey, object_id=of_one_survey)
    with pytest.raises(ProductError, match=r"'.+' in the train split none .*sample\.catalogues"):
        shown_by_all(join_views({"a": first, "b": second}))
    with pytest.raises(ProductError, match=r"no example is shown by all of a, b.*examples: any"):
        none = np.array([f"b{name}" for name in first.example_id])
        other = dataclasses.replace(first, example_id=none, object_id=none)
        shown_by_all(join_views({"a": first, "b": other}))
    assert len(shown_by_all(join_views({"a": first, "b": first})).label) == 48
