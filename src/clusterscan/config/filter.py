"""Settings of the plain filters, the yardsticks that the networks are compared with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from clusterscan.config.base import Settings


class MatchedFilterSettings(Settings):
    """Multi-frequency matched filter for the thermal SZ effect in microwave maps [uK_CMB]."""

    kind: Literal["matched"] = "matched"
    frequencies_ghz: tuple[PositiveFloat, ...] = Field(
        (97.8, 149.6, 216.5),
        min_length=1,
        description="effective frequency of each band for the SZ spectrum [GHz], in band order",
    )
    beam_fwhm_arcmin: tuple[PositiveFloat, ...] = Field(
        (2.1, 1.4, 1.0), min_length=1, description="Gaussian beam of each band [arcmin]"
    )
    theta500_arcmin: tuple[PositiveFloat, ...] = Field(
        (1.0, 2.0, 4.0), min_length=1, description="angular R500 of the templates [arcmin]"
    )
    highpass_fwhm_arcmin: PositiveFloat | None = Field(
        None,
        description="smoothing width of the Gaussian high-pass that the maps went through in "
        "preprocessing [arcmin], so that the templates go through it too; null: none",
    )
    taper_arcmin: PositiveFloat = Field(
        8.0, description="width of the cosine taper at the image's edges [arcmin]"
    )
    noise_radius_arcmin: PositiveFloat = Field(
        30.0, description="half side of the boxes that measure the local noise [arcmin]"
    )
    point_source_snr: PositiveFloat | None = Field(
        5.0, description="point sources above this S/N in a band are subtracted; null: none"
    )
    min_valid_fraction: float = Field(
        0.5, gt=0, le=1, description="least fraction of valid pixels around a position"
    )

    @model_validator(mode="after")
    def _one_beam_a_band(self) -> MatchedFilterSettings:
        if len(self.beam_fwhm_arcmin) != len(self.frequencies_ghz):
            raise ValueError(
                f"beam_fwhm_arcmin has {len(self.beam_fwhm_arcmin)} values and frequencies_ghz "
                f"{len(self.frequencies_ghz)}; give one of each for every band"
            )
        return self


class MultiscaleFilterSettings(Settings):
    """Difference-of-Gaussians filter for excess light of faint galaxies (after PZWav)."""

    kind: Literal["multiscale"] = "multiscale"
    scales_arcsec: tuple[PositiveFloat, ...] = Field(
        (60.0, 90.0), min_length=1, description="standard deviations of the cores [arcsec]"
    )
    ring_ratio: float = Field(
        4.0, gt=1, description="standard deviation of the ring in units of the core's"
    )
    signal_colour: tuple[float, ...] = Field(
        (1.0, 1.5),
        min_length=1,
        description="light of a cluster in each band, in the image's units, up to a factor; the "
        "default is W1, W2 [Vega nanomaggies] of galaxies at z of about 0.7",
    )
    clip_sigma: PositiveFloat = Field(
        10.0, description="pixels are clipped at this many times the pixel noise"
    )
    bright_sigma: PositiveFloat | None = Field(
        100.0, description="brighter pixels, in times the pixel noise, are left out; null: none"
    )
    bright_radius_arcsec: NonNegativeFloat = Field(
        15.0, description="and so is all within this radius of them: the wings of stars [arcsec]"
    )
    noise_radius_arcmin: PositiveFloat = Field(
        30.0, description="half side of the boxes that measure the local noise [arcmin]"
    )
    min_valid_fraction: float = Field(
        0.5, gt=0, le=1, description="least fraction of valid pixels under the core"
    )

    @model_validator(mode="after")
    def _some_signal(self) -> MultiscaleFilterSettings:
        if not any(self.signal_colour):
            raise ValueError("signal_colour is zero in every band; give the cluster's colour")
        return self


FilterSettings = Annotated[
    MatchedFilterSettings | MultiscaleFilterSettings, Field(discriminator="kind")
]
