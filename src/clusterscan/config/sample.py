"""Settings of sampling: which labelled examples the networks are trained on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.image_sources import StampsSource

EXAMPLE_KINDS = ("known", "injected", "offset", "random", "star", "stamp", "sky")
"""Kinds of examples that the sample stage makes."""


class _Negatives(Settings):
    random_per_deg2: float = Field(
        ge=0,
        description="Density of random trial positions [deg-2]; those without a usable crop are "
        "dropped.",
    )
    exclusion_arcmin: float = Field(
        gt=0,
        description="Smallest distance of random and star examples from known objects [arcmin].",
    )
    stars_per_deg2: float = Field(
        0.0, ge=0, description="Largest density of bright stars, which are hard negatives [deg-2]."
    )
    offsets_per_known: int = Field(
        0,
        ge=0,
        le=64,
        description="Number of negative examples in a ring around each known object, which teach "
        "centring.",
    )
    offset_min_arcmin: float = Field(0.0, ge=0, description="Inner radius of this ring [arcmin].")
    offset_max_arcmin: float = Field(0.0, ge=0, description="Outer radius of this ring [arcmin].")
    min_valid_fraction: float = Field(
        0.7, ge=0, le=1, description="Examples with a smaller fraction of good pixels are dropped."
    )

    # A position inside the inner radius would be a positive in disguise.
    @model_validator(mode="after")
    def _ring_has_a_width(self) -> _Negatives:
        if self.offsets_per_known and not 0 < self.offset_min_arcmin < self.offset_max_arcmin:
            raise ValueError(
                f"offsets_per_known = {self.offsets_per_known} needs 0 < offset_min_arcmin "
                f"(now {self.offset_min_arcmin}) < offset_max_arcmin (now {self.offset_max_arcmin})"
            )
        return self


# Few clusters of a small footprint are visible in microwave maps. Injected ones keep the real noise
# and add only the signal.
class InjectionSettings(Settings):
    """Model clusters whose SZ signal is added to microwave crops, as further positives."""

    per_deg2: float = Field(gt=0, description="Density of the injected clusters [deg-2].")
    m500c_msun: tuple[float, float] = Field(
        (1.5e14, 8e14), description="Smallest and largest mass, drawn log-uniformly [Msun]."
    )
    z: tuple[float, float] = Field(
        (0.1, 1.2), description="Lowest and highest redshift, drawn uniformly."
    )
    frequencies_ghz: tuple[float, ...] = Field(
        (97.8, 149.6, 216.5),
        description="Effective frequency of each band for the SZ effect [GHz].",
    )
    beam_fwhm_arcmin: tuple[float, ...] = Field(
        (2.1, 1.4, 1.0),
        description="Full width at half maximum of the Gaussian beam of each band [arcmin].",
    )
    highpass_fwhm_arcmin: float | None = Field(
        None,
        gt=0,
        description="High-pass of the tile images, which is applied to the signals too [arcmin]; "
        "null: none.",
    )

    @model_validator(mode="after")
    def _ranges_rise_and_bands_match(self) -> InjectionSettings:
        for key in ("m500c_msun", "z"):
            low, high = getattr(self, key)
            if not 0 < low < high:
                raise ValueError(f"{key} = [{low}, {high}] must rise from above 0")
        if len(self.frequencies_ghz) != len(self.beam_fwhm_arcmin):
            raise ValueError("give one of frequencies_ghz and beam_fwhm_arcmin for every band")
        return self


class ListedSettings(Settings):
    """Examples at all positions of one catalogue, with labels from its columns."""

    catalogue: str = Field(
        description="Name of a catalogue of role `known`, such as the candidates of a survey."
    )
    labels: dict[Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")], str] = Field(
        min_length=1,
        description="Kind of example -> column of the catalogue with the label, 1 or 0; rows with "
        "another value give no example. With several kinds, each position is an "
        "example of each.",
    )
    columns: tuple[str, ...] = Field(
        (), description="Further columns of the catalogue that are kept with the examples."
    )

    @model_validator(mode="after")
    def _kinds_are_new(self) -> ListedSettings:
        taken = sorted(set(self.labels) & set(EXAMPLE_KINDS))
        if taken:
            raise ValueError(f"labels: kinds {taken} are reserved for other examples; rename them")
        return self


class TileSampleSettings(_Negatives):
    """Examples cut out of tile images: known objects and other sky."""

    kind: Literal["tiles"]
    size_px: int = Field(gt=0, le=1024, description="Side of a crop [pixels of the tile image].")
    catalogues: tuple[str, ...] | None = Field(
        None,
        description="Names of the known catalogues whose objects are positives; null: all. "
        "Negatives keep away from the objects of all of them.",
    )
    inject: InjectionSettings | None = Field(
        None, description="Model clusters that are added to microwave images as further positives."
    )
    listed: ListedSettings | None = Field(
        None,
        description="Labelled examples at the positions of a catalogue. Known objects are then "
        "positives only if `catalogues` names their catalogue.",
    )
    jitters_per_known: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of crops of each known object; all but the first are shifted at "
        "random.",
    )
    jitter_arcmin: float = Field(0.0, ge=0, description="Largest shift of these crops [arcmin].")


# Stamps show the labelled objects; the empty sky must come from the tile images of the same survey,
# or the network would learn to tell the two kinds of images apart.
class StampSampleSettings(_Negatives):
    """Examples from labelled stamps, and of empty sky and stars from the tile images."""

    kind: Literal["stamps"]
    size_px: int = Field(gt=0, le=1024, description="Side of a crop [pixels of the tile image].")
    stamps: StampsSource = Field(description="The labelled stamps.")
    labels: str = Field(
        description="CSV file with one row per stamp; may begin with ${CLUSTERSCAN_DATA}."
    )
    columns: dict[str, str] = Field(
        description="object_id, ra_deg, dec_deg, class and member (the file of the stamp in the "
        "zip) -> columns of the CSV file; further columns are kept with the examples."
    )
    star_min_value: float | None = Field(
        None,
        description="Unlisted peaks above this value (mean of the bands) are star examples; null: "
        "none.",
    )
    positive: list[int] = Field(
        min_length=1, description="Classes with label 1; all others have label 0."
    )
    ignored: list[int] = Field(default_factory=list, description="Classes that are left out.")

    @model_validator(mode="after")
    def _labels_are_complete(self) -> StampSampleSettings:
        missing = {"object_id", "ra_deg", "dec_deg", "class", "member"} - set(self.columns)
        if missing:
            raise ValueError(f"columns lacks {sorted(missing)}")
        both = set(self.positive) & set(self.ignored)
        if both:
            raise ValueError(
                f"classes {sorted(both)} are both positive and ignored; list each once"
            )
        return self


SampleSettings = Annotated[TileSampleSettings | StampSampleSettings, Field(discriminator="kind")]
