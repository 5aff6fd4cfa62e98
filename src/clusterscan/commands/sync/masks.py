"""Mask lists: for each tile the stars, galaxies, point sources and mask files that overlap it.

Tables and files are read here once, and not by the jobs. A block's list holds the regions of its
tiles (as Parquet beside it) and a hash of each mask file's content there. A tile's fingerprint
covers only its own part, so a changed row redoes the tiles that its mask overlaps, before or
after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.config.model import Config
from clusterscan.config.preprocess import MapMask, PointSourceMask, StarMask, TableMask
from clusterscan.core import sky
from clusterscan.core.atomic import write_json, write_json_if_changed
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.fingerprint import fingerprint
from clusterscan.fetch.image_files import FileTokens
from clusterscan.flow.footprint import run_tiles
from clusterscan.flow.paths import Paths
from clusterscan.flow.stage_settings import image_spec
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.tables import write_table
from clusterscan.known.reference_tables import Sky, reference_files, reference_table
from clusterscan.preprocess.mask_maps import circle_around, digest
from clusterscan.preprocess.mask_regions import Directions, empty_regions, regions_of, touching
from clusterscan.preprocess.tile_masks import listing_frame


@dataclass(frozen=True)
class MaskReport:
    """Result of listing one survey's masks: a line per mask, and the number of changed lists."""

    survey: str
    lines: tuple[str, ...]
    lists: int
    rewritten: int

    def __str__(self) -> str:
        head = f"{self.survey}: masks: {self.rewritten} of {self.lists} lists rewritten"
        return "\n".join([head, *(f"  {line}" for line in self.lines)])


def masked_surveys(config: Config) -> list[str]:
    """Return the surveys that have masks from tables or files."""
    return [name for name, s in config.surveys.items() if s.preprocess.listed_masks]


def require_masks(config: Config) -> None:
    """Check that sync has listed the masks for the present settings.

    Raises
    ------
    SourceError
        If it has not; names the survey and the command to run.
    """
    paths = Paths(config)
    for survey in masked_surveys(config):
        listed = all(Path(paths.masks(survey, block)).is_file() for block in paths.blocks)
        if not listed or _state(config, survey).get("listed_for") != _listed_for(config, survey):
            raise SourceError(
                f"survey {survey}: its masks are not yet listed with the present settings; run "
                "`clusterscan sync CONFIG` first, or use `clusterscan run`, which does"
            )


def sync_masks(config: Config, survey: str) -> MaskReport:
    """Update one survey's mask lists; rewrite only those that differ.

    Raises
    ------
    SourceError
        If a table or file is missing and cannot be downloaded.
    CatalogueError
        If a table has no rows, or rows that cannot be used.
    """
    settings = config.surveys[survey].preprocess
    masks, paths = settings.listed_masks, Paths(config)
    files = [_files(config, survey, mask) for mask in masks]
    # If neither settings nor files have changed, nothing is read or computed again.
    made_from = fingerprint([_listed_for(config, survey), _tokens(config, files)])
    state = _state(config, survey)
    if state.get("made_from") == made_from and _are_whole(config, survey):
        return MaskReport(survey, tuple(state["lines"]), len(paths.blocks), 0)
    maps = [(m, p[0]) for m, p in zip(masks, files, strict=True) if isinstance(m, MapMask)]
    regions, lines = _regions(config, survey)
    spec, widened = image_spec(config, survey), _widened_arcmin(config, survey)
    here: dict[int, dict[int, tuple[pd.DataFrame, dict[str, str]]]] = {}
    # Also tiles without regions or masks: their empty entries show that they were looked at.
    for tile, rows in _by_tile(regions, run_tiles(config.sky), spec, widened):
        frame = listing_frame(tile, spec, widened)
        digests = {str(i): digest(mask, path, *frame) for i, (mask, path) in enumerate(maps)}
        block = int(sky.ancestor(tile, config.sky.tile_order, config.sky.block_order))
        here.setdefault(block, {})[tile] = rows, {k: v for k, v in digests.items() if v}
    if len(regions):
        reached = [rows for tiles in here.values() for rows, _ in tiles.values() if len(rows)]
        lines.append(f"{len(reached)} of {len(run_tiles(config.sky))} tiles have objects to mask")
    for i, (_, path) in enumerate(maps):
        count = sum(str(i) in found for tiles in here.values() for _, found in tiles.values())
        lines.append(f"map {path.name}: masks something of {count} tiles")
    rewritten = 0
    for block, tiles in here.items():
        path = Path(paths.masks(survey, paths.block_name(block)))
        rewritten += _write(path, tiles, maps, widened)
    content = {"listed_for": _listed_for(config, survey), "made_from": made_from, "lines": lines}
    # Last: if listing is interrupted, the next sync finds no state and lists everything again.
    write_json(_state_path(config, survey), content)
    return MaskReport(survey, tuple(lines), len(paths.blocks), rewritten)


def fetch_tables(config: Config) -> list[str]:
    """Download the missing tables that a configuration's masks need; return one line for each.

    Raises
    ------
    SourceError, CatalogueError
        If a download fails, or differs from what is pinned.
    """
    lines = []
    for survey in masked_surveys(config):
        for mask in config.surveys[survey].preprocess.listed_masks:
            if not isinstance(mask, MapMask):
                files = _files(config, survey, mask)
                lines.append(f"{survey}, {mask.kind}: {len(files)} files in {files[0].parent}")
    return lines


def _write(
    path: Path,
    tiles: dict[int, tuple[pd.DataFrame, dict[str, str]]],
    maps: list[tuple[MapMask, Path]],
    widened_arcmin: float,
) -> bool:
    parts = [rows.assign(tile=tile) for tile, (rows, _) in tiles.items() if len(rows)]
    shard = path.with_suffix(".parquet")
    if parts:
        # Write the rows first, so that a list never exists without them.
        shard.parent.mkdir(parents=True, exist_ok=True)
        write_table(shard, pd.concat(parts, ignore_index=True))
    used = sorted({int(i) for _, digests in tiles.values() for i in digests})
    content = {
        # Digests instead of the rows themselves: a tile's fingerprint is made without a table.
        "tiles": {
            str(tile): {"regions": _rows_digest(rows), "maps": digests}
            for tile, (rows, digests) in sorted(tiles.items())
        },
        "maps": {
            str(i): {"settings": maps[i][0].model_dump(mode="json"), "path": str(maps[i][1])}
            for i in used
        },
        "widened_arcmin": widened_arcmin,
    }
    return write_json_if_changed(path, content)


def _rows_digest(rows: pd.DataFrame) -> str:
    return fingerprint(rows.to_dict(orient="list")) if len(rows) else ""


def _regions(config: Config, survey: str) -> tuple[pd.DataFrame, list[str]]:
    parts, lines = [empty_regions()], []
    access = config.execution.download
    for mask in config.surveys[survey].preprocess.listed_masks:
        if isinstance(mask, MapMask):
            continue
        where = _sky(config, survey, mask)
        table, name = reference_table(mask.table, where, access)
        regions, counts = regions_of(mask, table, name)
        parts.append(regions)
        lines.append(f"{mask.kind} ({name}): " + ", ".join(f"{n} {w}" for w, n in counts.items()))
    found = pd.concat(parts, ignore_index=True)
    # Sorted, so that the order of the rows in a table does not matter.
    return found.sort_values(list(found.columns), ignore_index=True), lines


def _by_tile(
    regions: pd.DataFrame, tiles: list[int], spec: ImageSpec, widened_arcmin: float
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield each tile with the regions that may overlap its frame."""
    vectors = sky.unit_vectors(regions["ra_deg"].to_numpy(), regions["dec_deg"].to_numpy())
    radius = np.maximum(regions["a_deg"].to_numpy(), 1e-6)
    # One tree per size class: otherwise one huge galaxy would widen the search for every star.
    size = np.ceil(np.log2(radius)).astype(int)
    classes = []
    for value in np.unique(size):
        rows = np.flatnonzero(size == value)
        classes.append((rows, cKDTree(vectors[rows]), float(radius[rows].max())))
    for tile in tiles:
        wcs, shape = listing_frame(tile, spec, widened_arcmin)
        (ra, dec), around = circle_around(wcs, shape)
        centre = sky.unit_vectors(np.array([ra]), np.array([dec]))[0]
        near = [
            rows[tree.query_ball_point(centre, sky.chord(min(around + most, 180.0)))]
            for rows, tree, most in classes
        ]
        rows = np.sort(np.concatenate([*near, np.empty(0, int)])).astype(int)
        found = regions.iloc[rows]
        yield tile, found[touching(Directions(wcs, shape), found)]


def _files(config: Config, survey: str, mask: TableMask | MapMask) -> list[Path]:
    if isinstance(mask, MapMask):
        return [expand_path(mask.path)]
    return reference_files(mask.table, _sky(config, survey, mask), config.execution.download)


def _tokens(config: Config, files: list[list[Path]]) -> list[list[str]]:
    """Return checksums, computed again only for files whose size or time changed."""
    root, found = Path(config.output), []
    for paths in files:
        mine = []
        for path in paths:
            tokens = FileTokens(path.parent, root)
            mine.append(tokens.sha256(path))
            tokens.save()
        found.append(mine)
    return found


def _sky(config: Config, survey: str, mask: TableMask) -> Sky:
    """Return the sky whose objects can overlap the footprint's images."""
    spec = image_spec(config, survey)
    # Objects outside the footprint matter as far as their largest possible mask reaches.
    reach = 60.0
    if isinstance(mask, StarMask):
        reach = mask.max_arcmin
    elif isinstance(mask, PointSourceMask):
        reach = mask.radius_arcmin or reach
    margin = 2.0**0.5 * spec.raw_halo_arcmin + _widened_arcmin(config, survey) + reach
    return Sky(tuple(run_tiles(config.sky)), config.sky.tile_order, margin / 60.0)


def _widened_arcmin(config: Config, survey: str) -> float:
    """Return the width added to the frame for listing [arcmin].

    The images of a mosaic are not rotated like tiles, so they may reach beyond a tile's frame.
    """
    if config.surveys[survey].source.kind != "mosaic":
        return 0.0
    halo = image_spec(config, survey).raw_halo_arcmin
    return float(2.0**0.5 * 60.0 * sky.cell_radius_deg(config.sky.tile_order) + 0.5 * halo)


def _listed_for(config: Config, survey: str) -> str:
    masks = config.surveys[survey].preprocess.listed_masks
    return fingerprint(
        {
            "masks": [mask.model_dump(mode="json") for mask in masks],
            "spec": asdict(image_spec(config, survey)),
            "tiles": run_tiles(config.sky),
            "block_order": config.sky.block_order,
        }
    )


def _are_whole(config: Config, survey: str) -> bool:
    paths = Paths(config)
    for block in paths.blocks:
        path = Path(paths.masks(survey, block))
        try:
            tiles = json.loads(path.read_text(encoding="utf-8"))["tiles"]
        except (OSError, ValueError, KeyError):
            return False
        if any(t["regions"] for t in tiles.values()) and not path.with_suffix(".parquet").is_file():
            return False
    return True


def _state_path(config: Config, survey: str) -> Path:
    return Path(config.output, "sources", "masks", survey, "state.json")


def _state(config: Config, survey: str) -> dict[str, Any]:
    try:
        return json.loads(_state_path(config, survey).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
