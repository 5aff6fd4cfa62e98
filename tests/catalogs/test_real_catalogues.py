"""Published catalogues as they really are: semicolons, sentinels, negative RA, lost plus signs."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy.spatial import cKDTree

from clusterscan import sky
from clusterscan.catalogs.read import read_catalogue
from clusterscan.config.catalogs import CatalogueSettings

FILES = {
    "abell": "abell-all.fits",
    "act_dr5": "aactpol.csv.gz",
    "act_dr5_masses": "act_dr5_masses.tsv",
    "camira_sdss": "camira_sdssdr8_v2_all.dat.gz",
    "compact": "ComPACT_v1.0.csv",
    "mcxc": "mcxc.fits",
    "psz2": "HFI_PCCS_SZ-union_R2.08.fits",
    "redmapper_des": "DESy3_redmapper.csv.gz",
    "redmapper_sdss": "sdss_redmapper.csv.gz",
    "spt": "SPT-SZ.fits",
    "szcat": "SZcatgen.csv.gz",
}
ROWS = {
    "abell": 5250,
    "act_dr5": 4195,
    "act_dr5_masses": 4195,
    "camira_sdss": 87254,
    "mcxc": 1743,
    "psz2": 1653,
    "redmapper_des": 21092,
    "redmapper_sdss": 26350,
    "spt": 677,
    "szcat": 30917,
}


@pytest.fixture(scope="module")
def catalogue(real_data):
    tables = {}

    def read(kind):
        if kind not in tables:
            path = real_data / "clusters" / FILES[kind]
            if not path.exists():
                pytest.skip(f"no {path}")
            values = {"name": kind, "kind": kind, "path": str(path)}
            tables[kind] = read_catalogue(TypeAdapter(CatalogueSettings).validate_python(values))
        return tables[kind]

    return read


@pytest.mark.parametrize(("kind", "rows"), ROWS.items())
def test_every_row_of_a_published_catalogue_is_read(catalogue, kind, rows):
    table = catalogue(kind).table
    assert len(table) == rows
    assert table["ra_deg"].between(0, 360, inclusive="left").all()
    assert not (table["z"] <= 0).any()
    assert all(type(name) is str for name in table["name"][:5])


def test_compact_v1_gets_back_its_right_ascensions_and_plus_signs(catalogue):
    result = catalogue("compact")
    assert result.counts["wrapped"] == 1255
    # The names hold the Galactic position, which the other library computes from RA and Dec.
    from astropy.coordinates import SkyCoord

    table = result.table
    galactic = SkyCoord(table["ra_deg"], table["dec_deg"], unit="deg").galactic
    parts = table["name"].str.extract(r"G([\d.]+)([+-][\d.]+)$").astype(float).to_numpy()
    assert np.isfinite(parts).all()
    turn = (galactic.l.deg - parts[:, 0] + 180) % 360 - 180
    assert np.quantile(np.abs(turn * np.cos(galactic.b.rad)), 0.99) < 0.02
    assert np.quantile(np.abs(galactic.b.deg - parts[:, 1]), 0.99) < 0.02


def test_masses_and_names_agree_between_two_forms_of_act_dr5(catalogue):
    short, full = catalogue("act_dr5").table, catalogue("act_dr5_masses").table
    both = short.merge(full, on="name", suffixes=("", "_full"))
    assert len(both) == 4195
    np.testing.assert_allclose(both["ra_deg"], both["ra_deg_full"], atol=1e-5)
    # Hilton et al. 2021 list calibrated masses around 3e14 Msun at their signal-to-noise limit.
    assert 2e14 < np.median(both["m500c_msun_full"]) < 4e14


def test_unknown_redshifts_of_psz2_and_spt_are_unknown(catalogue, real_data):
    short = pd.read_csv(real_data / "clusters/psz2.csv.gz")  # the same list, unknowns empty
    psz2 = catalogue("psz2").table
    np.testing.assert_array_equal(psz2["z"].isna(), short["redshift"].isna())
    assert catalogue("spt").table["z"].notna().sum() == 516  # Bleem et al. 2015: 516 of 677


@pytest.mark.parametrize(
    ("first", "second", "matches"),
    [
        ("act_dr5", "psz2", 380),
        ("psz2", "act_dr5", 375),
        ("act_dr5", "mcxc", 262),
        ("act_dr5", "compact_new", 1039),
        ("psz2", "mcxc", 528),
        ("redmapper_sdss", "spt", 0),
    ],
)
def test_cross_matches_within_five_arcmin_are_those_counted_before(
    catalogue, real_data, first, second, matches
):
    if second == "compact_new":
        values = {
            "name": "c",
            "kind": "compact",
            "path": str(real_data / "clusters/ComPACT.csv"),
        }
        other = read_catalogue(TypeAdapter(CatalogueSettings).validate_python(values)).table
    else:
        other = catalogue(second).table
    mine = catalogue(first).table
    tree = cKDTree(sky.unit_vectors(other["ra_deg"], other["dec_deg"]))
    chord, _ = tree.query(sky.unit_vectors(mine["ra_deg"], mine["dec_deg"]))
    assert (chord <= sky.chord(5 / 60)).sum() == matches


def test_members_of_perseus_are_selected_by_class_and_keep_their_magnitudes(real_data):
    values = {
        "name": "wittmann",
        "kind": "wittmann",
        "path": str(real_data / "images/perseus/pcc_labels.csv"),
        "select": {"class7": [3, 5]},
    }
    table = read_catalogue(TypeAdapter(CatalogueSettings).validate_python(values)).table
    assert len(table) == 398 + 98
    assert set(table["class7"]) == {3, 5}
    assert (table["member"] == 1).all()
    assert table["rmag"].between(14, 24.5).all()
