"""A HiPS tree, on a server or in a folder: its properties, its tiles and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from clusterscan.core import sky
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.download.batch import download_all, probe_all
from clusterscan.fetch.download.checks import ContentError
from clusterscan.fetch.download.store import Access, Item, Outcome
from clusterscan.fetch.file_tokens import FileTokens
from clusterscan.fetch.hips.properties import Properties, parse_properties
from clusterscan.fetch.hips.tile_file import check_tile, read_tile

UNKNOWN = "unknown"
"""The token of a tile whose version the server would not tell: fetch still tries."""


@dataclass(frozen=True)
class Tree:
    """One tree, read at one order.

    Attributes
    ----------
    address : str
        URL or folder.
    wanted_order : int, optional
        The order to read; None: the best for the pixel scale.
    pixel_scale_arcsec : float
        The survey's pixel size.
    access : Access
        How to download.
    """

    address: str
    wanted_order: int | None
    pixel_scale_arcsec: float
    access: Access

    @property
    def is_remote(self) -> bool:
        """Whether it lies on a server."""
        return self.address.startswith(("http://", "https://"))

    @cached_property
    def folder(self) -> Path:
        """The folder of a tree that is none on a server."""
        return expand_path(self.address)

    @cached_property
    def properties(self) -> Properties:
        """Its properties, as they were last seen."""
        return self._properties(token=None)

    def refreshed(self) -> Tree:
        """Return the tree with the properties that it has now."""
        fresh = replace(self)
        fresh.__dict__["properties"] = self._properties(token="")
        return fresh

    @property
    def order(self) -> int:
        """The order that is read.

        Raises
        ------
        SourceError
            If the config names one that the tree does not have.
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
        """Side of the pixels that are read [arcsec]."""
        return self.properties.pixel_scale_arcsec(self.order)

    def place(self, cell: int) -> str:
        """Return a tile's path below the tree."""
        return str(sky.shard_path(cell, self.order, ".fits"))

    def versions(
        self, cells: Iterable[int], mode: str, known: Mapping[int, str], progress: Progress | None
    ) -> tuple[dict[int, str], list[str]]:
        """Return tokens of the tiles that exist, and what could not be learnt.

        Parameters
        ----------
        cells : iterable of int
            Tiles to look for.
        mode : {"tiles", "release"}
            Whether each tile is looked at.
        known : mapping of int to str
            Earlier tokens: kept for tiles about which nothing could be learnt.
        progress : Progress, optional
            Told how far the requests are.
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
            if outcome.status == "ok":
                version = outcome.version
                strength = "" if version.is_strong else "weak "
                tokens[cell] = f"{strength}{version.token or UNKNOWN}, {release}"
            elif outcome.status == "failed":
                tokens[cell] = known.get(cell, UNKNOWN)
                problems.append(outcome.words)
        return tokens, problems

    def fetch(self, tokens: Mapping[int, str], progress: Progress | None) -> dict[int, Outcome]:
        """Bring tiles to this machine; tokens are those that the source manifest names."""
        if self.is_remote:
            items = {cell: self._item(cell, token) for cell, token in tokens.items()}
            found = download_all(items.values(), self.access.store, self.access.settings, progress)
            return {cell: found[item.name] for cell, item in items.items()}
        return {cell: self._from_folder(cell) for cell in tokens}

    def read(self, cell: int, path: Path, no_data: float | None) -> np.ndarray:
        """Return a fetched tile's values.

        Raises
        ------
        SourceError
            If its bytes are no longer those that arrived, or it is no tile.
        """
        if self.is_remote:
            entry = self.access.store.entry(self._url(self.place(cell)))
            record = entry.record()
            if record is None or not record.is_of(path):
                path.unlink(missing_ok=True)
                raise SourceError(
                    f"{path}: damaged on this disk after it arrived, and now removed; "
                    "run again, it is fetched anew"
                )
        return read_tile(path.read_bytes(), str(path), no_data)

    def _url(self, place: str) -> str:
        return f"{self.address.rstrip('/')}/{place}"

    def _item(self, cell: int, token: str) -> Item:
        place = self.place(cell)
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
                raise SourceError(f"{self.folder}: no file `properties`, so no HiPS tree")
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
