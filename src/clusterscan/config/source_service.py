"""Settings of sources that are services: they cut images to order."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from clusterscan.config.source_bands import BandSettings

NATIVE_SCALES_ARCSEC = {
    "ls-dr8": 0.262,
    "ls-dr9": 0.262,
    "ls-dr9-north": 0.262,
    "ls-dr9-south": 0.262,
    "ls-dr10": 0.262,
    "ls-dr10-grz": 0.262,
    "unwise-neo6": 2.75,
    "unwise-neo7": 2.75,
}
"""Pixel sizes of the viewer's layers [arcsec]; others must be given."""

LAYER_BANDS = {
    "ls-dr8": "grz",
    "ls-dr9": "grz",
    "ls-dr9-north": "grz",
    "ls-dr9-south": "grz",
    "ls-dr10": "griz",
    "ls-dr10-grz": "grz",
    "unwise-neo6": "12",
    "unwise-neo7": "12",
}
"""Bands of the viewer's layers."""


class Hips2fitsSource(BandSettings):
    """The service hips2fits: any HiPS it knows, resampled by the service to the tile's image."""

    BANDS: ClassVar[str] = "hips"

    kind: Literal["hips2fits"]
    hips: dict[str, str] = Field(
        min_length=1,
        description="For each of the survey's bands, the HiPS' identifier, such as CDS/P/DSS2/red.",
    )
    server: str = Field(
        "https://alasky.cds.unistra.fr/hips-image-services/hips2fits",
        pattern=r"^https?://[^\s]+$",
        description="The service's address; a mirror is "
        "https://alaskybis.cds.unistra.fr/hips-image-services/hips2fits.",
    )
    properties: dict[str, str] = Field(
        {},
        description="For bands, the URL of the tree's `properties`: sync reads its release date "
        "there. Of others no change is ever seen.",
    )

    @model_validator(mode="after")
    def _bands_agree(self) -> Hips2fitsSource:
        self.require_bands("properties")
        return self


class CutoutsSource(BandSettings):
    """The Legacy Surveys' viewer: small images of a layer, always at the layer's own pixel size."""

    BANDS: ClassVar[str] = "bands"

    kind: Literal["cutouts"]
    layer: str = Field(
        pattern=r"^[\w.+-]+$", description="The viewer's layer, such as ls-dr10 or unwise-neo7."
    )
    bands: dict[str, str] = Field(
        min_length=1,
        description="For each of the survey's bands, the layer's band, one character as in the "
        "viewer: g, r, i, z, and 1, 2 for W1, W2.",
    )
    server: str = Field(
        "https://www.legacysurvey.org/viewer/fits-cutout",
        pattern=r"^https?://[^\s]+$",
        description="The service's address.",
    )
    native_scale_arcsec: float | None = Field(
        None,
        gt=0,
        description="The layer's own pixel size; null: as known for "
        f"{', '.join(NATIVE_SCALES_ARCSEC)}. At another the viewer would resample unseen [arcsec].",
    )
    max_px: int = Field(
        3000,
        ge=64,
        le=3000,
        description="Largest side of one image; the viewer cuts larger ones without a word.",
    )
    resampling: Literal["bilinear", "nearest", "adaptive"] = Field(
        "adaptive",
        description="Interpolation; `adaptive` averages, for pixels finer than the survey's.",
    )
    quantity: Literal["surface_brightness", "flux"] = Field(
        "flux",
        description="Whether a value holds for any pixel size, or is the flux in its pixel, and "
        "then becomes that in the survey's pixel.",
    )
    no_data: float | None = Field(
        0.0, description="A value that means no data, besides NaN: the viewer fills with 0."
    )

    @model_validator(mode="after")
    def _layer_is_known(self) -> CutoutsSource:
        if self.native_scale_arcsec is None and self.layer not in NATIVE_SCALES_ARCSEC:
            raise ValueError(
                f"layer {self.layer!r}: its own pixel size is not known here; give "
                "native_scale_arcsec"
            )
        for band, name in self.bands.items():
            if len(name) != 1:
                raise ValueError(f"bands.{band} = {name!r}: the viewer's bands are one character")
            if name not in LAYER_BANDS.get(self.layer, name):
                raise ValueError(
                    f"bands.{band} = {name!r}: layer {self.layer} has "
                    f"{', '.join(LAYER_BANDS[self.layer])}"
                )
        if len(set(self.bands.values())) < len(self.bands):
            raise ValueError("bands: two bands of the survey name the same one of the layer")
        return self

    @property
    def scale_arcsec(self) -> float:
        """The layer's own pixel size [arcsec]."""
        return self.native_scale_arcsec or NATIVE_SCALES_ARCSEC[self.layer]
