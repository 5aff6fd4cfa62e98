"""A tile's masks: from its own pixels, from the source, and from what sync listed for the tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.wcs import WCS

from clusterscan.config.preprocess import MapMask, PreprocessSettings
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.source import ImageSpec
from clusterscan.formats.mask_planes import EXCLUDED, FLAGGED, PLANES, SATURATED
from clusterscan.preprocess.directions import Directions
from clusterscan.preprocess.mask_maps import digest, masked_pixels
from clusterscan.preprocess.mask_tables import bits_of
from clusterscan.preprocess.regions import draw, empty_regions


@dataclass(frozen=True)
class MapHere:
    """A mask file that masks something of a tile.

    Attributes
    ----------
    mask : MapMask
        Its settings.
    path : Path
        The file.
    digest : str
        Of what it says around the tile, as sync saw it.
    """

    mask: MapMask
    path: Path
    digest: str


@dataclass(frozen=True)
class TileMasks:
    """What sync listed for a tile.

    Attributes
    ----------
    regions : DataFrame
        Columns of `clusterscan.preprocess.regions`.
    maps : sequence of MapHere
        Mask files.
    frame : (WCS, (ny, nx)), optional
        The frame that the files were digested for.
    """

    regions: pd.DataFrame = field(default_factory=empty_regions)
    maps: Sequence[MapHere] = ()
    frame: tuple[WCS, tuple[int, int]] | None = None

    def draw(self, mask: np.ndarray, wcs: WCS) -> None:
        """Set the bits of all masks, in place.

        Raises
        ------
        SourceError
            If a mask file is damaged, or changed since it was listed.
        """
        directions = Directions(wcs, mask.shape)
        draw(mask, directions, self.regions)
        for here in self.maps:
            assert self.frame is not None
            if digest(here.mask, here.path, *self.frame) != here.digest:
                raise SourceError(
                    f"{here.path}: changed since it was listed; run `clusterscan sync`, then again"
                )
            bits = bits_of(PLANES[here.mask.plane], here.mask.use)
            found = masked_pixels(here.mask, here.path, directions)
            mask |= np.where(found, np.uint8(bits), np.uint8(0))


def mask_from_image(
    mask: np.ndarray, image: np.ndarray, bands: Sequence[str], settings: PreprocessSettings
) -> None:
    """Mark saturated pixels of the raw image, and what the source's own planes mean, in place.

    Parameters
    ----------
    mask : uint8 ndarray, shape (ny, nx)
        Bit planes.
    image : float ndarray, shape (bands, ny, nx)
        The raw image; NaN is not saturated.
    """
    for band, level in settings.saturation.items():
        with np.errstate(invalid="ignore"):
            mask |= np.where(image[bands.index(band)] >= level, SATURATED, np.uint8(0))
    for source in settings.source_masks:
        meaning = EXCLUDED if source.use == "exclude" else FLAGGED
        mask |= np.where(mask & PLANES[source.plane], meaning, np.uint8(0))


def listing_frame(
    tile: int, spec: ImageSpec, widened_arcmin: float = 0.0
) -> tuple[WCS, tuple[int, int]]:
    """Return the frame that masks are listed for: that of the tile's raw image, or a wider one."""
    halo = spec.raw_halo_arcmin + widened_arcmin
    return sky.tile_frame(tile, spec.tile_order, spec.pixel_scale_arcsec, halo, spec.binning)
