"""The source `archive`: files that a survey publishes, on servers or on this disk.

A survey either publishes maps that cover everything, or an atlas: many images whose centres are
listed in a table (`Atlas`). `Places` knows where each file is and which version it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from clusterscan.config.image_sources import ArchiveBand, ArchiveSource, AtlasSettings
from clusterscan.core import sky
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.archive_images import Frame, conversion_factor, mask_planes, read_cut
from clusterscan.fetch.coadd import Cut, coadd, coadd_with_ivar
from clusterscan.fetch.download.batch import download_checked, probe_all
from clusterscan.fetch.download.store import Access, Item, Outcome
from clusterscan.fetch.image_files import (
    FileTokens,
    check_archive_file,
    outline,
    reaches,
    whole_path,
)
from clusterscan.fetch.source import ListedSource, Listing, SourceObject, failures_text
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.healpix_map import HealpixMap
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import MASK_DTYPE


@dataclass(frozen=True)
class Archive(ListedSource):
    """Published files as a source.

    An object is one file of one band, named ``band:atlas tile:part:place``. The part is ``image``,
    ``weight``, ``exposure``, ``background`` or ``mask``; the atlas tile is empty for a map that
    covers everything.

    Attributes
    ----------
    offered : mapping of int to sequence of str
        ``name=token`` of each tile's files; set by `prepare`.
    fetched : mapping of str to Outcome
        Outcome of each place; set by `prepare`.
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
            If a map is missing. A file missing in an atlas is sky without data.
        """
        if self._atlas is None:
            users = {"": [int(tile) for tile in tiles]} if tiles else {}
        else:
            users = self._atlas.users({int(tile): self.frame(tile) for tile in tiles})
        wanted = {
            _object_name(band, atlas_tile, part, place): (place, tuple(found))
            for atlas_tile, found in users.items()
            for band in self.spec.bands
            for part, template in self.settings.files[band].files().items()
            for place in [place_of(template, atlas_tile)]
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
        """Download the files of tiles; return the source that holds them."""
        # One file serves several bands and tiles; it is downloaded once per place.
        tokens = {}
        for entries in offered.values():
            for entry in entries:
                name, _, token = entry.partition("=")
                tokens[_object_parts(name)[3]] = token
        fetched = self._store.fetch(tokens, progress)
        return replace(self, offered=dict(offered), fetched=fetched)

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Resample the files to a tile's frame and write its raw image.

        Raises
        ------
        SourceError
            If a file failed to download, is damaged, or has a unit that cannot be converted.
        """
        frame = self.frame(tile)
        files = self._files(tile)
        planes = np.empty((len(self.spec.bands), *frame[1]), np.float32)
        ivar = np.empty_like(planes) if self.spec.inverse_variance else None
        for number, band in enumerate(self.spec.bands):
            # An atlas tile that lacks one of its files has no data: without its weight, say,
            # nothing states how good its pixels are.
            complete = [
                parts
                for (of, _), parts in sorted(files.items())
                if of == band and parts.keys() == self.settings.files[band].files().keys()
            ]
            planes[number], of_band = self._band(band, complete, frame)
            if ivar is not None:
                ivar[number] = of_band
        marked = np.zeros(frame[1], MASK_DTYPE)
        for (band, _), parts in sorted(files.items()):
            if "mask" in parts:
                marked |= mask_planes(parts["mask"], self.settings.files[band], frame)
        nothing = "no file has data here in all bands"
        return self.write_tile(tile, planes, destination, nothing, ivar=ivar, marked=marked)

    def _files(self, tile: int) -> dict[tuple[str, str], dict[str, Path]]:
        """Return the paths of a tile's files by (band, atlas tile) and part."""
        found: dict[tuple[str, str], dict[str, Path]] = {}
        failed = []
        for entry in sorted(self.offered.get(tile, ())):
            band, name, part, place = _object_parts(entry.partition("=")[0])
            outcome = self.fetched[place]
            if outcome.path is not None:
                found.setdefault((band, name), {})[part] = outcome.path
            elif outcome.status != "absent" or not name:  # an atlas may lack a file
                failed.append(outcome.words)
        if failed:
            raise SourceError(failures_text(self.spec.survey, failed))
        return found

    def _band(
        self, band: str, files: Sequence[Mapping[str, Path]], frame: Frame
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a band's values and inverse variance (an empty array if not requested)."""
        settings = self.settings.files[band]
        ivar = np.zeros((0, 0), np.float32)
        if self.settings.format == "healpix" and files:
            values, unit = self._healpix(files[0]["image"], settings, frame)
        else:
            units: set[str] = set()
            cuts = self._cuts(files, settings, frame, units)
            how, flux = self.settings.resampling, self.settings.quantity == "flux"
            if self.spec.inverse_variance:
                values, ivar = coadd_with_ivar(cuts, *frame, how, per_arcmin2=flux)
            else:
                values = coadd(cuts, *frame, how)
            if len(units) > 1:
                raise SourceError(
                    f"survey {self.spec.survey}, band {band}: the files have different units "
                    f"{sorted(units)}; give the band's `unit` or `scale_by`"
                )
            unit = units.pop() if units else ""
            if flux:  # from flux per arcmin² to flux per pixel of the frame
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
        frame: Frame,
        units: set[str],
    ) -> Iterator[Cut]:
        """Yield each image's cut, one at a time, and add its unit to ``units``."""
        flux = self.settings.quantity == "flux"
        for parts in files:
            images = {part: path for part, path in parts.items() if part != "mask"}
            no_data = self.settings.no_data
            cut = read_cut(images, settings, frame, no_data=no_data, per_arcmin2=flux)
            if cut is not None:
                units.add(cut.unit)
                yield cut

    def _healpix(self, path: Path, settings: ArchiveBand, frame: Frame) -> tuple[np.ndarray, str]:
        ordering = self.settings.ordering
        healpix = HealpixMap(
            whole_path(path),
            settings.extension,
            settings.column,
            self.settings.frame,
            None if ordering is None else ordering == "nested",
        )
        nearest = self.settings.resampling == "nearest"
        return healpix.read(*frame, nearest=nearest, no_data=self.settings.no_data)

    def _factor(self, settings: ArchiveBand, unit: str) -> float:
        if settings.scale_by is not None:
            return settings.scale_by
        have = settings.unit or unit
        # If the file states no unit, or counts were divided by an exposure, the header does not
        # describe the values: they are assumed to have the survey's unit.
        if not have or (settings.unit is None and settings.exposure is not None):
            return 1.0
        return conversion_factor(have, self.spec.unit, settings.channel)

    @cached_property
    def _atlas(self) -> Atlas | None:
        settings = self.settings.atlas
        if settings is None:
            return None
        # An empty token: a table that is kept is requested conditionally.
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


def _object_name(band: str, tile: str, part: str, place: str) -> str:
    # Quoted, because "=" ends the name in a manifest, and a URL may contain it.
    return ":".join([quote(band), tile, part, quote(place, safe="/")])


def _object_parts(name: str) -> tuple[str, str, str, str]:
    band, tile, part, place = name.split(":", 3)
    return unquote(band), tile, part, unquote(place)


RELEASED = "weak released"
"""Token of a file whose address names a release: the server is not asked whether it changed."""


def is_url(place: str) -> bool:
    """Return True if a place is on a server."""
    return place.startswith(("http://", "https://"))


def place_of(template: str, tile: str) -> str:
    """Return a file's place: the template with an atlas tile's name filled in."""
    if not tile:
        return template
    parts = {"{tile}": tile, "{tile3}": tile[:3], "{end3}": tile[-3:]}
    return re.sub(r"\{(tile3?|end3)\}", lambda match: parts[match[0]], template)


@dataclass(frozen=True)
class Places:
    """The files of an archive by place, which is a URL or a path.

    Attributes
    ----------
    access : Access
        Download settings and folder.
    versions : {"sha256", "mtime", "release"}
        How changes of files on this disk are detected; "release": files on servers never change.
    """

    access: Access
    versions: str

    def tokens(
        self, places: Iterable[str], known: Mapping[str, str], progress: Progress | None = None
    ) -> tuple[dict[str, str], list[str], set[str]]:
        """Return the tokens by place, the problems, and the places that have no file.

        Parameters
        ----------
        places : iterable of str
            Distinct places.
        known : mapping of str to str
            Earlier tokens, kept for places whose server does not respond.
        """
        places = list(places)
        found, problems, absent = {}, [], set()
        remote = [Item(place, place) for place in places if is_url(place)]
        if self.versions == "release":
            found, remote = dict.fromkeys((item.name for item in remote), RELEASED), []
        outcomes = probe_all(remote, self.access.store, self.access.settings, progress)
        for place, outcome in outcomes.items():
            if outcome.status == "absent":
                absent.add(place)
            elif outcome.status == "failed":
                problems.append(outcome.words)
                if place in known:
                    found[place] = known[place]
            else:
                strong = outcome.version.is_strong
                found[place] = f"{'' if strong else 'weak '}{outcome.version.token}"
        for place in (place for place in places if not is_url(place)):
            token = self._local_token(expand_path(place, must_exist=False))
            if token is None:
                absent.add(place)
            else:
                found[place] = token
        return found, problems, absent

    def fetch(
        self, tokens: Mapping[str, str], progress: Progress | None = None
    ) -> dict[str, Outcome]:
        """Bring files to this machine; return the outcome of each place."""
        remote = [
            Item(place, place, token, check_archive_file)
            for place, token in sorted(tokens.items())
            if is_url(place)
        ]
        found = download_checked(remote, self.access.store, self.access.settings, progress)
        for place in sorted(set(tokens) - set(found)):
            path = expand_path(place, must_exist=False)
            if path.is_file():
                found[place] = Outcome("ok", path)
            else:
                words = f"{path}: removed since it was listed; restore it, or sync again"
                found[place] = Outcome("failed", None, words)
        return found

    def _local_token(self, path: Path) -> str | None:
        if not path.is_file():
            return None
        if self.versions in ("mtime", "release"):
            return FileTokens.mtime(path)
        tokens = FileTokens(path.parent, self.access.root)
        token = tokens.sha256(path)
        tokens.save()
        return token


_TILE_NAME = re.compile(r"^[\w.+-]+$")


@dataclass(frozen=True)
class Atlas:
    """A survey's tiling: square images, north up, around listed centres.

    Attributes
    ----------
    settings : AtlasSettings
        Columns of the table, and size of the images.
    path : Path
        The table.
    """

    settings: AtlasSettings
    path: Path

    def users(self, frames: Mapping[int, Frame]) -> dict[str, list[int]]:
        """Return for each atlas tile, by name, the tiles whose frames it overlaps.

        Parameters
        ----------
        frames : mapping of int to (WCS, (ny, nx))
            Frame of each tile's raw image.
        """
        names, ra, dec = self._table
        found: dict[str, list[int]] = {}
        if not frames:
            return found
        outlines: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        # A quick search by distance finds the candidates; their outlines then decide.
        tree = cKDTree(sky.unit_vectors(ra, dec))
        half = self.settings.size_px * self.settings.pixel_scale_arcsec / 3600 / np.sqrt(2)
        for tile, (wcs, (ny, nx)) in frames.items():
            middle = wcs.pixel_to_world_values((nx - 1) / 2, (ny - 1) / 2)
            corner = wcs.pixel_to_world_values(-0.5, -0.5)
            radius = float(sky.separation_deg(*middle, *corner)) + half
            vector = sky.unit_vectors(*(np.atleast_1d(v) for v in middle))[0]
            # 2 % more than the sum of the half diagonals: tangent planes stretch towards corners.
            for index in sorted(tree.query_ball_point(vector, sky.chord(1.02 * radius))):
                if index not in outlines:
                    outlines[index] = outline(*self._frame(ra[index], dec[index]))
                if reaches(outlines[index], wcs, (ny, nx)):
                    found.setdefault(names[index], []).append(tile)
        return found

    def _frame(self, ra_deg: float, dec_deg: float) -> Frame:
        side = self.settings.size_px
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [ra_deg, dec_deg]
        wcs.wcs.crpix = [(side + 1) / 2] * 2
        step = self.settings.pixel_scale_arcsec / 3600
        wcs.wcs.cdelt = [-step, step]
        wcs.wcs.set()
        return wcs, (side, side)

    @cached_property
    def _table(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        settings, path = self.settings, self.path
        table = _read_table(path)
        if missing := {settings.name, settings.ra, settings.dec} - set(table.colnames):
            raise SourceError(
                f"{path}: no column {', '.join(sorted(missing))} (it has "
                f"{', '.join(table.colnames)}); correct source.atlas"
            )
        # The name becomes a part of URLs and paths, so only harmless characters are allowed.
        names = [_as_text(value).strip().zfill(settings.digits) for value in table[settings.name]]
        bad = [name for name in names if not _TILE_NAME.match(name) or ".." in name]
        if bad or len(set(names)) < len(names):
            raise SourceError(
                f"{path}: column {settings.name} holds {bad[0]!r}, which is not the name of a tile"
                if bad
                else f"{path}: column {settings.name} names a tile twice"
            )
        ra, dec = (np.asarray(table[c], np.float64) for c in (settings.ra, settings.dec))
        return names, ra, dec


def _read_table(path: Path) -> Table:
    try:
        if path.name.removesuffix(".gz").endswith((".csv", ".txt")):
            return Table.read(path, format="ascii.csv")
        return Table.read(path, format="fits")
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: not a table of tiles ({error}); correct atlas.table") from error


def _as_text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
