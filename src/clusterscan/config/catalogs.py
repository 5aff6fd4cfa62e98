"""Settings of tables: reference catalogues of objects, and lists that masks are made from.

A reference catalogue holds known clusters, or the truth where there is one. A reference table holds
stars, galaxies or point sources. It is a local file, or it is fetched once, kept, and pinned by its
version, number of rows and checksum.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from clusterscan.config.base import Settings

# The layouts themselves are in clusterscan.catalogs.published. The names are repeated here so that
# a configuration can be checked, and its schema written, without loading the readers.
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
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="Short name, which appears in the names of files and columns.",
    )
    role: Literal["known", "reference", "truth"] = Field(
        "known",
        description="`known`: labels the training and is matched; `reference`: is matched only; "
        "`truth`: a complete list against which the validation measures.",
    )
    bad_rows: Literal["error", "drop"] = Field(
        "error",
        description="Rows without a possible position stop the run (`error`) or are dropped.",
    )


class _FileCatalogue(_Catalogue):
    path: str = Field(description="File of the catalogue; may begin with ${CLUSTERSCAN_DATA}.")
    select: dict[str, list[int | float | str]] = Field(
        default_factory=dict,
        description="Column of the file -> values; only rows with one of them are kept.",
    )
    pos_err_arcsec: PositiveFloat | None = Field(
        None, description="Position error of rows that give none, 1 sigma along one axis [arcsec]."
    )
    trust_positions: bool = Field(
        False,
        description="Accept positions that look like radians, hours or another frame, such as a "
        "small field near RA 0, Dec 0.",
    )


class SimulatedCatalogue(_Catalogue):
    """A catalogue of the simulated sky."""

    kind: Literal["simulated"]
    selection: Literal["truth", "sz", "richness", "candidates"] = Field(
        description="`truth`: all halos; `sz` and `richness`: incomplete, noisy lists as such "
        "surveys would have found; `candidates`: the extended detections of the X-ray "
        "survey, clusters or not, with labels of experts and volunteers."
    )


class PublishedCatalogue(_FileCatalogue):
    """A published catalogue in a layout that clusterscan can read."""

    kind: PublishedKind
    path: str = Field(
        "",
        description=f"File of the catalogue; may begin with ${{CLUSTERSCAN_DATA}}. Empty: "
        f"{DOWNLOADS}/KIND, where sync or `clusterscan download KIND` stores it.",
    )

    # The default path depends on the kind, so it cannot be a plain default.
    @model_validator(mode="before")
    @classmethod
    def _downloaded_unless_named(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("path") and "kind" in values:
            return {**values, "path": f"{DOWNLOADS}/{values['kind']}"}
        return values


class _TableLayout(Settings):
    """The layout of a table with positions."""

    format: FileFormat = Field(description="Format of the file.")
    columns: dict[str, str] = Field(
        description="Our column -> column of the file. ra_deg and dec_deg are required; name, z, "
        "z_spec, z_phot, z_type, z_err, m500c_msun, pos_err_arcsec, richness, snr and "
        "any other are optional.",
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="Delimiter of a CSV file.")
    comment: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="First character of the comment lines of a CSV file; null: no comments.",
    )
    header: bool = Field(
        True,
        description="The first line of a CSV file names the columns; otherwise `columns` gives "
        "numbers from 0.",
    )
    position_unit: PositionUnit = Field(
        "deg",
        description="Unit of the positions. `hourangle`: RA in hours, Dec in degrees; "
        "`sexagesimal`: text such as 12:34:56.7, RA in hours.",
    )
    frame: Frame = Field(
        "icrs", description="Frame of the positions; with `galactic` they are l and b."
    )
    equinox: str = Field(
        "J2000", pattern=r"^[BJ]\d{4}(\.\d+)?$", description="Equinox of fk5 and fk4 positions."
    )
    z_unknown: list[float] = Field(
        default_factory=list, description="Values of z that mean unknown, such as -1 or 99."
    )
    z_type: Literal["", "spec", "phot"] = Field(
        "", description="Type of all redshifts, if no column gives it."
    )
    unknown: dict[str, list[float]] = Field(
        default_factory=dict, description="Our column -> values that mean unknown."
    )
    scale: dict[str, float] = Field(
        default_factory=dict,
        description="Our column -> factor on its values, such as m500c_msun: 1e14.",
    )

    @model_validator(mode="after")
    def _positions_are_mapped(self) -> _TableLayout:
        missing = {"ra_deg", "dec_deg"} - set(self.columns)
        if missing:
            raise ValueError(f"columns lacks {sorted(missing)}; add e.g. ra_deg: RAJ2000")
        for setting in ("scale", "unknown"):
            extra = set(getattr(self, setting)) - set(self.columns)
            if extra:
                raise ValueError(
                    f"{setting} lists {sorted(extra)}, which `columns` does not map; add them "
                    "there or remove them"
                )
        return self

    @model_validator(mode="after")
    def _columns_without_a_header_are_numbers(self) -> _TableLayout:
        if not self.header and not all(c.isdecimal() for c in self.columns.values()):
            raise ValueError(
                f"header is false, so columns must be numbers from 0, not {self.columns}"
            )
        return self

    # FK4 positions of equinox J2000 exist nowhere; the frame or the equinox is wrong then.
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
    """A reference table: any list of positions except a catalogue of objects to find."""

    select: dict[str, list[int | float | str]] = Field(
        default_factory=dict,
        description="Column of the file -> values; only rows with one of them are kept.",
    )
    bad_rows: Literal["error", "drop"] = Field(
        "error",
        description="Rows without a possible position stop the run (`error`) or are dropped.",
    )
    trust_positions: bool = Field(
        False,
        description="Accept positions that look like radians, hours or another frame, such as a "
        "small field near RA 0, Dec 0.",
    )


CatalogueSettings = Annotated[
    SimulatedCatalogue | PublishedCatalogue | GenericCatalogue, Field(discriminator="kind")
]


# A server may change a table under the same name. The version belongs to the request; number of
# rows and checksum detect the change.
class _Fetched(TableFile):
    version: str = Field(
        min_length=1,
        description="Release or date of the table; another text is another table and is "
        "downloaded again.",
    )
    rows: int | None = Field(None, gt=0, description="Required number of rows; null: any.")
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Required checksum of the stored file; null: that of the first download.",
    )


# Reference tables, from which masks are made.
class FileTable(TableFile):
    """A table on this machine."""

    kind: Literal["file"]
    path: str = Field(
        min_length=1, description="File of the table; may begin with ${CLUSTERSCAN_DATA}."
    )


class UrlTable(_Fetched):
    """A table that is downloaded from a server unchanged."""

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://", description="Address of the table.")


class VizierTable(_Fetched):
    """A table in VizieR, or the rows of it that fulfil constraints; queried with astroquery."""

    kind: Literal["vizier"]
    catalogue: str = Field(
        min_length=1, description="Name of the table in VizieR, such as I/259/tyc2."
    )
    constraints: dict[str, str] = Field(
        default_factory=dict,
        description="Constraints on its columns in VizieR's syntax, such as VTmag: '<11'.",
    )
    format: Literal["votable"] = Field("votable", description="Format in which it is stored.")
    server: str = Field("vizier.cds.unistra.fr", description="Server of VizieR or of a mirror.")


class GaiaTable(Settings):
    """Gaia sources in and around the footprint, brighter than a magnitude, from a TAP service."""

    kind: Literal["gaia"]
    server: str = Field(
        "https://gea.esac.esa.int/tap-server/tap", description="Address of the TAP service."
    )
    release: str = Field(
        "gaiadr3", pattern=r"^[a-z0-9_]+$", description="Schema of the Gaia release."
    )
    faintest_mag: float = Field(description="Faintest G magnitude that is requested [Vega mag].")
    max_rows: int = Field(
        2000,
        ge=10,
        description="Largest number of rows of one query; the sky is split into smaller pieces if "
        "the service truncates an answer.",
    )
    bad_rows: Literal["error", "drop"] = Field(
        "error",
        description="Rows without a possible position stop the run (`error`) or are dropped.",
    )


ReferenceTable = Annotated[
    FileTable | UrlTable | VizierTable | GaiaTable, Field(discriminator="kind")
]


def columns_of(table: Any) -> set[str]:
    """Return the columns of a table under our names."""
    if isinstance(table, GaiaTable):
        return {"name", "ra_deg", "dec_deg", "mag"}
    return set(table.columns)


class UniteSettings(Settings):
    """Which entries of the catalogues of role `known` are one cluster."""

    radius_arcmin: PositiveFloat = Field(
        2.5, description="Entries of two catalogues within this radius are one cluster [arcmin]."
    )
    radius_kpc: PositiveFloat | None = Field(
        None,
        description="Such a radius at the redshift of the entries, if one is known [kpc]; null: "
        "only the angle counts.",
    )
    n_sigma: NonNegativeFloat = Field(
        0.0, description="The radius grows by this multiple of the position errors of both entries."
    )
    z_window: PositiveFloat | None = Field(
        None,
        description="Entries whose redshifts differ by more than this times (1 + z) are two "
        "clusters; null: redshifts are not compared.",
    )
    duplicate_radius_arcmin: NonNegativeFloat = Field(
        0.1, description="Rows of one catalogue within this radius are one cluster [arcmin]."
    )

    @model_validator(mode="after")
    def _duplicates_are_closer(self) -> UniteSettings:
        if self.duplicate_radius_arcmin > self.radius_arcmin:
            raise ValueError(
                f"duplicate_radius_arcmin = {self.duplicate_radius_arcmin} exceeds "
                f"radius_arcmin = {self.radius_arcmin}; make it smaller"
            )
        return self
