"""Stage sample: known clusters and tile images (or stamps) to labelled examples.

`sample_block` cuts the examples of a block. `pin_training_set` records the present examples of a
survey as its training set; its networks are trained on these until a new one is requested.

Where to read on: `positions` (where examples lie), `tiles` and `stamps` (which ones a tile cuts),
`crops` (the cutting), `inject` (model clusters), `leakage` (keeping the parts of a split apart).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from clusterscan.config.sample import SampleSettings, StampSampleSettings
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
from clusterscan.sample.stamps import read_labels, sample_stamps
from clusterscan.sample.tiles import as_objects, sample_tile


def sample_block(
    job: Job[SampleStage],
    tiles: Path,
    known: Sequence[Path],
    listed: Sequence[Path],
    stamps: Sequence[Path],
) -> None:
    """Write the examples of each tile of a block.

    Parameters
    ----------
    job : Job
        The settings, and where to write.
    tiles : Path
        The block's manifest of `preprocess`.
    known, listed, stamps : sequence of Path
        The files that label the examples, each at most one: the united known clusters, the
        catalogue of `sample.listed`, and the source manifest of labelled stamps.
    """
    records = records_of([tiles])
    objects = known_objects(job.settings.sample, known)
    all_listed = listed_objects(listed)
    # Whole files, not the rows near a tile: any changed row samples all tiles again, which is cheap
    # (half a second a tile).
    hashes = [file_sha256(path) for path in (*known, *listed, *stamps)]
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
            all_listed,
        ),
    )


def known_objects(settings: SampleSettings, known: Sequence[Path]) -> pd.DataFrame:
    """Return the objects that examples are cut at, or keep away from.

    ``is_label`` is True for known clusters whose examples are positives. Stamps bring labels of
    their own.
    """
    if isinstance(settings, StampSampleSettings):
        return read_labels(settings)
    united = read_table(known[0])
    if settings.catalogues:
        rows = united[[f"{name}_row" for name in settings.catalogues]]
        is_label = (rows >= 0).any(axis=1).to_numpy()
    else:  # with `listed`, the rows of that catalogue are the examples instead
        is_label = np.full(len(united), settings.listed is None)
    return as_objects(united).assign(is_label=is_label)


def listed_objects(listed: Sequence[Path]) -> pd.DataFrame | None:
    """Return the rows of the listed catalogue as objects, with its columns; None without one."""
    if not listed:
        return None
    table = read_table(listed[0])
    return pd.concat([as_objects(table), table.drop(columns=["ra_deg", "dec_deg"])], axis=1)


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
    """Record the present examples of a survey as its training set."""
    write_training_set(
        job.output,
        job.root,
        job.key,
        job.fingerprint,
        records_of(samples),
        records_of(tiles),
        catalogues,
    )
