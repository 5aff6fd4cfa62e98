"""Settings of the simulated X-ray survey, its candidate list, and the volunteers who judge it.

docs/simulation.md gives the origin of each default: published, rounded by hand, or tuned.
"""

from typing import Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings

__all__ = ["CandidateSettings", "VolunteerSettings", "XraySettings"]


class XraySettings(Settings):
    """The X-ray survey in 0.5-2 keV: pointings, photon by photon."""

    instrument: Literal["xmm", "rosat"] = Field(
        "xmm", description="The sum of XMM-Newton's three cameras, or the PSPC of ROSAT."
    )
    exposure_ks: float = Field(
        20.0, gt=0.1, le=500.0, description="Median on-axis exposure of a pointing [ks]."
    )
    exposure_scatter_ln: float = Field(
        0.35, ge=0.0, le=2.0, description="Scatter of the exposures, cut at 2 sigma [ln]."
    )
    background: float = Field(
        1.0,
        ge=0.0,
        le=20.0,
        description="Sky and particle background relative to the published one.",
    )
    background_scatter_ln: float = Field(
        0.25, ge=0.0, le=2.0, description="Scatter of the background between pointings [ln]."
    )
    noisy_chip_part: float = Field(
        0.15,
        ge=0.0,
        le=1.0,
        description="Fraction of XMM pointings with a chip of high background.",
    )
    luminosity_scatter_ln: float = Field(
        0.396, ge=0.0, le=2.0, description="Scatter of the cluster luminosity at fixed mass [ln]."
    )
    core_radius_r500: float = Field(
        0.15, gt=0.01, le=1.0, description="Median core radius of the beta model [R500]."
    )
    core_radius_scatter_ln: float = Field(
        0.3, ge=0.0, le=2.0, description="Scatter of the core radii [ln]."
    )
    agn_counts: float = Field(
        1.0,
        ge=0.0,
        le=10.0,
        description="Number of active galaxies relative to the published counts.",
    )
    agn_flux_min: float = Field(
        1e-15,
        ge=1e-16,
        le=1e-12,
        description="Flux of the faintest active galaxy drawn; fainter ones are in the background "
        "[erg/s/cm2, 0.5-2 keV].",
    )
    galaxies: bool = Field(True, description="Draw the hot gas of nearby galaxies.")
    smoothing_fwhm_arcsec: float = Field(
        12.0,
        ge=0.0,
        le=300.0,
        description="Width of the Gaussian that smooths the photon image [arcsec]; 0: none.",
    )
    exposure_corrected: bool = Field(
        False,
        description="Give rates [ct/s/arcmin2] instead of counts [ct/arcmin2].",
    )


class CandidateSettings(Settings):
    """Criteria for detections to become cluster candidates."""

    detection_snr: float = Field(
        5.0, ge=3.0, le=30.0, description="Smallest S/N of a peak in the smoothed images."
    )
    detection_likelihood: float = Field(
        0.0,
        ge=0.0,
        le=1000.0,
        description="Smallest likelihood of a source, twice the gain in ln L over background.",
    )
    extent_likelihood: float = Field(
        15.0, ge=0.0, le=1000.0, description="Smallest likelihood of extent (33: the purest class)."
    )
    extent_arcsec: float = Field(
        5.0, ge=0.0, le=100.0, description="Smallest core radius [arcsec]."
    )
    off_axis_arcmin: float = Field(
        13.0, gt=1.0, le=60.0, description="Largest off-axis angle of a candidate [arcmin]."
    )
    cluster_part: float = Field(
        0.3,
        gt=0.0,
        le=1.0,
        description="A candidate is a cluster if a halo gives this fraction of its source counts.",
    )
    cluster_counts: float = Field(
        10.0, ge=0.0, le=1e4, description="Smallest number of counts of that halo in the aperture."
    )
    aperture_arcsec: float = Field(
        45.0,
        gt=5.0,
        le=300.0,
        description="Radius of the aperture in which the sources are summed [arcsec].",
    )


class VolunteerSettings(Settings):
    """Simulated volunteers who classify the candidates."""

    volunteers: int = Field(1240, ge=2, le=100_000, description="Number of volunteers.")
    votes_per_candidate: int = Field(
        30, ge=1, le=1000, description="Number of classifications of each candidate."
    )
    skill_mean: float = Field(
        1.0, ge=-10.0, le=10.0, description="Mean skill, on the scale of the difficulty."
    )
    skill_scatter: float = Field(2.4, ge=0.0, le=10.0, description="Scatter of the skill.")
    false_cluster: float = Field(
        0.05, ge=0.0, le=1.0, description="Probability that another object is called a cluster."
    )
    counts_easy: float = Field(
        600.0, gt=0.0, description="X-ray counts of a cluster of difficulty 0 at redshift 0.1."
    )
    counts_slope: float = Field(
        1.5,
        ge=0.0,
        le=10.0,
        description="Added difficulty of a cluster with a tenth of these counts.",
    )
    redshift_slope: float = Field(
        5.0, ge=0.0, le=50.0, description="Added difficulty per unit of redshift."
    )
    common_part: float = Field(
        0.25,
        gt=0.0,
        le=1.0,
        description="Fraction of the candidates whose expert class weighs the volunteers (404 of "
        "1600 published).",
    )

    @model_validator(mode="after")
    def _enough_volunteers(self) -> "VolunteerSettings":
        if self.volunteers < self.votes_per_candidate:
            raise ValueError(
                f"volunteers = {self.volunteers} cannot give votes_per_candidate = "
                f"{self.votes_per_candidate}, each of another volunteer; lower the latter"
            )
        return self
