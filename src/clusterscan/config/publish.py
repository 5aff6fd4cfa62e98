"""Settings of the publish stage: names, release date, and content of the report."""

from datetime import datetime
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator

from clusterscan.config.base import Settings


class PublishSettings(Settings):
    """How the catalogue, the HiPS maps and the report are published."""

    acronym: str = Field(
        "CSCAN",
        pattern=r"^[A-Z][A-Za-z0-9]{1,11}$",
        description="Acronym at the beginning of every IAU name.",
    )
    name_format: str = Field(
        "JHHMMSS.s+DDMMSS",
        pattern=r"^JHHMM(\.m{1,4}|SS(\.s{1,4})?)?\+DDMM(\.m{1,4}|SS(\.s{1,4})?)?$",
        description="Digits of an IAU name: J, right ascension, sign, declination; each ends in "
        "minutes or seconds with up to 4 decimals.",
    )
    name_guard_deg: float = Field(
        1e-9,
        ge=0,
        le=1e-7,
        description="A coordinate this little below a digit's border counts as on it, so that 10 "
        "deg stored as 9.999999999999998 is named as 10 deg [deg].",
    )
    # Equal runs must give equal bytes, so no date comes from the clock.
    release_date: str = Field(
        "2026-01-01T00:00Z",
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z$",
        description="Release date that is written into the products (UTC); the clock is never "
        "used.",
    )
    publisher_did: str = Field(
        "ivo://clusterscan",
        pattern=r"^ivo://[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="IVOID under which the HiPS maps are identified.",
    )
    gallery_count: int = Field(
        8,
        ge=0,
        le=60,
        description="Number of candidates of each kind in the gallery of the report.",
    )
    flag_mocs: dict[Literal["star", "dust", "galaxy", "artefact"], str] = Field(
        default_factory=dict,
        description="Flag of the catalogue -> FITS file of the MOC whose inside sets it, such as "
        "dust: planck_dust_moc.fits; may begin with ${CLUSTERSCAN_DATA}.",
    )
    hats_partition_rows: PositiveInt = Field(
        5_000, description="Largest number of rows in a partition of the HATS catalogue."
    )
    hats_margin_arcsec: float = Field(
        600.0,
        ge=1,
        le=36_000,
        description="Width of the margin around each partition in the HATS margin cache [arcsec].",
    )
    maps_max_gib: NonNegativeFloat = Field(
        40.0,
        description="Largest size of HiPS maps that are copied to the folder `published`; larger "
        "ones stay in `maps` only. Archives such as Zenodo accept 50 GB [GiB].",
    )
    creators: list[str] = Field(
        default_factory=lambda: ["The clusterscan developers"],
        min_length=1,
        description="Authors of the catalogue as they are cited: 'Family, Given', or the name of "
        "an organisation without a comma.",
    )
    license: str = Field(
        "CC-BY-4.0",
        pattern=r"^[A-Za-z0-9.+-]+$",
        description="Licence of the published data, as an SPDX identifier.",
    )
    doi: str = Field(
        "",
        pattern=r"^(10\.\d{4,9}/\S+)?$",
        description="DOI of this data release, such as 10.5281/zenodo.1234; empty: none.",
    )

    @field_validator("release_date")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        try:
            datetime.strptime(value, "%Y-%m-%dT%H:%MZ")
        except ValueError as error:
            raise ValueError(f"{value}: not a valid date and time ({error})") from error
        return value

    @field_validator("creators")
    @classmethod
    def _creators_have_names(cls, value: list[str]) -> list[str]:
        if any(not name.strip() for name in value):
            raise ValueError("a creator has no name; give that of a person or an organisation")
        return value
