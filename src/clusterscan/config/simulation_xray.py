"""Settings of the simulated X-ray survey, its candidate list, and the volunteers who judge it.

docs/simulation.md says where each default comes from: published, rounded by hand, or tuned.
"""

from typing import Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings

__all__ = ["CandidateSettings", "VolunteerSettings", "XraySettings"]


class XraySettings(Settings):
    """The X-ray survey in 0.5-2 keV: pointings, photon by photon."""

    instrument: Literal["xmm", "rosat"] = Field(
        "xmm", description="XMM-Newton's three cameras added up, or ROSAT's PSPC"
    )
    exposure_ks: float = Field(
        20.0, gt=0.1, le=500.0, description="median exposure of a pointing on axis [ks]"
    )
    exposure_scatter_ln: float = Field(
        0.35, ge=0.0, le=2.0, description="scatter of the exposures [ln], cut at 2 sigma"
    )
    background: float = Field(
        1.0, ge=0.0, le=20.0, description="sky and particle background relative to the published"
    )
    background_scatter_ln: float = Field(
        0.25, ge=0.0, le=2.0, description="its scatter between pointings [ln]"
    )
    noisy_chip_part: float = Field(
        0.15, ge=0.0, le=1.0, description="part of XMM's pointings with a chip of high background"
    )
    luminosity_scatter_ln: float = Field(
        0.396, ge=0.0, le=2.0, description="scatter of a cluster's luminosity at its mass [ln]"
    )
    core_radius_r500: float = Field(
        0.15, gt=0.01, le=1.0, description="core radius of the beta model, mean [R500]"
    )
    core_radius_scatter_ln: float = Field(
        0.3, ge=0.0, le=2.0, description="scatter of the core radii [ln]"
    )
    agn_counts: float = Field(
        1.0, ge=0.0, le=10.0, description="active galaxies relative to the published counts"
    )
    agn_flux_min: float = Field(
        1e-15,
        ge=1e-16,
        le=1e-12,
        description="faintest active galaxy drawn; fainter ones are in the background "
        "[erg/s/cm2, 0.5-2 keV]",
    )
    galaxies: bool = Field(True, description="draw the hot gas of nearby galaxies")
    smoothing_fwhm_arcsec: float = Field(
        12.0,
        ge=0.0,
        le=300.0,
        description="Gaussian that the photon image is smoothed with; 0: the photons themselves",
    )
    exposure_corrected: bool = Field(
        False,
        description="divide by the exposure [ct/s/arcmin2] rather than give counts [ct/arcmin2]",
    )


class CandidateSettings(Settings):
    """Which detections become candidates for clusters."""

    detection_snr: float = Field(
        5.0, ge=3.0, le=30.0, description="least signal-to-noise of a peak in the filtered images"
    )
    detection_likelihood: float = Field(
        0.0,
        ge=0.0,
        le=1000.0,
        description="least likelihood of a source over background alone, twice the logarithm",
    )
    extent_likelihood: float = Field(
        15.0, ge=0.0, le=1000.0, description="least likelihood of extent (33: the purest class)"
    )
    extent_arcsec: float = Field(5.0, ge=0.0, le=100.0, description="least core radius [arcsec]")
    off_axis_arcmin: float = Field(
        13.0, gt=1.0, le=60.0, description="farthest a candidate lies off axis [arcmin]"
    )
    cluster_part: float = Field(
        0.3,
        gt=0.0,
        le=1.0,
        description="a candidate is a cluster where a halo gives this part of its source counts",
    )
    cluster_counts: float = Field(
        10.0, ge=0.0, le=1e4, description="and at least so many counts in the aperture"
    )
    aperture_arcsec: float = Field(
        45.0, gt=5.0, le=300.0, description="radius in which sources count [arcsec]"
    )


class VolunteerSettings(Settings):
    """Simulated volunteers who classify the candidates."""

    volunteers: int = Field(1240, ge=2, le=100_000, description="how many there are")
    votes_per_candidate: int = Field(
        30, ge=1, le=1000, description="classifications of each candidate"
    )
    skill_mean: float = Field(
        1.0, ge=-10.0, le=10.0, description="mean skill, on the scale of the difficulty"
    )
    skill_scatter: float = Field(2.4, ge=0.0, le=10.0, description="scatter of skill")
    false_cluster: float = Field(
        0.05, ge=0.0, le=1.0, description="how often something else is called a cluster"
    )
    counts_easy: float = Field(
        600.0, gt=0.0, description="X-ray counts of a cluster of no difficulty at redshift 0.1"
    )
    counts_slope: float = Field(
        1.5, ge=0.0, le=10.0, description="difficulty added by a tenth of those counts"
    )
    redshift_slope: float = Field(
        5.0, ge=0.0, le=50.0, description="difficulty added by a unit of redshift"
    )
    common_part: float = Field(
        0.25,
        gt=0.0,
        le=1.0,
        description="part of the candidates whose expert class weighs the volunteers (404 of "
        "1600 published)",
    )

    @model_validator(mode="after")
    def _enough_volunteers(self) -> "VolunteerSettings":
        if self.volunteers < self.votes_per_candidate:
            raise ValueError(
                f"volunteers = {self.volunteers} cannot give votes_per_candidate = "
                f"{self.votes_per_candidate}, each of another volunteer; lower the latter"
            )
        return self
