"""The source `cutouts`: small images of the Legacy Surveys' viewer, put together on tiles.

The sky is asked for in HEALPix cells small enough for one image each, so that neighbouring tiles
share images. The viewer silently cuts what is larger than 3000 pixels, silently answers with
other bands where it does not know one, and resamples unseen at any other than a layer's own pixel
size: so images are small, at that size, and their size, bands and place are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from astropy.wcs import WCS

from clusterscan.config.image_sources import CutoutsSource
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.coadd import Cut, coadd
from clusterscan.fetch.download.batch import download_checked
from clusterscan.fetch.download.store import Access, Item, Outcome
from clusterscan.fetch.hips.geometry import cells_of_image
from clusterscan.fetch.listed_source import ListedSource
from clusterscan.fetch.service.answer import check_image, read_planes
from clusterscan.fetch.source import ImageSpec, Listing, SourceObject, failures_text
from clusterscan.flow.blocks import TileOutcome

_OVERLAP_PX = 4
_TOKEN = "weak unversioned"  # noqa: S105 (a version, no secret)


@dataclass(frozen=True)
class Cutouts(ListedSource):
    """The viewer as a source; an object is all bands of one HEALPix cell.

    Attributes
    ----------
    fetched : mapping of int to Outcome
        What became of each cell's image; set by `prepare`.
    """

    settings: CutoutsSource
    spec: ImageSpec
    access: Access
    fetched: Mapping[int, Outcome] = field(default_factory=dict)

    def __post_init__(self):
        self.require_bands(self.settings.bands, "bands", "band")

    @cached_property
    def order(self) -> int:
        """The HEALPix order of the cells: the coarsest of which one image covers a cell."""
        return next(order for order in range(3, 30) if self._side_px(order) <= self.settings.max_px)

    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List the cells that tiles need; a layer is a release, so its images have no versions."""
        users: dict[int, list[int]] = {}
        for tile in tiles:
            for cell in self._cells(tile):
                users.setdefault(cell, []).append(int(tile))
        objects = [
            SourceObject(f"{self.settings.layer}:{self.order}/{cell}", tuple(found), _TOKEN)
            for cell, found in sorted(users.items())
        ]
        return Listing(objects, [])

    def prepare(
        self, offered: Mapping[int, Sequence[str]], progress: Progress | None = None
    ) -> Cutouts:
        """Ask for the images of tiles; return the source that knows what became of each."""
        entries = {entry for mine in offered.values() for entry in mine}
        cells = sorted(int(entry.partition("=")[0].rpartition("/")[2]) for entry in entries)
        items = {cell: self._item(cell) for cell in cells}
        store, settings = self.access.store, self.access.settings
        found = download_checked(items.values(), store, settings, progress)
        return replace(self, fetched={cell: found[item.name] for cell, item in items.items()})

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Put a tile's raw image together.

        Raises
        ------
        SourceError
            If an image could not be had: the server's words.
        """
        wcs, shape = self.frame(tile)
        cells = [cell for cell in self._cells(tile) if cell in self.fetched]
        failed = [o.words for c in cells if (o := self.fetched[c]).status == "failed"]
        if failed:
            raise SourceError(failures_text(self.spec.survey, failed))
        cuts = [cut for cell in cells if (cut := self._cuts(cell)) is not None]
        planes = np.stack(
            [
                self._plane([cut[number] for cut in cuts], band, wcs, shape)
                for number, band in enumerate(self.spec.bands)
            ]
        )
        nothing = "the layer has no data here in all bands"
        return self.write_tile(tile, planes, destination, nothing, cutouts=len(cuts))

    def _plane(self, cuts: list[Cut], band: str, wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
        ratio = self.spec.pixel_scale_arcsec / self.settings.scale_arcsec
        factor = self.settings.scale_by.get(band, 1.0)
        if self.settings.quantity == "flux":
            factor *= ratio**2
        return (factor * coadd(cuts, wcs, shape, self.settings.resampling)).astype(np.float32)

    def _cuts(self, cell: int) -> list[Cut] | None:
        """Return a cell's image, band by band; None where the layer has nothing."""
        path = self.fetched[cell].path
        planes = None if path is None else read_planes(path, self.settings.no_data)
        if planes is None:
            return None
        wcs, _ = self.cell_frame(cell)
        weights = [np.isfinite(plane).astype(np.float32) for plane in planes]
        return [Cut(plane, weight, wcs) for plane, weight in zip(planes, weights, strict=True)]

    def cell_frame(self, cell: int) -> tuple[WCS, tuple[int, int]]:
        """Return the frame of a cell's image: TAN, north up, the cell's centre in the middle."""
        ra, dec = self._centre(cell)
        side, step = self._side_px(self.order), self.settings.scale_arcsec / 3600.0
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [ra, dec]
        wcs.wcs.crpix = [(side + 1) / 2] * 2
        wcs.wcs.cdelt = [-step, step]
        wcs.wcs.set()
        return wcs, (side, side)

    def request(self, cell: int) -> str:
        """Return the URL of a cell's image."""
        ra, dec = self._centre(cell)
        parameters = {
            "ra": ra,
            "dec": dec,
            "layer": self.settings.layer,
            "pixscale": self.settings.scale_arcsec,
            "size": self._side_px(self.order),
            "bands": "".join(self.settings.bands[band] for band in self.spec.bands),
        }
        return f"{self.settings.server}?{urlencode(parameters)}"

    def _centre(self, cell: int) -> tuple[float, float]:
        ra, dec = sky.cell_centres(np.array([cell]), self.order)
        return round(float(ra[0]), 7), round(float(dec[0]), 7)

    def _item(self, cell: int) -> Item:
        wcs, shape = self.cell_frame(cell)
        bands = tuple(self.settings.bands[band] for band in self.spec.bands)
        check = partial(check_image, wcs=wcs, shape=shape, bands=bands)
        return Item(f"{self.order}/{cell}", self.request(cell), _TOKEN, check)

    def _side_px(self, order: int) -> int:
        radius_arcsec = 3600.0 * sky.cell_radius_deg(order)
        return 2 * int(np.ceil(radius_arcsec / self.settings.scale_arcsec)) + 2 * _OVERLAP_PX

    def _cells(self, tile: int) -> Iterable[int]:
        found = cells_of_image(*self.frame(tile), "icrs", self.order, 2.0)
        return [int(cell) for cell in found]
