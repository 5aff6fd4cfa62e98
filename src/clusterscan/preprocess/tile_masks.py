"""A tile's masks: from its own pixels, from the source, and from the list that sync made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.wcs import WCS

from clusterscan.config.preprocess import MapMask, PreprocessSettings
from clusterscan.core import sky
from clusterscan.core.errors import ProductError, SourceError
from clusterscan.core.fingerprint import fingerprint
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import EXCLUDED, FLAGGED, MASK_DTYPE, PLANES, SATURATED
from clusterscan.formats.tables import read_table
from clusterscan.preprocess.mask_maps import digest, masked_pixels
from clusterscan.preprocess.mask_regions import COLUMNS, Directions, bits_of, draw, empty_regions


@dataclass(frozen=True)
class MapHere:
    """A mask file that masks a part of a tile.

    Attributes
    ----------
    mask : MapMask
        Its settings.
    path : Path
        The file.
    digest : str
        Hash of its content around the tile, as sync saw it.
    """

    mask: MapMask
    path: Path
    digest: str


@dataclass(frozen=True)
class TileMasks:
    """The masks that sync listed for a tile.

    Attributes
    ----------
    regions : DataFrame
        Columns of `clusterscan.preprocess.mask_regions`.
    maps : sequence of MapHere
        Mask files.
    frame : (WCS, (ny, nx)), optional
        The frame that the files were hashed for.
    """

    regions: pd.DataFrame = field(default_factory=empty_regions)
    maps: Sequence[MapHere] = ()
    frame: tuple[WCS, tuple[int, int]] | None = None

    def draw(self, mask: np.ndarray, wcs: WCS) -> None:
        """Set the bits of all masks, in place.

        Raises
        ------
        SourceError
            If a mask file is damaged, or has changed since it was listed.
        """
        directions = Directions(wcs, mask.shape)
        draw(mask, directions, self.regions)
        for here in self.maps:
            assert self.frame is not None
            # The fingerprint of the tile holds the listed digest. An image drawn from another
            # content would carry a fingerprint that does not describe it.
            if digest(here.mask, here.path, *self.frame) != here.digest:
                raise SourceError(
                    f"{here.path}: changed since it was listed; run `clusterscan sync`, then again"
                )
            bits = bits_of(PLANES[here.mask.plane], here.mask.use)
            found = masked_pixels(here.mask, here.path, directions)
            mask |= np.where(found, MASK_DTYPE(bits), MASK_DTYPE(0))


def mask_from_image(
    mask: np.ndarray, image: np.ndarray, bands: Sequence[str], settings: PreprocessSettings
) -> None:
    """Mark saturated pixels, and give the source's own planes their use, in place.

    Parameters
    ----------
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes.
    image : float ndarray, shape (bands, ny, nx)
        The raw image; NaN is not saturated.
    """
    for band, level in settings.saturation.items():
        with np.errstate(invalid="ignore"):
            mask |= np.where(image[bands.index(band)] >= level, SATURATED, MASK_DTYPE(0))
    for source in settings.source_masks:
        meaning = EXCLUDED if source.use == "exclude" else FLAGGED
        mask |= np.where(mask & PLANES[source.plane], meaning, MASK_DTYPE(0))


def listing_frame(
    tile: int, spec: ImageSpec, widened_arcmin: float = 0.0
) -> tuple[WCS, tuple[int, int]]:
    """Return the frame that masks are listed for: that of the raw image, or a wider one."""
    halo = spec.raw_halo_arcmin + widened_arcmin
    return sky.tile_frame(tile, spec.tile_order, spec.pixel_scale_arcsec, halo, spec.binning)


@dataclass(frozen=True)
class MaskList:
    """The masks of a block's tiles, as `clusterscan.commands.sync.masks` wrote them.

    Attributes
    ----------
    content : dict
        JSON content of the list.
    regions : DataFrame
        Regions of all tiles, with a column ``tile``.
    """

    content: dict[str, Any]
    regions: pd.DataFrame

    def token(self, tile: int) -> str:
        """Return a hash of the masks that a tile's image depends on; empty if there are none."""
        here = self.content["tiles"][str(tile)]
        if not here["regions"] and not here["maps"]:
            return ""
        # The path of a file does not matter, only its content here.
        settings = {i: dict(self.content["maps"][i]["settings"], path="") for i in here["maps"]}
        known = sorted([fingerprint(settings[i]), found] for i, found in here["maps"].items())
        return fingerprint([here["regions"], known])

    def masks(self, tile: int, spec: ImageSpec) -> TileMasks | None:
        """Return a tile's masks; None if none overlaps it.

        Raises
        ------
        ProductError
            If the regions are not those that were listed.
        """
        if not self.token(tile):
            return None  # the tile's image and fingerprint are those of a run without masks
        here = self.content["tiles"][str(tile)]
        rows = self.regions[self.regions["tile"] == tile].drop(columns="tile")
        if (fingerprint(rows.to_dict(orient="list")) if len(rows) else "") != here["regions"]:
            raise ProductError(
                f"masks of tile {tile}: the regions are not those that were listed; delete the "
                "folder sources/masks of the run, and run `clusterscan sync`"
            )
        maps = tuple(
            MapHere(
                MapMask(**self.content["maps"][i]["settings"]),
                Path(self.content["maps"][i]["path"]),
                found,
            )
            for i, found in sorted(here["maps"].items())
        )
        frame = listing_frame(tile, spec, self.content["widened_arcmin"]) if maps else None
        return TileMasks(rows.reset_index(drop=True), maps, frame)


def read_mask_list(path: Path) -> MaskList:
    """Read a block's mask list.

    Raises
    ------
    ProductError
        If it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        any_regions = any(tile["regions"] for tile in content["tiles"].values())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProductError(
            f"{path}: not a list of masks ({error}); delete it and run `clusterscan sync`"
        ) from error
    regions = empty_regions().assign(tile=pd.Series(dtype="int64"))
    if any_regions:
        regions = read_table(path.with_suffix(".parquet"))
        regions = regions.astype({**COLUMNS, "tile": "int64"})
    return MaskList(content, regions)
