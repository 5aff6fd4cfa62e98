"""Writers of the catalogue: FITS, VOTable, Parquet, CSV, DS9 regions, and the forced measurements.

All formats hold the same rows and columns, and equal catalogues always give equal bytes: dates
come from the configuration, never from the clock.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clusterscan.core.atomic import atomic_path
from clusterscan.formats.catalogue_columns import FLAGS, Arrays, Column, forced_columns
from clusterscan.publish.catalogue import as_columns, forced_rows
from clusterscan.publish.release import Release

if TYPE_CHECKING:
    import pyarrow as pa

FITS_CODES = {"float64": "D", "float32": "E", "int64": "K", "int32": "J", "int16": "I"}


def write_catalogue(
    folder: Path, catalogue: Arrays, columns: Sequence[Column], release: Release
) -> list[Path]:
    """Write ``clusters.fits``, ``clusters.vot`` and ``clusters.parquet`` below a folder."""
    paths = [Path(folder) / f"clusters.{suffix}" for suffix in ("fits", "vot", "parquet")]
    for path, write in zip(paths, (write_fits, write_votable, write_parquet), strict=True):
        write(path, catalogue, columns, release)
    return paths


def write_forced(
    folder: Path,
    measured: pd.DataFrame,
    catalogue: Arrays,
    models: Iterable[tuple[str, str]],
    release: Release,
) -> None:
    """Write ``forced.fits`` and ``forced.parquet`` into the catalogue's folder."""
    columns = forced_columns(models)
    table = as_columns(forced_rows(measured, catalogue), columns)
    write_fits(Path(folder) / "forced.fits", table, columns, release, name="FORCED")
    write_parquet(Path(folder) / "forced.parquet", table, columns, release)


# --- FITS --------------------------------------------------------------------------------------


def write_fits(
    path: Path,
    catalogue: Arrays,
    columns: Sequence[Column],
    release: Release,
    *,
    name: str = "CLUSTERS",
) -> None:
    """Write a FITS binary table with units, UCDs (TUCDn) and descriptions (TDESCn).

    Parameters
    ----------
    path : Path
        Replaced atomically.
    catalogue : mapping of str to array
        From `clusterscan.publish.catalogue.build_catalogue`.
    columns : sequence of Column
        The specification.
    release : Release
        Its cards go into both headers.
    name : str
        Name of the table's extension.
    """
    from astropy.io import fits

    table = fits.BinTableHDU.from_columns(
        fits.ColDefs([_fits_column(c, catalogue[c.name]) for c in columns]), name=name
    )
    for number, column in enumerate(columns, start=1):
        if column.ucd:
            table.header[f"TUCD{number}"] = column.ucd
        # Too long for a card with a comment; astropy continues long strings (CONTINUE).
        table.header[f"TDESC{number}"] = column.description
    primary = fits.PrimaryHDU()
    for header in (primary.header, table.header):
        for keyword, card in release.cards().items():
            header[keyword] = card
    for flag, (value, meaning) in FLAGS.items() if "flags" in catalogue else ():
        table.header.add_comment(f"flags bit {value}: {flag}: {meaning}")
    hdus = fits.HDUList([primary, table])
    for hdu in hdus:
        hdu.add_checksum(when=release.release_date)  # astropy would write the clock's time
    with atomic_path(path) as temporary:
        hdus.writeto(temporary, output_verify="exception", overwrite=True)


def _fits_column(column: Column, values: np.ndarray):
    from astropy.io import fits

    if column.dtype == "str":
        # FITS text columns have a fixed width: that of the longest value. A width of 0 would be no
        # column for some readers, hence at least 1.
        array = np.char.encode(values.astype(str), "ascii") if values.size else np.zeros(0, "S1")
        width = max(1, array.dtype.itemsize)
        return fits.Column(column.name, f"{width}A", array=array)
    return fits.Column(
        column.name,
        FITS_CODES[column.dtype],
        unit=column.unit or None,
        null=column.null_integer,
        array=np.asarray(values, dtype=column.dtype),
    )


# --- VOTable -----------------------------------------------------------------------------------


def write_votable(
    path: Path, catalogue: Arrays, columns: Sequence[Column], release: Release
) -> None:
    """Write a VOTable 1.4 with UCDs, units, descriptions and a coordinate system.

    Parameters are those of `write_fits`. The file holds no time stamp.

    References
    ----------
    Ochsenbein et al. 2019, VOTable Format Definition 1.4, IVOA Recommendation.
    """
    from astropy.io.votable import tree, writeto

    document = tree.VOTableFile(version="1.4")
    document.description = _votable_description(release)
    resource = tree.Resource(name="clusterscan", type="results")
    document.resources.append(resource)
    resource.coordinate_systems.append(tree.CooSys(ID="icrs", system="ICRS"))
    table = tree.TableElement(document, ID="clusters", name="clusters")
    resource.tables.append(table)
    for keyword, (value, meaning) in release.cards().items():
        table.params.append(_votable_param(document, keyword, value, meaning))
    table.fields.extend(_votable_field(document, c, catalogue[c.name]) for c in columns)
    rows = len(next(iter(catalogue.values()))) if catalogue else 0
    table.create_arrays(rows)
    for column in columns:
        table.array[column.name] = catalogue[column.name]
    with atomic_path(path) as temporary:
        writeto(document, str(temporary), tabledata_format="tabledata")


def _votable_description(release: Release) -> str:
    kind = "SIMULATED sky, no real objects" if release.simulated else "observed sky"
    flags = "; ".join(f"{value} {name}: {meaning}" for name, (value, meaning) in FLAGS.items())
    return f"Galaxy cluster candidates by clusterscan ({kind}). Bits of flags: {flags}."


def _votable_param(document, keyword: str, value, meaning: str):
    from astropy.io.votable import tree

    kinds = {bool: "boolean", int: "long", float: "double"}
    datatype = kinds.get(type(value), "char")
    # astropy would compare a length with the escaped text, in which "<" has four letters.
    length = {"arraysize": "*"} if datatype == "char" else {}
    param = tree.Param(document, ID=keyword, name=keyword, datatype=datatype, value=value, **length)
    param.description = meaning
    return param


def _votable_field(document, column: Column, values: np.ndarray):
    from astropy.io.votable import tree

    # VOTable has names of its own for the types of C: a long has 64 bits there.
    datatypes = {
        "str": "char", "float64": "double", "float32": "float",
        "int64": "long", "int32": "int", "int16": "short",
    }  # fmt: skip
    extra: dict[str, str] = {}
    if column.dtype == "str":
        extra["arraysize"] = "*"
    if column.unit:
        extra["unit"] = column.unit
    if column.name in ("ra_deg", "dec_deg", "RADeg", "decDeg"):
        # The reference ties a column to the coordinate system of the header, as Aladin and TOPCAT
        # expect.
        extra["ref"] = "icrs"
    field = tree.Field(
        document,
        ID=column.name,
        name=column.name,
        datatype=datatypes[column.dtype],
        ucd=column.ucd or None,
        **extra,
    )
    field.description = column.description
    if column.null_integer is not None:
        field.values.null = column.null_integer
    return field


# --- Parquet -----------------------------------------------------------------------------------


def write_parquet(
    path: Path, catalogue: Arrays, columns: Sequence[Column], release: Release
) -> None:
    """Write Parquet; each field's metadata holds unit, UCD and description.

    Parameters are those of `write_fits`. Null cells are Parquet nulls, and the schema's metadata
    has the header cards as JSON under ``clusterscan``.
    """
    import pyarrow.parquet as pq

    table = arrow_table(catalogue, columns, release)
    with atomic_path(path) as temporary:
        # Unit and UCD lie in the schema, so they survive a conversion by any Arrow tool.
        pq.write_table(table, temporary, compression="zstd")


def arrow_table(catalogue: Arrays, columns: Sequence[Column], release: Release) -> pa.Table:
    """Return the catalogue as an Arrow table; see `write_parquet`."""
    import pyarrow as pa

    fields, arrays = [], []
    for column in columns:
        array = _arrow_array(column, catalogue[column.name])
        metadata = {"unit": column.unit, "ucd": column.ucd, "description": column.description}
        fields.append(pa.field(column.name, array.type, bool(column.null), metadata))
        arrays.append(array)
    cards: dict[str, object] = {key: value for key, (value, _) in release.cards().items()}
    cards["flags"] = {name: value for name, (value, _) in FLAGS.items()}
    schema = pa.schema(fields, {"clusterscan": json.dumps(cards, sort_keys=True)})
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow_array(column: Column, values: np.ndarray):
    import pyarrow as pa

    if column.dtype == "str":
        return pa.array(values, pa.string(), mask=column.unknown(values))
    numbers = np.asarray(values, dtype=column.dtype)
    return pa.array(numbers, mask=column.unknown(numbers))


# --- CSV and DS9 regions ------------------------------------------------------------------------


#: Colour of each class in DS9, for any colour vision and for dark and light images.
COLOURS = {"known": "#56B4E9", "recovered": "#F0E442", "new": "#D55E00"}


def write_csv(path: Path, catalogue: Arrays, columns: Sequence[Column]) -> None:
    """Write CSV (RFC 4180): a line of column names, then the rows; null is an empty cell.

    Numbers are the shortest text that reads back as the same number. There are no comments
    because spreadsheets would show them as rows; version and area are in the other files.
    """
    cells = [_cells(catalogue[c.name], c) for c in columns]
    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([c.name for c in columns])
        writer.writerows(zip(*cells, strict=True))


def _cells(values: np.ndarray, column: Column) -> list[str]:
    # str() of a NumPy number keeps its width: a float32 of 0.1 is written as 0.1.
    unknown = column.unknown(values)
    return ["" if null else str(v) for v, null in zip(values, unknown, strict=True)]


def write_regions(
    path: Path,
    catalogue: Arrays,
    release: Release,
    *,
    radius_arcmin: float,
    threshold: float,
) -> None:
    """Write DS9 regions: one circle per object, coloured by class, dashed below the threshold.

    Parameters
    ----------
    path : Path
        Replaced atomically.
    catalogue : mapping of str to array
        From `clusterscan.publish.catalogue.build_catalogue`.
    release : Release
        Its cards go into the comments at the top.
    radius_arcmin : float
        Radius of the circles [arcmin].
    threshold : float
        Lowest ``prob`` of a candidate.
    """
    lines = ["# Region file format: DS9 version 4.1"]
    lines += [f"# {key} = {_one_line(value)}" for key, (value, _) in release.cards().items()]
    lines += [
        f"# circles of {radius_arcmin:g} arcmin, dashed where prob is below {threshold:.6g}",
        f"# {', '.join(f'{name} {colour}' for name, colour in COLOURS.items())}",
        'global font="helvetica 10 normal roman" width=1',
        "icrs",
    ]
    keys = ("ra_deg", "dec_deg", "name", "class", "prob")
    for ra, dec, name, kind, prob in zip(*(catalogue[k] for k in keys), strict=True):
        dash = "" if prob >= threshold else " dash=1"
        lines.append(
            f'circle({ra:.7f},{dec:.7f},{60 * radius_arcmin:.3f}") # color={COLOURS[kind]}'
            f"{dash} text={{{name}}} tag={{{kind}}}"
        )
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _one_line(value: object) -> str:
    """Return text that cannot end a DS9 comment, which a semicolon would do, too."""
    text = str(value).replace(";", ",").encode("ascii", "replace").decode("ascii")
    return " ".join(text.split())
