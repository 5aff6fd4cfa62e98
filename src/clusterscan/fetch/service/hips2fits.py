"""The source `hips2fits`: tiles resampled by a service that knows every public HiPS.

astroquery builds the request; it is sent, repeated, checked and kept as any download is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from clusterscan.config.image_sources import Hips2fitsSource
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.download.batch import download_all, download_checked
from clusterscan.fetch.download.store import Access, Item, Outcome
from clusterscan.fetch.hips.properties import parse_properties
from clusterscan.fetch.listed_source import ListedSource
from clusterscan.fetch.service.answer import check_image, read_planes
from clusterscan.fetch.source import ImageSpec, Listing, SourceObject, failures_text
from clusterscan.flow.blocks import TileOutcome


@dataclass(frozen=True)
class Hips2fits(ListedSource):
    """The service as a source; an object is one band of one tile.

    Attributes
    ----------
    fetched : mapping of str to Outcome
        What became of each object; set by `prepare`.
    """

    settings: Hips2fitsSource
    spec: ImageSpec
    access: Access
    fetched: Mapping[str, Outcome] = field(default_factory=dict)

    def __post_init__(self):
        self.require_bands(self.settings.hips, "hips", "HiPS")

    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List one image a band and tile, with the tree's release as its version.

        Raises
        ------
        SourceError
            If a tree's properties cannot be had.
        """
        objects = []
        for band in self.spec.bands:
            # The service says nothing of versions; the release is all there is.
            token = f"weak release {self._release(band)}"
            objects += [SourceObject(_name(band, tile), (int(tile),), token) for tile in tiles]
        return Listing(objects, [])

    def prepare(
        self, offered: Mapping[int, Sequence[str]], progress: Progress | None = None
    ) -> Hips2fits:
        """Ask for the images of tiles; return the source that knows what became of each."""
        items = [
            self._item(entry, tile)
            for tile, entries in sorted(offered.items())
            for entry in entries
        ]
        # What is absent here is an unknown HiPS, not a piece of sky.
        settings = self.access.settings.model_copy(update={"absent_status": ()})
        found = download_checked(items, self.access.store, settings, progress)
        return replace(self, fetched=found)

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Write a tile's raw image from the service's answers.

        Raises
        ------
        SourceError
            If an image could not be had: the server's words.
        """
        _, shape = self.frame(tile)
        outcomes = [self.fetched[_name(band, tile)] for band in self.spec.bands]
        if failed := [o.words for o in outcomes if o.path is None]:
            raise SourceError(failures_text(self.spec.survey, failed))
        planes = []
        for band, outcome in zip(self.spec.bands, outcomes, strict=True):
            assert outcome.path is not None
            values = read_planes(outcome.path, self.settings.no_data)
            plane = np.full(shape, np.nan, np.float32) if values is None else values[0]
            planes.append(plane * np.float32(self.settings.scale_by.get(band, 1.0)))
        nothing = "the service has no data here in all bands"
        return self.write_tile(tile, np.stack(planes), destination, nothing)

    def request(self, band: str, tile: int) -> str:
        """Return the URL of a tile's image, with the parameters that astroquery makes."""
        from astroquery.hips2fits import hips2fitsClass

        wcs, (ny, nx) = self.frame(tile)
        asked = wcs.deepcopy()
        asked.pixel_shape = (nx, ny)
        payload = hips2fitsClass().query_with_wcs(
            self.settings.hips[band], asked, format="fits", get_query_payload=True
        )
        return f"{self.settings.server}?{urlencode(payload)}"

    def _item(self, entry: str, tile: int) -> Item:
        name, _, token = entry.partition("=")
        band = name.rpartition(":")[0]
        wcs, shape = self.frame(tile)
        return Item(
            name, self.request(band, tile), token, partial(check_image, wcs=wcs, shape=shape)
        )

    def _release(self, band: str) -> str:
        url = self.settings.properties.get(band)
        if url is None:
            return "unknown"
        item = Item("properties", url)
        outcome = download_all([item], self.access.store, self.access.settings)["properties"]
        if outcome.path is None:
            raise SourceError(f"{url}: no properties of a HiPS ({outcome.words}); correct the URL")
        text = outcome.path.read_text(encoding="utf-8", errors="replace")
        return parse_properties(text, url).release or "unknown"


def _name(band: str, tile: int) -> str:
    return f"{band}:{tile}"
