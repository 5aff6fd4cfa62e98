"""Listed positions are measured whether or not anything was detected there."""

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from scipy.special import expit

from clusterscan.merge.calibrate import ProbabilityModel
from clusterscan.merge.combine import plain_combiner
from clusterscan.merge.forced_values import measure_list
from clusterscan.publish.release import Release
from clusterscan.publish.tables import write_forced

MODEL = ("act", "net")
RECORD = ProbabilityModel(
    plain_combiner(["act_net"], "logit_mean"), {"kind": "platt", "slope": 2.0, "offset": -1.0}
).to_dict() | {"singles": {"act_net": {"kind": "platt", "slope": 1.0, "offset": 0.0}}}


@pytest.fixture
def measured():
    listed = pd.DataFrame(
        {"name": ["A", "B", "C"], "ra_deg": [10.0, 11.0, 12.0], "dec_deg": [0.0, 0.0, 0.0]}
    )
    objects = pd.DataFrame(
        {
            "object_id": [77, 78], "ra_deg": [10.01, 200.0], "dec_deg": [0.0, 0.0],
            "pos_err_arcsec": [10.0, 10.0], "prob": [0.9, 0.1],
        }
    )  # fmt: skip
    values = {MODEL: np.array([0.8, 0.3, np.nan])}
    split = np.array(["test", "train", "test"], dtype=object)
    return measure_list("mine", listed, values, objects, RECORD, split, 2.5)


def test_every_row_is_kept_and_measured_as_an_object_would_be(measured):
    assert measured["name"].tolist() == ["A", "B", "C"]
    assert measured["searched"].tolist() == [True, True, False]
    odds = np.log([0.8 / 0.2, 0.3 / 0.7])
    np.testing.assert_allclose(measured["prob"][:2], expit(2 * odds - 1))
    np.testing.assert_allclose(measured["single_act_net"][:2], [0.8, 0.3], rtol=1e-6)
    assert measured.loc[2, ["prob", "single_act_net"]].isna().all()


def test_its_own_object_stands_beside_it(measured):
    assert measured["object_id"].tolist() == [77, -1, -1]
    np.testing.assert_allclose(measured["object_prob"], [0.9, np.nan, np.nan])
    np.testing.assert_allclose(measured["object_sep_arcsec"], [36.0, np.nan, np.nan])


def test_the_product_names_the_object_and_counts_as_documented(measured, tmp_path):
    catalogue = {"name": np.array(["X1", "X2"], dtype=object), "healpix29": np.array([78, 77])}
    release = Release("1", "mini", 1, 2.0, simulated=True)
    write_forced(tmp_path, measured, catalogue, [MODEL, ("act", "filter")], release)
    table = Table.read(tmp_path / "forced.fits")
    names = [str(n) for n in table["object_name"].filled("")]
    assert names == ["X2", "", ""]
    fair = table[table["searched"] == 1]
    assert (fair["object_prob"] >= 0.5).sum() == 1
    assert pd.read_parquet(tmp_path / "forced.parquet")["list"].tolist() == ["mine"] * 3
    assert "snr_act_filter" not in table.colnames


def test_without_any_object_nothing_is_found(measured):
    listed = measured[["name", "ra_deg", "dec_deg"]]
    none = pd.DataFrame(
        {c: np.empty(0) for c in ("object_id", "ra_deg", "dec_deg", "pos_err_arcsec", "prob")}
    )
    again = measure_list(
        "mine", listed, {MODEL: np.full(3, 0.5)}, none, RECORD, np.full(3, "test"), 2.5
    )
    assert (again["object_id"] == -1).all()
