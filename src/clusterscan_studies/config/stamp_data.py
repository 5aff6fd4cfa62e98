"""Settings of data sets made of labelled stamps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.image_sources import StampsSource
from clusterscan.config.searched_sky import CellSplit, FractionSplit
from clusterscan_studies.config.labels import LabelSettings, Value


class ObjectSplit(Settings):
    """Fractions of the objects of each class, drawn at random."""

    kind: Literal["objects"]
    validation: float = Field(gt=0, lt=1, description="Fraction of each class for validation.")
    test: float = Field(ge=0, lt=1, description="Fraction of each class for the test.")
    strata: str | None = Field(
        None,
        description="Column (our name) whose values get these fractions instead, over the whole "
        "table before any cut: data sets of one table then agree on every object's part, so that "
        "a network can go on from one to the other.",
    )
    seed: int = Field(0, ge=0, description="Another seed, another split.")

    @model_validator(mode="after")
    def _training_is_left(self) -> ObjectSplit:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation + test = {self.validation + self.test} leaves nothing for training"
            )
        return self


class FoldSplit(Settings):
    """k folds, each a part of the sky (or of the objects) with its share of every class."""

    kind: Literal["folds"]
    folds: int = Field(5, ge=3, le=100, description="Number of folds.")
    order: int | None = Field(
        None,
        ge=0,
        le=20,
        description="HEALPix order of the cells (NESTED, ICRS) that stay whole; null: single "
        "objects are spread over the folds.",
    )
    test: int = Field(0, ge=0, description="The fold for the test.")
    validation: int = Field(1, ge=0, description="The fold for validation.")
    seed: int = Field(0, ge=0, description="Another seed, another division.")

    @model_validator(mode="after")
    def _folds_exist(self) -> FoldSplit:
        if self.test == self.validation:
            raise ValueError(f"test and validation are both fold {self.test}")
        if max(self.test, self.validation) >= self.folds:
            raise ValueError(
                f"test = {self.test} and validation = {self.validation} must be below "
                f"folds = {self.folds}"
            )
        return self


class GivenSplit(Settings):
    """The label table says which part each object is in."""

    kind: Literal["column"]
    column: str = Field(description="Column (our name) with the part.")
    train: list[Value] = Field(min_length=1, description="Values that mean training.")
    validation: list[Value] = Field(min_length=1, description="Values that mean validation.")
    test: list[Value] = Field(default_factory=list, description="Values that mean the test.")


StampSplit = Annotated[
    ObjectSplit | FoldSplit | CellSplit | FractionSplit | GivenSplit, Field(discriminator="kind")
]


class StampDataset(Settings):
    """Labelled stamps as examples for training, validation and test."""

    kind: Literal["stamps"]
    source: StampsSource = Field(description="The images.")
    labels: LabelSettings = Field(description="Their labels.")
    size_px: int = Field(gt=0, le=4096, description="Side of an example [px]; its centre is kept.")
    pixel_scale_arcsec: float | None = Field(
        None,
        gt=0,
        description="Pixel size of the examples [arcsec]: a whole multiple of the stamps'; null: "
        "the stamps' own.",
    )
    resample: bool = Field(
        False, description="Allow other ratios: pixels are then means over areas, fractions too."
    )
    unit: str = Field("display", description="Unit of a pixel's value.")
    grey: bool = Field(False, description="One band `grey`, the mean of the source's.")
    split: StampSplit = Field(description="Training, validation and test.")
    join_radius_arcsec: float = Field(
        0.0,
        ge=0,
        description="Objects nearer than this are one as far as the split goes [arcsec]: entries "
        "of one object in several catalogues, or stamps that show each other's object.",
    )
    join_columns: list[str] = Field(
        default_factory=list,
        description="Columns (our names): objects with equal values share a part.",
    )
    join_sdss_fields: bool = Field(
        False,
        description="Objects of one SDSS field, read off their objID (object_id, to DR7), share a "
        "part: for objects whose positions are not known.",
    )
    guard_arcsec: float = Field(
        0.0,
        ge=0,
        description="Training and validation objects nearer than this to one of a later part are "
        "left out, as their stamps show the same sky [arcsec].",
    )
    max_tint: float | None = Field(
        None,
        gt=0,
        description="Leave out stamps whose background, the median of each band, is brighter in "
        "one band than in all others by more than this [unit of the stamps]: a fault of the "
        "image, not a colour of the object.",
    )
    missing_images: Literal["error", "drop"] = Field(
        "error", description="Labelled objects without an image stop the run, or are left out."
    )
    unlabelled_images: Literal["error", "ignore"] = Field(
        "error", description="Images that the label table does not name stop the run, or do not."
    )

    @model_validator(mode="after")
    def _positions_are_there(self) -> StampDataset:
        needs = {
            "join_radius_arcsec": self.join_radius_arcsec > 0,
            "guard_arcsec": self.guard_arcsec > 0,
            f"split.kind: {self.split.kind}": isinstance(self.split, CellSplit | FractionSplit),
            "split.order": isinstance(self.split, FoldSplit) and self.split.order is not None,
        }
        asked = [key for key, needed in needs.items() if needed]
        if asked and "ra_deg" not in self.labels.columns:
            raise ValueError(f"{', '.join(asked)} needs positions: map labels.columns.ra_deg")
        return self

    @model_validator(mode="after")
    def _tint_needs_bands(self) -> StampDataset:
        if self.max_tint is not None and len(self.source.bands) < 2:
            raise ValueError("max_tint compares bands, and the stamps have one; leave it out")
        return self

    @model_validator(mode="after")
    def _columns_are_mapped(self) -> StampDataset:
        named = list(self.join_columns)
        if isinstance(self.split, GivenSplit):
            named.append(self.split.column)
        if isinstance(self.split, ObjectSplit) and self.split.strata is not None:
            named.append(self.split.strata)
        unknown = sorted(set(named) - set(self.labels.columns))
        if unknown:
            raise ValueError(f"columns {unknown} are not in labels.columns; map them")
        return self

    @property
    def example_scale_arcsec(self) -> float:
        """Pixel size of the examples [arcsec]."""
        return self.pixel_scale_arcsec or self.source.pixel_scale_arcsec

    @property
    def example_bands(self) -> tuple[str, ...]:
        """Bands of the examples."""
        return ("grey",) if self.grey else tuple(self.source.bands)
