"""Published catalogues as they really are: semicolons, sentinels, negative RA, lost plus signs."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from clusterscan.catalogs.checks import disagreement_deg
from clusterscan.catalogs.matching import cross_matches
from clusterscan.catalogs.published import LAYOUTS
from clusterscan.catalogs.reading import read_catalogue
from clusterscan.config.catalogs import CatalogueSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.known.unite import MatchRule, unite_known

# file: kind, rows published, redshifts, masses
FILES = {
    "aactpol.csv.gz": ("act_dr5", 4195, 4195, 0),
    "act_dr5_masses.tsv": ("act_dr5_masses", 4195, 4195, 4195),
    "psz2.csv.gz": ("psz2_short", 1653, 1093, 0),
    "HFI_PCCS_SZ-union_R2.08.fits": ("psz2", 1653, 1093, 1093),
    "sdss_redmapper.csv.gz": ("redmapper_sdss", 26350, 26350, 0),
    "desY1a1.csv.gz": ("redmapper_des_y1", 6729, 6729, 0),
    "DESy3_redmapper.csv.gz": ("redmapper_des", 21092, 21092, 0),
    "sptsz.csv.gz": ("spt_short", 677, 516, 0),
    "sptecs.csv.gz": ("spt_short", 470, 448, 0),
    "sptpol100d.csv.gz": ("spt_short", 89, 79, 0),
    "spt3Gdeep.csv.gz": ("spt_short", 546, 469, 0),
    "SPT-SZ.fits": ("spt", 677, 516, 516),
    "SPT-ECS.fits": ("spt", 470, 448, 448),
    "mcxc.csv.gz": ("mcxc_short", 1743, 1743, 1743),
    "mcxc.fits": ("mcxc", 1743, 1743, 1743),
    "reflex.csv.gz": ("reflex", 447, 447, 0),
    "bcs.csv.gz": ("bcs", 206, 206, 0),
    "ebcs.csv.gz": ("ebcs", 107, 107, 0),
    "ciza.csv.gz": ("ciza", 73, 73, 0),
    "ciza2.csv.gz": ("ciza", 57, 57, 0),
    "camira_sdssdr8_v2_all.dat.gz": ("camira_sdss", 87254, 87254, 0),
    "camira_s23b_wide.tbl": ("camira_hsc", 12939, 12937, 0),
    "abell-all.fits": ("abell", 5250, 822, 0),
    "ComPACT.csv": ("compact", 2962, 0, 0),
    "ComPACT_v1.0.csv": ("compact", 2934, 0, 0),
    "SZcatgen.csv.gz": ("szcat", 30917, 0, 0),
}
DUPLICATES = {"camira_s23b_wide.tbl": 2, "ComPACT_v1.0.csv": 51}
SHORT = {
    "abell": "abell-all.fits",
    "act_dr5": "aactpol.csv.gz",
    "act_dr5_masses": "act_dr5_masses.tsv",
    "compact": "ComPACT_v1.0.csv",
    "psz2": "HFI_PCCS_SZ-union_R2.08.fits",
    "spt": "SPT-SZ.fits",
}


@pytest.fixture(scope="module")
def read_file(real_data):
    tables = {}

    def read(file, **more):
        key = (file, *more)
        if key not in tables:
            path = real_data / "clusters" / file
            if not path.exists():
                pytest.skip(f"no {path}")
            kind = FILES[file][0] if file in FILES else more.pop("kind")
            values = {"name": "it", "kind": kind, "path": str(path), **more}
            tables[key] = read_catalogue(TypeAdapter(CatalogueSettings).validate_python(values))
        return tables[key]

    return read


@pytest.fixture(scope="module")
def catalogue(read_file):
    return lambda kind: read_file(SHORT[kind])


@pytest.mark.parametrize("file", FILES)
def test_every_row_redshift_and_mass_of_a_published_catalogue_is_read(read_file, file):
    kind, rows, redshifts, masses = FILES[file]
    result = read_file(file)
    table = result.table
    assert result.counts["rows"] == rows
    assert len(table) == rows - DUPLICATES.get(file, 0)
    assert result.counts["repeated_names"] == 0
    assert table["ra_deg"].between(0, 360, inclusive="left").all()
    assert table["z"].notna().sum() == redshifts
    assert table["z"].dropna().between(0.002, 2.5).all()
    assert table["m500c_msun"].notna().sum() == masses
    assert table["m500c_msun"].dropna().between(5e11, 3e15).all()
    assert all(type(name) is str for name in table["name"][:5])
    if LAYOUTS[kind].acronym in ("ACT-CL", "PSZ2", "MCXC", "SPT-CL", "ACO", "RXC", "CIZA", "RM"):
        assert table["name"].str.startswith(LAYOUTS[kind].acronym).all()


@pytest.mark.parametrize("file", FILES)
def test_positions_agree_with_those_in_the_names(read_file, file):
    table = read_file(file).table
    apart = disagreement_deg(table["name"], table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    # SPT names are cut to a minute of right ascension: a quarter of a degree.
    assert not (apart > 0.25).any()
    unnamed = {"redmapper_des", "redmapper_des_y1", "camira_sdss", "abell"}
    assert np.isfinite(apart).any() == (FILES[file][0] not in unnamed)


def test_short_and_full_forms_of_a_catalogue_agree(read_file):
    for short, full in (
        ("psz2.csv.gz", "HFI_PCCS_SZ-union_R2.08.fits"),
        ("mcxc.csv.gz", "mcxc.fits"),
        ("sptsz.csv.gz", "SPT-SZ.fits"),
        ("sptecs.csv.gz", "SPT-ECS.fits"),
    ):
        both = read_file(short).table.merge(
            read_file(full).table, on="name", suffixes=("", "_full")
        )
        assert len(both) == FILES[full][1]
        for column in ("ra_deg", "dec_deg", "z"):
            np.testing.assert_allclose(both[column], both[f"{column}_full"], atol=1e-4)
        if "pos_err_arcsec" in both:
            np.testing.assert_allclose(
                both["pos_err_arcsec"], both["pos_err_arcsec_full"], rtol=1e-4
            )


def test_redshift_types_are_those_of_the_file(read_file):
    act = read_file("act_dr5_masses.tsv").table["z_type"].value_counts()
    assert act.to_dict() == {"phot": 2546, "spec": 1649}
    camira = read_file("camira_s23b_wide.tbl").table
    assert set(camira["z_type"]) == {"phot", "spec"}
    spt = read_file("SPT-SZ.fits").table
    assert (spt["z_type"] == "").sum() == 677 - 516


def test_the_supplement_of_abells_catalogue_has_names_of_its_own(catalogue):
    abell = catalogue("abell").table.set_index("name")
    assert len(abell) == 5250
    # Abell 2744 and the supplementary S1063 are two of the best-known lenses (NED positions).
    for name, ra, dec in (("ACO 2744", 3.58, -30.39), ("ACO S1063", 342.18, -44.53)):
        at = abell.loc[name]
        assert sky.separation_deg(at["ra_deg"], at["dec_deg"], ra, dec) < 0.1


def test_sentinels_of_szcat_are_unknown(read_file):
    table = read_file("SZcatgen.csv.gz").table
    assert not (table["probability"] < 0).any()
    assert table["snr"].isna().any()
    assert table["snr"].dropna().gt(0).all()


def test_extended_sources_are_no_known_clusters_but_may_be_matched_with(read_file, caplog):
    file = "erass1-m_extended.csv.gz"
    with pytest.raises(CatalogueError, match=r"row 463 \(1eRASSJ043055\.6-612711\), column ext"):
        read_file(file, kind="erass1_extended")
    assert len(read_file(file, kind="erass1_extended", role="reference").table) == 26682
    columns = {"name": "name", "ra_deg": "RA", "dec_deg": "dec"}
    with caplog.at_level("WARNING"):
        read_file(file, kind="generic", format="csv", columns=columns)
    assert "list of clusters, or of sources" in caplog.text


def test_quasars_in_radians_are_noticed_and_read_when_that_is_said(real_data):
    path = real_data / "objects" / "2qz.dat.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    values = {
        "name": "qso",
        "kind": "generic",
        "path": str(path),
        "format": "csv",
        "delimiter": " ",
        "header": False,
        "columns": {"ra_deg": "0", "dec_deg": "1", "z": "2"},
    }
    adapter = TypeAdapter(CatalogueSettings)
    with pytest.raises(CatalogueError, match=r"row \d+, column 0: 6\.\d+.*radians"):
        read_catalogue(adapter.validate_python(values))
    table = read_catalogue(adapter.validate_python({**values, "position_unit": "rad"})).table
    # The survey's two strips (Croom et al. 2004): the equator, and declination -30.
    strips = (np.abs(table["dec_deg"]) < 4) | (np.abs(table["dec_deg"] + 30) < 4)
    assert strips.all()


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


COUNTS = [
    ("aactpol.csv.gz", "psz2.csv.gz", 380),
    ("psz2.csv.gz", "aactpol.csv.gz", 375),
    ("aactpol.csv.gz", "sdss_redmapper.csv.gz", 1048),
    ("aactpol.csv.gz", "DESy3_redmapper.csv.gz", 1088),
    ("aactpol.csv.gz", "SPT-SZ.fits", 371),
    ("aactpol.csv.gz", "SPT-ECS.fits", 285),
    ("aactpol.csv.gz", "mcxc.fits", 262),
    ("aactpol.csv.gz", "abell-all.fits", 343),
    ("aactpol.csv.gz", "ComPACT.csv", 1039),
    ("HFI_PCCS_SZ-union_R2.08.fits", "mcxc.csv.gz", 528),
    ("ComPACT.csv", "SZcatgen.csv.gz", 2962),
    ("sdss_redmapper.csv.gz", "sptsz.csv.gz", 0),
]


@pytest.mark.parametrize(("first", "second", "matches"), COUNTS)
def test_cross_matches_within_five_arcmin_are_those_counted_before(
    read_file, first, second, matches
):
    pair = {"first": read_file(first).table, "second": read_file(second).table}
    counts = cross_matches(pair, 5.0).set_index("first")
    assert counts.loc["first", "n_matched"] == matches


def test_catalogues_unite_with_every_row_in_one_cluster(read_file):
    # The long optical lists would add minutes of joining, and no other form of entry.
    short = {f"c{n}": file for n, file in enumerate(FILES) if FILES[file][1] < 8000}
    tables = {name: read_file(file).table for name, file in short.items()}
    united = unite_known(tables, MatchRule(2.5, n_sigma=2.0))
    assert united["n_entries"].sum() == sum(map(len, tables.values()))
    assert united["healpix29"].is_monotonic_increasing
    # The two forms of one catalogue are one cluster each, whatever else lies around.
    act, masses = (united[f"c{n}_name"] for n in (0, 1))
    assert (act == masses).all()
    # A famous one: Abell 2163, z = 0.203, is PSZ2 G006.76+30.45 and MCXC J1615.7-0608.
    hot = united[united["c3_name"] == "PSZ2 G006.76+30.45"].iloc[0]
    assert hot["c14_name"] == "MCXC J1615.7-0608"
    assert hot["n_catalogues"] >= 5
    assert hot["z"] == pytest.approx(0.203, abs=0.003)


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
