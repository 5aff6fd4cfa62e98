"""Read any catalogue that a config names, and keep it in clusterscan's own form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.frames import to_degrees
from clusterscan.catalogs.layouts import Layout, layout_of
from clusterscan.catalogs.registry import LAYOUTS
from clusterscan.catalogs.suspicion import look_over, refuse_sources, tell_if_crowded
from clusterscan.catalogs.tables import column_of, read_table
from clusterscan.catalogs.validate import Validated, validate
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
    """Return a hash that changes with the catalogue's file ("" for simulated ones)."""
    if isinstance(settings, SimulatedCatalogue):
        return ""
    return file_sha256(catalogue_file(settings))


def catalogue_file(settings: PublishedCatalogue | GenericCatalogue) -> Path:
    """Return a catalogue's file.

    Raises
    ------
    SourceError
        If it is not there; says how to get it.
    """
    try:
        return expand_path(settings.path)
    except SourceError as error:
        if settings.kind != "generic" and LAYOUTS[settings.kind].remote is not None:
            raise SourceError(
                f"{error}; or get it: clusterscan download {settings.kind}"
            ) from error
        raise


def read_positions(settings: TableFile, path: Path) -> Validated:
    """Read, check and clean a table of a file that is no catalogue of objects to find.

    Raises
    ------
    CatalogueError
        If the file is no such table, or rows are impossible and `bad_rows` is "error".
    """
    layout, where = layout_of(settings), str(path)
    raw = _selected(read_table(path, layout), settings.select, path)
    if raw.empty:
        raise CatalogueError(
            f"{path}: has no rows (that `select` keeps); a mask of nothing is hardly what is "
            "meant: correct the table, or leave out the mask"
        )
    table = to_degrees(_ours(raw, layout), layout, where)
    look_over(table, layout, where, trust=settings.trust_positions)
    return validate(table, where, bad_rows=settings.bad_rows, z_unknown=layout.z_unknown)


def read_catalogue(settings: PublishedCatalogue | GenericCatalogue) -> Validated:
    """Read, check and clean the catalogue of a file.

    Raises
    ------
    CatalogueError
        If the file is no such table, or rows are impossible and `bad_rows` is "error".
    SourceError
        If there is no such file.
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
        tell_if_crowded(result.table, where)
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
    if "name" in table and (layout.name_prefix or layout.mend_names):
        names = table["name"].astype("string").str.strip()
        if layout.mend_names:
            names = names.str.replace(*layout.mend_names, regex=True)
        prefix = pd.Series(layout.name_prefix, index=names.index, dtype="string")
        if layout.second_prefix:
            prefix = prefix.mask(names.duplicated(), layout.second_prefix)
        table["name"] = prefix + names
    return _with_redshifts(table, layout)


def _with_redshifts(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Give one redshift where there are a spectroscopic and a photometric one, and its type."""
    table = _with_redshift_types(table, layout)
    if "z_type" in table and "z" in table:
        z = pd.to_numeric(table["z"], errors="coerce")
        table["z_type"] = table["z_type"].mask(z.isna() | z.isin(layout.z_unknown), "")
    return table


def _with_redshift_types(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    if "z_spec" in table and "z_phot" in table and "z" not in table:
        number = {c: pd.to_numeric(table[c], errors="coerce") for c in ("z_spec", "z_phot")}
        known = {c: n.mask(n.isin(layout.z_unknown)) for c, n in number.items()}
        table["z"] = known["z_spec"].fillna(known["z_phot"])
        spectroscopic = known["z_spec"].notna()
        table["z_type"] = np.where(spectroscopic, "spec", np.where(table["z"].notna(), "phot", ""))
        table = table.drop(columns=["z_spec", "z_phot"])
    elif "z_type" in table:
        text = table["z_type"].astype("string").str.strip().str.lower().fillna("")
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
