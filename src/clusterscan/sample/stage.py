"""Stage sample: reference catalogues and tile images (or stamps) to labelled examples.

`sample_block` cuts the examples of a block. `pin_training_set` puts the present examples of a
survey aside, so that its networks are trained on these until another training set is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from clusterscan.config.sample import StampSampleSettings, TileSampleSettings
from clusterscan.core.errors import ConfigError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.core.records import TileRecord, records_of
from clusterscan.fetch.stamp_files import Stamps
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.flow.job import Job
from clusterscan.flow.sky_split import SkySplit
from clusterscan.flow.stage_settings import SampleStage, TrainingSetStage
from clusterscan.formats.examples import write_examples
from clusterscan.formats.tables import read_table
from clusterscan.formats.tile_image import read_tile
from clusterscan.formats.training_set import write_training_set
from clusterscan.known.unite import unite_known
from clusterscan.sample.stamps import read_labels, sample_stamps
from clusterscan.sample.tiles import as_objects, sample_tile


def sample_block(
    job: Job[SampleStage], tiles: Path, catalogues: Sequence[Path], stamps: Sequence[Path]
) -> None:
    """Write the examples of each tile of a block.

    Parameters
    ----------
    job : Job
        The settings, and where to write.
    tiles : Path
        The block's manifest of `preprocess`.
    catalogues : sequence of Path
        The tables of known clusters.
    stamps : sequence of Path
        The source manifest of the labelled stamps, if examples are cut from stamps.
    """
    records = records_of([tiles])
    objects, listed, hashes = labelled_objects(job.settings, catalogues, stamps)
    run_block(
        BlockJob.of(job, "sample", "samples", ".parquet"),
        {tile: [record.identity, hashes] for tile, record in records.items()},
        partial(
            write_tile_examples,
            job.root,
            job.sky.tile_order,
            job.settings,
            records,
            objects,
            listed,
        ),
    )


def labelled_objects(
    settings: SampleStage, tables: Sequence[Path], stamps: Sequence[Path]
) -> tuple[pd.DataFrame, pd.DataFrame | None, list[str]]:
    """Return the known objects, the listed ones, and the hashes of the files they come from."""
    chosen = settings.sample
    if isinstance(chosen, StampSampleSettings):
        return read_labels(chosen), None, [file_sha256(path) for path in stamps]
    catalogues = {path.stem: read_table(path) for path in sorted(tables)}
    united = unite_known(catalogues, settings.duplicate_radius_arcmin)
    positives = chosen.catalogues or (() if chosen.listed else tuple(catalogues))
    named = [f"{name}_name" for name in positives]
    objects = as_objects(united).assign(is_label=(united[named] != "").any(axis=1).to_numpy())
    hashes = [file_sha256(path) for path in sorted(tables)]
    return objects, listed_objects(chosen, catalogues), hashes


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


def write_tile_examples(
    root: Path,
    tile_order: int,
    settings: SampleStage,
    tiles: dict[int, TileRecord],
    objects: pd.DataFrame,
    listed: pd.DataFrame | None,
    tile: int,
    shard: Path,
) -> TileOutcome:
    """Write one tile's examples."""
    split = SkySplit(settings.regions)
    record, seed = tiles[tile], settings.seed
    image = read_tile(record.checked_shard(root)) if record.has_shard else None
    if isinstance(settings.sample, StampSampleSettings):
        examples = sample_stamps(
            tile,
            tile_order,
            image,
            objects,
            Stamps(settings.sample.stamps),
            split,
            settings.sample,
            bands=settings.bands,
            pixel_scale_arcsec=settings.pixel_scale_arcsec,
            seed=seed,
        )
    elif image is not None:
        examples = sample_tile(
            tile, tile_order, image, objects, split, settings.sample, seed=seed, listed=listed
        )
    else:
        return TileOutcome("no_coverage", record.reason)
    write_examples(shard, examples)
    return TileOutcome(counts=examples.counts)


def pin_training_set(
    job: Job[TrainingSetStage],
    samples: Sequence[Path],
    tiles: Sequence[Path],
    catalogues: Sequence[Path],
) -> None:
    """Put the present examples of a survey aside as its training set."""
    write_training_set(
        job.output,
        job.root,
        job.key,
        job.fingerprint,
        records_of(samples),
        records_of(tiles),
        catalogues,
    )
