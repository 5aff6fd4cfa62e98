"""Requirements on a tile's image of one survey: bands, unit, pixel size, surrounding sky."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageSpec:
    """Requirements on the raw images of one survey.

    Attributes
    ----------
    survey : str
        Name of the survey.
    bands : tuple of str
        Bands, in the order of the image planes.
    unit : str
        Unit of the pixel values (FITS BUNIT).
    pixel_scale_arcsec : float
        Pixel size of the raw image, before binning [arcsec].
    tile_order : int
        HEALPix order of the tiles.
    halo_arcmin : float
        Width of the sky around the tile's outline in the tile image [arcmin].
    margin_arcmin : float
        Additional sky in the raw image alone, for filters (`preprocess.margin_arcmin`) [arcmin].
    binning : int
        Raw pixels along a side of one pixel of the tile image.
    inverse_variance : bool
        True if the raw image holds the inverse variance of each band.
    """

    survey: str
    bands: tuple[str, ...]
    unit: str
    pixel_scale_arcsec: float
    tile_order: int
    halo_arcmin: float
    margin_arcmin: float = 0.0
    binning: int = 1
    inverse_variance: bool = False

    @property
    def raw_halo_arcmin(self) -> float:
        """Return the width of the sky around the tile's outline in the raw image [arcmin]."""
        return self.halo_arcmin + self.margin_arcmin
