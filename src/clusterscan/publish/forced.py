"""The forced measurements as a product: every known cluster and list, seen by all networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from clusterscan.formats.catalogue_columns import FILTER, Column, model_columns
from clusterscan.publish.catalogue import Arrays, as_columns
from clusterscan.publish.release import Release
from clusterscan.publish.tables import write_fits, write_parquet

LISTED = (
    Column(
        "list", "str", "", "meta.ref",
        "known: the united known catalogues; else a catalogue of the role 'reference'",
    ),
    Column("listed_name", "str", "", "meta.id", "Name in the list", "empty"),
    Column("ra_deg", "float64", "deg", "pos.eq.ra;meta.main", "Right ascension (ICRS)"),
    Column("dec_deg", "float64", "deg", "pos.eq.dec;meta.main", "Declination (ICRS)"),
    Column("z", "float32", "", "src.redshift", "Redshift that the list gives", "NaN"),
    Column(
        "m500c_msun", "float64", "solMass", "phys.mass",
        "Mass M500c (mean density 500 times the critical density) that the list gives", "NaN",
    ),
    Column("catalogues", "str", "", "meta.ref", "Catalogues that list it, ';' between", "empty"),
    Column(
        "split", "str", "", "meta.code",
        "Region of the sky by its use: train, validation or test", "empty",
    ),
    Column("searched", "int16", "", "meta.code", "1: a network's map has a value there, 0: none"),
    Column(
        "prob", "float64", "", "stat.probability",
        "Calibrated probability of an object with the networks' values there; NaN: not searched",
        "NaN",
    ),
)  # fmt: skip

DETECTED = (
    Column("object_name", "str", "", "meta.id", "The detected object's name in the catalogue",
           "empty"),
    Column("object_prob", "float64", "", "stat.probability", "That object's prob", "NaN"),
    Column(
        "object_sep_arcsec", "float32", "arcsec", "pos.angDistance", "Its separation", "NaN",
    ),
)  # fmt: skip


def forced_columns(models: Iterable[tuple[str, str]]) -> tuple[Column, ...]:
    """Return the columns of the forced measurements: networks' raw and calibrated values."""
    networks = [m for m in models if m[1] != FILTER]
    values = [c for m in networks for c in model_columns(*m) if not c.name.startswith("snr_")]
    return (*LISTED, *values, *DETECTED)


def forced_rows(measured: pd.DataFrame, catalogue: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return the merge's measurements under their published names.

    Parameters
    ----------
    measured : DataFrame
        From `clusterscan.merge.forced_values.measure_list`.
    catalogue : mapping of str to array
        The published catalogue, for the names of the detected objects.
    """
    renamed = {
        str(c): str(c).replace("forced_", "prob_", 1).replace("single_", "pcal_", 1)
        for c in measured
        if str(c).startswith(("forced_", "single_"))
    }
    names = pd.Series(np.asarray(catalogue["name"], dtype=object), catalogue["healpix29"])
    rows = measured.rename(columns=renamed | {"name": "listed_name"})
    return rows.assign(
        searched=measured["searched"].astype("int16"),
        object_name=measured["object_id"].map(names).fillna(""),
    )


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
