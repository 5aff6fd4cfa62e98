"""Settings of tables: reference catalogues of objects, and lists that masks are made from.

A reference catalogue holds known clusters, or the truth where there is one. A reference table holds
stars, galaxies or point sources. It is a local file, or it is fetched once, kept, and pinned by its
version, number of rows and checksum.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from clusterscan.config.base import Settings

PublishedKind = Literal[
    "abell",
    "act_dr5",
    "act_dr5_masses",
    "act_dr5_mcmf",
    "act_dr6",
    "bcs",
    "camira_hsc",
    "camira_sdss",
    "ciza",
    "compact",
    "comprass",
    "ebcs",
    "erass1",
    "erass1_extended",
    "madcows",
    "madcows2",
    "mcxc",
    "mcxc2",
    "mcxc_short",
    "psz2",
    "psz2_short",
    "psz_spt",
    "rass_mcmf",
    "redmapper_des",
    "redmapper_des_y1",
    "redmapper_sdss",
    "reflex",
    "spt",
    "spt_short",
    "szcat",
    "upcluster_sz",
    "wen_han",
    "wittmann",
    "xxl",
]
FileFormat = Literal["csv", "ecsv", "fits", "parquet", "votable"]
PositionUnit = Literal["deg", "rad", "hourangle", "sexagesimal"]
Frame = Literal["icrs", "fk5", "fk4", "galactic"]
DOWNLOADS = "~/.cache/clusterscan/catalogs"
TABLES = "~/.cache/clusterscan/tables"


class _Catalogue(Settings):
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Short name; it names files and columns."
    )
    role: Literal["known", "reference", "truth"] = Field(
        "known",
        description="known: labels the training and is matched; reference: matched only; truth: "
        "complete list that validation measures against.",
    )
    bad_rows: Literal["error", "drop"] = Field(
        "error", description="Rows without a possible position stop the run, or are dropped."
    )


class _FileCatalogue(_Catalogue):
    path: str = Field(description="The file; may begin with ${CLUSTERSCAN_DATA}.")
    select: dict[str, list[int | float | str]] = Field(
        default_factory=dict,
        description="Keep rows whose column (named as in the file) has one of the values.",
    )
    pos_err_arcsec: PositiveFloat | None = Field(
        None, description="Position error (1 sigma along an axis) of rows that give none [arcsec]."
    )
    trust_positions: bool = Field(
        False,
        description="Positions are right though they look like radians, hours or another frame "
        "(a small field near RA 0, Dec 0).",
    )


class SimulatedCatalogue(_Catalogue):
    """A catalogue of the simulated sky."""

    kind: Literal["simulated"]
    selection: Literal["truth", "sz", "richness", "candidates"] = Field(
        description="All halos; an incomplete noisy list as such a survey would have found; or "
        "the X-ray survey's extended detections, clusters or not, with experts' and volunteers' "
        "labels."
    )


class PublishedCatalogue(_FileCatalogue):
    """A published catalogue whose columns clusterscan knows."""

    kind: PublishedKind
    path: str = Field(
        "",
        description="The file; may begin with ${CLUSTERSCAN_DATA}. Empty: "
        f"{DOWNLOADS}/<kind>, where sync or `clusterscan download KIND` puts it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _downloaded_unless_named(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("path") and "kind" in values:
            return {**values, "path": f"{DOWNLOADS}/{values['kind']}"}
        return values


class _TableLayout(Settings):
    """How any table with positions is laid out."""

    format: FileFormat = Field(description="The file's format.")
    columns: dict[str, str] = Field(
        description="Our column -> the file's column; ra_deg and dec_deg are needed, name, z, "
        "z_spec, z_phot, z_type, z_err, m500c_msun, pos_err_arcsec, richness, snr and any other "
        "are optional.",
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="Of a csv file.")
    comment: str | None = Field(
        None, min_length=1, max_length=1, description="Lines of a csv beginning so are skipped."
    )
    header: bool = Field(
        True,
        description="Whether a csv file's first line names the columns; else columns are given as "
        "numbers from 0.",
    )
    position_unit: PositionUnit = Field(
        "deg",
        description="Unit of the positions; hourangle: RA in hours, Dec in degrees; sexagesimal: "
        "text such as 12:34:56.7, RA in hours.",
    )
    frame: Frame = Field("icrs", description="Frame of the positions (galactic: l and b).")
    equinox: str = Field(
        "J2000", pattern=r"^[BJ]\d{4}(\.\d+)?$", description="Equinox of fk5 and fk4 positions."
    )
    z_unknown: list[float] = Field(
        default_factory=list, description="Values of z that stand for unknown, such as -1 or 99."
    )
    z_type: Literal["", "spec", "phot"] = Field(
        "", description="Type of all redshifts, where no column says it."
    )
    unknown: dict[str, list[float]] = Field(
        default_factory=dict, description="Our column -> values that stand for unknown."
    )
    scale: dict[str, float] = Field(
        default_factory=dict, description="Factors on our columns, such as m500c_msun: 1e14."
    )

    @model_validator(mode="after")
    def _positions_are_mapped(self) -> _TableLayout:
        missing = {"ra_deg", "dec_deg"} - set(self.columns)
        if missing:
            raise ValueError(f"columns lacks {sorted(missing)}; add e.g. ra_deg: RAJ2000")
        for setting in ("scale", "unknown"):
            extra = set(getattr(self, setting)) - set(self.columns)
            if extra:
                raise ValueError(f"{setting} names {sorted(extra)}, which columns does not map")
        return self

    @model_validator(mode="after")
    def _columns_without_a_header_are_numbers(self) -> _TableLayout:
        if not self.header and not all(c.isdecimal() for c in self.columns.values()):
            raise ValueError(
                f"header is false, so columns must be numbers from 0, not {self.columns}"
            )
        return self

    @model_validator(mode="after")
    def _frame_has_its_equinox(self) -> _TableLayout:
        if self.frame == "fk4" and not self.equinox.startswith("B"):
            raise ValueError(
                f"frame fk4 with equinox {self.equinox}; write equinox: B1950 (or frame: fk5)"
            )
        return self


class GenericCatalogue(_TableLayout, _FileCatalogue):
    """Any table with positions."""

    kind: Literal["generic"]


class TableFile(_TableLayout):
    """What every table that is no catalogue of objects to find can have."""

    select: dict[str, list[int | float | str]] = Field(
        default_factory=dict,
        description="Keep rows whose column (named as in the file) has one of the values.",
    )
    bad_rows: Literal["error", "drop"] = Field(
        "error", description="Rows without a possible position stop the run, or are dropped."
    )
    trust_positions: bool = Field(
        False,
        description="Positions are right though they look like radians, hours or another frame "
        "(a small field near RA 0, Dec 0).",
    )


CatalogueSettings = Annotated[
    SimulatedCatalogue | PublishedCatalogue | GenericCatalogue, Field(discriminator="kind")
]


class _Fetched(TableFile):
    version: str = Field(
        min_length=1,
        description="The release or date of the version that is meant; another text is another "
        "table, and is fetched anew.",
    )
    rows: int | None = Field(
        None, gt=0, description="Rows of that version; another number is refused. null: any."
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Checksum of the kept file; other bytes are refused. null: the one that came.",
    )


class FileTable(TableFile):
    """A table on this machine."""

    kind: Literal["file"]
    path: str = Field(min_length=1, description="The file; may begin with ${CLUSTERSCAN_DATA}.")


class UrlTable(_Fetched):
    """A table on a server, downloaded as it is."""

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://", description="Where it is published.")


class VizierTable(_Fetched):
    """A table of VizieR, or those of its rows that fulfil constraints, by astroquery."""

    kind: Literal["vizier"]
    catalogue: str = Field(min_length=1, description="Its name, such as I/259/tyc2.")
    constraints: dict[str, str] = Field(
        default_factory=dict,
        description="VizieR's constraints on its columns, such as VTmag: '<11'.",
    )
    format: Literal["votable"] = Field("votable", description="How it is kept.")
    server: str = Field("vizier.cds.unistra.fr", description="VizieR or a mirror of it.")


class GaiaTable(Settings):
    """Gaia sources brighter than a magnitude, from a TAP service, around the footprint."""

    kind: Literal["gaia"]
    server: str = Field("https://gea.esac.esa.int/tap-server/tap", description="The TAP service.")
    release: str = Field(
        "gaiadr3", pattern=r"^[a-z0-9_]+$", description="Schema of the release: the version."
    )
    faintest_mag: float = Field(description="Faintest G magnitude that is asked for [Vega].")
    max_rows: int = Field(
        2000,
        ge=10,
        description="Rows of one answer; where the service cuts one off, the sky is asked in "
        "smaller pieces.",
    )
    bad_rows: Literal["error", "drop"] = Field(
        "error", description="Rows without a possible position stop the run, or are dropped."
    )


ReferenceTable = Annotated[
    FileTable | UrlTable | VizierTable | GaiaTable, Field(discriminator="kind")
]


def columns_of(table: Any) -> set[str]:
    """Return our names of the columns that a table will have."""
    if isinstance(table, GaiaTable):
        return {"name", "ra_deg", "dec_deg", "mag"}
    return set(table.columns)
