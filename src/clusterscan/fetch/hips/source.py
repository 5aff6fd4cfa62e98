"""The source `hips`: which HiPS tiles a tile needs, and its raw image from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from clusterscan.config.image_sources import HipsSource
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.download.store import Access, Outcome
from clusterscan.fetch.hips.geometry import cells_of_image
from clusterscan.fetch.hips.tree import Tree
from clusterscan.fetch.listed_source import ListedSource
from clusterscan.fetch.source import ImageSpec, Listing, SourceObject, failures_text
from clusterscan.flow.blocks import TileOutcome


@dataclass(frozen=True)
class Hips(ListedSource):
    """HiPS trees as a source.

    Attributes
    ----------
    fetched : dict
        For each band, what became of each HiPS tile; filled by `prepare`.
    """

    settings: HipsSource
    spec: ImageSpec
    access: Access
    fetched: Mapping[str, Mapping[int, Outcome]] = field(default_factory=dict)

    def __post_init__(self):
        self.require_bands(self.settings.trees, "trees", "tree")

    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List the HiPS tiles that tiles need, with their versions now."""
        listing = Listing([], [])
        for band in self.spec.bands:
            tree = self.trees[band].refreshed()
            users: dict[int, list[int]] = {}
            for tile in tiles:
                for cell in self._cells(tree, tile):
                    users.setdefault(cell, []).append(int(tile))
            names = {cell: _name(band, tree, cell) for cell in users}
            before = {cell: known[name] for cell, name in names.items() if name in known}
            tokens, problems = tree.versions(users, self.settings.versions, before, progress)
            listing.objects.extend(
                SourceObject(names[cell], tuple(users[cell]), token)
                for cell, token in tokens.items()
            )
            listing.problems.extend(problems)
        return listing

    def prepare(
        self, offered: Mapping[int, Sequence[str]], progress: Progress | None = None
    ) -> Hips:
        """Download what tiles need; return the source that knows what became of it.

        Parameters
        ----------
        offered : mapping of int to sequence of str
            For each tile ``name=token`` of its objects, from the source manifest.
        progress : Progress, optional
            Told the rate and the time left.
        """
        wanted: dict[str, dict[int, str]] = {band: {} for band in self.spec.bands}
        for entry in {entry for entries in offered.values() for entry in entries}:
            name, _, token = entry.partition("=")
            band, _, place = name.partition(":")
            wanted[band][int(place.rpartition("/Npix")[2])] = token
        fetched = {
            band: self.trees[band].fetch(dict(sorted(tokens.items())), progress)
            for band, tokens in wanted.items()
        }
        return replace(self, fetched=fetched)

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Write a tile's raw image from fetched HiPS tiles.

        Raises
        ------
        SourceError
            If HiPS tiles that the source offers could not be had: the server's words.
        """
        wcs, shape = self.frame(tile)
        bands = [self._band(band, tile, wcs, shape) for band in self.spec.bands]
        used = sum(count for _, count in bands)
        nothing = f"{used} HiPS tiles here hold no data in all bands"
        return self.write_tile(
            tile, np.stack([plane for plane, _ in bands]), destination, nothing, hips_tiles=used
        )

    @cached_property
    def trees(self) -> dict[str, Tree]:
        """Each band's tree."""
        settings, scale = self.settings, self.spec.pixel_scale_arcsec
        return {
            band: Tree(settings.trees[band], settings.order, scale, self.access)
            for band in self.spec.bands
        }

    def _band(self, band: str, tile: int, wcs, shape: tuple[int, int]) -> tuple[np.ndarray, int]:
        from clusterscan.fetch.hips.patch import reproject_tiles

        tree = self.trees[band]
        here = self.fetched.get(band, {})
        outcomes = {cell: here[cell] for cell in self._cells(tree, tile) if cell in here}
        failed = [outcome.words for outcome in outcomes.values() if outcome.status == "failed"]
        if failed:
            raise SourceError(failures_text(f"{self.spec.survey} {band}", failed))
        tiles = {
            cell: tree.read(cell, outcome.path, self.settings.no_data)
            for cell, outcome in outcomes.items()
            if outcome.path is not None
        }
        resampling = self.settings.resampling
        frame = tree.properties.frame
        plane = reproject_tiles(tiles, tree.order, frame, wcs, shape, resampling)
        return plane * np.float32(self.settings.scale_by.get(band, 1.0)), len(tiles)

    def _cells(self, tree: Tree, tile: int) -> Iterable[int]:
        wcs, shape = self.frame(tile)
        # Interpolation at the image's border reaches one HiPS pixel further.
        margin = 2.0 * tree.hips_pixel_arcsec / self.spec.pixel_scale_arcsec
        found = cells_of_image(wcs, shape, tree.properties.frame, tree.order, margin)
        return found.tolist()


def _name(band: str, tree: Tree, cell: int) -> str:
    return f"{band}:{tree.place(cell).removesuffix('.fits')}"
