"""Settings of the simulated sky: halos, the surveys, and the catalogues made from it.

docs/simulation.md gives the origin of each default: published, rounded by hand, or tuned.
"""

from typing import Any

from pydantic import Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.simulation_xray import CandidateSettings, VolunteerSettings, XraySettings

__all__ = [
    "HaloSettings",
    "InfraredSettings",
    "KnownSettings",
    "MicrowaveSettings",
    "OpticalSettings",
    "SimulationSettings",
]


class HaloSettings(Settings):
    """Halos and the gas in them."""

    m500c_min_msun: float = Field(
        3e13,
        ge=1e13,
        le=1e15,
        description="Mass of the lightest halo in the truth catalogue [Msun].",
    )
    group_m500c_min_msun: float = Field(
        5e12,
        ge=3e12,
        le=1e15,
        description="Mass of the lightest halo with gas and galaxies in the images [Msun].",
    )
    z_min: float = Field(0.05, ge=0.03, le=1.0, description="Lowest halo redshift.")
    z_max: float = Field(2.0, ge=0.2, le=3.0, description="Highest halo redshift.")
    hydrostatic_one_minus_b: float = Field(
        0.62,
        ge=0.4,
        le=1.2,
        description="Ratio of pressure-profile mass to true mass, 1 - b (Planck 2018 cosmology).",
    )
    y_scatter_ln: float = Field(
        0.20, ge=0.0, le=1.0, description="Scatter of the SZ signal at fixed mass [ln]."
    )
    richness_scatter_ln: float = Field(
        0.23, ge=0.0, le=1.0, description="Scatter of the richness at fixed mass [ln]."
    )

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> "HaloSettings":
        # Groups below the catalogue's limit are drawn too: unlisted, they are the background and
        # the confusion that a survey faces.
        if self.group_m500c_min_msun > self.m500c_min_msun:
            raise ValueError(
                f"group_m500c_min_msun = {self.group_m500c_min_msun:g} is above m500c_min_msun = "
                f"{self.m500c_min_msun:g}: a listed cluster would be missing from the images; "
                "lower it"
            )
        if self.z_min >= self.z_max:
            raise ValueError(f"z_min = {self.z_min} must be below z_max = {self.z_max}")
        return self


class InfraredSettings(Settings):
    """The unWISE-like survey."""

    depth_5sigma_vega_mag: tuple[float, float] = Field(
        (17.9, 16.7),
        description="5 sigma depth of an isolated point source in W1 and W2 [Vega mag].",
    )
    galaxies: bool = Field(True, description="Draw field galaxies and members of halos.")
    galaxy_limit_w1_mag: float = Field(
        19.5, ge=16.0, le=21.0, description="W1 magnitude of the faintest galaxy drawn [Vega mag]."
    )
    stars: bool = Field(True, description="Draw the stars of the Galaxy.")
    star_density: float = Field(
        1.0, ge=0.0, le=10.0, description="Star counts relative to the Galaxy model."
    )
    star_limit_w1_mag: float = Field(
        19.0, ge=12.0, le=21.0, description="W1 magnitude of the faintest star drawn [Vega mag]."
    )
    stars_max_per_deg2: float = Field(
        2e5,
        ge=1e3,
        le=1e6,
        description="Limit on the density of faint stars, to save time and memory [deg-2].",
    )
    bright_star_w1_mag: float = Field(
        9.5,
        ge=4.0,
        le=12.0,
        description="Stars brighter than this have wings, spikes and a mask [Vega mag].",
    )
    mask_level_sigma: float = Field(
        1.0,
        gt=0.0,
        le=100.0,
        description="Masks of bright stars end where their light falls to this many pixel sigma.",
    )
    saturation_vega_mag: tuple[float, float] = Field(
        (8.1, 6.7), description="Stars brighter than this saturate in W1 and W2 [Vega mag]."
    )


class MicrowaveSettings(Settings):
    """The ACT-like survey; bands f090, f150, f220."""

    frequency_sz_ghz: tuple[float, float, float] = Field(
        (97.8, 149.6, 216.0), description="Effective frequencies for the SZ spectrum [GHz]."
    )
    beam_fwhm_arcmin: tuple[float, float, float] = Field(
        (2.0, 1.4, 1.0), description="Full widths at half maximum of the Gaussian beams [arcmin]."
    )
    white_noise_uk_arcmin: tuple[float, float, float] = Field(
        (30.0, 28.0, 90.0), description="White noise of the maps [uK_CMB arcmin]."
    )
    noise_knee_ell: tuple[float, float, float] = Field(
        (2000.0, 3000.0, 3800.0),
        description="Multipole at which the atmospheric noise equals the white noise.",
    )
    noise_slope: float = Field(
        -3.0, ge=-5.0, le=0.0, description="Slope of the power spectrum of the atmospheric noise."
    )
    cmb: bool = Field(True, description="Draw the primary CMB.")
    sz: bool = Field(True, description="Draw the thermal SZ effect of halos.")
    radio_counts: float = Field(
        1.0, ge=0.0, le=10.0, description="Radio source counts relative to the model."
    )
    dusty_counts: float = Field(
        1.0, ge=0.0, le=10.0, description="Dusty source counts relative to the model."
    )
    clustered_cib_uk2: float = Field(
        4.9,
        ge=0.0,
        le=50.0,
        description="Power D_l of the clustered infrared background at 150 GHz and l = 3000 [uK2].",
    )

    @model_validator(mode="after")
    def _values_are_positive(self) -> "MicrowaveSettings":
        for key in ("frequency_sz_ghz", "beam_fwhm_arcmin"):
            if min(getattr(self, key)) <= 0:
                raise ValueError(f"{key} = {getattr(self, key)}: every value must be above 0")
        for key in ("white_noise_uk_arcmin", "noise_knee_ell"):
            if min(getattr(self, key)) < 0:
                raise ValueError(f"{key} = {getattr(self, key)}: no value may be below 0")
        return self


class OpticalSettings(Settings):
    """The optical survey, as deep as photographic sky surveys; bands g, r, i."""

    depth_5sigma_ab_mag: tuple[float, float, float] = Field(
        (21.8, 20.8, 19.8), description="5 sigma depth of a point source in g, r, i [AB mag]."
    )
    seeing_fwhm_arcsec: tuple[float, float, float] = Field(
        (2.6, 2.4, 2.3), description="Seeing in g, r, i, full width at half maximum [arcsec]."
    )
    galaxies: bool = Field(True, description="Draw field galaxies and members of halos.")
    agn: bool = Field(True, description="Draw the counterparts of X-ray sources.")
    stars: bool = Field(True, description="Draw the stars of the Galaxy.")
    limit_below_depth_mag: float = Field(
        1.0,
        ge=0.0,
        le=4.0,
        description="Objects up to this much fainter than the depth are drawn [mag].",
    )
    saturation_ab_mag: float = Field(
        12.0, ge=5.0, le=18.0, description="Stars brighter than this saturate [AB mag]."
    )
    red_scatter_mag: float = Field(
        0.04, ge=0.0, le=1.0, description="Scatter of the colours of red galaxies [mag]."
    )
    blue_scatter_mag: float = Field(
        0.12, ge=0.0, le=1.0, description="Scatter of the colours of all other galaxies [mag]."
    )

    @model_validator(mode="after")
    def _seeing_is_positive(self) -> "OpticalSettings":
        if min(self.seeing_fwhm_arcsec) <= 0:
            raise ValueError(
                f"seeing_fwhm_arcsec = {self.seeing_fwhm_arcsec}: every value must be above 0"
            )
        return self


class KnownSettings(Settings):
    """How the simulated known-cluster catalogues select from the truth."""

    sz_snr_min: float = Field(
        4.5, ge=3.0, le=20.0, description="Signal-to-noise limit of the SZ catalogue."
    )
    sz_completeness: float = Field(
        0.92,
        ge=0.0,
        le=1.0,
        description="Fraction of the detections that are confirmed (masks, missing follow-up).",
    )
    sz_false_per_deg2: float = Field(
        0.01, ge=0.0, le=5.0, description="Density of false entries in the SZ catalogue [deg-2]."
    )
    richness_min: float = Field(
        15.0,
        ge=5.0,
        le=100.0,
        description="Limit on the observed richness of the richness catalogue.",
    )
    richness_z_min: float = Field(
        0.1, ge=0.0, le=3.0, description="Lowest redshift of the richness catalogue."
    )
    richness_z_max: float = Field(
        1.1, ge=0.0, le=3.0, description="Highest redshift of the richness catalogue."
    )
    richness_completeness: float = Field(
        0.88, ge=0.0, le=1.0, description="Fraction of the rich clusters outside its masks."
    )
    richness_noise_ln: float = Field(
        0.15,
        ge=0.0,
        le=1.0,
        description="Scatter by background and projection, besides the Poisson noise [ln].",
    )
    richness_false_per_deg2: float = Field(
        0.25,
        ge=0.0,
        le=20.0,
        description="Density of entries that are projections, not clusters [deg-2].",
    )
    miscentred_part: float = Field(
        0.25,
        ge=0.0,
        le=1.0,
        description="Fraction of optical centres that miss the brightest galaxy.",
    )
    miscentring_r500: float = Field(
        0.4, ge=0.0, le=1.0, description="Rayleigh width of the offsets of these centres [R500]."
    )
    photo_z_scatter: float = Field(
        0.008, ge=0.0, le=0.2, description="Error of photometric redshifts, divided by (1 + z)."
    )
    spectroscopic_part: float = Field(
        0.4, ge=0.0, le=1.0, description="Fraction of the redshifts that are spectroscopic."
    )


_CATALOGUE = ("halos", "infrared", "microwave", "known")
_SECTIONS = {
    "infrared": ("halos", "infrared"),
    "microwave": ("halos", "microwave"),
    "xray": ("halos", "infrared", "optical", "xray"),  # galaxies' gas goes by their light
    "optical": ("halos", "infrared", "xray", "optical"),
    "truth": _CATALOGUE,
    "sz": _CATALOGUE,
    "richness": _CATALOGUE,
}
"""Sections that a simulated survey or catalogue depends on; unlisted ones depend on all."""


class SimulationSettings(Settings):
    """The simulated sky."""

    halos: HaloSettings = Field(default_factory=HaloSettings, description="Halos and their gas.")
    infrared: InfraredSettings = Field(
        default_factory=InfraredSettings, description="The unWISE-like survey."
    )
    microwave: MicrowaveSettings = Field(
        default_factory=MicrowaveSettings, description="The ACT-like survey."
    )
    xray: XraySettings = Field(default_factory=XraySettings, description="The X-ray survey.")
    optical: OpticalSettings = Field(
        default_factory=OpticalSettings, description="The optical survey."
    )
    known: KnownSettings = Field(
        default_factory=KnownSettings, description="The catalogues that label the training."
    )
    candidates: CandidateSettings = Field(
        default_factory=CandidateSettings, description="Cluster candidates of the X-ray survey."
    )
    volunteers: VolunteerSettings = Field(
        default_factory=VolunteerSettings, description="Volunteers who judge the candidates."
    )

    def parts_of(self, product: str) -> dict[str, Any]:
        """Return the settings that determine a survey's sky or a catalogue's selection.

        Only these enter the fingerprint, so another survey's setting does not rebuild its images.
        """
        sections = _SECTIONS.get(product)
        return self.model_dump(mode="json", include=None if sections is None else set(sections))
