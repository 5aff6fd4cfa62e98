"""Merging: order free, symmetric, complete; chains split by the stated rule."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterscan.config.merge import MergeSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.detect import empty_candidates
from clusterscan.merge import merge_candidates, score_objects

RADIUS_ARCMIN = 2.5
CENTRES = [(0.0, 0.0), (359.995, 45.0), (120.0, 89.97), (10.0, -89.99), (210.0, -30.0)]


def candidates(ra, dec, score, pos_err_arcmin=0.5, flags=0):
    table = empty_candidates().reindex(range(len(ra)))
    return table.assign(
        ipix=np.arange(len(ra)), ra_deg=ra, dec_deg=dec, score=score, value=score, snr=score,
        pos_err_arcmin=pos_err_arcmin, area_px=3, flags=flags,
    )  # fmt: skip


def near(centre, east_arcmin, north_arcmin):
    """Positions around a centre, given on its tangent plane."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    origin = SkyCoord(*centre, unit="deg")
    frame = origin.skyoffset_frame()
    there = SkyCoord(east_arcmin * u.arcmin, north_arcmin * u.arcmin, frame=frame).icrs
    return there.ra.deg, there.dec.deg


@st.composite
def crowds(draw):
    count = draw(st.integers(1, 25))
    place = st.floats(-6, 6).map(lambda v: round(v, 2))
    offsets = draw(st.lists(st.tuples(place, place), min_size=count, max_size=count))
    scores = draw(st.lists(st.integers(-3, 3).map(float), min_size=count, max_size=count))
    models = draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count))
    east, north = np.array(offsets).T
    ra, dec = near(draw(st.sampled_from(CENTRES)), east, north)
    return ra, dec, np.array(scores), np.array(models), draw(st.integers(0, 2**31))


def tables(ra, dec, score, model):
    return {
        ("s" + m, m): candidates(ra[model == m], dec[model == m], score[model == m]) for m in "abc"
    }


@settings(max_examples=25, deadline=None, derandomize=True)
@given(crowds())
def test_merging_does_not_depend_on_the_order_of_rows_or_models(crowd):
    ra, dec, score, model, seed = crowd
    expected = merge_candidates(tables(ra, dec, score, model), radius_arcmin=RADIUS_ARCMIN)
    shuffle = np.random.default_rng(seed).permutation(ra.size)
    again = tables(ra[shuffle], dec[shuffle], score[shuffle], model[shuffle])
    again = dict(reversed(again.items()))
    merged = merge_candidates(again, radius_arcmin=RADIUS_ARCMIN)
    pd.testing.assert_frame_equal(merged, expected, check_exact=True)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(crowds())
def test_merging_is_symmetric_in_the_models(crowd):
    ra, dec, score, model, _ = crowd
    # Equal scores at one place may be led by either model: give each its own score.
    score = score + np.linspace(0, 0.5, score.size)
    expected = merge_candidates(tables(ra, dec, score, model), radius_arcmin=RADIUS_ARCMIN)
    renamed = np.select([model == "a", model == "b"], ["b", "c"], "a")
    merged = merge_candidates(tables(ra, dec, score, renamed), radius_arcmin=RADIUS_ARCMIN)
    same = ["n_candidates", "n_models", "n_surveys", "snr_peak"]
    pd.testing.assert_frame_equal(merged[same], expected[same])
    np.testing.assert_allclose(merged["dec_deg"], expected["dec_deg"], atol=1e-9)
    for here, there in (("b", "a"), ("c", "b"), ("a", "c")):
        np.testing.assert_array_equal(
            merged[f"score_s{here}_{here}"], expected[f"score_s{there}_{there}"]
        )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(crowds())
def test_every_candidate_joins_one_object_and_objects_keep_their_distance(crowd):
    ra, dec, score, model, _ = crowd
    merged = merge_candidates(tables(ra, dec, score, model), radius_arcmin=RADIUS_ARCMIN)
    assert merged["n_candidates"].sum() == ra.size
    assert merged["object_id"].is_unique
    one_model = merge_candidates(
        {("s", "m"): candidates(ra, dec, score)}, radius_arcmin=RADIUS_ARCMIN
    )
    # One model: an object sits on its best candidate, and these are farther apart than the radius.
    separation = sky.separation_deg(
        one_model["ra_deg"].to_numpy()[:, None], one_model["dec_deg"].to_numpy()[:, None],
        one_model["ra_deg"].to_numpy(), one_model["dec_deg"].to_numpy(),
    )  # fmt: skip
    others = separation[~np.eye(len(one_model), dtype=bool)]
    assert (others * 60 > RADIUS_ARCMIN - 1e-6).all()


def test_a_chain_is_split_at_its_best_candidates():
    # A - B - C in a row, 2' apart: friends of friends, but A and C are 4' apart.
    ra, dec = near((150.0, 2.0), np.array([-2.0, 0.0, 2.0]), np.zeros(3))

    def scores_of(values):
        merged = merge_candidates({("s", "m"): candidates(ra, dec, values)}, radius_arcmin=2.5)
        return sorted(zip(merged["score_s_m"], merged["n_candidates"], strict=True))

    # Best in the middle: both ends join it.
    assert scores_of([1.0, 3.0, 2.0]) == [(3.0, 3)]
    # Best at an end: the middle joins it, the other end is beyond its radius.
    assert scores_of([3.0, 1.0, 2.0]) == [(2.0, 1), (3.0, 2)]


def test_the_middle_of_a_chain_joins_the_nearer_of_two_better_ones():
    ra, dec = near((150.0, 2.0), np.array([-2.2, 0.0, 1.5]), np.zeros(3))
    merged = merge_candidates({("s", "m"): candidates(ra, dec, [3.0, 1.0, 2.0])}, radius_arcmin=2.5)
    assert sorted(zip(merged["score_s_m"], merged["n_candidates"], strict=True)) == [
        (2.0, 2),
        (3.0, 1),
    ]


def test_position_is_the_inverse_variance_mean_across_ra_zero():
    first = candidates([359.999], [0.0], [2.0], pos_err_arcmin=0.1, flags=1)
    second = candidates([0.011], [0.0], [1.0], pos_err_arcmin=0.2, flags=4)
    merged = merge_candidates({("x", "m"): first, ("y", "m"): second}, radius_arcmin=2.5)
    assert len(merged) == 1
    row = merged.iloc[0]
    # Weights 100 and 25: 359.999 + 0.012 * 25 / 125
    assert row.ra_deg == pytest.approx(0.0014, abs=1e-9)
    assert row.pos_err_arcsec == pytest.approx(60 / np.sqrt(125), rel=1e-6)
    assert (row.n_models, row.n_surveys, row["flags"]) == (2, 2, 5)
    assert row.sep_arcsec_x_m == pytest.approx(0.0024 * 3600, rel=1e-4)
    assert row.object_id == sky.owning_cell([row.ra_deg], [row.dec_deg], 29)[0]


def test_a_network_of_several_surveys_is_a_model_more_but_no_survey_more():
    here = candidates([10.0], [0.0], [2.0])
    merged = merge_candidates({("x", "m"): here, ("fusion", "m"): here}, radius_arcmin=2.5)
    assert merged[["n_models", "n_surveys"]].to_numpy().tolist() == [[2, 1]]


def test_no_candidates_give_an_empty_table_with_all_columns():
    models = [("ir", "resnet18"), ("mw", "baseline")]
    empty = merge_candidates({m: empty_candidates() for m in models}, radius_arcmin=2.5)
    one = merge_candidates(
        {models[0]: candidates([1.0], [2.0], [3.0]), models[1]: empty_candidates()},
        radius_arcmin=2.5,
    )
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == one.dtypes.to_dict()
    nothing = np.empty(0, bool)
    scored, record = score_objects(
        empty, {m: np.empty(0) for m in models}, is_real=lambda score: nothing,
        is_listed=nothing, in_validation=nothing, settings=MergeSettings(),
    )  # fmt: skip
    assert {"prob", "prob_err", "prob_scatter", "forced_ir_resnet18"} <= set(scored)
    assert record["combination"] == "logit_mean"


def test_impossible_candidates_are_refused():
    good = candidates([1.0], [2.0], [3.0])
    with pytest.raises(CatalogueError, match="no position"):
        merge_candidates({("s", "m"): good.assign(ra_deg=np.nan)}, radius_arcmin=2.5)
    with pytest.raises(CatalogueError, match="no position"):
        merge_candidates({("s", "m"): good.assign(dec_deg=91.0)}, radius_arcmin=2.5)
    with pytest.raises(CatalogueError, match="must be positive"):
        merge_candidates({("s", "m"): good.assign(pos_err_arcmin=0.0)}, radius_arcmin=2.5)
    with pytest.raises(CatalogueError, match="lack"):
        merge_candidates({("s", "m"): good.drop(columns="snr")}, radius_arcmin=2.5)


def test_scored_objects_sort_as_a_better_model_says():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 60, 400), rng.uniform(-30, 30, 400)
    objects = merge_candidates(
        {("s", "good"): candidates(ra, dec, np.ones(400))}, radius_arcmin=0.1
    )
    known = rng.random(len(objects)) < 0.3
    noise = rng.normal(0, 1, (2, len(objects)))
    forced = {
        ("s", "good"): 1 / (1 + np.exp(-(3 * known - 1.5 + noise[0]))),
        ("s", "bad"): 1 / (1 + np.exp(-(0.2 * known + noise[1]))),
    }
    half = np.arange(len(objects)) % 2 == 0
    scored, record = score_objects(
        objects, forced, is_real=lambda score: known, is_listed=known, in_validation=half,
        settings=MergeSettings(calibration={"combinations": ["stacking"], "n_bootstrap": 3}),
    )  # fmt: skip
    weight = dict(zip(record["combiner"]["names"], record["combiner"]["weight"], strict=True))
    assert weight["s_good"] > 3 * weight["s_bad"]
    assert {"single_s_good", "by_stacking"} & set(scored) == {"by_stacking"}
    assert scored["prob"][~half & known].median() > 3 * scored["prob"][~half & ~known].median()
    expected = np.std([forced[m] for m in forced], axis=0, ddof=1)
    np.testing.assert_allclose(scored["prob_scatter"], expected, rtol=1e-5)
