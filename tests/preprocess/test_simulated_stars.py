"""Masks of the simulated bright stars, from the source's plane and from a table: simulated sky."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from clusterscan.config.image_sources import SimulatedSource
from clusterscan.config.preprocess import MaskSettings, PreprocessSettings
from clusterscan.config.simulation import SimulationSettings
from clusterscan.core import sky
from clusterscan.fetch.simulated import Simulated
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.preprocess.make_tile import preprocess_tile
from clusterscan.preprocess.mask_regions import regions_of
from clusterscan.preprocess.tile_masks import TileMasks
from clusterscan.scan.validity import reasons
from clusterscan.simulate.sky_cells import GENERATION_ORDER
from clusterscan.simulate.stars import bright_stars_of_cell

TILE, ORDER = 4440 * 4**2, 7
SPEC = ImageSpec("unwise", ("W1", "W2"), "nanomaggy (Vega)", 5.5, ORDER, 2.0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = tmp_path_factory.mktemp("sky") / "raw.fits"
    settings = SimulatedSource(kind="simulated", sky="infrared")
    Simulated(settings, SPEC, SimulationSettings(), 1).fetch_tile(TILE, path)
    return path


def stars():
    """Return the simulated bright stars around the tile as a table."""
    ra, dec = (float(v) for v in sky.cell_centres(np.array(TILE), ORDER))
    cells = sky.cells_in_cone(ra, dec, 2.0, GENERATION_ORDER)
    parts = [bright_stars_of_cell(c, 1, SimulationSettings().infrared) for c in map(int, cells)]
    ra, dec, mag, _ = (np.concatenate(column) for column in zip(*parts, strict=True))
    name = [f"star {n}" for n in range(ra.size)]
    return pd.DataFrame({"name": name, "ra_deg": ra, "dec_deg": dec, "mag": mag})


def test_a_table_of_the_simulated_stars_masks_the_brightest_pixels(raw):
    columns = {"ra_deg": "ra", "dec_deg": "dec", "mag": "W1"}
    mask = TypeAdapter(MaskSettings).validate_python(
        {"kind": "stars", "use": "exclude",
         "table": {"kind": "file", "path": "t", "format": "csv", "columns": columns},
         "radius": {"kind": "points", "source": "a test", "points": [[2, 8.0], [12, 0.25]]}}
    )  # fmt: skip
    rows, counts = regions_of(mask, stars(), "simulated stars")
    assert counts["with a mask"] + counts["too small"] == counts["rows"] > 100
    tile = preprocess_tile(raw, PreprocessSettings(), SPEC, TileMasks(rows))
    # Half of the light of the faintest star of the table: no fainter one fills a pixel so.
    bright = tile.image[0] > 0.5 * 10 ** ((22.5 - 9.5) / 2.5)
    assert bright.sum() > 3
    assert ((tile.mask[bright] & 128) != 0).all()
    assert 0.001 < ((tile.mask & 128) != 0).mean() < 0.3


def test_the_simulations_own_plane_excludes_sky_where_the_settings_say_so(raw):
    masks = [{"kind": "source", "plane": "bright_star", "use": "exclude"}]
    plain = preprocess_tile(raw, PreprocessSettings(), SPEC)
    tile = preprocess_tile(raw, PreprocessSettings(masks=masks), SPEC)
    np.testing.assert_array_equal((tile.mask & 128) != 0, (plain.mask & 4) != 0)
    y, x = np.argwhere((tile.mask & 130) == 128)[0]
    for image, expected in ((plain, {0, 3}), (tile, {4})):
        bad = (image.mask & 131) != 0
        place = np.array([float(x)]), np.array([float(y)])
        found = reasons(
            bad, image.mask, *place, window_px=1, min_valid_fraction=0.5, bad_planes=131
        )
        assert set(found.tolist()) <= expected
