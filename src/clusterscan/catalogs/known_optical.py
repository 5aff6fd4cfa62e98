"""Declarations of published catalogues: overdensities of galaxies, optical and infrared."""

from __future__ import annotations

from clusterscan.catalogs.known_sz import MASS_1E14, SHORT, VIZIER_POSITION
from clusterscan.catalogs.layouts import Layout, Remote

_RICHNESS = {"richness": "lambda"}

LAYOUTS: dict[str, Layout] = {
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
