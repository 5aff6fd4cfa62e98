"""Examples at a catalogue's own positions, positives and negatives."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from clusterscan.config.sample import ListedSettings, TileSampleSettings
from clusterscan.config.searched_sky import FractionSplit
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.examples import TileExamples
from clusterscan.formats.tile_image import TileImage
from clusterscan.sample.positions import listed_positions
from clusterscan.sample.tiles import sample_tile

TILE, ORDER = 1234, 6
SETTINGS = ListedSettings(
    catalogue="candidates", labels={"experts": "expert", "crowd": "votes"}, columns=("class", "n")
)


@pytest.fixture
def listed():
    """Return nine listed objects around a tile's centre; the last lies in another tile."""
    ra, dec = (float(v) for v in sky.cell_centres(np.array(TILE), ORDER))
    n = 9
    offset = np.linspace(-0.1, 0.1, n)
    table = pd.DataFrame(
        {
            "object_id": [f"c{i}" for i in range(n)],
            "ra_deg": ra + offset,
            "dec_deg": dec + 0.5 * offset,
            "redshift": np.where(np.arange(n) % 2 == 0, 0.3, np.nan),
            "expert": np.arange(n) % 2 == 0,
            "votes": [1, 0, 1, -1, np.nan, 0, 0, 1, 1],
            "class": ["cluster", "agn"] * 4 + ["cluster"],
            "n": np.arange(n),
        }
    )
    table["expert"] = table["expert"].astype(int)
    table.loc[n - 1, "dec_deg"] = dec + 5.0
    return table


@pytest.fixture
def image():
    """Return a covered tile image."""
    wcs, shape = sky.tile_frame(TILE, ORDER, 20.0, 6.0)
    values = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return TileImage(values, np.zeros(shape, np.uint8), wcs, "ct/arcmin2", ("x",))


def _sampled(image, listed, **more) -> TileExamples:
    values = {
        "kind": "tiles", "size_px": 16, "random_per_deg2": 0.0, "exclusion_arcmin": 2.0,
        "listed": SETTINGS,
    } | more  # fmt: skip
    settings = TileSampleSettings(**values)
    split = SkySplit(FractionSplit(kind="fractions", order=1, validation=0.01, test=0.01))
    known = listed[["object_id", "ra_deg", "dec_deg", "redshift"]].assign(is_label=False)
    return sample_tile(TILE, ORDER, image, known, split, settings, seed=1, listed=listed)


def test_each_position_is_an_example_of_each_kind_that_labels_it(image, listed):
    table = _sampled(image, listed).table
    experts = table[table["kind"] == "experts"].set_index("object_id")
    crowd = table[table["kind"] == "crowd"].set_index("object_id")
    assert sorted(experts.index) == [f"c{i}" for i in range(8)]  # c8 belongs to another tile
    assert experts.loc["c0", "label"] == 1
    assert experts.loc["c1", "label"] == 0
    assert sorted(crowd.index) == ["c0", "c1", "c2", "c5", "c6", "c7"]  # c3 and c4: undecided
    assert crowd.loc["c7", "label"] == 1
    assert table["example_id"].is_unique
    assert table["label"].dtype == np.int8


def test_columns_and_redshifts_come_along(image, listed):
    examples = _sampled(image, listed)
    experts = examples.table[examples.table["kind"] == "experts"].set_index("object_id")
    assert experts.loc["c3", "class"] == "agn"
    assert experts.loc["c3", "n"] == 3.0
    assert experts.loc["c2", "redshift"] == 0.3
    assert np.isnan(experts.loc["c3", "redshift"])
    assert {"image", "class", "n", "redshift"} <= set(examples.to_arrow().column_names)


def test_counts_tell_labels_apart(image, listed):
    counts = _sampled(image, listed).counts
    assert counts["train_experts_1"] == 4
    assert counts["train_experts_0"] == 4


def test_random_examples_keep_away_from_listed_ones_and_have_empty_columns(image, listed):
    table = _sampled(image, listed, random_per_deg2=200.0).table
    random = table[table["kind"] == "random"]
    assert len(random) > 20
    assert (random["class"] == "").all()
    assert random["n"].isna().all()
    near = sky.separation_deg(
        random["ra_deg"].to_numpy()[:, None], random["dec_deg"].to_numpy()[:, None],
        listed["ra_deg"].to_numpy(), listed["dec_deg"].to_numpy(),
    )  # fmt: skip
    assert near.min() * 60 >= 2.0


def test_a_tile_without_listed_objects_has_the_same_columns(image, listed):
    full = _sampled(image, listed, random_per_deg2=50.0).table
    none = _sampled(image, listed.iloc[[8]], random_per_deg2=50.0).table
    assert list(none.columns) == list(full.columns)
    assert none["class"].dtype == full["class"].dtype


def test_a_missing_column_is_named(listed):
    with pytest.raises(CatalogueError, match=r"candidates lacks the columns \['votes'\]"):
        listed_positions(listed.drop(columns="votes"), SETTINGS)


def test_kinds_that_mean_something_else_are_refused():
    with pytest.raises(ValidationError, match="known"):
        ListedSettings(catalogue="candidates", labels={"known": "expert"})
