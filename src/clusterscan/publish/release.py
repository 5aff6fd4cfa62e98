"""Facts in the header of every product: version, configuration, area, simulated or observed."""

from __future__ import annotations

from dataclasses import dataclass

from clusterscan.publish.catalogue import clean_text


@dataclass(frozen=True)
class Release:
    """Facts in the header of every product.

    Attributes
    ----------
    version : str
        Version of clusterscan.
    config_name : str
        Name of the run's configuration.
    seed : int
        The run's seed.
    area_deg2 : float
        Sky that at least one model searched, without masked pixels [deg2].
    simulated : bool
        True if the sky is simulated.
    tile_order, map_order : int
        HEALPix orders of tiles and map pixels.
    release_date : str
        From the configuration, ``YYYY-MM-DDThh:mmZ``; never from the clock.
    """

    version: str
    config_name: str
    seed: int
    area_deg2: float
    simulated: bool
    tile_order: int = 5
    map_order: int = 12
    release_date: str = "2026-01-01T00:00Z"

    @property
    def area_text(self) -> str:
        """The area as text for display; small areas get more digits."""
        return f"{self.area_deg2:.1f}" if self.area_deg2 >= 1 else f"{self.area_deg2:.2g}"

    @property
    def plain_name(self) -> str:
        """The configuration's name as headers can hold it: one line of printable ASCII."""
        return clean_text(self.config_name)

    def cards(self) -> dict[str, tuple[str | int | float | bool, str]]:
        """Return the header cards: keyword -> (value, meaning); keywords fit FITS."""
        return {
            "CREATOR": ("clusterscan", "software that made this file"),
            # FITS keywords have at most eight characters; the prefix CS keeps ours apart from
            # standard ones.
            "CSVERS": (self.version, "version of clusterscan"),
            "CSCONFIG": (self.plain_name, "configuration of the run"),
            "CSSEED": (int(self.seed), "seed of the run"),
            "CSDATE": (self.release_date, "release date, from the configuration"),
            "AREADEG2": (round(float(self.area_deg2), 6), "[deg2] searched sky without masks"),
            "SIMULATD": (bool(self.simulated), "T: the sky is SIMULATED, not observed"),
            "RADESYS": ("ICRS", "frame of all positions"),
            "PIXTYPE": ("HEALPIX", "how the sky is cut"),
            "ORDERING": ("NESTED", "numbering of HEALPix cells"),
            "TILEORD": (int(self.tile_order), "HEALPix order of tile"),
            "MAPORD": (int(self.map_order), "HEALPix order of map pixels"),
        }
