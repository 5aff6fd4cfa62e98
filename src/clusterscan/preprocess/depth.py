"""How deep tiles are: the noise of a pixel, from the inverse variance that the source gives."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from clusterscan.core import sky
from clusterscan.core.records import read_manifest
from clusterscan.formats.tile_image import TileImage


def depths(tile: TileImage) -> dict[str, float | None]:
    """Return each band's median noise of a pixel [unit], None where no pixel's is known.

    The median over pixels with data; in sky that is masked for other reasons the noise is that of
    the sky around, so these count.
    """
    found: dict[str, float | None] = {}
    assert tile.ivar is not None
    for band, plane in zip(tile.bands, tile.ivar, strict=True):
        known = plane[tile.covered & (plane > 0)]
        found[band] = float(f"{1 / np.sqrt(np.median(known)):.6g}") if known.size else None
    return found


def depth_table(manifests: Iterable[str | Path]) -> pd.DataFrame:
    """Return the depth of every tile, from the manifests of `preprocess`.

    Parameters
    ----------
    manifests : iterable of path
        Of the blocks of one survey.

    Returns
    -------
    DataFrame
        tile, ra_deg, dec_deg (its centre), covered (share of pixels with data), and for each band
        ``sigma_<band>``, the median noise of a pixel [unit]; NaN where nothing is known. Tiles
        without an image are left out.
    """
    rows = []
    for path in manifests:
        manifest = read_manifest(path)
        for record in manifest.records:
            if not record.has_shard:
                continue
            ra, dec = sky.cell_centres(np.array(record.tile), manifest.tile_order)
            counts = record.counts
            row = {"tile": record.tile, "ra_deg": float(ra), "dec_deg": float(dec)}
            row["covered"] = counts["covered"] / counts["pixels"]
            row |= {f"sigma_{band}": sigma for band, sigma in counts.get("depth", {}).items()}
            rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else ["tile", "ra_deg", "dec_deg", "covered"])
    for column in table.columns.difference(["tile"]):
        table[column] = table[column].astype(np.float64)
    return table.sort_values("tile", ignore_index=True)
