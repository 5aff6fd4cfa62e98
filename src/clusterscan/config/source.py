"""Settings of a survey's source: where its images come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings


class SimulatedSource(Settings):
    """Images of the simulated sky, made offline, tile by tile."""

    kind: Literal["simulated"]
    sky: Literal["infrared", "microwave"] = Field(
        description="Which simulated survey: unWISE-like W1 and W2, or ACT-like f090, f150, f220."
    )


class MosaicSource(Settings):
    """One local FITS file that holds the whole survey, one image extension a band."""

    kind: Literal["mosaic"]
    path: str = Field(
        description="The FITS file; may begin with ${CLUSTERSCAN_DATA}. Relative paths start at "
        "the project's folder."
    )
    extensions: dict[str, str] = Field(
        min_length=1,
        description="For each of the survey's bands, the name of its image extension.",
    )
    coverage: str | None = Field(
        None, description="Extension that is 0 where the mosaic has no data; none: all is covered."
    )


SourceSettings = Annotated[SimulatedSource | MosaicSource, Field(discriminator="kind")]


class StampsSource(Settings):
    """A zip file or folder of small images of listed objects."""

    path: str = Field(description="The zip file or folder; may begin with ${CLUSTERSCAN_DATA}.")
    pixel_scale_arcsec: float = Field(gt=0, description="Pixel size of the stamps [arcsec].")
    size_px: int = Field(gt=0, le=4096, description="Side of the square stamps [pixels].")
    bands: list[str] = Field(
        min_length=1, max_length=3, description="The survey's bands in the order of the channels."
    )
    row_0: Literal["north", "south"] = Field(
        "north", description="Which side of the sky the first row of pixels shows."
    )
    max_member_bytes: int = Field(
        8_000_000, gt=0, description="Larger files in the zip are refused [bytes, unpacked]."
    )
    max_members: int = Field(1_000_000, gt=0, description="A zip with more files is refused.")

    @model_validator(mode="after")
    def _bands_are_distinct(self) -> StampsSource:
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands = {self.bands} names a band twice")
        return self
