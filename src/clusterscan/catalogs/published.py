"""Every published catalogue that clusterscan can read, by kind.

To teach clusterscan another one, declare a `Layout` here and add its kind to
`clusterscan.config.catalogs.PublishedKind`.
"""

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
    # PSZ2 gives the radius of 95 % confidence in arcmin; ours is 1 sigma along an axis in arcsec.
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
    repair_names=_SPT_NAMES,
    acronym="SPT-CL",
    traps="z = 0 and mass 0: unknown",
)
_COMPACT = Layout(
    "csv",
    {"name": "Name", "ra_deg": "RA", "dec_deg": "DEC", "probability": "pmax"},
    "Voskresenskaia et al. 2024, MNRAS 531, 1998",
    # Version 1.0 lost the plus signs of northern Galactic latitudes.
    repair_names=(r"^(ComPACT_G\d+\.\d{3})(\d)", r"\1+\2"),
    acronym="ComPACT",
    holds="candidates",
    traps="names without their plus sign (repaired); version 1.0 has 1255 negative RA (wrapped)",
)

_SZ: dict[str, Layout] = {
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
        repair_names=_SPT_NAMES,
        acronym="SPT-CL",
        traps="empty redshifts; names with and without a blank before J (repaired)",
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
        repair_names=(r"^(?!PSZ2)", "PSZ2 "),
        acronym="PSZ2",
        remote=Remote(table="J/ApJS/272/7/table2"),
        checked="columns",
        traps="f_z = unct: uncertain redshift, read as of unknown type",
    ),
}


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

_XRAY: dict[str, Layout] = {
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


_RICHNESS = {"richness": "lambda"}

_OPTICAL: dict[str, Layout] = {
    "abell": Layout(
        "fits",
        {"ra_deg": "ra", "dec_deg": "dec", "name": "aco", "z": "z"},
        "Abell, Corwin & Olowin 1989, ApJS 70, 1",
        z_unknown=(-1.0, 0.0, 99.0),
        name_prefix="ACO ",
        # The file numbers the southern supplement from 1 again: ACO S 1 is not ACO 1.
        second_prefix="ACO S",
        acronym="ACO",
        traps="most redshifts unknown; names are numbers, and the 1174 of the southern supplement "
        "stand twice (read as ACO S...)",
    ),
    "camira_hsc": Layout(
        "csv",
        {"name": 1, "ra_deg": 2, "dec_deg": 3, "z_phot": 4, "richness": 5, "z_spec": 6},
        "Oguri et al. 2018, PASJ 70, S20 (method); S23B: Oguri et al. 2026, PASJ 78, 416",
        delimiter=" ",
        comment="#",
        header=False,
        z_unknown=(-1.0,),
        acronym="HSC",
        traps="no header line; -1.0: the brightest galaxy has no spectroscopic redshift",
    ),
    "camira_sdss": Layout(
        "csv",
        {"ra_deg": 0, "dec_deg": 1, "z": 2, "richness": 3},
        "Oguri 2014, MNRAS 444, 147",
        delimiter=" ",
        header=False,
        z_type="phot",
        acronym="CAMIRA",
        traps="no header line and no names: rows are numbered",
    ),
    "madcows": Layout(
        "votable",
        VIZIER_POSITION
        | {"name": "Name", "z_spec": "Specz", "z_phot": "Photz", "richness": "Rich"},
        "Gonzalez et al. 2019, ApJS 240, 33",
        acronym="MOO",
        remote=Remote(table="J/ApJS/240/33/table3"),
        checked="columns",
        traps="RAJ2000 and DEJ2000 are sexagesimal text: VizieR's own degrees are read",
    ),
    "madcows2": Layout(
        "votable",
        VIZIER_POSITION | {"name": "MOO2", "z_spec": "zspec", "z_phot": "zphot", "snr": "S_N"},
        "Thongkham et al. 2024, ApJ 967, 123 (first data release)",
        acronym="MOO2",
        remote=Remote(table="J/ApJ/967/123", rows=22970),
        checked="declared",
        traps="columns seen in public code for an export from VizieR, not in the table itself; "
        "the second release (133,036 rows) is at IRSA: read it with kind generic",
    ),
    "redmapper_des": Layout(
        "csv",
        SHORT | _RICHNESS,
        "DES Collaboration 2020, PhRvD 102, 023509",
        z_type="phot",
        acronym="DES",
    ),
    "redmapper_des_y1": Layout(
        "csv",
        SHORT | _RICHNESS | {"name": "ID"},
        "McClintock et al. 2019, MNRAS 482, 1352",
        name_prefix="DESY1 ",
        z_type="phot",
        acronym="DESY1",
        traps="no names, numbers with gaps; the same clusters as in Y3 under other numbers",
    ),
    "redmapper_sdss": Layout(
        "csv",
        SHORT | _RICHNESS,
        "Rykoff et al. 2014, ApJ 785, 104",
        z_type="phot",
        acronym="RM",
    ),
    "wen_han": Layout(
        "votable",
        VIZIER_POSITION
        | {"name": "Name", "z": "zCl", "z_type": "f_zCl", "richness": "lam500"}
        | {"m500c_msun": "M500"},
        "Wen & Han 2024, ApJS 272, 39",
        z_types={"0": "phot", "1": "spec"},
        scale=MASS_1E14,
        acronym="WH",
        remote=Remote(table="J/ApJS/272/39/table2"),
        checked="columns",
        traps="1.58 million rows; f_zCl = 0: photometric",
    ),
    "wittmann": Layout(
        "csv",
        {
            "name": "id",
            "ra_deg": "ra",
            "dec_deg": "dec",
            "rmag": "rmag",
            "class7": "class7",
            "member": "member",
        },
        "Wittmann et al. 2019, ApJS 245, 10",
        acronym="PCC",
        holds="galaxies",
        traps="galaxies of the Perseus cluster, not clusters",
    ),
}


LAYOUTS: dict[str, Layout] = dict(sorted({**_SZ, **_XRAY, **_OPTICAL}.items()))


def readers_table() -> str:
    """Return the Markdown table of all readers, for `docs/catalogues.md`."""
    lines = [
        "| kind | reference | holds | format | from | checked on | traps |",
        "|---|---|---|---|---|---|---|",
    ]
    checked = {"file": "the file", "columns": "its columns", "declared": "not confirmed"}
    for kind, layout in LAYOUTS.items():
        remote = layout.remote
        source = "a file" if remote is None else f"`{remote.table or remote.url}`"
        cells = (
            f"`{kind}`", layout.reference, layout.holds, layout.format, source,
            checked[layout.checked], layout.traps,
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
