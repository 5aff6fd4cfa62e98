"""How tables with positions are laid out: one short declaration a published catalogue.

To teach clusterscan a catalogue, add a `Layout` here and its key to
`config.catalogs.PublishedKind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from clusterscan.config.catalogs import GenericCatalogue

Format = Literal["csv", "fits", "parquet", "votable"]


@dataclass(frozen=True)
class Layout:
    """How one kind of table is read.

    Attributes
    ----------
    format : str
        The file's format; csv and white-space tables may be gzipped.
    columns : mapping
        Our column -> the file's column (its number from 0 where the file has no header).
    reference : str
        The paper to cite.
    delimiter : str
        Of a csv; a blank stands for any white space.
    comment : str, optional
        Lines of a csv that begin so are skipped.
    header : bool
        Whether a csv's first line names the columns.
    position_unit : {"deg", "rad", "hourangle"}
        Unit of the positions; hourangle: RA in hours, Dec in degrees.
    z_unknown : tuple of float
        Values of z that stand for unknown.
    scale : mapping
        Factors on our columns.
    name_prefix : str
        Put before every name.
    mend_names : tuple of (pattern, replacement)
        Regular expression that repairs names.
    """

    format: Format
    columns: Mapping[str, str | int]
    reference: str = ""
    delimiter: str = ","
    comment: str | None = None
    header: bool = True
    position_unit: Literal["deg", "rad", "hourangle"] = "deg"
    z_unknown: tuple[float, ...] = ()
    scale: Mapping[str, float] = field(default_factory=dict)
    name_prefix: str = ""
    mend_names: tuple[str, str] | None = None


_MASS = {"m500c_msun": 1e14}

LAYOUTS: dict[str, Layout] = {
    "abell": Layout(
        "fits",
        {"ra_deg": "ra", "dec_deg": "dec", "name": "aco", "z": "z"},
        "Abell, Corwin & Olowin 1989, ApJS 70, 1",
        z_unknown=(-1.0, 0.0, 99.0),
        name_prefix="ACO ",
    ),
    "act_dr5": Layout(
        "csv",
        {"name": "name", "ra_deg": "RA", "dec_deg": "dec", "z": "redshift", "r500_deg": "r500"},
        "Hilton et al. 2021, ApJS 253, 3",
    ),
    "act_dr5_masses": Layout(
        "csv",
        # Numbers, for the header is a comment and two more lines follow it.
        {"name": 0, "ra_deg": 1, "dec_deg": 2, "snr": 3, "z": 4, "m500c_msun": 8},
        "Hilton et al. 2021, ApJS 253, 3 (M500cCal)",
        delimiter=";",
        comment="#",
        header=False,
        scale=_MASS,
        name_prefix="ACT-CL ",
    ),
    "camira_sdss": Layout(
        "csv",
        {"ra_deg": 0, "dec_deg": 1, "z": 2, "richness": 3},
        "Oguri 2014, MNRAS 444, 147",
        delimiter=" ",
        header=False,
    ),
    "compact": Layout(
        "csv",
        {"name": "Name", "ra_deg": "RA", "dec_deg": "DEC", "probability": "pmax"},
        "Voskresenskaia et al. 2024, MNRAS 531, 1998",
        # Version 1.0 lost the plus signs of northern Galactic latitudes.
        mend_names=(r"^(ComPACT_G\d+\.\d{3})(\d)", r"\1+\2"),
    ),
    "mcxc": Layout(
        "fits",
        {"name": "MCXC", "ra_deg": "RAdeg", "dec_deg": "DEdeg", "z": "z", "m500c_msun": "M500"},
        "Piffaretti et al. 2011, A&A 534, A109",
        scale=_MASS,
        name_prefix="MCXC ",
    ),
    "psz2": Layout(
        "fits",
        {
            "name": "NAME",
            "ra_deg": "RA",
            "dec_deg": "DEC",
            "z": "REDSHIFT",
            "m500c_msun": "MSZ",
            "snr": "SNR",
        },
        "Planck Collaboration XXVII 2016, A&A 594, A27",
        z_unknown=(-1.0,),
        scale=_MASS,
    ),
    "redmapper_des": Layout(
        "csv",
        {
            "name": "name",
            "ra_deg": "RA",
            "dec_deg": "dec",
            "z": "redshift",
            "richness": "lambda",
            "r500_deg": "r500",
        },
        "DES Collaboration 2020, PhRvD 102, 023509",
    ),
    "redmapper_sdss": Layout(
        "csv",
        {
            "name": "name",
            "ra_deg": "RA",
            "dec_deg": "dec",
            "z": "redshift",
            "richness": "lambda",
            "r500_deg": "r500",
        },
        "Rykoff et al. 2014, ApJ 785, 104",
    ),
    "spt": Layout(
        "fits",
        {
            "name": "SPT_ID",
            "ra_deg": "RA",
            "dec_deg": "DEC",
            "z": "REDSHIFT",
            "m500c_msun": "M500",
            "snr": "XI",
        },
        "Bocquet et al. 2019, ApJ 878, 55; Bleem et al. 2020, ApJS 247, 25",
        z_unknown=(0.0,),
        scale=_MASS,
    ),
    "szcat": Layout(
        "csv",
        {"name": "id", "ra_deg": "RA", "dec_deg": "DEC", "probability": "p_max"},
        "Meshcheryakov et al. 2022, Astronomy Letters 48, 479",
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
    ),
}


def layout_of(settings: GenericCatalogue) -> Layout:
    """Return the layout that a generic catalogue's settings describe."""
    return Layout(
        format=settings.format,
        columns=settings.columns,
        delimiter=settings.delimiter,
        comment=settings.comment,
        position_unit=settings.position_unit,
        z_unknown=tuple(settings.z_unknown),
        scale=settings.scale,
    )
