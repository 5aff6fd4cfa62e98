"""The source `archive`: which published files a tile needs, and its raw image from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from astropy.wcs import WCS

from clusterscan.config.image_sources import ArchiveBand, ArchiveSource
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.archive.atlas import Atlas
from clusterscan.fetch.archive.image_set import read_cut
from clusterscan.fetch.archive.mask_bits import mask_planes
from clusterscan.fetch.archive.places import Places, place_of, whole_path
from clusterscan.fetch.archive.units import factor
from clusterscan.fetch.coadd import Cut, coadd, coadd_with_ivar
from clusterscan.fetch.download.store import Access, Outcome
from clusterscan.fetch.listed_source import ListedSource
from clusterscan.fetch.source import ImageSpec, Listing, SourceObject, failures_text
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.healpix_map import HealpixMap


@dataclass(frozen=True)
class Archive(ListedSource):
    """Published files as a source.

    An object is one file of one band: ``band:atlas tile:part:place``, of which the atlas tile is
    empty where a map covers everything.

    Attributes
    ----------
    offered : mapping of int to sequence of str
        For each tile ``name=token`` of its files; set by `prepare`.
    fetched : mapping of str to Outcome
        What became of each place; set by `prepare`.
    """

    settings: ArchiveSource
    spec: ImageSpec
    access: Access
    offered: Mapping[int, Sequence[str]] = field(default_factory=dict)
    fetched: Mapping[str, Outcome] = field(default_factory=dict)

    def __post_init__(self):
        self.require_bands(self.settings.files, "files", "file")

    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List the files that tiles need, with their tokens.

        Raises
        ------
        SourceError
            If a map is not where it should be; a file missing in an atlas is sky without data.
        """
        users = self._users(tiles)
        wanted = {
            _name(band, tile, part, place): (place, tuple(found))
            for tile, found in users.items()
            for band in self.spec.bands
            for part, place in self._places(band, tile)
        }
        before = {place: known[name] for name, (place, _) in wanted.items() if name in known}
        places = sorted({place for place, _ in wanted.values()})
        tokens, problems, absent = self._store.tokens(places, before, progress)
        if absent and self.settings.atlas is None:
            raise SourceError(
                f"survey {self.spec.survey}: there is no {min(absent)}; correct source.files"
            )
        objects = [
            SourceObject(name, found, tokens[place])
            for name, (place, found) in wanted.items()
            if place in tokens
        ]
        return Listing(objects, problems)

    def prepare(
        self, offered: Mapping[int, Sequence[str]], progress: Progress | None = None
    ) -> Archive:
        """Download what tiles need; return the source that knows what became of it."""
        tokens = {}
        for entries in offered.values():
            for entry in entries:
                name, _, token = entry.partition("=")
                tokens[_parts(name)[3]] = token
        fetched = self._store.fetch(tokens, progress)
        return replace(self, offered=dict(offered), fetched=fetched)

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Cut the files to a tile's frame and write its raw image.

        Raises
        ------
        SourceError
            If a file could not be had, is damaged, or its unit cannot be converted.
        """
        wcs, shape = self.frame(tile)
        files = self._files(tile)
        planes = np.empty((len(self.spec.bands), *shape), np.float32)
        ivar = np.empty_like(planes) if self.spec.inverse_variance else None
        for number, band in enumerate(self.spec.bands):
            planes[number], of_band = self._band(band, files, wcs, shape)
            if ivar is not None:
                ivar[number] = of_band
        nothing = "no file has data here in all bands"
        marked = self._mask(files, wcs, shape)
        return self.write_tile(tile, planes, destination, nothing, ivar=ivar, marked=marked)

    def _files(self, tile: int) -> dict[tuple[str, str], dict[str, Path]]:
        """Return the files of a tile: for each band and atlas tile the path of each part."""
        found: dict[tuple[str, str], dict[str, Path]] = {}
        failed = []
        for entry in sorted(self.offered.get(tile, ())):
            band, name, part, place = _parts(entry.partition("=")[0])
            outcome = self.fetched[place]
            if outcome.path is not None:
                found.setdefault((band, name), {})[part] = outcome.path
            elif outcome.status != "absent" or not name:  # an atlas may lack a file
                failed.append(outcome.words)
        if failed:
            raise SourceError(failures_text(self.spec.survey, failed))
        return found

    def _band(
        self,
        band: str,
        files: Mapping[tuple[str, str], dict[str, Path]],
        wcs: WCS,
        shape: tuple[int, int],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a band's values, and their inverse variance (of no size where not asked for)."""
        settings = self.settings.files[band]
        ivar = np.zeros((0, 0), np.float32)
        # An atlas tile that lacks one of its files has no data: nothing says how good they are.
        mine = [
            parts
            for (of, _), parts in sorted(files.items())
            if of == band and parts.keys() == settings.files().keys()
        ]
        if self.settings.format == "healpix" and mine:
            values, unit = self._healpix(mine[0]["image"], settings, wcs, shape)
        else:
            units: set[str] = set()
            cuts = self._cuts(mine, settings, wcs, shape, units)
            how, flux = self.settings.resampling, self.settings.quantity == "flux"
            if self.spec.inverse_variance:
                values, ivar = coadd_with_ivar(cuts, wcs, shape, how, per_arcmin2=flux)
            else:
                values = coadd(cuts, wcs, shape, how)
            if len(units) > 1:
                raise SourceError(
                    f"survey {self.spec.survey}, band {band}: files of units "
                    f"{sorted(units)}; give the band's `unit` or `scale_by`"
                )
            unit = units.pop() if units else ""
            if flux:
                scale = (self.spec.pixel_scale_arcsec / 60.0) ** 2
                values *= scale
                ivar /= np.float32(scale**2)
        times = self._factor(settings, unit)
        values *= times
        ivar /= np.float32(times**2)
        return values, ivar

    def _cuts(
        self,
        files: Sequence[Mapping[str, Path]],
        settings: ArchiveBand,
        wcs: WCS,
        shape: tuple[int, int],
        units: set[str],
    ) -> Iterator[Cut]:
        """Yield what each image shows of a frame, one at a time; add their units to a set."""
        flux = self.settings.quantity == "flux"
        for parts in files:
            images = {part: path for part, path in parts.items() if part != "mask"}
            cut = read_cut(
                images, settings, (wcs, shape), no_data=self.settings.no_data, per_arcmin2=flux
            )
            if cut is not None:
                units.add(cut.unit)
                yield cut

    def _mask(
        self,
        files: Mapping[tuple[str, str], dict[str, Path]],
        wcs: WCS,
        shape: tuple[int, int],
    ) -> np.ndarray:
        """Return the planes that the survey's own mask files set."""
        planes = np.zeros(shape, np.uint8)
        for (band, _), parts in sorted(files.items()):
            if "mask" in parts:
                planes |= mask_planes(parts["mask"], self.settings.files[band], (wcs, shape))
        return planes

    def _healpix(
        self, path: Path, settings: ArchiveBand, wcs: WCS, shape: tuple[int, int]
    ) -> tuple[np.ndarray, str]:
        ordering = self.settings.ordering
        healpix = HealpixMap(
            whole_path(path),
            settings.extension,
            settings.column,
            self.settings.frame,
            None if ordering is None else ordering == "nested",
        )
        nearest = self.settings.resampling == "nearest"
        return healpix.read(wcs, shape, nearest=nearest, no_data=self.settings.no_data)

    def _factor(self, settings: ArchiveBand, unit: str) -> float:
        if settings.scale_by is not None:
            return settings.scale_by
        have = settings.unit or unit
        # Counts that became a rate, and files that name no unit, are taken as declared.
        if not have or (settings.unit is None and settings.exposure is not None):
            return 1.0
        return factor(have, self.spec.unit, settings.channel)

    def _users(self, tiles: Sequence[int]) -> dict[str, list[int]]:
        if self._atlas is None:
            return {"": [int(tile) for tile in tiles]} if tiles else {}
        return self._atlas.users({int(tile): self.frame(tile) for tile in tiles})

    def _places(self, band: str, tile: str) -> Iterator[tuple[str, str]]:
        for part, template in self.settings.files[band].files().items():
            yield part, place_of(template, tile)

    @cached_property
    def _atlas(self) -> Atlas | None:
        settings = self.settings.atlas
        if settings is None:
            return None
        # Without a token a table that is kept is asked for conditionally.
        outcome = self._store.fetch({settings.table: ""})[settings.table]
        if outcome.path is None:
            raise SourceError(
                f"survey {self.spec.survey}: no table of the atlas "
                f"({outcome.words or 'no such file'}); correct source.atlas.table"
            )
        return Atlas(settings, outcome.path)

    @property
    def _store(self) -> Places:
        return Places(self.access, self.settings.versions)


def _name(band: str, tile: str, part: str, place: str) -> str:
    # Quoted: in a manifest "=" ends the name, and a URL may hold it.
    return ":".join([quote(band), tile, part, quote(place, safe="/")])


def _parts(name: str) -> tuple[str, str, str, str]:
    band, tile, part, place = name.split(":", 3)
    return unquote(band), tile, part, unquote(place)
