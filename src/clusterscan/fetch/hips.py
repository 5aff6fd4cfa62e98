"""The source `hips`: a tile's raw image from HiPS trees, on a server or in a folder.

A tree says in its file ``properties`` which HEALPix orders, tile width and frame it has. `Tree`
lists, downloads and reads its tiles; `Hips` asks which of them a tile of ours needs.

References
----------
IVOA Recommendation HiPS 1.0 (Fernique et al. 2017), section 4.4.1 (``properties``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from clusterscan.config.image_sources import HipsSource
from clusterscan.core import sky
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.download.batch import download_all, probe_all
from clusterscan.fetch.download.checks import ContentError
from clusterscan.fetch.download.store import Access, Item, Outcome
from clusterscan.fetch.hips_tiles import (
    cells_of_image,
    check_tile,
    read_tile,
    reproject_tiles,
)
from clusterscan.fetch.image_files import FileTokens
from clusterscan.fetch.source import ListedSource, Listing, SourceObject, failures_text
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.image_spec import ImageSpec


@dataclass(frozen=True)
class Hips(ListedSource):
    """HiPS trees as a source; an object is one HiPS tile of one band.

    Attributes
    ----------
    fetched : dict
        For each band, the outcome of each HiPS tile; set by `prepare`.
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
        """List the HiPS tiles that tiles need, with their present versions."""
        listing = Listing([], [])
        for band in self.spec.bands:
            # Properties read earlier may be out of date, and a new release changes all tokens.
            tree = self.trees[band].refreshed()
            users: dict[int, list[int]] = {}
            for tile in tiles:
                for cell in self._cells(tree, tile):
                    users.setdefault(cell, []).append(int(tile))
            names = {cell: _object_name(band, tree, cell) for cell in users}
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
        """Download the HiPS tiles of tiles; return the source that holds them.

        Parameters
        ----------
        offered : mapping of int to sequence of str
            ``name=token`` of each tile's objects, from the source manifest.
        progress : Progress, optional
            Receives the rate and the time left.
        """
        wanted: dict[str, dict[int, str]] = {band: {} for band in self.spec.bands}
        # Neighbouring tiles need the same HiPS tiles, so the entries are made unique first.
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
        """Write a tile's raw image from downloaded HiPS tiles.

        Raises
        ------
        SourceError
            If a HiPS tile failed to download; quotes the server.
        """
        wcs, shape = self.frame(tile)
        bands = [self._band(band, tile, wcs, shape) for band in self.spec.bands]
        used = sum(count for _, count in bands)
        nothing = f"the {used} HiPS tiles here have no pixel with data in all bands"
        return self.write_tile(
            tile, np.stack([plane for plane, _ in bands]), destination, nothing, hips_tiles=used
        )

    @cached_property
    def trees(self) -> dict[str, Tree]:
        """The tree of each band."""
        settings, scale = self.settings, self.spec.pixel_scale_arcsec
        return {
            band: Tree(settings.trees[band], settings.order, scale, self.access)
            for band in self.spec.bands
        }

    def _band(self, band: str, tile: int, wcs, shape: tuple[int, int]) -> tuple[np.ndarray, int]:
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
        # Interpolation at the image's border needs one more HiPS pixel.
        margin = 2.0 * tree.hips_pixel_arcsec / self.spec.pixel_scale_arcsec
        found = cells_of_image(wcs, shape, tree.properties.frame, tree.order, margin)
        return found.tolist()


def _object_name(band: str, tree: Tree, cell: int) -> str:
    return f"{band}:{tree.place(cell).removesuffix('.fits')}"


UNKNOWN = "unknown"
"""Token of a tile whose version the server did not state; it is downloaded all the same."""


@dataclass(frozen=True)
class Tree:
    """One HiPS tree, read at one order.

    Attributes
    ----------
    address : str
        URL or folder.
    wanted_order : int, optional
        The order to read; None: the best one for the pixel scale.
    pixel_scale_arcsec : float
        The survey's pixel size.
    access : Access
        Download settings and folder.
    """

    address: str
    wanted_order: int | None
    pixel_scale_arcsec: float
    access: Access

    @property
    def is_remote(self) -> bool:
        """True if the tree is on a server."""
        return self.address.startswith(("http://", "https://"))

    @cached_property
    def folder(self) -> Path:
        """The folder of a tree on this disk."""
        return expand_path(self.address)

    @cached_property
    def properties(self) -> Properties:
        """The properties, as they were last seen."""
        return self._properties(token=None)

    def refreshed(self) -> Tree:
        """Return the tree with its present properties."""
        # `properties` is a cached property; writing to __dict__ fills the cache of the copy.
        fresh = replace(self)
        fresh.__dict__["properties"] = self._properties(token="")
        return fresh

    @property
    def order(self) -> int:
        """The order that is read.

        Raises
        ------
        SourceError
            If the config names an order that the tree does not have.
        """
        known, wanted = self.properties, self.wanted_order
        if wanted is None:
            return known.best_order(self.pixel_scale_arcsec)
        if not known.order_min <= wanted <= known.order:
            raise SourceError(
                f"{self.address}: has orders {known.order_min} to {known.order}, but "
                f"source.order is {wanted}; correct it or leave it out"
            )
        return wanted

    @property
    def hips_pixel_arcsec(self) -> float:
        """Side of the HiPS pixels that are read [arcsec]."""
        return self.properties.pixel_scale_arcsec(self.order)

    def place(self, cell: int) -> str:
        """Return a tile's path below the tree."""
        return str(sky.shard_path(cell, self.order, ".fits"))

    def versions(
        self, cells: Iterable[int], mode: str, known: Mapping[int, str], progress: Progress | None
    ) -> tuple[dict[int, str], list[str]]:
        """Return the tokens of the tiles that exist, and the problems of those that failed.

        Parameters
        ----------
        cells : iterable of int
            Tiles to look up.
        mode : {"tiles", "release"}
            "tiles" looks up each tile; "release" trusts the tree's release date.
        known : mapping of int to str
            Earlier tokens, kept for tiles whose lookup failed.
        progress : Progress, optional
            Receives the progress of the requests.
        """
        release = f"release {self.properties.release or UNKNOWN}"
        cells = sorted(cells)
        if mode == "release":
            return {cell: f"weak {release}" for cell in cells}, []
        if not self.is_remote:
            return self._folder_versions(cells), []
        items = {cell: self._item(cell, "") for cell in cells}
        outcomes = probe_all(items.values(), self.access.store, self.access.settings, progress)
        tokens, problems = {}, []
        for cell, item in items.items():
            outcome = outcomes[item.name]
            # A tile that is absent gets no token: it is sky without coverage.
            if outcome.status == "ok":
                version = outcome.version
                strength = "" if version.is_strong else "weak "
                tokens[cell] = f"{strength}{version.token or UNKNOWN}, {release}"
            elif outcome.status == "failed":
                tokens[cell] = known.get(cell, UNKNOWN)
                problems.append(outcome.words)
        return tokens, problems

    def fetch(self, tokens: Mapping[int, str], progress: Progress | None) -> dict[int, Outcome]:
        """Bring tiles to this machine; ``tokens`` are those of the source manifest."""
        if self.is_remote:
            items = {cell: self._item(cell, token) for cell, token in tokens.items()}
            found = download_all(items.values(), self.access.store, self.access.settings, progress)
            return {cell: found[item.name] for cell, item in items.items()}
        return {cell: self._from_folder(cell) for cell in tokens}

    def read(self, cell: int, path: Path, no_data: float | None) -> np.ndarray:
        """Return the values of a fetched tile.

        Raises
        ------
        SourceError
            If its bytes differ from those that arrived, or it is not a tile.
        """
        if self.is_remote:
            entry = self.access.store.entry(self._url(self.place(cell)))
            record = entry.record()
            # The file was checked when it arrived, but disks lose bits.
            if record is None or not record.is_of(path):
                path.unlink(missing_ok=True)
                raise SourceError(
                    f"{path}: damaged on this disk after it arrived, and now removed; "
                    "run again to download it"
                )
        return read_tile(path.read_bytes(), str(path), no_data)

    def _url(self, place: str) -> str:
        return f"{self.address.rstrip('/')}/{place}"

    def _item(self, cell: int, token: str) -> Item:
        place = self.place(cell)
        # An empty token never matches a stored file, so the server is asked conditionally.
        token = "" if token.startswith(UNKNOWN) else token
        return Item(place, self._url(place), token, self._check(cell))

    def _check(self, cell: int) -> partial[None]:
        known = self.properties
        return partial(
            check_tile, frame=known.frame, order=self.order, ipix=cell, width=known.tile_width
        )

    def _from_folder(self, cell: int) -> Outcome:
        path = self.folder / self.place(cell)
        if not path.is_file():
            return Outcome("absent", None, "no such file")
        try:
            self._check(cell)(path)
        except ContentError as error:
            return Outcome("failed", None, f"{path}: {error}")
        return Outcome("ok", path)

    def _folder_versions(self, cells: list[int]) -> dict[int, str]:
        files = FileTokens(self.folder, self.access.root)
        paths = {cell: self.folder / self.place(cell) for cell in cells}
        tokens = {cell: files.sha256(path) for cell, path in paths.items() if path.is_file()}
        files.save()
        return tokens

    def _properties(self, token: str | None) -> Properties:
        if not self.is_remote:
            path = self.folder / "properties"
            if not path.is_file():
                raise SourceError(
                    f"{self.folder}: no file `properties`, so this is not a HiPS tree"
                )
            return parse_properties(path.read_text(encoding="utf-8", errors="replace"), str(path))
        url = self._url("properties")
        outcome = None if token is not None else self.access.store.entry(url).outcome(None)
        if outcome is None:
            item = Item("properties", url, token or "")
            outcome = download_all([item], self.access.store, self.access.settings)["properties"]
        if outcome.path is None:
            raise SourceError(
                f"{url}: no properties of a HiPS tree ({outcome.words}); "
                "correct the URL, or try again later"
            )
        return parse_properties(outcome.path.read_text(encoding="utf-8", errors="replace"), url)


_FRAMES = {"equatorial": "icrs", "galactic": "galactic", "C": "icrs", "G": "galactic"}
_DEFAULT_WIDTH = 512


@dataclass(frozen=True)
class Properties:
    """Properties of a tree.

    Attributes
    ----------
    frame : {"icrs", "galactic"}
        Frame of its HEALPix cells.
    order, order_min : int
        Finest and coarsest order of its tiles.
    tile_width : int
        Pixels along a side of a tile, a power of 2.
    release : str
        Release date as the tree writes it; empty if it has none.
    """

    frame: Literal["icrs", "galactic"]
    order: int
    order_min: int
    tile_width: int
    release: str

    def pixel_scale_arcsec(self, order: int) -> float:
        """Return the side of a HEALPix pixel of the tiles of an order [arcsec]."""
        side_of_order_0 = math.degrees(math.sqrt(math.pi / 3.0)) * 3600.0
        return side_of_order_0 / 2**order / self.tile_width

    def best_order(self, pixel_scale_arcsec: float) -> int:
        """Return the coarsest order whose pixels are small enough, else the finest order."""
        for order in range(self.order_min, self.order):
            if self.pixel_scale_arcsec(order) <= pixel_scale_arcsec * (1 + 1e-6):
                return order
        return self.order


def parse_properties(text: str, where: str) -> Properties:
    """Parse a ``properties`` file.

    Raises
    ------
    SourceError
        If a required key is missing or invalid, or the tree has no FITS tiles.
    """
    # Old trees write coordsys and maxOrder instead of hips_frame and hips_order.
    lines = [line.split("=", 1) for line in text.splitlines() if line.strip()[:1] != "#"]
    found = {pair[0].strip(): pair[1].strip() for pair in lines if len(pair) == 2}
    name = found.get("hips_frame") or found.get("coordsys") or "?"
    if name not in _FRAMES:
        raise SourceError(
            f"{where}: hips_frame is {name!r}; only equatorial and galactic trees can be read"
        )
    formats = found.get("hips_tile_format", "fits").lower().replace(",", " ").split()
    if "fits" not in formats:
        raise SourceError(
            f"{where}: its tiles are {' and '.join(formats)}, pictures without physical values; "
            "name a tree with FITS tiles"
        )
    try:
        order = int(found.get("hips_order") or found["maxOrder"])
        order_min = int(found.get("hips_order_min") or min(3, order))  # trees start at order 3
        width = int(found.get("hips_tile_width") or _DEFAULT_WIDTH)
    except (KeyError, ValueError) as error:
        raise SourceError(
            f"{where}: not a HiPS properties file ({error}); is the URL right?"
        ) from error
    if not (0 <= order_min <= order <= 20 and 0 < width <= 8192 and width & (width - 1) == 0):
        raise SourceError(
            f"{where}: orders {order_min} to {order}, tiles of {width} px: not a valid HiPS"
        )
    release = found.get("hips_release_date") or found.get("hips_creation_date") or ""
    frame: Literal["icrs", "galactic"] = "galactic" if _FRAMES[name] == "galactic" else "icrs"
    return Properties(frame, order, order_min, width, release)
