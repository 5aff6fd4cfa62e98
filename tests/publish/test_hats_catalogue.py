"""The HATS collection is valid, complete, has the margins it promises, and opens in LSDB."""

import healpy
import numpy as np
import pandas as pd
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hats.catalog import MarginCatalog, PartitionInfo
from hats.io.validation import is_valid_catalog
from hats.loaders import read_hats

from clusterscan.publish.catalogue import build_catalogue
from clusterscan.publish.hats_catalogue import write_hats

MARGIN_ARCSEC = 600.0
MARGIN = "clusters_600arcs"


def crowded(made_up, n=300):
    """Return objects crowded around RA 0 and a pole, where partitions are small."""
    rng = np.random.default_rng(3)
    table = made_up.sample(n, replace=True, random_state=1, ignore_index=True)
    polar = np.arange(n) < n // 3
    table["ra_deg"] = np.where(polar, rng.uniform(0, 360, n), rng.normal(0, 2, n) % 360)
    table["dec_deg"] = np.where(polar, 90 - np.abs(rng.normal(0, 1, n)), rng.normal(0, 2, n))
    return table


@pytest.fixture(scope="module")
def crowd(objects_module, columns_module):
    return build_catalogue(crowded(objects_module), columns_module, tile_order=5)


@pytest.fixture(scope="module")
def collection(tmp_path_factory, crowd, columns_module, release_module):
    folder = tmp_path_factory.mktemp("hats") / "hats"
    write_hats(
        folder, crowd, columns_module, release_module, partition_rows=25,
        margin_arcsec=MARGIN_ARCSEC,
    )  # fmt: skip
    return folder


def files(folder):
    """Return the bytes of all files below a folder."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def partition_rows(folder):
    """Return the cells of the rows in each partition's file, by (order, pixel)."""
    found = {}
    for pixel in PartitionInfo.read_from_dir(folder).get_healpix_pixels():
        [path] = folder.glob(f"dataset/Norder={pixel.order}/Dir=*/Npix={pixel.pixel}.parquet")
        found[pixel.order, pixel.pixel] = pq.read_table(path)["_healpix_29"].to_numpy()
    return found


def test_the_collection_is_strictly_valid_and_its_margin_is_one(collection):
    assert is_valid_catalog(collection, strict=True)
    assert isinstance(read_hats(collection / MARGIN), MarginCatalog)


def test_every_object_is_in_one_partition_which_holds_its_position(collection, crowd):
    rows = partition_rows(collection / "clusters")
    assert len(rows) > 10
    for (order, pixel), cells in rows.items():
        assert 0 < cells.size <= 25
        assert (cells >> (2 * (29 - order)) == pixel).all()
        assert (np.diff(cells) >= 0).all()
    np.testing.assert_array_equal(
        np.sort(np.concatenate(list(rows.values()))), np.sort(crowd["healpix29"])
    )


def test_the_margin_of_a_partition_holds_all_that_lies_within_it_and_nothing_of_its_own(
    collection, crowd
):
    ours, margins = (partition_rows(collection / name) for name in ("clusters", MARGIN))
    assert len(margins) > 10
    for (order, pixel), cells in margins.items():
        assert (cells >> (2 * (29 - order)) != pixel).all()
    vectors = healpy.ang2vec(crowd["ra_deg"], crowd["dec_deg"], lonlat=True)
    circles = [on_circle(v, np.radians(0.999 * MARGIN_ARCSEC / 3600)) for v in vectors]
    seen = 0
    for order in {order for order, _ in ours}:
        for cell, circle in zip(crowd["healpix29"], circles, strict=True):
            near = set(healpy.vec2pix(2**order, *circle.T, nest=True).tolist())
            for pixel in near - {int(cell >> (2 * (29 - order)))}:
                if (order, pixel) in ours:
                    assert cell in margins[order, pixel]
                    seen += 1
    assert seen > 50


def on_circle(vector, radius, n=16):
    """Return unit vectors on a small circle around a direction, shape (n, 3)."""
    other = [0.0, 0.0, 1.0] if abs(vector[2]) < 0.9 else [1.0, 0.0, 0.0]
    first = np.cross(vector, other)
    first /= np.linalg.norm(first)
    second = np.cross(vector, first)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    around = np.cos(angle) * first + np.sin(angle) * second
    return np.cos(radius) * vector + np.sin(radius) * around


def test_neither_a_second_writing_nor_the_order_of_objects_changes_a_byte(
    tmp_path, collection, objects_module, columns_module, release_module
):
    shuffled = crowded(objects_module).sample(frac=1, random_state=9)
    again = build_catalogue(shuffled, columns_module, tile_order=5)
    write_hats(
        tmp_path / "hats", again, columns_module, release_module, partition_rows=25,
        margin_arcsec=MARGIN_ARCSEC,
    )  # fmt: skip
    assert files(tmp_path / "hats") == files(collection)


def test_unit_ucd_and_description_reach_the_readers_of_the_collection(collection, columns_module):
    schema = pq.read_schema(collection / "clusters/dataset/_common_metadata")
    for column in columns_module:
        metadata = schema.field(column.name).metadata
        assert metadata[b"ucd"].decode() == column.ucd
        assert metadata[b"unit"].decode() == column.unit
        assert metadata[b"description"].decode() == column.description
    assert b'"AREADEG2": 33.57' in schema.metadata[b"clusterscan"]
    properties = (collection / "clusters/hats.properties").read_text()
    assert "hats_creation_date=2026-01-01T00:00Z" in properties
    assert "clusterscan_areadeg2=33.57" in properties


def test_names_with_markup_come_back_as_they_are(collection, crowd):
    table = pds.dataset(collection / "clusters/dataset", format="parquet").to_table().to_pandas()
    ours = pd.Series(crowd["known_name"], crowd["name"])
    theirs = table.set_index("name")["known_name"].fillna("")
    assert (theirs.loc[ours.index] == ours).all()
    assert '<script>alert("x")</script>' in set(theirs)


def test_partitions_stay_as_wide_as_a_wide_margin(tmp_path, crowd, columns_module, release_module):
    write_hats(
        tmp_path, crowd, columns_module, release_module, partition_rows=1, margin_arcsec=7200.0
    )
    assert is_valid_catalog(tmp_path, strict=True)
    for order, _ in partition_rows(tmp_path / "clusters"):
        # HATS takes 1.6 for the most that a cell's size exceeds its smallest width.
        assert np.degrees(healpy.nside2resol(2**order)) / 1.6 > 2.0
    assert sum(cells.size for cells in partition_rows(tmp_path / "clusters_7200arcs").values()) > 0


@pytest.mark.parametrize("rows", [0, 1])
def test_few_objects_or_none_make_a_valid_collection_with_an_empty_margin(
    tmp_path, objects_module, columns_module, release_module, rows
):
    few = build_catalogue(objects_module.iloc[:rows], columns_module, tile_order=5)
    write_hats(tmp_path / "hats", few, columns_module, release_module)
    assert is_valid_catalog(tmp_path / "hats", strict=True)
    assert f"hats_nrows={rows}\n" in (tmp_path / "hats/clusters/hats.properties").read_text()


@pytest.mark.filterwarnings("ignore")  # LSDB warns of its own use of pandas
@pytest.mark.parametrize(("ra", "dec"), [(359.9, 0.3), (0.2, -0.5), (123.0, 89.6)])
def test_a_cone_in_lsdb_holds_exactly_what_it_holds_in_astropy(collection, crowd, ra, dec):
    import lsdb

    centre = SkyCoord(ra, dec, unit="deg")
    places = SkyCoord(crowd["ra_deg"], crowd["dec_deg"], unit="deg")
    expected = crowd["name"][places.separation(centre) < 1.5 * u.deg]
    cone = lsdb.open_catalog(collection).cone_search(ra, dec, radius_arcsec=1.5 * 3600)
    found = cone.compute(progress_bar=False)
    assert len(found) == len(expected) > 10
    assert set(found["name"]) == set(expected)
