"""Catalogues of any kind come out in one form."""

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from pydantic import TypeAdapter, ValidationError

from clusterscan.catalogs.layouts import LAYOUTS
from clusterscan.catalogs.read import read_catalogue
from clusterscan.config.catalogs import CatalogueSettings, PublishedKind
from clusterscan.errors import CatalogueError, SourceError


def settings(**values):
    return TypeAdapter(CatalogueSettings).validate_python({"name": "mine", **values})


TABLE = pd.DataFrame({"ID": ["a", "b"], "R": [-10.0, 20.0], "D": [1.0, -2.0], "zz": [0.3, -1.0]})
COLUMNS = {"name": "ID", "ra_deg": "R", "dec_deg": "D", "z": "zz"}


@pytest.mark.parametrize("form", ["csv", "fits", "parquet", "votable"])
def test_a_generic_table_reads_alike_in_every_format(tmp_path, form):
    path = tmp_path / f"table.{form}"
    if form == "csv":
        TABLE.to_csv(path, index=False)
    elif form == "parquet":
        TABLE.to_parquet(path)
    else:
        Table.from_pandas(TABLE).write(path, format=form)
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
