"""Settings of reference catalogues: known objects, and the truth where there is one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings

PublishedKind = Literal[
    "abell",
    "act_dr5",
    "act_dr5_masses",
    "camira_sdss",
    "compact",
    "mcxc",
    "psz2",
    "redmapper_des",
    "redmapper_sdss",
    "spt",
    "szcat",
    "wittmann",
]


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


class SimulatedCatalogue(_Catalogue):
    """A catalogue of the simulated sky."""

    kind: Literal["simulated"]
    selection: Literal["truth", "sz", "richness"] = Field(
        description="All halos, or an incomplete noisy list as such a survey would have found."
    )


class PublishedCatalogue(_FileCatalogue):
    """A published catalogue whose columns clusterscan knows."""

    kind: PublishedKind


class GenericCatalogue(_FileCatalogue):
    """Any table with positions."""

    kind: Literal["generic"]
    format: Literal["csv", "fits", "parquet", "votable"] = Field(description="The file's format.")
    columns: dict[str, str] = Field(
        description="Our column -> the file's column; ra_deg and dec_deg are needed, name, z, "
        "m500c_msun, richness, snr and any other are optional.",
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="Of a csv file.")
    comment: str | None = Field(
        None, min_length=1, max_length=1, description="Lines of a csv beginning so are skipped."
    )
    position_unit: Literal["deg", "rad", "hourangle"] = Field(
        "deg", description="Unit of the positions; hourangle: RA in hours, Dec in degrees."
    )
    z_unknown: list[float] = Field(
        default_factory=list, description="Values of z that stand for unknown, such as -1 or 99."
    )
    scale: dict[str, float] = Field(
        default_factory=dict, description="Factors on our columns, such as m500c_msun: 1e14."
    )

    @model_validator(mode="after")
    def _positions_are_mapped(self) -> GenericCatalogue:
        missing = {"ra_deg", "dec_deg"} - set(self.columns)
        if missing:
            raise ValueError(f"columns lacks {sorted(missing)}; add e.g. ra_deg: RAJ2000")
        extra = set(self.scale) - set(self.columns)
        if extra:
            raise ValueError(f"scale names {sorted(extra)}, which columns does not map")
        return self


CatalogueSettings = Annotated[
    SimulatedCatalogue | PublishedCatalogue | GenericCatalogue, Field(discriminator="kind")
]
