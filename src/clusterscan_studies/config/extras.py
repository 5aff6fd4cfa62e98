"""Settings of what single studies show besides the table and the common plots."""

from __future__ import annotations

from pydantic import Field

from clusterscan.config.base import Settings
from clusterscan_studies.config.rosat import RosatFieldSettings


class ProbabilityMapSettings(Settings):
    """Small maps of networks' probability around clusters, random fields and bright stars."""

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
    """The extras of a study; what is left out is not made."""

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
        """Return the extras that are to be made."""
        return [name for name in type(self).model_fields if getattr(self, name)]
