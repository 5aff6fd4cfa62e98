"""Candidates as an X-ray pipeline offers them, and how volunteers judge them."""

import json

import numpy as np
import pandas as pd
import pytest

from clusterscan.config.simulation_xray import VolunteerSettings
from clusterscan.core import sky
from clusterscan_studies.config.labels import ExpertLabels, VolunteerVotes
from clusterscan_studies.labels.votes import by_votes, read_votes
from clusterscan_studies.simulate.candidate_detection import (
    ALL_CORES,
    CORES_PX,
    PIXEL_ARCSEC,
    STAMP_PX,
    detect,
    fit_sources,
    source_images,
)
from clusterscan_studies.simulate.candidates import (
    CLASSES,
    candidates_of_cell,
    candidates_table,
    part_inside,
    with_votes,
)
from clusterscan_studies.simulate.volunteers import (
    _OTHERWISE,
    ANSWERS,
    CLUSTER_ANSWERS,
    CLUSTER_VALUES,
    SUBJECT_KEY,
    TASKS,
    difficulty,
    export_table,
    volunteers,
    votes,
    write_export,
)

SEED = 11
CELL, ORDER = 1105 * 4, 5


@pytest.fixture(scope="module")
def candidates(settings):
    return candidates_of_cell(CELL, ORDER, seed=SEED, settings=settings)


# --- the fit --------------------------------------------------------------------------------------


def _simulated(rng, core, counts, level, n=40):
    """Return n photon stamps of one kind of source, and what their fit needs."""
    x = y = np.full(n, 100.0) + rng.uniform(-0.5, 0.5, n)
    models = source_images("xmm", 4.0, x, y, np.zeros(n))
    background = np.full((n, 2 * STAMP_PX + 1, 2 * STAMP_PX + 1), level)
    seen = rng.poisson(counts * models[:, core] + background)
    return seen, background, models, np.ones(background.shape, bool)


def test_models_of_sources_hold_their_light():
    images = source_images("xmm", 4.0, np.array([50.2]), np.array([49.7]), np.array([0.0]))
    total = images.sum(axis=(2, 3))[0]
    # 64 arcsec hold 93 % of a star, and 1 - 1 / sqrt(1 + 16^2 / core^2) of a beta model
    assert total[0] == pytest.approx(0.93, abs=0.03)
    wide = 1 - 1 / np.sqrt(1 + (STAMP_PX / CORES_PX[-1]) ** 2)
    assert total[-1] == pytest.approx(wide, abs=0.12)  # the stamp is a square
    y, x = np.indices(images.shape[2:]) - STAMP_PX
    assert (x * images[0, 0]).sum() / total[0] == pytest.approx(0.2, abs=0.05)
    assert (y * images[0, 0]).sum() / total[0] == pytest.approx(-0.3, abs=0.05)


@pytest.mark.parametrize("core", [0, 4])
def test_fits_find_the_counts_and_the_extent(core):
    rng = np.random.default_rng(core)
    fits = fit_sources(*_simulated(rng, core, 400.0, 0.2), ALL_CORES)
    assert np.median(fits.counts) == pytest.approx(400.0, rel=0.1)
    if core:
        assert np.median(fits.extent_px) == pytest.approx(CORES_PX[core], rel=0.4)
        assert (fits.extent_likelihood > 33).mean() > 0.9
    else:
        # twice the gain of one more parameter is a chi-square: rarely above 15
        assert (fits.extent_likelihood > 15).mean() < 0.05
    assert (fits.likelihood > 33).all()


def test_no_source_at_all_gives_no_fit():
    nothing = np.zeros((0, 33, 33))
    fits = fit_sources(nothing, nothing, np.zeros((0, 8, 33, 33)), nothing > 0, ALL_CORES)
    assert len(fits.counts) == 0


def test_light_within_a_circle_is_exact_at_its_centre_and_far_away():
    core, radius = np.array([20.0]), 45.0
    exact = 1 - 1 / np.sqrt(1 + (45 / 20) ** 2)
    assert part_inside(np.array([0.0]), core, radius)[0] == pytest.approx(exact)
    assert part_inside(np.array([600.0]), core, radius)[0] < 0.01
    np.testing.assert_array_equal(
        part_inside(np.array([44.0, 46.0]), np.zeros(2), radius), [1.0, 0.0]
    )


# --- the list -------------------------------------------------------------------------------------


def test_bright_sources_are_detected_where_they_are(settings):
    from clusterscan_studies.simulate.xray import expected_counts, sources_near
    from clusterscan_studies.simulate.xray_telescope import pointing_of_cell

    cell = 70730
    pointing = pointing_of_cell(cell, SEED, settings.xray)
    found = detect(cell, SEED, settings)
    sources = sources_near(pointing, SEED, settings)
    x, y = pointing.to_detector(sky.unit_vectors(sources.ra_deg, sources.dec_deg))
    bright = (expected_counts(pointing, sources) > 150) & (np.hypot(x, y) < 10)
    assert bright.sum() > 5
    distance = 60 * np.hypot(x[bright, None] - found.x, y[bright, None] - found.y).min(axis=1)
    # gaps hide a few, and close pairs are one
    assert (distance < 2 * PIXEL_ARCSEC["xmm"]).mean() > 0.85


def test_candidates_are_as_dense_and_as_pure_as_published(candidates):
    area = sky.cell_area_deg2(ORDER)
    # Pacaud et al. 2006: some 7 C1 and 12 C2 per deg2, half of the C2 no clusters
    assert 7 < len(candidates) / area < 25
    purest = candidates["extent_likelihood"] > 33
    assert candidates["expert"][purest].mean() > 0.6
    assert 0.4 < candidates["expert"].mean() < 0.85
    assert set(candidates["class"]) <= set(CLASSES)
    assert {"cluster", "blend", "nearby_galaxy"} <= set(candidates["class"])


def test_candidates_are_clusters_exactly_where_a_halo_is_named(candidates):
    real = candidates["expert"] == 1
    assert (candidates["class"][real] == "cluster").all()
    assert candidates["z"][real].notna().all()
    assert candidates["z"][~real].isna().all()
    assert ((candidates["truth_name"] != "") == real).all()
    assert (candidates["off_axis_arcmin"] <= 13.0).all()


def test_candidates_do_not_depend_on_the_order_they_are_asked_at(settings, candidates):
    parts = [
        candidates_of_cell(int(c), 6, seed=SEED, settings=settings)
        for c in sky.descendants(CELL, ORDER, 6)
    ]
    joined = pd.concat(parts).sort_values("name", ignore_index=True)
    pd.testing.assert_frame_equal(joined, candidates.sort_values("name", ignore_index=True))


def test_no_candidate_is_listed_twice(candidates):
    vectors = sky.unit_vectors(candidates["ra_deg"].to_numpy(), candidates["dec_deg"].to_numpy())
    cosine = vectors @ vectors.T - 2 * np.eye(len(vectors))
    assert np.degrees(np.arccos(np.clip(cosine.max(), -1, 1))) * 3600 > 55
    assert candidates["name"].is_unique


def test_an_empty_list_has_the_columns_of_a_full_one(candidates):
    empty = candidates_table([])
    assert list(empty.columns) == list(candidates.columns)
    assert (empty.dtypes == candidates.dtypes).all()


# --- volunteers -----------------------------------------------------------------------------------


def _list(n, kind, counts, z):
    return pd.DataFrame(
        {"name": [f"{kind}{i}" for i in range(n)], "class": kind, "cluster_counts": counts, "z": z,
         "expert": int(kind == "cluster")}
    )  # fmt: skip


def test_faint_and_distant_clusters_are_missed_more_often():
    s = VolunteerSettings()
    cases = {
        "easy": _list(30, "cluster", 2000.0, 0.1),
        "faint": _list(30, "cluster", 100.0, 0.1),
        "far": _list(30, "cluster", 2000.0, 0.8),
    }
    recognised = {
        name: votes(table, seed=SEED, settings=s)["answer"].isin(CLUSTER_ANSWERS).mean()
        for name, table in cases.items()
    }
    assert recognised["easy"] > recognised["faint"] > 0
    assert recognised["easy"] > recognised["far"] > 0


def test_the_chance_of_a_vote_is_the_rasch_models():
    s = VolunteerSettings(skill_scatter=0.0, skill_mean=0.7)
    table = _list(300, "cluster", 300.0, 0.3)
    said = votes(table, seed=SEED, settings=s)["answer"].isin(CLUSTER_ANSWERS).mean()
    hard = difficulty(np.array([300.0]), np.array([0.3]), s)[0]
    assert said == pytest.approx(1 / (1 + np.exp(hard - 0.7)), abs=0.02)


def test_votes_on_a_candidate_do_not_depend_on_the_others():
    s = VolunteerSettings()
    table = _list(20, "cluster", 300.0, 0.3)
    whole = votes(table, seed=SEED, settings=s)
    last = votes(table.iloc[[19]], seed=SEED, settings=s)
    pd.testing.assert_frame_equal(
        whole[whole["subject"] == "cluster19"].reset_index(drop=True), last
    )
    assert (last["volunteer"].value_counts() == 1).all()


def test_volunteers_are_pure_and_incomplete_as_published(settings, candidates):
    # Kosiba et al. 2020, Table 1: precision 1.00 and recall 0.27, weighted 0.99 and 0.40
    said = votes(candidates, seed=SEED, settings=settings.volunteers)
    judged = with_votes(candidates, said, settings)
    real = judged["expert"] == 1
    plain, weighted = judged["volunteers_unweighted"] == 1, judged["volunteers"] == 1
    assert (real & weighted).sum() / weighted.sum() > 0.9
    assert 0.1 < (real & plain).sum() / real.sum() < 0.5
    assert (real & weighted).sum() >= (real & plain).sum()
    assert judged["common"].mean() == pytest.approx(0.25, abs=0.2)


def test_answers_have_a_chance_each():
    assert set(_OTHERWISE) == set(CLASSES)
    for parts in _OTHERWISE.values():
        assert len(parts) == len(ANSWERS)
        assert sum(parts) == pytest.approx(1.0)
        assert all(parts[answer] == 0 for answer in CLUSTER_ANSWERS)
    assert set(TASKS) == set(ANSWERS)
    assert volunteers(SEED, VolunteerSettings())[1].sum() == pytest.approx(1.0)


def test_the_export_reads_back_as_the_votes_that_were_cast(tmp_path, settings, candidates):
    said = votes(candidates, seed=SEED, settings=settings.volunteers)
    write_export(tmp_path / "votes.csv", said)
    rule = VolunteerVotes(
        kind="zooniverse",
        export=str(tmp_path / "votes.csv"),
        subject_key=SUBJECT_KEY,
        answers={"other": ["Nearby galaxy", "No optical image"], "cluster": CLUSTER_VALUES},
        otherwise="other",
    )
    read = read_votes(tmp_path / "votes.csv", rule)
    assert read.counts["votes"] == len(said)
    cast = said["answer"].isin(CLUSTER_ANSWERS)
    assert (read.table["choice"].to_numpy() == cast.to_numpy()).all()
    assert (read.table["subject"].to_numpy() == said["subject"].to_numpy()).all()
    assert read.table["volunteer"].nunique() == said["volunteer"].nunique()


def test_weighted_labels_from_the_export_are_the_catalogues(tmp_path, settings, candidates):
    said = votes(candidates, seed=SEED, settings=settings.volunteers)
    judged = with_votes(candidates, said, settings)
    write_export(tmp_path / "votes.csv", said)
    common = judged[judged["common"] == 1]
    names = common["expert"].map({0: "other", 1: "cluster"})
    pd.DataFrame({"object_id": common["name"], "class": names}).to_csv(
        tmp_path / "experts.csv", index=False
    )
    rule = VolunteerVotes(
        kind="zooniverse",
        export=str(tmp_path / "votes.csv"),
        subject_key=SUBJECT_KEY,
        answers={"other": ["Nearby galaxy", "No optical image"], "cluster": CLUSTER_VALUES},
        otherwise="other",
        experts=ExpertLabels(
            path=str(tmp_path / "experts.csv"), object_id="object_id", column="class"
        ),
        weighting="experts",
    )
    labels = by_votes(judged.assign(object_id=judged["name"]), rule, "the candidates")
    np.testing.assert_array_equal(labels.label, judged["volunteers"])


def test_every_row_of_the_export_says_that_it_is_simulated(candidates, settings):
    said = votes(candidates.head(3), seed=SEED, settings=settings.volunteers)
    table = export_table(said)
    assert all(json.loads(text)["simulated"] for text in table["metadata"])
    assert table["workflow_name"].str.contains("simulated").all()
    first = json.loads(table["annotations"].iloc[0])
    assert first[0]["task"] == "T0"
    assert list(table.columns[:3]) == ["classification_id", "user_name", "user_id"]
