"""Settings that all sources with a file or tree for each band have in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from clusterscan.config.base import Settings


class BandSettings(Settings):
    """What is done to a band's values; a base of sources.

    Attributes
    ----------
    BANDS : str
        The setting that names something for each band.
    """

    BANDS: ClassVar[str]

    scale_by: dict[str, float] = Field(
        {}, description="For each band, what values are multiplied by to be in the survey's unit."
    )
    no_data: float | None = Field(
        None, description="A value that means no data, besides NaN and the files' BLANK."
    )

    @model_validator(mode="after")
    def _scaled_bands_exist(self):
        self.require_bands("scale_by")
        return self

    def require_bands(self, key: str) -> None:
        """Check that a setting by band names no other bands.

        Raises
        ------
        ValueError
            If it does.
        """
        bands = getattr(self, self.BANDS)
        if extra := sorted(set(getattr(self, key)) - set(bands)):
            raise ValueError(f"{key}: {extra} are no bands of {self.BANDS} {sorted(bands)}")
