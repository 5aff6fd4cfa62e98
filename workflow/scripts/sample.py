"""Stage sample: reference catalogues and tile images (or stamps) to labelled examples."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter

from clusterscan.config.sample import SampleSettings, StampSampleSettings, TileSampleSettings
from clusterscan.config.searched_sky import SplitSettings
from clusterscan.core.errors import ConfigError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.core.progress import Progress
from clusterscan.core.records import TileRecord, records_of
from clusterscan.fetch.stamp_files import Stamps
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.flow.job import block_arguments, run_stage
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.examples import write_examples
from clusterscan.formats.tables import read_table
from clusterscan.formats.tile_image import read_tile
from clusterscan.known.unite import unite_known
from clusterscan.sample.stamps import read_labels, sample_stamps
from clusterscan.sample.tiles import as_objects, sample_tile


def compute(
    root: Path,
    tile_order: int,
    stage: dict,
    tiles: dict[int, TileRecord],
    objects: pd.DataFrame,
    listed: pd.DataFrame | None,
    tile: int,
    shard: Path,
) -> TileOutcome:
    """Write one tile's examples."""
    settings = TypeAdapter(SampleSettings).validate_python(stage["sample"])
    split = SkySplit(TypeAdapter(SplitSettings).validate_python(stage["regions"]))
    record = tiles[tile]
    image = read_tile(record.checked_shard(root)) if record.has_shard else None
    if isinstance(settings, StampSampleSettings):
        examples = sample_stamps(
            tile,
            tile_order,
            image,
            objects,
            Stamps(settings.stamps),
            split,
            settings,
            bands=tuple(stage["bands"]),
            pixel_scale_arcsec=stage["pixel_scale_arcsec"],
            seed=stage["seed"],
        )
    elif image is not None:
        examples = sample_tile(
            tile, tile_order, image, objects, split, settings, seed=stage["seed"], listed=listed
        )
    else:
        return TileOutcome("no_coverage", record.reason)
    write_examples(shard, examples)
    return TileOutcome(counts=examples.counts)


def labelled_objects(
    args: argparse.Namespace, stage: dict
) -> tuple[pd.DataFrame, pd.DataFrame | None, list[str]]:
    """Return the known objects, the listed ones, and the hashes of the files they come from."""
    settings = TypeAdapter(SampleSettings).validate_python(stage["sample"])
    if isinstance(settings, StampSampleSettings):
        return read_labels(settings), None, [file_sha256(path) for path in args.stamps]
    catalogues = {path.stem: read_table(path) for path in sorted(args.catalogues)}
    united = unite_known(catalogues, stage["duplicate_radius_arcmin"])
    positives = settings.catalogues or (() if settings.listed else tuple(catalogues))
    named = [f"{name}_name" for name in positives]
    objects = as_objects(united).assign(is_label=(united[named] != "").any(axis=1).to_numpy())
    hashes = [file_sha256(path) for path in sorted(args.catalogues)]
    return objects, listed_objects(settings, catalogues), hashes


def listed_objects(
    settings: TileSampleSettings, catalogues: dict[str, pd.DataFrame]
) -> pd.DataFrame | None:
    """Return the listed catalogue with its columns, as objects; None where there is none.

    Raises
    ------
    ConfigError
        If the catalogue named is no known one.
    """
    if settings.listed is None:
        return None
    name = settings.listed.catalogue
    if name not in catalogues:
        raise ConfigError(
            f"sample.listed.catalogue = {name!r} is no known catalogue; choose from "
            f"{sorted(catalogues)}"
        )
    table = catalogues[name]
    kept = table.drop(columns=["ra_deg", "dec_deg"])
    return pd.concat([as_objects(table), kept], axis=1)


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Sample the block named by the arguments."""
    stage = args.settings["stage"]
    tiles = records_of([args.tiles])
    objects, listed, hashes = labelled_objects(args, stage)
    job = BlockJob.of(args, "sample", "samples", ".parquet")
    run_block(
        job,
        {tile: [record.identity, hashes] for tile, record in tiles.items()},
        partial(compute, args.root, job.tile_order, stage, tiles, objects, listed),
        manifest=args.output,
        workers=args.workers,
        max_failed_fraction=args.max_failed_fraction,
        progress=progress,
    )


if __name__ == "__main__":
    parser = block_arguments("sample", __doc__)
    parser.add_argument("--tiles", type=Path, required=True, help="the block's tile manifest")
    parser.add_argument("--catalogues", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--stamps", type=Path, nargs="*", default=[], help="stamps' source manifest"
    )
    run_stage(parser, main)
