"""Settings of a survey and of networks: of one survey, and of several together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.image_sources import SourceSettings
from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.preprocess import PreprocessSettings, preprocess_fault
from clusterscan.config.sample import SampleSettings, TileSampleSettings
from clusterscan.config.scan import (
    FilterSettings,
    MatchedFilterSettings,
    ScanSettings,
    coarse_fault,
    step_fault,
)
from clusterscan.config.train import TrainSettings

FILTER = "filter"
"""Name of the plain filter, which passes through scan and detect like a network."""

NAME = r"^[A-Za-z0-9_]+$"
"""Pattern of the names of surveys and networks, which appear in paths and columns."""


def shift_fault(train: TrainSettings, size_px: int, scale: float = 1.0) -> str | None:
    """Return a message if shifts are too large for images.

    ``scale`` is the number of image pixels per pixel of the setting.
    """
    shift = train.augmentation.shift_px
    if 2 * shift * scale < size_px:
        return None
    return (
        f"train.augmentation.shift_px is {shift}: images of size_px {size_px} would lose "
        f"their centre; give less than {size_px / 2 / scale:g}"
    )


class ModelSettings(Settings):
    """One network of a survey and how it is trained."""

    network: NetworkSettings = Field(description="The architecture.")
    train: TrainSettings = Field(TrainSettings(), description="How it is trained.")

    @model_validator(mode="after")
    def _shift_stays_in_the_crop(self) -> ModelSettings:
        # A shift of half a crop moves the labelled object out of the image.
        if fault := shift_fault(self.train, self.network.size_px):
            raise ValueError(fault)
        return self


class FusionModelSettings(Settings):
    """One network of several surveys, and how it is trained on their joint training sets."""

    network: FusionSettings = Field(
        description="A branch for each survey, and the layers that join them."
    )
    train: TrainSettings = Field(TrainSettings(), description="How it is trained.")
    examples: Literal["common", "any"] = Field(
        "common",
        description="`common`: examples that all of its surveys have; `any`: also examples of one "
        "survey alone, from which the network learns to work without the others.",
    )


class SurveySettings(Settings):
    """A survey: its images, where they come from, and the networks that search them."""

    title: str = Field(description="Name of the survey in reports.")
    bands: tuple[str, ...] = Field(min_length=1, description="Bands, in the order of the images.")
    unit: str = Field(description="Unit of a pixel value.")
    pixel_scale_arcsec: float = Field(gt=0, description="Pixel size of the raw images [arcsec].")
    beam_fwhm_arcsec: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        description="Resolution of each band, full width at half maximum [arcsec]."
    )
    source: SourceSettings = Field(description="Where the images come from.")
    preprocess: PreprocessSettings = Field(
        PreprocessSettings(), description="How raw images become tile images."
    )
    sample: SampleSettings = Field(description="The labelled examples for the training.")
    # New images arrive often and training is expensive, so by default they are scanned with the
    # networks that exist.
    training_set: Literal["pinned", "follow"] = Field(
        "pinned",
        description="`pinned`: networks stay trained on the examples of the first run until "
        "`clusterscan unpin` or a change of settings; `follow`: each new image or "
        "catalogue trains them again and scans the sky again.",
    )
    models: dict[Annotated[str, Field(pattern=NAME)], ModelSettings] = Field(
        min_length=1, description="Networks by name."
    )
    scan: ScanSettings = Field(ScanSettings(), description="How networks slide over a tile.")
    filter: FilterSettings | None = Field(
        None, description="The plain filter that the networks are compared with; null: none."
    )

    @model_validator(mode="after")
    def _parts_fit(self):
        if len(self.beam_fwhm_arcsec) != len(self.bands):
            raise ValueError(
                f"beam_fwhm_arcsec has {len(self.beam_fwhm_arcsec)} values for "
                f"{len(self.bands)} bands {list(self.bands)}; give one each"
            )
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands = {list(self.bands)} lists a band twice")
        for key, bands in self._bands_elsewhere().items():
            if bands != len(self.bands):
                raise ValueError(
                    f"{key} has {bands} values for {len(self.bands)} bands "
                    f"{list(self.bands)}; give one each"
                )
        if fault := preprocess_fault(self.preprocess, self.bands, self.source):
            raise ValueError(fault)
        if FILTER in self.models:
            raise ValueError(f"{FILTER!r} is reserved for the plain filter; rename the network")
        for name, model in self.models.items():
            if model.train.normalisation.background != "kept":
                raise ValueError(
                    f"models.{name}.train.normalisation.background: a network that scans tiles "
                    "needs 'kept'"
                )
            if model.network.size_px > self.sample.size_px:
                raise ValueError(
                    f"models.{name}.network.size_px = {model.network.size_px} is larger than "
                    f"the examples, sample.size_px = {self.sample.size_px}; raise the latter"
                )
            for fault_of in (step_fault, coarse_fault):
                if fault := fault_of(self.scan, model.network, f"models.{name}.network"):
                    raise ValueError(fault)
        return self

    def _bands_elsewhere(self) -> dict[str, int]:
        """Return the number of values of each setting that needs one value per band."""
        found = {}
        if isinstance(self.sample, TileSampleSettings) and self.sample.inject is not None:
            found["sample.inject.frequencies_ghz"] = len(self.sample.inject.frequencies_ghz)
        if isinstance(self.filter, MatchedFilterSettings):
            found["filter.frequencies_ghz"] = len(self.filter.frequencies_ghz)
        return found

    @property
    def tile_pixel_scale_arcsec(self) -> float:
        """Pixel size of the tile images [arcsec]."""
        return self.pixel_scale_arcsec * self.preprocess.binning

    @property
    def halo_arcmin(self) -> float:
        """Width of the sky around a tile that makes every crop centred in it complete [arcmin]."""
        half = self.sample.size_px / 2 * self.tile_pixel_scale_arcsec / 60.0
        # Crops are square and may be rotated against the tile, so their corners reach farthest.
        return 1.05 * half * 2**0.5
