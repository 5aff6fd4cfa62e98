"""Declarations of published catalogues: clusters seen in X-rays."""

from __future__ import annotations

from dataclasses import replace

from clusterscan.catalogs.known_sz import MASS_1E14, VIZIER_POSITION
from clusterscan.catalogs.layouts import Layout, Remote

_MCXC = Layout(
    "fits",
    {"name": "MCXC", "ra_deg": "RAdeg", "dec_deg": "DEdeg", "z": "z", "m500c_msun": "M500"},
    "Piffaretti et al. 2011, A&A 534, A109",
    scale=MASS_1E14,
    name_prefix="MCXC ",
    acronym="MCXC",
    traps="a compilation: holds REFLEX, BCS, CIZA, ...",
)
_B1950 = "RAh..DEs are B1950, RAdeg and DEdeg J2000: only these are read"

LAYOUTS: dict[str, Layout] = {
    "bcs": Layout(
        "csv",
        {"name": "Name", "ra_deg": "RAdeg", "dec_deg": "DEdeg", "z": "z"},
        "Ebeling et al. 1998, MNRAS 301, 881",
        acronym="BCS",
        traps=_B1950 + "; names of many lists (A, Z, RXJ)",
    ),
    "ciza": Layout(
        "csv",
        {"name": "CIZA", "ra_deg": "RAdeg", "dec_deg": "DEdeg", "z": "z"},
        "Ebeling et al. 2002, ApJ 580, 774; Kocevski et al. 2007, ApJ 662, 224",
        name_prefix="CIZA ",
        acronym="CIZA",
        traps="holds GLON and GLAT too, which are not the positions read",
    ),
    "ebcs": Layout(
        "csv",
        {"name": "Name", "ra_deg": "RAdeg", "dec_deg": "DEdeg", "z": "z"},
        "Ebeling et al. 2000, MNRAS 318, 333",
        acronym="eBCS",
        traps="names of many lists (A, Z, RXJ)",
    ),
    "erass1": Layout(
        "fits",
        {
            "name": "NAME",
            "ra_deg": "RA",
            "dec_deg": "DEC",
            "z": "BEST_Z",
            "m500c_msun": "M500",
            "ext_like": "EXT_LIKE",
            "contamination": "PCONT",
        },
        "Bulbul et al. 2024, A&A 685, A106",
        scale={"m500c_msun": 1e13},
        z_unknown=(-1.0, 0.0),
        acronym="1eRASS",
        remote=Remote(
            url="https://cdsarc.cds.unistra.fr/ftp/J/A+A/685/A106/fits/erass1cl_main_v3.2.fits",
            rows=12247,
            sha256="e79c392e2d7b9e26105ead7d56787713465aa853feb040a227891fb9571b9a54",
        ),
        checked="columns",
        traps="masses in 1e13 Msun; PCONT is each row's contamination",
    ),
    "erass1_extended": Layout(
        "csv",
        {"name": "name", "ra_deg": "RA", "dec_deg": "dec", "pos_err_arcsec": "posErr"}
        | {"extent_arcsec": "ext"},
        "Merloni et al. 2024, A&A 682, A34 (extended sources)",
        acronym="1eRASS",
        holds="sources",
        traps="extended sources, not clusters: refused as known clusters",
    ),
    "mcxc": _MCXC,
    "mcxc_short": replace(_MCXC, format="csv", traps="the same as csv with NA for unknown"),
    "mcxc2": Layout(
        "votable",
        VIZIER_POSITION | {"name": "MCXC", "z": "z", "m500c_msun": "M500"},
        "Sadibekova et al. 2024, A&A 688, A187",
        scale=MASS_1E14,
        name_prefix="MCXC ",
        acronym="MCXC",
        remote=Remote(table="J/A+A/688/A187/mcxcii", rows=2221),
        checked="columns",
    ),
    "rass_mcmf": Layout(
        "votable",
        VIZIER_POSITION | {"name": ("Name", "RASS-MCMF"), "z_spec": "zsp1", "z_phot": "z1C"},
        "Klein et al. 2023, MNRAS 526, 3757",
        acronym="RASS-MCMF",
        remote=Remote(table="J/MNRAS/526/3757/catalog", rows=8449),
        checked="declared",
        traps="table and zsp1 confirmed, the other columns taken from its twin ACT-DR5 MCMF; "
        "90 % pure",
    ),
    "reflex": Layout(
        "csv",
        {"name": "RXC", "ra_deg": "RAdeg", "dec_deg": "DEdeg", "z": "z"},
        "Boehringer et al. 2004, A&A 425, 367",
        name_prefix="RXC ",
        z_type="spec",
        acronym="RXC",
    ),
    "xxl": Layout(
        "votable",
        VIZIER_POSITION | {"name": "XLSSC", "z": "z", "class": "Class"},
        "Adami et al. 2018, A&A 620, A5",
        name_prefix="XLSSC ",
        acronym="XLSSC",
        remote=Remote(table="IX/52/xxl365gc"),
        checked="columns",
    ),
}
