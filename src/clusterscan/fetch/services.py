"""The sources `hips2fits` and `cutouts`: images that a service cuts to order.

The images are downloaded, checked and kept like any other file. Services answer wrong requests
with wrong images rather than with an error, so size, position and bands of each image are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.config.image_sources import CutoutsSource, Hips2fitsSource
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.coadd import Cut, coadd
from clusterscan.fetch.download.batch import download_all, download_checked
from clusterscan.fetch.download.checks import ContentError, check_fits
from clusterscan.fetch.download.store import Access, Item, Outcome
from clusterscan.fetch.hips import parse_properties
from clusterscan.fetch.hips_tiles import cells_of_image
from clusterscan.fetch.source import ListedSource, Listing, SourceObject, failures_text
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.fits_images import celestial_wcs
from clusterscan.formats.image_spec import ImageSpec


@dataclass(frozen=True)
class Hips2fits(ListedSource):
    """The CDS service `hips2fits`, which resamples any public HiPS.

    An object is one band of one tile.

    astroquery builds the request; it is sent, retried, checked and kept like any download.

    Attributes
    ----------
    fetched : mapping of str to Outcome
        Outcome of each object; set by `prepare`.
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
        """List one image per band and tile, with the tree's release as its version.

        Raises
        ------
        SourceError
            If a tree's properties cannot be downloaded.
        """
        objects = []
        for band in self.spec.bands:
            # The service states no versions; the release date of the tree is all there is.
            token = f"weak release {self._release(band)}"
            objects += [
                SourceObject(_image_name(band, tile), (int(tile),), token) for tile in tiles
            ]
        return Listing(objects, [])

    def prepare(
        self, offered: Mapping[int, Sequence[str]], progress: Progress | None = None
    ) -> Hips2fits:
        """Request the images of tiles; return the source that holds them."""
        items = [
            self._item(entry, tile)
            for tile, entries in sorted(offered.items())
            for entry in entries
        ]
        # This service answers 404 for an unknown HiPS, not for sky without data.
        settings = self.access.settings.model_copy(update={"absent_status": ()})
        found = download_checked(items, self.access.store, settings, progress)
        return replace(self, fetched=found)

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Write a tile's raw image from the service's images.

        Raises
        ------
        SourceError
            If an image failed to download; quotes the server.
        """
        _, shape = self.frame(tile)
        outcomes = [self.fetched[_image_name(band, tile)] for band in self.spec.bands]
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
        """Return the URL of a tile's image, with the parameters that astroquery builds."""
        from astroquery.hips2fits import hips2fitsClass

        wcs, (ny, nx) = self.frame(tile)
        # A copy, because astroquery reads the shape from the WCS, which the frame does not have.
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


def _image_name(band: str, tile: int) -> str:
    return f"{band}:{tile}"


_OVERLAP_PX = 4
_TOKEN = "weak unversioned"  # noqa: S105 (a version, not a secret)


@dataclass(frozen=True)
class Cutouts(ListedSource):
    """The viewer of the Legacy Surveys; an object is all bands of one HEALPix cell.

    The sky is requested in HEALPix cells small enough for one image each, so that neighbouring
    tiles share images. The viewer silently crops images larger than 3000 pixels, silently answers
    with other bands if it does not know one, and silently resamples if the pixel size is not the
    layer's own. Images are therefore small, at the layer's pixel size, and their size, bands and
    position are checked.

    Attributes
    ----------
    fetched : mapping of int to Outcome
        Outcome of each cell's image; set by `prepare`.
    """

    settings: CutoutsSource
    spec: ImageSpec
    access: Access
    fetched: Mapping[int, Outcome] = field(default_factory=dict)

    def __post_init__(self):
        self.require_bands(self.settings.bands, "bands", "band")

    @cached_property
    def order(self) -> int:
        """HEALPix order of the cells: the coarsest whose cells fit into one image."""
        return next(order for order in range(3, 30) if self._side_px(order) <= self.settings.max_px)

    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List the cells that tiles need. A layer is a release, so its images have no versions."""
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
        """Request the images of tiles; return the source that holds them."""
        entries = {entry for mine in offered.values() for entry in mine}
        cells = sorted(int(entry.partition("=")[0].rpartition("/")[2]) for entry in entries)
        items = {cell: self._item(cell) for cell in cells}
        store, settings = self.access.store, self.access.settings
        found = download_checked(items.values(), store, settings, progress)
        return replace(self, fetched={cell: found[item.name] for cell, item in items.items()})

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Assemble a tile's raw image from the cells' images.

        Raises
        ------
        SourceError
            If an image failed to download; quotes the server.
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
        # The images are flux per pixel of the layer; a pixel of the survey holds ratio**2 of them.
        if self.settings.quantity == "flux":
            factor *= ratio**2
        return (factor * coadd(cuts, wcs, shape, self.settings.resampling)).astype(np.float32)

    def _cuts(self, cell: int) -> list[Cut] | None:
        """Return a cell's image, band by band; None where the layer has no data."""
        path = self.fetched[cell].path
        planes = None if path is None else read_planes(path, self.settings.no_data)
        if planes is None:
            return None
        wcs, _ = self.cell_frame(cell)
        weights = [np.isfinite(plane).astype(np.float32) for plane in planes]
        return [Cut(plane, weight, wcs) for plane, weight in zip(planes, weights, strict=True)]

    def cell_frame(self, cell: int) -> tuple[WCS, tuple[int, int]]:
        """Return the frame of a cell's image: TAN, north up, centred on the cell."""
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
        # Rounded to 0.4 mas: the numbers are part of the URL and so of the cached file's name.
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


_TOLERANCE_PX = 0.1


def check_image(
    path: Path, wcs: WCS, shape: tuple[int, int], bands: tuple[str, ...] | None = None
) -> None:
    """Check that an image is complete and has the requested size, position and bands.

    Parameters
    ----------
    path : Path
        The file.
    wcs, shape : WCS, (ny, nx)
        The requested frame.
    bands : tuple of str, optional
        Names expected in ``BAND0``, ``BAND1``, ...; None: the image has one plane.

    Raises
    ------
    ContentError
        If any of this differs.
    """
    heads = check_fits(path)
    if is_empty(heads[0].header):
        return  # a valid answer: the layer has no data here
    with fits.open(path, memmap=True) as hdus:
        header = hdus[0].header
        got = hdus[0].shape
    planes = () if bands is None or len(bands) == 1 else (len(bands),)
    if got != (*planes, *shape):
        raise ContentError(f"an image of {got} pixels instead of {(*planes, *shape)}")
    for number, band in enumerate(bands or ()):
        said = str(header.get(f"BAND{number}", "")).strip()
        if said != band:
            raise ContentError(f"band {said!r} instead of {band!r}")
    # Corners are compared, because a wrong pixel scale or rotation leaves the centre in place.
    distance = _offset_px(header, wcs, shape)
    if not distance <= _TOLERANCE_PX:  # negated, so that NaN fails
        raise ContentError(f"wrong position on the sky: off by up to {distance:.3g} pixels")


def is_empty(header: fits.Header) -> bool:
    """Return True if an image says that the survey has no data here (the viewer's OVERLAP)."""
    return header.get("NAXIS") == 0 and header.get("OVERLAP") is False


def read_planes(path: Path, no_data: float | None) -> np.ndarray | None:
    """Return the planes of an image; None if the survey has no data here.

    Returns
    -------
    float32 ndarray, shape (planes, ny, nx), or None
        NaN where there are no data.

    Raises
    ------
    SourceError
        If the file was damaged after it arrived.
    """
    try:
        check_fits(path)
        with fits.open(path, memmap=False) as hdus:
            if is_empty(hdus[0].header):
                return None
            values = np.array(hdus[0].data, dtype=np.float32)
    except (ContentError, OSError, TypeError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise SourceError(
            f"{path}: damaged on this disk after it arrived ({error}), and now removed; run "
            "again to download it"
        ) from error
    values[~np.isfinite(values)] = np.nan
    if no_data is not None:
        values[values == np.float32(no_data)] = np.nan
    return values if values.ndim == 3 else values[None]


def _offset_px(header: fits.Header, wcs: WCS, shape: tuple[int, int]) -> float:
    ny, nx = shape
    x, y = np.array([0.0, nx - 1.0, 0.0, nx - 1.0]), np.array([0.0, 0.0, ny - 1.0, ny - 1.0])
    try:
        got = celestial_wcs(header, "the image", "the server sends it like this").celestial
    except SourceError as error:
        raise ContentError(str(error)) from error
    there = got.world_to_pixel(wcs.pixel_to_world(x, y))
    return float(np.hypot(there[0] - x, there[1] - y).max())
