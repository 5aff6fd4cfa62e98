"""Settings of the search: how a network or a filter scans a tile, how peaks become candidates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.networks import NetworkSettings

Precision = Literal["float32", "bfloat16", "float16"]


class ScanSettings(Settings):
    """How a network slides over a tile's image."""

    engine: Literal["dense", "windowed"] = Field(
        "dense",
        description="`dense` computes the features of a whole tile once; `windowed` computes one "
        "crop per map pixel, which is slow but exactly what the network was trained "
        "on.",
    )
    step_px: int | None = Field(
        None,
        ge=1,
        description="Grid step of the dense engine [px], if finer than the output stride of the "
        "network, which it must divide; half the step costs four times as much. null: "
        "the output stride.",
    )
    # The coarse pass saves time where a survey is mostly empty. It may only skip sky where no fine
    # value could become a candidate.
    coarse_step_px: int | None = Field(
        None,
        ge=1,
        description="Scan with this coarser grid step first [px], and finely only where a "
        "candidate is possible; at most the output stride of dense networks. null: "
        "finely everywhere.",
    )
    coarse_probability: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="The fine scan covers the surroundings of coarse values above this; well "
        "below detect.min_probability.",
    )
    batch_size: int = Field(
        64, ge=1, description="Number of crops per step of the windowed engine."
    )
    threads: int = Field(
        1,
        ge=1,
        description="Number of CPU threads; it is fixed here because sums depend on it in the "
        "last bit.",
    )
    min_valid_fraction: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Map pixels get no value if a smaller fraction of their window has good data.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="`cpu`, `cuda`, `cuda:N`, or `auto`: the first GPU, if there is one.",
    )
    precision: Precision = Field(
        "float32",
        description="Precision of the convolutions; the head always uses float32. Lower "
        "precisions are for GPUs and change the maps by their rounding.",
    )
    compile_network: bool = Field(
        False,
        description="Compile the network with torch.compile before the first tile of a job, for "
        "GPUs and jobs of many tiles.",
    )


# Finer grids come from passes over shifted images, so the step must divide the stride. These checks
# need scan and network together, so surveys and fusions call them.
def step_fault(scan: ScanSettings, network: NetworkSettings, where: str) -> str | None:
    """Return a message if the fine step does not fit the network at ``where``."""
    step, stride = scan.step_px or 1, network.output_stride
    shared = scan.engine == "dense" and network.is_dense
    if not shared or step >= stride or stride % step == 0:
        return None
    return (
        f"scan.step_px = {step} does not divide {where}.output_stride = {stride}; "
        f"give {_divisor_near(step, stride)}"
    )


def coarse_fault(scan: ScanSettings, network: NetworkSettings, where: str) -> str | None:
    """Return a message if the coarse step does not fit the network at ``where``."""
    coarse = scan.coarse_step_px
    if coarse is None:
        return None
    if scan.engine != "dense" or not network.is_dense:
        if coarse <= network.window_px:
            return None
        return (
            f"scan.coarse_step_px = {coarse} is wider than {where}.window_px = "
            f"{network.window_px}, so the sky between its windows would be missed; lower it"
        )
    stride = network.output_stride
    if coarse < stride and stride % coarse:
        return (
            f"scan.coarse_step_px = {coarse} does not divide {where}.output_stride = {stride}; "
            f"give {_divisor_near(coarse, stride)}"
        )
    if scan.step_px is not None and coarse <= scan.step_px:
        return (
            f"scan.coarse_step_px = {coarse} is not coarser than scan.step_px = {scan.step_px}, so "
            "the whole tile would be scanned twice; raise it, or set null"
        )
    return None


def _divisor_near(step: int, stride: int) -> int:
    return max(n for n in range(1, step + 1) if stride % n == 0)


# The plain filters are the yardstick that the networks are compared with.


class MatchedFilterSettings(Settings):
    """Multi-frequency matched filter for the thermal SZ effect in microwave maps [uK_CMB]."""

    kind: Literal["matched"] = "matched"
    frequencies_ghz: tuple[PositiveFloat, ...] = Field(
        (97.8, 149.6, 216.5),
        min_length=1,
        description="Effective frequency of each band for the SZ effect [GHz].",
    )
    beam_fwhm_arcmin: tuple[PositiveFloat, ...] = Field(
        (2.1, 1.4, 1.0),
        min_length=1,
        description="Full width at half maximum of the Gaussian beam of each band [arcmin].",
    )
    theta500_arcmin: tuple[PositiveFloat, ...] = Field(
        (1.0, 2.0, 4.0),
        min_length=1,
        description="Angular sizes R500 of the cluster templates [arcmin].",
    )
    highpass_fwhm_arcmin: PositiveFloat | None = Field(
        None,
        description="High-pass of the tile images, which is applied to the templates too "
        "[arcmin]; null: none.",
    )
    taper_arcmin: PositiveFloat = Field(
        8.0, description="Width of the cosine taper at the edges of an image [arcmin]."
    )
    noise_radius_arcmin: PositiveFloat = Field(
        30.0, description="Half side of the boxes in which the local noise is measured [arcmin]."
    )
    point_source_snr: PositiveFloat | None = Field(
        5.0, description="Point sources above this S/N in a band are subtracted; null: none."
    )
    min_valid_fraction: float = Field(
        0.5, gt=0, le=1, description="Smallest fraction of valid pixels around a position."
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
    """Difference-of-Gaussians filter for the excess light of faint galaxies (after PZWav)."""

    kind: Literal["multiscale"] = "multiscale"
    scales_arcsec: tuple[PositiveFloat, ...] = Field(
        (60.0, 90.0),
        min_length=1,
        description="Standard deviations of the core Gaussians [arcsec].",
    )
    signal_colour: tuple[float, ...] = Field(
        (1.0, 1.5),
        min_length=1,
        description="Relative light of a cluster in each band, in the unit of the images; the "
        "default is that of galaxies at z = 0.7 in W1 and W2 [Vega nanomaggies].",
    )
    clip_sigma: PositiveFloat = Field(
        10.0, description="Pixels are clipped at this multiple of the pixel noise."
    )
    bright_sigma: PositiveFloat | None = Field(
        100.0,
        description="Pixels brighter than this multiple of the pixel noise are left out; null: "
        "none.",
    )
    noise_radius_arcmin: PositiveFloat = Field(
        30.0, description="Half side of the boxes in which the local noise is measured [arcmin]."
    )
    min_valid_fraction: float = Field(
        0.5, gt=0, le=1, description="Smallest fraction of valid pixels under the core."
    )

    @model_validator(mode="after")
    def _some_signal(self) -> MultiscaleFilterSettings:
        if not any(self.signal_colour):
            raise ValueError("signal_colour is zero in every band; give the cluster's colour")
        return self


FilterSettings = Annotated[
    MatchedFilterSettings | MultiscaleFilterSettings, Field(discriminator="kind")
]


class DetectSettings(Settings):
    """How peaks of a map become candidates."""

    radius_arcmin: PositiveFloat = Field(
        2.0, description="A peak is the highest map pixel within this radius [arcmin]."
    )
    smooth_fwhm_arcmin: NonNegativeFloat = Field(
        0.0,
        description="Full width at half maximum of a Gaussian that smooths the (logit) map before "
        "the search [arcmin]; 0: none.",
    )
    min_probability: float = Field(
        0.05, ge=0, lt=1, description="Lowest peak that is kept from the map of a network."
    )
    min_snr: float = Field(
        2.5, description="Lowest peak that is kept from the S/N map of a filter."
    )
    # The significance of a peak is relative to the map's scatter in an annulus around it.
    noise_inner_arcmin: PositiveFloat = Field(
        5.0,
        description="Inner radius of the annulus in which the noise of the map is measured "
        "[arcmin].",
    )
    noise_outer_arcmin: PositiveFloat = Field(
        20.0, description="Outer radius of this annulus [arcmin]."
    )
    # The formula for the error goes to 0 with the S/N, but pixels and centring limit any position.
    position_error_floor_arcmin: PositiveFloat = Field(
        0.1, description="Smallest position error along one axis [arcmin]."
    )
    max_per_deg2: PositiveFloat = Field(
        200.0, description="Largest density of candidates in a tile; the best are kept [deg-2]."
    )

    @model_validator(mode="after")
    def _radii_grow(self) -> DetectSettings:
        if not self.radius_arcmin <= self.noise_inner_arcmin < self.noise_outer_arcmin:
            raise ValueError(
                f"radius_arcmin = {self.radius_arcmin}, noise_inner_arcmin = "
                f"{self.noise_inner_arcmin} and noise_outer_arcmin = {self.noise_outer_arcmin} "
                "must increase in this order, so that a peak does not measure itself as noise"
            )
        return self

    @property
    def reach_arcmin(self) -> float:
        """Width of the map around a tile that detection needs [arcmin]."""
        return self.noise_outer_arcmin + 2 * self.radius_arcmin + 1.5 * self.smooth_fwhm_arcmin
