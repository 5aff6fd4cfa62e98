"""Catalogues of any kind come out in one form."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from pydantic import TypeAdapter, ValidationError

from clusterscan.catalogs.published import LAYOUTS, readers_table
from clusterscan.catalogs.reading import read_catalogue
from clusterscan.config.catalogs import CatalogueSettings, PublishedKind
from clusterscan.core.errors import CatalogueError, SourceError


def settings(**values):
    return TypeAdapter(CatalogueSettings).validate_python({"name": "mine", **values})


TABLE = pd.DataFrame({"ID": ["a", "b"], "R": [-10.0, 20.0], "D": [1.0, -2.0], "zz": [0.3, -1.0]})
COLUMNS = {"name": "ID", "ra_deg": "R", "dec_deg": "D", "z": "zz"}


@pytest.mark.parametrize("form", ["csv", "ecsv", "fits", "parquet", "votable"])
def test_a_generic_table_reads_alike_in_every_format(tmp_path, form):
    path = tmp_path / f"table.{form}"
    if form == "csv":
        TABLE.to_csv(path, index=False)
    elif form == "parquet":
        TABLE.to_parquet(path)
    else:
        Table.from_pandas(TABLE).write(path, format="ascii.ecsv" if form == "ecsv" else form)
    generic = settings(
        kind="generic", path=str(path), format=form, columns=COLUMNS, z_unknown=[-1.0]
    )
    table = read_catalogue(generic).table
    assert table["name"].tolist() == ["a", "b"]
    np.testing.assert_allclose(table["ra_deg"], [350.0, 20.0])
    np.testing.assert_allclose(table["z"], [0.3, np.nan])


@pytest.mark.parametrize(
    ("unit", "ra", "dec"), [("rad", np.pi, -np.pi / 4), ("hourangle", 12.0, -45.0)]
)
def test_positions_in_other_units_are_converted(tmp_path, unit, ra, dec):
    path = tmp_path / "table.csv"
    pd.DataFrame({"R": [ra], "D": [dec]}).to_csv(path, index=False)
    generic = settings(
        kind="generic",
        path=str(path),
        format="csv",
        columns={"ra_deg": "R", "dec_deg": "D"},
        position_unit=unit,
    )
    table = read_catalogue(generic).table
    np.testing.assert_allclose(table[["ra_deg", "dec_deg"]].to_numpy(), [[180.0, -45.0]])


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    path = tmp_path / "table.csv"
    TABLE.to_csv(path, index=False)
    generic = settings(
        kind="generic", path=str(path), format="csv", columns={**COLUMNS, "z": "redshift"}
    )
    with pytest.raises(CatalogueError, match=r"no column redshift \(it has ID, R, D, zz\)"):
        read_catalogue(generic)


def test_a_file_of_another_kind_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "table.fits"
    path.write_text("<html>404</html>")
    generic = settings(kind="generic", path=str(path), format="fits", columns=COLUMNS)
    with pytest.raises(CatalogueError, match=r"table\.fits.*not a readable fits"):
        read_catalogue(generic)


def test_absent_reference_data_say_how_to_find_them(monkeypatch, tmp_path):
    monkeypatch.setenv("CLUSTERSCAN_DATA", str(tmp_path))
    psz2 = settings(kind="psz2", path="${CLUSTERSCAN_DATA}/psz2.fits")
    with pytest.raises(SourceError, match="set the environment variable CLUSTERSCAN_DATA"):
        read_catalogue(psz2)


def test_a_generic_catalogue_without_positions_is_refused_by_its_settings():
    with pytest.raises(ValidationError, match="dec_deg"):
        settings(kind="generic", path="x", format="csv", columns={"ra_deg": "R"})


def test_every_published_kind_has_a_layout_with_positions_and_a_reference():
    kinds = PublishedKind.__args__
    assert sorted(kinds) == sorted(LAYOUTS)
    for layout in LAYOUTS.values():
        assert {"ra_deg", "dec_deg"} <= set(layout.columns)
        assert layout.reference


def generic(path, **more):
    values = {"kind": "generic", "path": str(path), "format": "csv", "columns": COLUMNS}
    return settings(**{**values, "z_unknown": [-1.0], **more})


def test_a_unit_in_the_file_that_is_not_the_declared_one_is_refused(tmp_path):
    path = tmp_path / "table.fits"
    table = Table.from_pandas(TABLE)
    table["R"].unit = table["D"].unit = "rad"
    table.write(path)
    with pytest.raises(CatalogueError, match=r"column R \(ra_deg\) is in rad"):
        read_catalogue(generic(path, format="fits"))


def test_galactic_and_sexagesimal_positions_come_out_as_icrs(tmp_path):
    path = tmp_path / "table.csv"
    pd.DataFrame({"x": [0.0], "y": [90.0]}).to_csv(path, index=False)
    columns = {"ra_deg": "x", "dec_deg": "y"}
    table = read_catalogue(generic(path, columns=columns, frame="galactic", z_unknown=[])).table
    np.testing.assert_allclose(table[["ra_deg", "dec_deg"]], [[192.85948, 27.12825]], atol=1e-4)
    pd.DataFrame({"x": ["12:51:26.3"], "y": ["+27 07 42"]}).to_csv(path, index=False)
    told = generic(path, columns=columns, position_unit="sexagesimal", z_unknown=[])
    table = read_catalogue(told).table
    np.testing.assert_allclose(table[["ra_deg", "dec_deg"]], [[192.85948, 27.12825]], atol=2e-3)


def test_a_bad_sexagesimal_row_is_named_with_its_text(tmp_path):
    path = tmp_path / "table.csv"
    pd.DataFrame({"x": ["12:51:26", "soon"], "y": ["+27 07 42"] * 2}).to_csv(path, index=False)
    columns = {"ra_deg": "x", "dec_deg": "y"}
    with pytest.raises(CatalogueError, match=r"row 2 .*column ra_deg: soon"):
        read_catalogue(generic(path, columns=columns, position_unit="sexagesimal", z_unknown=[]))


def test_a_spectroscopic_redshift_goes_before_a_photometric_one(tmp_path):
    path = tmp_path / "table.csv"
    TABLE.assign(zs=[-1.0, 0.5], zp=[0.31, 0.4]).to_csv(path, index=False)
    columns = {k: v for k, v in COLUMNS.items() if k != "z"} | {"z_spec": "zs", "z_phot": "zp"}
    table = read_catalogue(generic(path, columns=columns)).table
    assert table["z"].tolist() == [0.31, 0.5]
    assert table["z_type"].tolist() == ["phot", "spec"]
    with pytest.raises(CatalogueError, match=r"row 1 .*column z: -1\.0.*z_unknown"):
        read_catalogue(generic(path, columns=columns, z_unknown=[]))


def test_position_errors_are_those_of_the_file_or_the_settings(tmp_path):
    path = tmp_path / "table.csv"
    TABLE.assign(err=[3.0, 0.0]).to_csv(path, index=False)
    told = generic(path, columns={**COLUMNS, "pos_err_arcsec": "err"}, pos_err_arcsec=20.0)
    assert read_catalogue(told).table["pos_err_arcsec"].tolist() == [3.0, 20.0]
    assert "pos_err_arcsec" not in read_catalogue(generic(path)).table


def test_further_sentinels_become_unknown(tmp_path):
    path = tmp_path / "table.csv"
    TABLE.assign(q=[-9.0, 4.0]).to_csv(path, index=False)
    told = generic(path, columns={**COLUMNS, "snr": "q"}, unknown={"snr": [-9.0]})
    np.testing.assert_array_equal(read_catalogue(told).table["snr"], [np.nan, 4.0])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"header": False}, "numbers from 0"),
        ({"frame": "fk4"}, "B1950"),
        ({"unknown": {"snr": [-1.0]}}, "does not map"),
        ({"equinox": "1950"}, "equinox"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        generic("x", **changes)


def test_the_page_of_readers_lists_every_kind():
    page = (Path(__file__).parents[2] / "docs" / "catalogues.md").read_text(encoding="utf-8")
    assert readers_table() in page
