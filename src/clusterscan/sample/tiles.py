"""Examples cut from one tile's image: known objects, and other sky as counterexamples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from clusterscan.config.sample import InjectionSettings, TileSampleSettings
from clusterscan.core import sky
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.examples import TileExamples, count_examples
from clusterscan.formats.tile_image import TileImage
from clusterscan.sample.crops import crop_start, cut_crops, to_half
from clusterscan.sample.inject import decrement_uk, draw_clusters
from clusterscan.sample.positions import (
    injected_positions,
    known_positions,
    listed_positions,
    near_tile,
    offset_positions,
    random_positions,
    separation_arcmin,
    star_positions,
)


def sample_tile(
    tile: int,
    tile_order: int,
    image: TileImage,
    known: pd.DataFrame,
    split: SkySplit,
    settings: TileSampleSettings,
    *,
    seed: int,
    listed: pd.DataFrame | None = None,
) -> TileExamples:
    """Cut a tile's examples.

    Parameters
    ----------
    tile, tile_order : int
        The tile, which owns the examples centred in it.
    image : TileImage
        Its image.
    known : DataFrame
        Known objects without duplicates (`as_objects`): object_id, ra_deg, dec_deg, and redshift if
        known; may cover more sky than the tile.
    split : SkySplit
        Training, validation and test sky.
    settings : TileSampleSettings
        Numbers and kinds of examples.
    seed : int
        The run's seed.
    listed : DataFrame, optional
        The objects of the catalogue that ``settings.listed`` names, with its columns.

    Returns
    -------
    examples : TileExamples
        Possibly none.
    """
    reach = max(settings.exclusion_arcmin, settings.offset_max_arcmin, settings.jitter_arcmin)
    near = near_tile(known, tile, tile_order, reach)
    wanted, dropped = _wanted(near, tile, tile_order, image, settings, seed)
    if listed is not None and settings.listed is not None:
        wanted = with_listed(wanted, listed_positions(listed, settings.listed))
    counts = {"dropped_near_known": dropped}
    examples = cut_examples(wanted, tile, tile_order, image, split, settings, counts)
    if settings.listed is not None:
        examples.counts.update(count_kinds(examples.table, settings.listed.labels))
    if settings.inject is not None:
        add_clusters(examples, image, tile, tile_order, settings.inject, seed)
    return examples


def _wanted(
    near: pd.DataFrame,
    tile: int,
    tile_order: int,
    image: TileImage,
    settings: TileSampleSettings,
    seed: int,
) -> tuple[pd.DataFrame, int]:
    """Choose positions of examples; count those dropped as too near a known object."""
    labels = near[near["is_label"]] if "is_label" in near else near
    objects = pd.concat(
        [
            known_positions(labels, settings.jitters_per_known, settings.jitter_arcmin, seed),
            offsets(labels, near, settings, seed),
        ],
        ignore_index=True,
    )
    free = pd.concat(
        [
            random_positions(tile, tile_order, settings.random_per_deg2, seed),
            star_positions(image, tile, tile_order, settings.stars_per_deg2, seed),
            injected_positions(tile, tile_order, settings.inject, seed),
        ],
        ignore_index=True,
    )
    # A random position on a known cluster would teach the network that clusters are none.
    away = separation_arcmin(free, near) >= settings.exclusion_arcmin
    wanted = pd.concat([objects, free[away]], ignore_index=True)
    wanted["redshift"] = _redshifts(wanted, near)
    return wanted, int((~away).sum())


def add_clusters(
    examples: TileExamples,
    image: TileImage,
    tile: int,
    tile_order: int,
    settings: InjectionSettings,
    seed: int,
) -> None:
    """Add a model cluster's signal, in place, to each crop of kind ``injected``."""
    rows = np.flatnonzero(examples.table["kind"] == "injected")
    clusters = draw_clusters(rows.size, tile, tile_order, seed, settings)
    place = examples.table.iloc[rows]
    x, y = image.to_pixel(place["ra_deg"].to_numpy(), place["dec_deg"].to_numpy())
    size = examples.size_px
    for index, row in enumerate(rows):
        # The crop is centred on a pixel, the cluster on its position: keep the fraction of a pixel.
        centre = [crop_start(p[index], size) + (size - 1) / 2 for p in (y, x)]
        signal = decrement_uk(
            clusters.iloc[index],
            (float(y[index] - centre[0]), float(x[index] - centre[1])),
            size,
            examples.pixel_scale_arcsec / 60.0,
            settings,
        )
        examples.images[row] = to_half(examples.images[row] + signal)


def as_objects(clusters: pd.DataFrame) -> pd.DataFrame:
    """Turn united known clusters into objects to sample.

    Parameters
    ----------
    clusters : DataFrame
        name, ra_deg, dec_deg, z; a name that appears twice gets its position's cell appended.

    Returns
    -------
    DataFrame
        object_id (unique), ra_deg, dec_deg, redshift (NaN: unknown).
    """
    name = clusters["name"].astype(object).to_numpy(copy=True)
    ra, dec = clusters["ra_deg"].to_numpy(float), clusters["dec_deg"].to_numpy(float)
    # By position and not by row number, so that names (and the draws that hang on them) stay when
    # other rows come and go.
    twice = pd.Series(name).duplicated(keep=False).to_numpy()
    if twice.any():
        cells = sky.owning_cell(ra, dec, sky.MAX_ORDER)
        name[twice] = [f"{n}@{cell}" for n, cell in zip(name[twice], cells[twice], strict=True)]
    redshift = clusters["z"].to_numpy(float) if "z" in clusters else np.full(len(ra), np.nan)
    return pd.DataFrame(
        {"object_id": list(name), "ra_deg": ra, "dec_deg": dec, "redshift": redshift}
    )


def _redshifts(examples: pd.DataFrame, known: pd.DataFrame) -> np.ndarray:
    """Return the redshift of the object that each example shows, NaN for negatives."""
    if "redshift" not in known or known.empty:
        return np.full(len(examples), np.nan)
    of_object = dict(zip(known["object_id"], known["redshift"], strict=True))
    shown = zip(examples["object_id"], examples["kind"], strict=True)
    return np.array([of_object[name] if kind == "known" else np.nan for name, kind in shown], float)


def count_kinds(table: pd.DataFrame, kinds: Iterable[str]) -> dict[str, int]:
    """Count the examples of some kinds, by part and label."""
    listed = table[table["kind"].isin(list(kinds))]
    grouped = listed.groupby(["split", "kind", "label"]).size().reset_index(name="number")
    return {
        f"{row['split']}_{row['kind']}_{row['label']}": int(row["number"])
        for row in grouped.to_dict("records")
    }


def with_listed(wanted: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """Append listed examples; their own columns are NaN or "" for the other examples."""
    joined = listed if wanted.empty else pd.concat([wanted, listed], ignore_index=True)
    text = [c for c in listed.columns if listed[c].dtype.kind not in "fiub"]
    return joined.assign(**{c: joined[c].fillna("").astype(object) for c in text})


def offsets(hosts: pd.DataFrame, known: pd.DataFrame, settings, seed: int) -> pd.DataFrame:
    """Return positions beside hosts, and none on another known object."""
    ring = offset_positions(
        hosts,
        settings.offsets_per_known,
        settings.offset_min_arcmin,
        settings.offset_max_arcmin,
        seed,
    )
    # The factor keeps positions that lie exactly on the inner edge of their own ring.
    keep = separation_arcmin(ring, known) >= settings.offset_min_arcmin * (1 - 1e-9)
    return ring[keep]


def cut_examples(
    wanted: pd.DataFrame,
    tile: int,
    tile_order: int,
    image: TileImage,
    split: SkySplit,
    settings,
    counts: dict[str, int],
) -> TileExamples:
    """Cut examples at the positions that the tile owns and that keep clear of other parts."""
    # Images of neighbouring tiles overlap; without owners one sky would be sampled twice.
    own = owned(wanted, tile, tile_order)
    scale = image.pixel_scale_arcsec
    placed, dropped = place(own, split, settings.size_px * scale / 60.0)
    crops, taken = cut_crops(
        image,
        placed["ra_deg"].to_numpy(),
        placed["dec_deg"].to_numpy(),
        settings.size_px,
        settings.min_valid_fraction,
    )
    table = placed[taken].reset_index(drop=True)
    counts = counts | {"dropped_guard": dropped, "dropped_uncovered": int((~taken).sum())}
    counts |= count_examples(table)
    return TileExamples(table, crops, image.bands, settings.size_px, scale, counts)


def owned(positions: pd.DataFrame, tile: int, tile_order: int) -> pd.DataFrame:
    """Return the positions that lie in a tile."""
    if positions.empty:
        return positions
    cells = sky.owning_cell(
        positions["ra_deg"].to_numpy(), positions["dec_deg"].to_numpy(), tile_order
    )
    return positions[cells == tile].reset_index(drop=True)


def place(positions: pd.DataFrame, split: SkySplit, side_arcmin: float) -> tuple[pd.DataFrame, int]:
    """Give each position its part of the split; drop those whose crop would show another part.

    A crop reaches half its diagonal from its centre. Copies shifted away from their object are
    dropped if they leave the object's part.

    Returns
    -------
    table : DataFrame
        With the column split, without the host's position.
    dropped : int
        Number of dropped positions.
    """
    ra, dec = positions["ra_deg"].to_numpy(float), positions["dec_deg"].to_numpy(float)
    part = split.part_of(ra, dec)
    host = split.part_of(
        positions["host_ra"].to_numpy(float), positions["host_dec"].to_numpy(float)
    )
    reach = side_arcmin / 2 * np.sqrt(2.0) + split.guard_arcmin
    # The host counts too: a shifted copy shows its object, which must stay in the object's own
    # part.
    keep = (part == host) & split.keeps_clear(ra, dec, reach)
    table = positions.assign(split=part.astype(object)).drop(columns=["host_ra", "host_dec"])
    return table[keep].reset_index(drop=True), int((~keep).sum())
