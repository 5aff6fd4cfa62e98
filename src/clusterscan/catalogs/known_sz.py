"""Declarations of published catalogues: clusters and candidates seen by their SZ effect."""

from __future__ import annotations

from dataclasses import replace

from clusterscan.catalogs.layouts import Column, Layout, Remote

MASS_1E14 = {"m500c_msun": 1e14}
VIZIER_POSITION: dict[str, Column] = {"ra_deg": "_RAJ2000", "dec_deg": "_DEJ2000"}
SHORT: dict[str, Column] = {
    "name": "name",
    "ra_deg": "RA",
    "dec_deg": "dec",
    "z": "redshift",
    "r500_deg": "r500",
}

# A radius that holds 95 % of a Rayleigh distribution is 2.448 of its widths.
_SIGMA_OF_95 = 2.447747
_SPT_NAMES = (r"^SPT-CL\s*J", "SPT-CL J")
_NEMO: dict[str, Column] = {
    "name": "name",
    "ra_deg": "RADeg",
    "dec_deg": "decDeg",
    "snr": "SNR",
    "z": "redshift",
    "z_type": "redshiftType",
}

_ACT_DR5 = Layout(
    "csv",
    SHORT,
    "Hilton et al. 2021, ApJS 253, 3",
    acronym="ACT-CL",
    traps="short form of version 1.1: no masses",
)
_PSZ2 = Layout(
    "fits",
    {
        "name": "NAME",
        "ra_deg": "RA",
        "dec_deg": "DEC",
        "z": "REDSHIFT",
        "m500c_msun": "MSZ",
        "snr": "SNR",
        "pos_err_arcsec": "POS_ERR",
    },
    "Planck Collaboration XXVII 2016, A&A 594, A27",
    z_unknown=(-1.0,),
    scale=MASS_1E14 | {"pos_err_arcsec": 60.0 / _SIGMA_OF_95},
    acronym="PSZ2",
    traps="z = -1 and mass 0: unknown; POS_ERR is a 95 % radius",
)
_SPT = Layout(
    "fits",
    {
        "name": "SPT_ID",
        "ra_deg": "RA",
        "dec_deg": "DEC",
        "z": "REDSHIFT",
        "z_err": "REDSHIFT_UNC",
        "z_type": "SPECZ",
        "m500c_msun": "M500",
        "snr": "XI",
    },
    "Bocquet et al. 2019, ApJ 878, 55; Bleem et al. 2020, ApJS 247, 25",
    z_unknown=(0.0,),
    z_types={"1": "spec", "0": "phot"},
    scale=MASS_1E14,
    mend_names=_SPT_NAMES,
    acronym="SPT-CL",
    traps="z = 0 and mass 0: unknown",
)
_COMPACT = Layout(
    "csv",
    {"name": "Name", "ra_deg": "RA", "dec_deg": "DEC", "probability": "pmax"},
    "Voskresenskaia et al. 2024, MNRAS 531, 1998",
    # Version 1.0 lost the plus signs of northern Galactic latitudes.
    mend_names=(r"^(ComPACT_G\d+\.\d{3})(\d)", r"\1+\2"),
    acronym="ComPACT",
    holds="candidates",
    traps="names without their plus sign (mended); version 1.0 has 1255 negative RA (wrapped)",
)

LAYOUTS: dict[str, Layout] = {
    "act_dr5": _ACT_DR5,
    "act_dr5_masses": Layout(
        "csv",
        # Numbers, for the header is a comment and two more lines follow it.
        {
            "name": 0,
            "ra_deg": 1,
            "dec_deg": 2,
            "snr": 3,
            "z": 4,
            "z_err": 5,
            "z_type": 6,
            "m500c_msun": 8,
        },
        "Hilton et al. 2021, ApJS 253, 3 (M500cCal)",
        delimiter=";",
        comment="#",
        header=False,
        scale=MASS_1E14,
        name_prefix="ACT-CL ",
        acronym="ACT-CL",
        traps="`;` between columns, three header lines, names without ACT-CL",
    ),
    "act_dr5_mcmf": Layout(
        "votable",
        VIZIER_POSITION
        | {"name": "Name", "z_spec": "zsp1", "z_phot": "z1C", "snr": "SNR"}
        | {"m500c_msun": "M500-1CCAL"},
        "Klein et al. 2024, A&A 690, A322",
        scale=MASS_1E14,
        acronym="ACT-MCMF",
        remote=Remote(table="J/A+A/690/A322/catalog", rows=6237),
        checked="columns",
        traps="of two redshifts along a line of sight the first is read; 10.7 % contamination",
    ),
    "act_dr6": Layout(
        "fits",
        _NEMO | {"m500c_msun": "M500c"},
        "ACT-DES-HSC Collaboration 2025, arXiv:2507.21459",
        scale=MASS_1E14,
        acronym="ACT-CL",
        remote=Remote(
            url="https://lambda.gsfc.nasa.gov/data/suborbital/ACT/actadv_dr6_cluster_cat/"
            "DR6_cluster-catalog_v1.0.fits",
            rows=10040,
        ),
        checked="columns",
        traps="the optical centres (opt_RADeg) are not the positions",
    ),
    "compact": _COMPACT,
    "comprass": Layout(
        "votable",
        VIZIER_POSITION | {"name": "Name", "z": "z"},
        "Tarrio et al. 2019, A&A 626, A7",
        acronym="PSZRX",
        holds="candidates",
        remote=Remote(table="J/A+A/626/A7/comprass"),
        checked="columns",
    ),
    "psz2": _PSZ2,
    "psz2_short": replace(
        _PSZ2,
        format="csv",
        columns=SHORT | {"pos_err_arcsec": "pos_err"},
        z_unknown=(),
        scale={"pos_err_arcsec": 3600.0 / _SIGMA_OF_95},
        traps="short form; pos_err is a 95 % radius in degrees",
    ),
    "psz_spt": Layout(
        "votable",
        VIZIER_POSITION | {"name": "Name", "z": "z"},
        "Melin et al. 2021, A&A 647, A106",
        acronym="PSZSPT",
        remote=Remote(table="J/A+A/647/A106"),
        checked="columns",
    ),
    "spt": _SPT,
    "spt_short": Layout(
        "csv",
        SHORT,
        "Bleem et al. 2015, ApJS 216, 27 (SPT-SZ); Bleem et al. 2020, ApJS 247, 25 (ECS); "
        "Huang et al. 2020, AJ 159, 110 (SPTpol 100d); Kornoelje et al. 2025 (SPT-3G deep)",
        mend_names=_SPT_NAMES,
        acronym="SPT-CL",
        traps="empty redshifts; names with and without a blank before J (mended)",
    ),
    "szcat": Layout(
        "csv",
        {"name": "id", "ra_deg": "RA", "dec_deg": "DEC", "probability": "p_max", "snr": "s/n"},
        "Meshcheryakov et al. 2022, Astronomy Letters 48, 479",
        unknown={"probability": (-1.0,), "snr": (-1.0,)},
        acronym="SZ",
        holds="candidates",
        traps="p_max = -1 and s/n = -1: unknown; no redshifts; low purity by design",
    ),
    "upcluster_sz": Layout(
        "votable",
        VIZIER_POSITION | {"name": "PSZ2", "z": "z", "z_type": "f_z"},
        "Bahk & Hwang 2024, ApJS 272, 7",
        mend_names=(r"^(?!PSZ2)", "PSZ2 "),
        acronym="PSZ2",
        remote=Remote(table="J/ApJS/272/7/table2"),
        checked="columns",
        traps="f_z = unct: uncertain redshift, read as of unknown type",
    ),
}
