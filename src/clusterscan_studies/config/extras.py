"""Settings of a study's extras: the real ROSAT field of Abell 3158, and small probability maps."""

from __future__ import annotations

from pydantic import Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.catalogs import PublishedCatalogue


class RosatFieldSettings(Settings):
    """A field of ROSAT's PSPC, the network that scans it, and the clusters known in it."""

    experiment: str = Field(
        description="whose network (of its first repeat) looks; one X-ray band, this pixel scale"
    )
    counts: str = Field(
        "${CLUSTERSCAN_DATA}/images/rosat_a3158/b_37.fits.gz", description="photons [ct per pixel]"
    )
    exposure: str = Field(
        "${CLUSTERSCAN_DATA}/images/rosat_a3158/expose_mask_37.fits.gz",
        description="exposure [s]; holes inside the field are cut-out sources and count as seen",
    )
    smoothing_fwhm_arcsec: float = Field(
        60.0, ge=0, le=300, description="Gaussian on the photons, as on the simulated ones"
    )
    step_px: int = Field(2, ge=1, le=32, description="pixels between two crops of the map")
    peak: float = Field(0.5, gt=0, lt=1, description="peaks of the map above this are listed")
    match_arcmin: float = Field(
        2.5, gt=0, le=30, description="a peak this near to a cluster is the cluster's [arcmin]"
    )
    catalogues: tuple[PublishedCatalogue, ...] = Field(
        min_length=1, description="clusters that are marked"
    )

    @model_validator(mode="after")
    def _names_differ(self) -> RosatFieldSettings:
        names = [catalogue.name for catalogue in self.catalogues]
        if len(set(names)) < len(names):
            raise ValueError(f"catalogues: {names} names one twice")
        return self


class ProbabilityMapSettings(Settings):
    """Small probability maps of networks around clusters, random fields and bright stars."""

    experiments: tuple[str, ...] = Field(
        min_length=1, description="whose networks (of their first repeat) are mapped"
    )
    clusters: int = Field(10, ge=0, le=100, description="maps around known clusters")
    random: int = Field(5, ge=0, le=100, description="maps of random fields")
    stars: int = Field(5, ge=0, le=100, description="maps around the brightest stars")
    side_arcmin: float = Field(20.0, gt=0, description="side of a map [arcmin]")
    cells: int = Field(21, ge=3, le=201, description="crops along a side: cells squared a map")
    seed: int = Field(1, ge=0, description="seed of the random fields")


class ExtraSettings(Settings):
    """The extras of a study; an extra without settings is not made."""

    probability_maps: dict[str, ProbabilityMapSettings] = Field(
        default_factory=dict,
        description="Maps of probability around single objects, by data set; these are of kind "
        "`run`, as tile images are mapped.",
    )
    rosat_field: RosatFieldSettings | None = Field(
        None, description="a network of simulated X-ray images, shown a real field of ROSAT"
    )

    def experiments(self, name: str) -> list[str]:
        """Return the experiments whose networks an extra uses."""
        if name == "probability_maps":
            wanted = (key for maps in self.probability_maps.values() for key in maps.experiments)
            return list(dict.fromkeys(wanted))
        return [] if self.rosat_field is None else [self.rosat_field.experiment]

    def names(self) -> list[str]:
        """Return the names of the extras to make."""
        return [name for name in type(self).model_fields if getattr(self, name)]
