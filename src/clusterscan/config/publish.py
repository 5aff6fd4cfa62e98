"""Settings of the publish stage: names, release date, and what the report shows."""

from datetime import datetime
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator

from clusterscan.config.base import Settings


class PublishSettings(Settings):
    """How the catalogue, the HiPS maps and the report are published."""

    acronym: str = Field(
        "CSCAN",
        pattern=r"^[A-Z][A-Za-z0-9]{1,11}$",
        description="Acronym that opens every object's IAU name, e.g. CSCAN.",
    )
    name_format: str = Field(
        "JHHMMSS.s+DDMMSS",
        pattern=r"^JHHMM(\.m{1,4}|SS(\.s{1,4})?)?\+DDMM(\.m{1,4}|SS(\.s{1,4})?)?$",
        description="Digits of an IAU name: J, then right ascension, sign, declination; "
        "each ends in minutes or seconds with up to 4 decimals.",
    )
    name_guard_deg: float = Field(
        1e-9,
        ge=0,
        le=1e-7,
        description="A coordinate this little below a digit's border counts as on it, so that "
        "10 deg stored as 9.999999999999998 is named as 10 deg [deg].",
    )
    release_date: str = Field(
        "2026-01-01T00:00Z",
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z$",
        description="Release date written into the products (UTC), never taken from the clock.",
    )
    publisher_did: str = Field(
        "ivo://clusterscan",
        pattern=r"^ivo://[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="IVOID under which the HiPS maps are identified.",
    )
    gallery_count: int = Field(
        8, ge=0, le=60, description="Candidates of each kind in the report's gallery."
    )
    gallery_width_arcmin: dict[str, float] = Field(
        default_factory=dict,
        description="Width of a survey's gallery images [arcmin]; a survey that is not named "
        "gets 200 of its pixels.",
    )
    flag_mocs: dict[Literal["star", "dust", "galaxy", "artefact"], str] = Field(
        default_factory=dict,
        description="FITS files of sky MOCs whose inside sets the catalogue's flag of that name, "
        "such as dust: planck_dust_moc.fits; may begin with ${CLUSTERSCAN_DATA}.",
    )
    hats_partition_rows: PositiveInt = Field(
        5_000, description="Most rows of a partition of the HATS catalogue."
    )
    hats_margin_arcsec: float = Field(
        600.0,
        ge=1,
        le=36_000,
        description="How far around each partition the HATS margin cache reaches [arcsec].",
    )
    maps_max_gib: NonNegativeFloat = Field(
        40.0,
        description="The HiPS maps are part of the folder `published` up to this size; larger "
        "ones stay under `maps` alone. Archives such as Zenodo take 50 GB [GiB].",
    )
    creators: list[str] = Field(
        default_factory=lambda: ["The clusterscan developers"],
        min_length=1,
        description="Who made this catalogue, as citations name them: 'Family, Given', or the "
        "name of an organisation without a comma.",
    )
    license: str = Field(
        "CC-BY-4.0",
        pattern=r"^[A-Za-z0-9.+-]+$",
        description="Licence of the published data, an SPDX identifier.",
    )
    doi: str = Field(
        "",
        pattern=r"^(10\.\d{4,9}/\S+)?$",
        description="DOI of this data release, e.g. 10.5281/zenodo.1234; empty without one.",
    )

    @field_validator("release_date")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        try:
            datetime.strptime(value, "%Y-%m-%dT%H:%MZ")
        except ValueError as error:
            raise ValueError(f"{value}: no such day or time ({error})") from error
        return value

    @field_validator("creators")
    @classmethod
    def _creators_have_names(cls, value: list[str]) -> list[str]:
        if any(not name.strip() for name in value):
            raise ValueError("a creator without a name; name a person or an organisation")
        return value
