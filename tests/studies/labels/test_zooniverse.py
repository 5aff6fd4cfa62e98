"""Volunteers' votes: read as the Zooniverse writes them, weighted by agreement with experts."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.studies.labels.conftest import CLUSTER, EMPTY, NEARBY

from clusterscan.core.errors import CatalogueError
from clusterscan_studies.config.labels import VolunteerVotes
from clusterscan_studies.labels.votes import (
    Votes,
    by_votes,
    consensus,
    read_votes,
    volunteer_agreement,
    vote_weights,
)

ANSWERS = {"other": [EMPTY], "cluster": [CLUSTER, NEARBY]}


def settings(**changes):
    return VolunteerVotes.model_validate(
        {"kind": "zooniverse", "export": "export.csv", "answers": ANSWERS, **changes}
    )


def test_votes_are_read_by_subject_volunteer_and_answer(export, tmp_path):
    export.add("ann", 4990081, CLUSTER).add("bob", 4990081, EMPTY).add(None, 4990082, NEARBY)
    votes = read_votes(export.write(tmp_path / "e.csv"), settings())
    assert votes.classes == ("other", "cluster")
    assert votes.table["subject"].tolist() == ["4990081", "4990081", "4990082"]
    assert votes.table["choice"].tolist() == [1, 0, 1]
    assert votes.table["anonymous"].tolist() == [False, False, True]
    assert votes.counts == {"rows": 3, "repeated": 0, "votes": 3, "anonymous": 1}
    named = read_votes(tmp_path / "e.csv", settings(subject_key="#name"))
    assert named.table["subject"].tolist() == ["XCLASS 81", "XCLASS 81", "XCLASS 82"]


def test_the_first_of_a_volunteer_s_votes_on_a_subject_counts(export, tmp_path):
    export.add("ann", 1, CLUSTER).add("ann", 1, EMPTY)
    export.add(None, 1, EMPTY).add(None, 1, CLUSTER)
    export.rows.reverse()  # the order of rows is not that of time
    votes = read_votes(export.write(tmp_path / "e.csv"), settings())
    assert votes.table["choice"].tolist() == [1, 0]
    assert votes.counts["repeated"] == 2


def test_a_renamed_volunteer_is_one_and_visitors_go_by_their_address(export, tmp_path):
    export.add("ann", 1, CLUSTER).add("ann2", 1, EMPTY, user_id="1").add(
        "ann3", 2, EMPTY, user_id="1"
    )
    export.add("not-logged-in-aaaa", 1, EMPTY).add("not-logged-in-bbbb", 1, EMPTY)
    votes = read_votes(export.write(tmp_path / "e.csv"), settings())
    assert votes.table["volunteer"].nunique() == 4
    assert votes.counts["anonymous"] == 2
    without = read_votes(tmp_path / "e.csv", settings(anonymous="drop"))
    assert without.counts["anonymous_dropped"] == 2
    assert len(without.table) == 3


def test_broken_rows_are_counted_and_lose_nothing_else(export, tmp_path):
    export.add("ann", 1, CLUSTER)
    export.add("bob", 1, CLUSTER, annotations='[{"task": "T1", "val')
    export.add("cat", 1, CLUSTER, subject_data="null")
    export.add("dan", 1, CLUSTER, annotations='{"task": "T1"}')
    export.add("eve", 1, CLUSTER, subject_ids="1;2")
    export.add("fay", 1, None)
    export.add("gus", 1, "Something else")
    export.add("hal", 1, [CLUSTER, EMPTY])
    export.add("ida", 1, [NEARBY])
    path = export.write(tmp_path / "e.csv", tail="23170999,jo,1,c1923")  # cut short
    votes = read_votes(path, settings())
    assert votes.table["choice"].tolist() == [1, 1]
    assert votes.counts == {
        "rows": 10,
        "broken": 4,
        "many_subjects": 1,
        "no_answer": 2,
        "ambiguous": 1,
        "repeated": 0,
        "votes": 2,
        "anonymous": 0,
    }


def test_a_last_task_decides_and_what_gives_no_answer_can_be_a_class(export, tmp_path):
    stopped = json.dumps([{"task": "T0", "value": "No emission close to the centre"}])
    export.add("ann", 1, CLUSTER).add("bob", 1, "x", annotations=stopped)
    votes = read_votes(export.write(tmp_path / "e.csv"), settings(otherwise="other"))
    assert votes.table["choice"].tolist() == [1, 0]
    first = settings(task="T0", answers={"no": ["No"], "yes": ["Yes"]})
    assert read_votes(tmp_path / "e.csv", first).counts["no_answer"] == 1


def test_other_workflows_earlier_versions_and_rehearsals_are_left_out(export, tmp_path):
    export.add("ann", 1, CLUSTER).add("bob", 1, CLUSTER, workflow_version="12.9")
    export.add("cat", 1, CLUSTER, workflow_version="3.1").add("dan", 1, EMPTY, workflow_id="7")
    export.add("eve", 1, EMPTY, metadata=json.dumps({"live_project": False}))
    path = export.write(tmp_path / "e.csv")
    with pytest.raises(CatalogueError, match=r"workflows 3130, 7; choose one"):
        read_votes(path, settings())
    votes = read_votes(path, settings(workflow_id=3130, min_version="12.10", live_only=True))
    # 12.10 comes after 12.9, though it is the smaller number.
    assert {k: n for k, n in votes.counts.items() if n} == {
        "rows": 5,
        "other_workflow": 1,
        "other_version": 2,
        "not_live": 1,
        "votes": 1,
    }


def test_a_file_that_is_no_export_or_holds_no_vote_is_named(export, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CatalogueError, match=r"a\.csv: lacks classification_id"):
        read_votes(tmp_path / "a.csv", settings())
    export.add("ann", 1, "Something else")
    with pytest.raises(CatalogueError, match=r"no vote is left \(1 no_answer, 1 rows\)"):
        read_votes(export.write(tmp_path / "e.csv"), settings())


def make_votes(rows):
    table = pd.DataFrame(rows, columns=["subject", "volunteer", "choice"]).assign(anonymous=False)
    return Votes(table, ("other", "cluster"))


def test_unweighted_fractions_are_counts():
    rows = [("s", v, c) for v, c in zip("abcde", [1, 1, 1, 0, 0], strict=True)]
    rows += [("t", "a", 0), ("t", "b", 1)]
    found = consensus(make_votes(rows))
    assert found["fraction_cluster"].to_dict() == {"s": 0.6, "t": 0.5}
    assert found["label"].to_dict() == {"s": 1, "t": 1}  # half is enough at threshold 0.5
    assert consensus(make_votes(rows), threshold=0.55)["label"].to_dict() == {"s": 1, "t": 0}
    assert consensus(make_votes(rows), min_votes=3)["label"].to_dict() == {"s": 1, "t": -1}


def test_weights_are_agreement_with_experts_on_the_common_subjects():
    rows = [("e1", "good", 1), ("e2", "good", 0), ("e3", "good", 1), ("e4", "good", 0)]
    rows += [("e1", "poor", 0), ("e2", "poor", 0), ("e3", "poor", 0), ("e4", "poor", 1)]
    rows += [("new", "good", 1), ("new", "poor", 0), ("new", "fresh", 0)]
    votes, experts = make_votes(rows), {"e1": 1, "e2": 0, "e3": 1, "e4": 0}
    table = volunteer_agreement(votes, experts)
    assert table.loc["good", ["n_votes", "n_common", "n_agree"]].tolist() == [5, 4, 4]
    assert table.loc["poor", "agreement"] == 0.25
    assert np.isnan(table.loc["fresh", "agreement"])
    weight = vote_weights(votes, experts, leave_one_out=False)
    # good 4/4, poor 1/4, and fresh the mean of all, 5/8.
    np.testing.assert_allclose(weight[-3:], [1.0, 0.25, 0.625])
    found = consensus(votes, weight)
    assert found.loc["new", "fraction_cluster"] == pytest.approx(1 / (1 + 0.25 + 0.625))
    assert consensus(votes).loc["new", "label"] == 0  # two against one, unweighted
    assert found.loc["new", "label"] == 1
    strangers = vote_weights(votes, experts, unmeasured=0.0, leave_one_out=False)
    np.testing.assert_allclose(strangers[-3:], [1.0, 0.25, 0.0])
    assert vote_weights(votes, experts, least_common=5, unmeasured=0.5)[0] == 0.5


def test_leaving_one_out_keeps_the_experts_answer_out_of_its_own_subject():
    rows = [("e1", "a", 1), ("e2", "a", 1), ("e3", "a", 0), ("e1", "b", 0), ("e2", "b", 1)]
    experts = {"e1": 1, "e2": 1, "e3": 1}
    weight = vote_weights(make_votes(rows), experts)
    # a on e1: agrees on e2 and not on e3; b on e1: agrees on e2; b on e2: does not on e1.
    np.testing.assert_allclose(weight, [0.5, 0.5, 1.0, 1.0, 0.0])


def test_weighting_finds_the_truth_where_most_volunteers_guess():
    """Five volunteers who are right nine times in ten outvote twenty who toss a coin."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    skill = np.array([0.9] * 5 + [0.5] * 20)
    right = rng.random((400, 25)) < skill
    choice = np.where(right, truth[:, None], 1 - truth[:, None])
    rows = [(f"s{s:03d}", f"v{v}", choice[s, v]) for s in range(400) for v in range(25)]
    votes = make_votes(rows)
    experts = {f"s{s:03d}": int(truth[s]) for s in range(100)}
    unseen = [f"s{s:03d}" for s in range(100, 400)]
    plain = (consensus(votes).loc[unseen, "label"] == truth[100:]).mean()
    weight = vote_weights(votes, experts)
    weighted = (consensus(votes, weight).loc[unseen, "label"] == truth[100:]).mean()
    # Weights p, not the optimal log-odds, so the guessers still speak; yet it helps.
    assert weighted > plain + 0.03


def test_three_classes_need_a_winner():
    table = pd.DataFrame(
        {"subject": list("ssst"), "volunteer": list("abcd"), "choice": [0, 1, 2, 2]}
    ).assign(anonymous=False)
    found = consensus(Votes(table, ("x", "y", "z")))
    assert found["label"].to_dict() == {"s": -1, "t": 2}


def test_votes_become_labels_of_the_table_s_objects(export, tmp_path):
    for user in ("ann", "bob", "cat"):
        export.add(user, 1001, CLUSTER).add(user, 1002, EMPTY)
    path = export.write(tmp_path / "e.csv")
    rule = settings(export=str(path), subject_key="#name")
    table = pd.DataFrame({"object_id": ["XCLASS 1", "XCLASS 2", "XCLASS 3"]})
    labels = by_votes(table, rule, "labels.csv")
    assert labels.label.tolist() == [1, 0, -1]
    assert labels.counts["objects_without_votes"] == 1
    assert labels.counts["votes"] == 6
    np.testing.assert_array_equal(labels.columns["n_votes"], [3, 3, np.nan])
    with pytest.raises(CatalogueError, match=r"correct rule\.subject_key"):
        by_votes(pd.DataFrame({"object_id": ["A"]}), rule, "labels.csv")


def test_experts_are_read_mapped_and_must_share_subjects(export, tmp_path):
    export.add("ann", 1001, CLUSTER).add("bob", 1001, EMPTY).add("ann", 1002, EMPTY)
    path = export.write(tmp_path / "e.csv")
    experts = {
        "path": str(tmp_path / "experts.csv"),
        "object_id": "id",
        "column": "class",
        "classes": {"other": ["AGN", "star"], "cluster": ["C1"]},
    }
    table = pd.DataFrame({"object_id": ["XCLASS 1", "XCLASS 2"]})

    def weighed(rows, **changes):
        pd.DataFrame(rows, columns=["id", "class"]).to_csv(tmp_path / "experts.csv", index=False)
        rule = settings(
            export=str(path),
            subject_key="#name",
            weighting="experts",
            leave_one_out=False,
            unmeasured_weight=0.5,
            experts=experts,
            **changes,
        )
        return by_votes(table, rule, "labels.csv")

    labels = weighed([("XCLASS 1", "AGN")])
    assert labels.columns["fraction_cluster"][0] == 0.0  # ann disagrees: she weighs nothing
    assert labels.label.tolist() == [0, -1]  # and XCLASS 2 has her vote alone
    assert labels.counts["objects_undecided"] == 1
    with pytest.raises(CatalogueError, match="no subject in common"):
        weighed([("XCLASS 77", "AGN")])
    with pytest.raises(CatalogueError, match="'QSO' is none of the classes"):
        weighed([("XCLASS 1", "QSO")])
    with pytest.raises(CatalogueError, match="two classes"):
        weighed([("XCLASS 1", "AGN"), ("XCLASS 1", "C1")])
