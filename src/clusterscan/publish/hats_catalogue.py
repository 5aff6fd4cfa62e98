"""The catalogue as a HATS collection: rows by HEALPix partition, and a margin cache.

Partitions are HEALPix cells (NESTED, ICRS) sized by their number of rows, so that LSDB and others
read only the sky that they need. The margin cache repeats the rows around each partition, so that a
match within ``margin_arcsec`` needs no other partition.

References
----------
Caplar et al. 2025, Using LSDB to enable large-scale catalog distribution, cross-matching, and
analytics (arXiv:2501.02103); IVOA Note HATS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clusterscan.core import sky
from clusterscan.core.atomic import atomic_folder
from clusterscan.formats.catalogue_columns import Arrays, Column
from clusterscan.publish.release import Release
from clusterscan.publish.tables import arrow_table

if TYPE_CHECKING:
    import pyarrow as pa
    from hats.pixel_math import HealpixPixel

NAME = "clusters"
SPATIAL_INDEX = "_healpix_29"  # the name that HATS readers look for
FINEST_ORDER = 6  # partitions of under a square degree would hold a handful of clusters
DEFAULT_COLUMNS = ("name", "ra_deg", "dec_deg", "prob", "class", "z", "m500c_msun", "flags")


def write_hats(
    folder: Path,
    catalogue: Arrays,
    columns: Sequence[Column],
    release: Release,
    *,
    partition_rows: int = 5_000,
    margin_arcsec: float = 600.0,
) -> None:
    """Write a HATS collection: ``clusters`` and its margin cache, with reproducible bytes.

    Parameters
    ----------
    folder : Path
        The collection's folder, replaced as a whole.
    catalogue : mapping of str to array, n rows
        From `clusterscan.publish.catalogue.build_catalogue`; all objects, also improbable ones.
    columns : sequence of Column
        The specification; unit, UCD and description become the metadata of each field.
    release : Release
        Its cards go into the properties and the metadata of the schema.
    partition_rows : int
        Largest number of rows of a partition; cells of the finest order may hold more. The
        finest order is `FINEST_ORDER`, or lower if its cells would be narrower than the margin.
    margin_arcsec : float
        Smallest width of the margin cache around a partition [arcsec].
    """
    from hats.catalog import CollectionProperties

    table = _indexed(arrow_table(catalogue, columns, release))
    cell = np.asarray(table[SPATIAL_INDEX])
    # No partition is narrower than the margin, so its direct neighbours contain the margin.
    around_order = _margin_order(margin_arcsec)
    pixels = partitions(cell, partition_rows, min(FINEST_ORDER, around_order))
    margin = f"{NAME}_{margin_arcsec:g}arcs".replace(".", "p")
    facts = _facts(release)
    with atomic_folder(folder) as root:
        inside = {p: np.flatnonzero(_within(cell, p)) for p in pixels}
        _write_tables(root / NAME, table, inside)
        _describe(
            root / NAME, inside, facts, catalog_name=NAME, catalog_type="object",
            default_columns=[c for c in DEFAULT_COLUMNS if c in table.column_names],
        )  # fmt: skip
        around = {p: margin_rows(cell, p, around_order) for p in pixels}
        around = {p: rows for p, rows in around.items() if rows.size}
        _write_tables(root / margin, table, around)
        _describe(
            root / margin, around, facts, catalog_name=margin, catalog_type="margin",
            primary_catalog=NAME, margin_threshold=margin_arcsec,
        )  # fmt: skip
        CollectionProperties(
            name=NAME, hats_primary_table_url=NAME, all_margins=[margin], default_margin=margin,
            **facts,
        ).to_properties_file(root)  # fmt: skip


def partitions(cell: np.ndarray, most_rows: int, finest_order: int) -> list[HealpixPixel]:
    """Return the partitions of rows: the largest cells with few enough rows, in HATS order.

    Parameters
    ----------
    cell : int64 ndarray, shape (n,)
        Cells of order 29.
    most_rows : int
        Largest number of rows of a partition.
    finest_order : int
        Order of the smallest partitions, which may have more rows.
    """
    from hats.pixel_math import HealpixPixel
    from hats.pixel_math.healpix_pixel_function import sort_pixels
    from hats.pixel_math.partition_stats import generate_alignment

    finest = sky.ancestor(cell, sky.MAX_ORDER, finest_order)
    histogram = np.bincount(finest, minlength=12 * 4**finest_order)
    alignment = generate_alignment(
        histogram,
        highest_order=finest_order,
        # hats refuses a threshold below its fullest cell. If a cell of the finest order holds more
        # rows than wanted, the limit rises to that number for all partitions.
        threshold=int(max(most_rows, histogram.max())),
        drop_empty_siblings=False,
    )
    found = {HealpixPixel(int(p[0]), int(p[1])) for p in alignment if p is not None and p[2] > 0}
    return list(sort_pixels(list(found)))


def margin_rows(cell: np.ndarray, pixel: HealpixPixel, order: int) -> np.ndarray:
    """Return the rows just outside a partition, in the ring of cells of an order around it.

    Parameters
    ----------
    cell : int64 ndarray, shape (n,)
        Cells of order 29.
    pixel : HealpixPixel
        The partition.
    order : int
        At least that of the partition.

    Returns
    -------
    rows : int64 ndarray
    """
    from hats.pixel_math import get_margin

    # The margin is made of whole cells around the partition, so it is wider than asked for: a
    # reader filters by distance anyway, and no match at the border is lost.
    near = get_margin(pixel.order, pixel.pixel, order - pixel.order)
    return np.flatnonzero(np.isin(sky.ancestor(cell, sky.MAX_ORDER, order), near))


def _margin_order(margin_arcsec: float) -> int:
    """Return the finest order with cells wider than the margin everywhere."""
    from hats.pixel_math.healpix_shim import margin2order

    return int(margin2order(np.array([margin_arcsec / 60]))[0])


def _indexed(table: pa.Table) -> pa.Table:
    """Sort the rows by cell and add the cell as the first column, as HATS readers expect."""
    import pyarrow as pa

    cell = table["healpix29"].combine_chunks()
    # Sorted by cell, then by name, so that the bytes of a partition do not depend on the input's
    # order.
    order = np.lexsort((np.asarray(table["name"]).astype(str), np.asarray(cell)))
    meaning = {"ucd": "pos.healpix", "description": "Same as healpix29, as HATS names it"}
    field = pa.field(SPATIAL_INDEX, pa.int64(), False, meaning)
    return table.add_column(0, field, cell).take(pa.array(order))


def _within(cell: np.ndarray, pixel: HealpixPixel) -> np.ndarray:
    return sky.ancestor(cell, sky.MAX_ORDER, pixel.order) == pixel.pixel


def _write_tables(root: Path, table: pa.Table, rows: Mapping[HealpixPixel, np.ndarray]) -> None:
    """Write the partitions with ``_metadata``, ``_common_metadata`` and the CSV that list them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from hats.catalog import PartitionInfo
    from hats.io import file_io, parquet_metadata, paths

    options = file_io.get_parquet_write_table_kwargs(table.schema)
    for pixel, chosen in rows.items():
        path = Path(str(paths.pixel_catalog_file(root, pixel)))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.take(pa.array(chosen)), path, **options)
    if rows:
        parquet_metadata.write_parquet_metadata(root)
    else:  # hats needs a file to take the schema from
        (root / "dataset").mkdir(parents=True)
        pq.write_metadata(table.schema, root / "dataset" / "_common_metadata")
        pq.write_metadata(table.schema, root / "dataset" / "_metadata")
    PartitionInfo.from_healpix(list(rows)).write_to_file(catalog_path=root)


def _describe(root: Path, rows: Mapping[HealpixPixel, np.ndarray], facts, **more) -> None:
    from hats.catalog import TableProperties

    size = sum(path.stat().st_size for path in (root / "dataset").rglob("Npix*"))
    TableProperties(
        total_rows=sum(chosen.size for chosen in rows.values()),
        ra_column="ra_deg",
        dec_column="dec_deg",
        healpix_column=SPATIAL_INDEX,
        healpix_order=sky.MAX_ORDER,
        hats_max_rows=max((chosen.size for chosen in rows.values()), default=0),
        hats_estsize=size // 1024,
        **more,
        **facts,
    ).to_properties_file(root)


def _facts(release: Release) -> dict[str, str]:
    """Return the entries common to all properties files; dates are those of the release."""
    from importlib.metadata import version

    kind = "SIMULATED sky, no real objects" if release.simulated else "observed sky"
    return {
        "obs_title": f"Galaxy cluster candidates by clusterscan: {release.plain_name}",
        "obs_description": f"Galaxy cluster candidates ({kind}, seed {release.seed}), "
        f"{release.area_deg2:.6f} deg2 searched.",
        "hats_builder": f"clusterscan {release.version}, hats {version('hats')}",
        "hats_creation_date": release.release_date,
        "hats_release_date": release.release_date,
        "hats_version": "v1.0",
        "moc_sky_fraction": f"{release.area_deg2 / (12 * sky.cell_area_deg2(0)):.9g}",
        **{f"clusterscan_{k.lower()}": str(v) for k, (v, _) in release.cards().items()},
    }
