"""Read a catalogue's file into our own columns, with positions in ICRS degrees.

The steps: read the table as its layout says (`read_table`), rename and rescale the columns
(`_ours`), turn positions into ICRS degrees (`to_degrees`), then check them
(`clusterscan.catalogs.checks`).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.checks import (
    Validated,
    look_over,
    refuse_sources,
    validate,
    warn_if_crowded,
)
from clusterscan.catalogs.layouts import Column, Layout, layout_of
from clusterscan.catalogs.published import LAYOUTS
from clusterscan.config.catalogs import (
    CatalogueSettings,
    GenericCatalogue,
    PublishedCatalogue,
    SimulatedCatalogue,
    TableFile,
)
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import CatalogueError, SourceError
from clusterscan.core.fingerprint import file_sha256


def catalogue_token(settings: CatalogueSettings) -> str:
    """Return the sha256 of the catalogue's file ("" for simulated catalogues)."""
    if isinstance(settings, SimulatedCatalogue):
        return ""
    return file_sha256(catalogue_file(settings))


def catalogue_file(settings: PublishedCatalogue | GenericCatalogue) -> Path:
    """Return the path of a catalogue's file.

    Raises
    ------
    SourceError
        If the file is missing; the message explains how to get it.
    """
    try:
        return expand_path(settings.path)
    except SourceError as error:
        if settings.kind != "generic" and LAYOUTS[settings.kind].remote is not None:
            raise SourceError(
                f"{error}; or download it: clusterscan download {settings.kind}"
            ) from error
        raise


def read_positions(settings: TableFile, path: Path) -> Validated:
    """Read, check and clean a table of positions that is not a catalogue of clusters.

    Raises
    ------
    CatalogueError
        If the file is no such table, or rows are impossible and `bad_rows` is "error".
    """
    layout, where = layout_of(settings), str(path)
    raw = _selected(read_table(path, layout), settings.select, path)
    if raw.empty:
        raise CatalogueError(
            f"{path}: has no rows (that `select` keeps), so the mask would be empty; "
            "correct the table, or leave out the mask"
        )
    table = to_degrees(_ours(raw, layout), layout, where)
    look_over(table, layout, where, trust=settings.trust_positions)
    return validate(table, where, bad_rows=settings.bad_rows, z_unknown=layout.z_unknown)


def read_catalogue(settings: PublishedCatalogue | GenericCatalogue) -> Validated:
    """Read, check and clean a catalogue from its file.

    Raises
    ------
    CatalogueError
        If the file does not fit its layout, or rows are impossible and `bad_rows` is "error".
    SourceError
        If the file is missing.
    """
    if isinstance(settings, GenericCatalogue):
        layout = layout_of(settings)
    else:
        layout = LAYOUTS[settings.kind]
    path = catalogue_file(settings)
    where = str(path)
    raw = _selected(read_table(path, layout), settings.select, path)
    table = to_degrees(_ours(raw, layout), layout, where)
    look_over(table, layout, where, trust=settings.trust_positions)
    result = validate(
        table,
        where,
        bad_rows=settings.bad_rows,
        z_unknown=layout.z_unknown,
        default_name=settings.name,
    )
    if layout.holds == "sources" and settings.role == "known":
        refuse_sources(result.table, where, list(layout.columns)[-1])
    if layout.holds == "clusters" and settings.role == "known":
        warn_if_crowded(result.table, where)
    return _with_position_errors(result, settings.pos_err_arcsec)


def _selected(raw: pd.DataFrame, select: dict[str, list[Any]], path: Path) -> pd.DataFrame:
    for column, values in select.items():
        if column not in raw:
            raise CatalogueError(
                f"{path}: select names column {column}, but the file has "
                f"{', '.join(map(str, raw.columns))}"
            )
        raw = raw[raw[column].isin(values)]
        if raw.empty:
            raise CatalogueError(f"{path}: select leaves no row with {column} in {values}")
    return raw


def _ours(raw: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Rename and rescale columns to ours; positions stay as they are."""
    theirs = {ours: column_of(wanted, raw) for ours, wanted in layout.columns.items()}
    table = pd.DataFrame({ours: raw[column] for ours, column in theirs.items()})
    units = raw.attrs.get("units", {})
    table.attrs["units"] = {ours: units.get(column, "") for ours, column in theirs.items()}
    for column, values in layout.unknown.items():
        number = pd.to_numeric(table[column], errors="coerce")
        table[column] = number.mask(number.isin(values))
    for column, factor in layout.scale.items():
        table[column] = pd.to_numeric(table[column], errors="coerce") * factor
    for column in ("m500c_msun", "pos_err_arcsec"):
        if column in table:
            number = pd.to_numeric(table[column], errors="coerce")
            table[column] = number.where(number > 0)  # 0 and -1 stand for unknown everywhere
    if "name" in table and (layout.name_prefix or layout.repair_names):
        names = table["name"].astype("string").str.strip()
        if layout.repair_names:
            names = names.str.replace(*layout.repair_names, regex=True)
        prefix = pd.Series(layout.name_prefix, index=names.index, dtype="string")
        if layout.second_prefix:
            # Some catalogues number two parts from 1 on, so a bare number names two clusters.
            prefix = prefix.mask(names.duplicated(), layout.second_prefix)
        table["name"] = prefix + names
    return _with_redshifts(table, layout)


def _with_redshifts(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Build one column of redshifts and one of their types; without a redshift there is no type."""
    table = _with_redshift_types(table, layout)
    if "z_type" in table and "z" in table:
        z = pd.to_numeric(table["z"], errors="coerce")
        table["z_type"] = table["z_type"].mask(z.isna() | z.isin(layout.z_unknown), "")
    return table


def _with_redshift_types(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    if "z_spec" in table and "z_phot" in table and "z" not in table:
        number = {c: pd.to_numeric(table[c], errors="coerce") for c in ("z_spec", "z_phot")}
        known = {c: n.mask(n.isin(layout.z_unknown)) for c, n in number.items()}
        # A spectroscopic redshift goes before a photometric one of the same row.
        table["z"] = known["z_spec"].fillna(known["z_phot"])
        spectroscopic = known["z_spec"].notna()
        table["z_type"] = np.where(spectroscopic, "spec", np.where(table["z"].notna(), "phot", ""))
        table = table.drop(columns=["z_spec", "z_phot"])
    elif "z_type" in table:
        text = table["z_type"].astype("string").str.strip().str.lower().fillna("")
        # Codes such as 1 and 2 are read as floats when some are missing, hence "1.0".
        text = text.str.removesuffix(".0").replace(dict(layout.z_types))
        start = text.str[:4]
        table["z_type"] = start.where(start.isin(["spec", "phot"]), "").astype(object)
    elif layout.z_type:
        table["z_type"] = layout.z_type
    return table


def _with_position_errors(result: Validated, default_arcsec: float | None) -> Validated:
    if default_arcsec is None:
        return result
    table = result.table
    given = table.get("pos_err_arcsec", pd.Series(np.nan, index=table.index))
    return Validated(table.assign(pos_err_arcsec=given.fillna(default_arcsec)), result.counts)


def read_table(path: Path, layout: Layout) -> pd.DataFrame:
    """Read a table with the columns named as in the file.

    ``attrs["units"]`` holds the units that the file itself gives.

    Raises
    ------
    CatalogueError
        If the file does not fit the layout or lacks a column.
    """
    try:
        if layout.format == "csv":
            table = _read_csv(path, layout)
        elif layout.format == "parquet":
            table = pd.read_parquet(path)
        else:
            table = _read_astropy(path, layout.format)
    except CatalogueError:
        raise
    except Exception as error:  # readers raise whatever their parsers do
        raise CatalogueError(
            f"{path}: not a readable {layout.format} table ({type(error).__name__}: {error}); "
            "check the catalogue's kind, format and delimiter in the config"
        ) from error
    missing = [wanted for wanted in layout.columns.values() if column_of(wanted, table) is None]
    if missing:
        names = ", ".join(" or ".join(w) if isinstance(w, tuple) else str(w) for w in missing)
        raise CatalogueError(
            f"{path}: has no column {names} (it has "
            f"{', '.join(map(str, table.columns))}); correct the catalogue's kind or columns"
        )
    return table


def column_of(wanted: Column, table: pd.DataFrame) -> str | int | None:
    """Return the first of a layout's alternative names that a table has, or None."""
    names = wanted if isinstance(wanted, tuple) else (wanted,)
    return next((name for name in names if name in table), None)


def _read_csv(path: Path, layout: Layout) -> pd.DataFrame:
    return pd.read_csv(
        path,
        sep=r"\s+" if layout.delimiter == " " else layout.delimiter,
        comment=layout.comment,
        header=0 if layout.header else None,
        skipinitialspace=True,
        low_memory=False,
    )


def _read_astropy(path: Path, form: str) -> pd.DataFrame:
    from astropy.table import MaskedColumn, Table
    from astropy.units import UnitsWarning

    with warnings.catch_warnings():
        # Published tables spell units in their own ways; the layouts say what they mean.
        warnings.simplefilter("ignore", UnitsWarning)
        # astropy recognises a gzipped file by its content; ECSV alone must be named.
        table = Table.read(path, format="ascii.ecsv" if form == "ecsv" else form)
    columns, units = {}, {}
    for column in table.itercols():
        if column.ndim > 1:
            continue  # an array in each cell is never a position
        values = column
        if isinstance(column, MaskedColumn):
            kind = column.dtype.kind
            values = column.astype(float).filled(np.nan) if kind in "iuf" else column.filled()
        array = np.asarray(values)
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8", "replace")
        if not array.dtype.isnative:  # FITS is big-endian, pandas is not
            array = array.astype(array.dtype.newbyteorder("="))
        columns[column.name] = array
        units[column.name] = str(column.unit or "")
    frame = pd.DataFrame(columns)
    frame.attrs["units"] = units
    return frame


_UNIT_FACTORS = {
    "deg": (1.0, 1.0),
    "rad": (180.0 / np.pi, 180.0 / np.pi),
    "hourangle": (15.0, 1.0),
    "sexagesimal": (15.0, 1.0),
}
_SEXAGESIMAL = (
    r"^\s*([+\-\u2212]?)(\d{1,3})[\s:hd\u00b0]+(\d{1,2})(?:[\s:m'\u2032]+(\d{1,2}(?:\.\d*)?))?"
    r"[\s:s\"\u2033]*$"
)
_UNITS = {
    "deg": "deg", "degree": "deg", "degrees": "deg",
    "rad": "rad", "radian": "rad", "radians": "rad",
    "h": "hourangle", "hr": "hourangle", "hour": "hourangle", "hours": "hourangle",
    "hourangle": "hourangle", '"h:m:s"': "sexagesimal", '"d:m:s"': "sexagesimal",
}  # fmt: skip


def to_degrees(table: pd.DataFrame, layout: Layout, where: str) -> pd.DataFrame:
    """Return a table with ``ra_deg`` and ``dec_deg`` in ICRS degrees.

    Parameters
    ----------
    table : DataFrame
        Our columns with the file's values; ``attrs["units"]`` may hold the file's own units.
    layout : Layout
        Declares their unit and frame.
    where : str
        The file, for messages.

    Raises
    ------
    CatalogueError
        If the file's own unit, or the look of its values, contradicts the layout.
    """
    units = table.attrs.get("units", {})
    table = table.copy()
    for column, factor in zip(
        ("ra_deg", "dec_deg"), _UNIT_FACTORS[layout.position_unit], strict=True
    ):
        _refuse_other_unit(column, units.get(column, ""), layout, where)
        table[column] = _numbers(table[column], column, layout.position_unit, where)
        if factor != 1.0:
            number = pd.to_numeric(table[column], errors="coerce")
            # Text that is not a number stays as it is: `checks.validate` reports its row.
            table[column] = (number * factor).where(number.notna(), table[column])
    return _to_icrs(table, layout)


def sexagesimal(text: pd.Series) -> np.ndarray:
    """Convert texts such as ``-00 30 15.2`` to hours or degrees; NaN for any other text."""
    parts = text.astype("string").str.extract(_SEXAGESIMAL)
    whole, minutes, seconds = (
        pd.to_numeric(parts[k], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        for k in (1, 2, 3)
    )
    seconds = np.where(parts[3].isna() & parts[1].notna(), 0.0, seconds)
    bad = (minutes >= 60) | (seconds > 60)  # REFLEX writes 60 for rounded seconds
    size = whole + minutes / 60 + seconds / 3600
    # The sign is a column of its own: -00 30 is below the equator.
    negative = parts[0].isin(["-", "\u2212"]).to_numpy()
    return np.where(bad, np.nan, np.where(negative, -size, size))


def _refuse_other_unit(column: str, unit: str, layout: Layout, where: str) -> None:
    own = _UNITS.get(unit.strip().lower(), "")
    declared = layout.position_unit
    same = own == declared or (own == "deg" and declared == "hourangle" and column == "dec_deg")
    if own and not same:
        raise CatalogueError(
            f"{where}: column {layout.columns[column]} ({column}) is in {unit} according to "
            f"the file, but was declared in {declared}; set position_unit: {own}"
        )


def _numbers(values: pd.Series, column: str, unit: str, where: str) -> pd.Series:
    if unit == "sexagesimal":
        # Other text stays as it is: `checks.validate` reports its row.
        read = pd.Series(sexagesimal(values), index=values.index)
        return read.astype(object).where(read.notna(), values)
    if values.dtype.kind in "iufb":
        return values
    number = pd.to_numeric(values, errors="coerce")
    if len(values) and number.isna().all() and np.isfinite(sexagesimal(values)).any():
        raise CatalogueError(
            f"{where}: row 1, column {column}: {values.iloc[0]!r} is sexagesimal text, but was "
            f"declared in {unit}; set position_unit: sexagesimal"
        )
    return values


def _to_icrs(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    if layout.frame == "icrs" or (layout.frame == "fk5" and layout.equinox == "J2000"):
        return table
    from astropy import units as u
    from astropy.coordinates import FK4, FK5, Galactic, SkyCoord

    frame = {
        "fk4": lambda: FK4(equinox=layout.equinox),
        "fk5": lambda: FK5(equinox=layout.equinox),
        "galactic": Galactic,
    }[layout.frame]()
    first = pd.to_numeric(table["ra_deg"], errors="coerce").to_numpy(dtype=float)
    second = pd.to_numeric(table["dec_deg"], errors="coerce").to_numpy(dtype=float)
    good = (np.abs(first) <= 360) & (np.abs(second) <= 90)  # `checks.validate` reports the others
    icrs = SkyCoord(first[good] * u.deg, second[good] * u.deg, frame=frame).icrs
    for column, values in (("ra_deg", icrs.ra.deg), ("dec_deg", icrs.dec.deg)):
        number = table[column].astype(object)
        number[good] = values
        table[column] = number
    return table
