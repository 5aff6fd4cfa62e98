"""Read a block's mask list, as `clusterscan.commands.sync.masks` writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from clusterscan.config.preprocess import MapMask
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import fingerprint
from clusterscan.fetch.source import ImageSpec
from clusterscan.formats.tables import read_table
from clusterscan.preprocess.masks import MapHere, TileMasks, listing_frame
from clusterscan.preprocess.regions import COLUMNS, empty_regions


@dataclass(frozen=True)
class MaskList:
    """The masks of a block's tiles.

    Attributes
    ----------
    content : dict
        The list's JSON.
    regions : DataFrame
        The regions of all tiles, with a column ``tile``.
    """

    content: dict[str, Any]
    regions: pd.DataFrame

    def token(self, tile: int) -> str:
        """Return what a tile's image depends on of the masks; empty where none reaches it."""
        here = self.content["tiles"][str(tile)]
        if not here["regions"] and not here["maps"]:
            return ""
        # Where a file lies does not matter, only what it says here.
        settings = {i: dict(self.content["maps"][i]["settings"], path="") for i in here["maps"]}
        known = sorted([fingerprint(settings[i]), found] for i, found in here["maps"].items())
        return fingerprint([here["regions"], known])

    def masks(self, tile: int, spec: ImageSpec) -> TileMasks | None:
        """Return a tile's masks; None where none reaches it.

        Raises
        ------
        ProductError
            If the regions are not those that were listed.
        """
        if not self.token(tile):
            return None
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
            f"{path}: no list of masks ({error}); delete it and run `clusterscan sync`"
        ) from error
    regions = empty_regions().assign(tile=pd.Series(dtype="int64"))
    if any_regions:
        regions = read_table(path.with_suffix(".parquet"))
        regions = regions.astype({**COLUMNS, "tile": "int64"})
    return MaskList(content, regions)
