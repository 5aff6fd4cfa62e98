"""Positions get what the scan gives the same sky, and a status where there is no image."""

import numpy as np
import pandas as pd
import pytest
from tests.classify.conftest import (
    BANDS,
    ORDER,
    SCALE,
    TEMPERATURE,
    TILE,
    fits_bytes,
    pixels,
    run_tile,
    write_folder,
)

from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.networks.card import load_model
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.scan.windowed_scan import windowed_logits


def inside(n=6, seed=1):
    """Return positions in the covered half of the tile."""
    ra, dec = sky.cell_centres(np.array([TILE]), ORDER)
    offset = np.random.default_rng(seed).uniform(0, 8, (2, n)) / 3600
    return ra + offset[0] / np.cos(np.radians(dec)) * 0, dec + offset[1]


def catalogue(path, ra, dec, **more):
    pd.DataFrame({"name": [f"G{i}" for i in range(len(ra))], "RA": ra, "Dec": dec, **more}).to_csv(
        path, index=False
    )
    return path


def test_positions_get_the_probabilities_of_the_windowed_scan(model, tmp_path, classify):
    tile = run_tile(tmp_path / "run")
    ra, dec = inside()
    out = tmp_path / "out.parquet"
    listed = catalogue(tmp_path / "list.csv", np.broadcast_to(ra, dec.shape), dec)
    code, said = classify(
        "--model", model, "--positions", listed, "--tiles", tmp_path / "run", "--output", out
    )
    assert code == 0, said
    table = pd.read_parquet(out)
    network, card = load_model(model)
    image = apply(tile.image, Normalisation.from_json(card["views"][0]["normalisation"]))
    x, y = tile.to_pixel(np.broadcast_to(ra, dec.shape), dec)
    logits = windowed_logits(network, image, x, y, batch_size=8)
    want = 1 / (1 + np.exp(-logits / TEMPERATURE))
    assert table["status"].tolist() == ["ok"] * len(dec)
    assert table["id"].tolist() == [f"G{i}" for i in range(len(dec))]
    # The tile is float32, crops are float16 as in training.
    np.testing.assert_allclose(table["probability_member"], want, atol=2e-3)


def test_every_row_of_the_catalogue_comes_back_in_its_place(model, tmp_path, classify):
    run_tile(tmp_path / "run")
    ra, dec = (float(np.ravel(v)[0]) for v in inside(1))
    west, south = sky.cell_centres(np.array([TILE + 3]), ORDER)
    listed = catalogue(
        tmp_path / "list.csv",
        [ra, -10.0, 370.0, float(west[0]), ra - 360.0, "", ra],
        [dec, 5.0, 5.0, float(south[0]), dec, dec, 95.0],
    )
    out = tmp_path / "out.csv"
    common = ("--model", model, "--positions", listed, "--tiles", tmp_path / "run")
    code, said = classify(*common, "--output", out)
    assert code == 0, said
    table = pd.read_csv(out)
    assert table["status"].tolist() == [
        "ok",
        "outside",
        "no_position",
        "outside",
        "ok",
        "no_position",
        "no_position",
    ]
    assert table.loc[1, "ra_deg"] == 350.0
    assert table.loc[4, "ra_deg"] == pytest.approx(ra, abs=1e-9)
    assert table.loc[4, "probability_member"] == pytest.approx(table.loc[0, "probability_member"])
    assert "370" in table.loc[2, "reason"]
    assert table.loc[table["status"] != "ok", "probability_member"].isna().all()


def test_a_crop_on_uncovered_sky_and_a_damaged_tile_are_told_apart(model, tmp_path, classify):
    tile = run_tile(tmp_path / "run")
    ny, nx = tile.mask.shape
    y, x = np.mgrid[0:ny:7, 0:nx:7].reshape(2, -1)
    ra, dec = tile.wcs.pixel_to_world_values(x, y)
    own = sky.owning_cell(ra, dec, ORDER) == TILE
    listed = catalogue(tmp_path / "list.csv", ra[own], dec[own])
    out = tmp_path / "out.csv"
    common = ("--model", model, "--positions", listed, "--tiles", tmp_path / "run")
    assert classify(*common, "--output", out, "--min-valid-fraction", 1.0)[0] == 0
    status = pd.read_csv(out)["status"].to_numpy()
    # A crop is good if and only if no pixel of it lies in the uncovered corner.
    touches = (x[own] < nx // 3 + 7) & (y[own] < ny // 3 + 7)
    assert set(status[touches & (x[own] < nx // 3) & (y[own] < ny // 3)]) <= {"no_coverage"}
    assert set(status[~((x[own] < nx // 3 + 9) & (y[own] < ny // 3 + 9))]) == {"ok"}
    path = tmp_path / "run/tiles/sdss" / sky.shard_path(TILE, ORDER, ".fits")
    path.write_bytes(path.read_bytes()[:5000])
    code, said = classify(*common, "--output", out)
    assert code == 1
    assert "not a whole tile image" in said
    assert set(pd.read_csv(out)["status"]) == {"unreadable"}


def test_a_fusion_works_where_a_survey_is_missing_and_reads_no_stamps(fusion, tmp_path, classify):
    run_tile(tmp_path / "run")
    run_tile(tmp_path / "run", "xray", ("counts",), 2 * SCALE, tile=TILE + 1)
    first, second = (sky.cell_centres(np.array([t]), ORDER) for t in (TILE, TILE + 1))
    listed = catalogue(
        tmp_path / "list.csv", [*first[0], *second[0], 1.0], [*first[1], *second[1], 1.0]
    )
    out = tmp_path / "out.parquet"
    common = ("--model", fusion, "--output", out)
    code, said = classify(*common, "--positions", listed, "--tiles", tmp_path / "run")
    assert code == 0, said
    table = pd.read_parquet(out)
    assert table["status"].tolist() == ["ok", "ok", "outside"]
    assert table["surveys"].tolist() == ["sdss", "xray", ""]
    assert table["probability_cluster"].notna().tolist() == [True, True, False]
    stamps = write_folder(tmp_path / "stamps", {"a.fits": fits_bytes(pixels(1))})
    code, said = classify(*common, "--stamps", stamps)
    assert code == 1
    assert "--positions" in said


def test_tiles_of_other_bands_or_pixels_and_missing_surveys_are_refused(model, tmp_path, classify):
    run_tile(tmp_path / "bands", bands=("u", "r", "g"))
    run_tile(tmp_path / "scale", scale=2 * SCALE)
    run_tile(tmp_path / "other", survey="des")
    ra, dec = sky.cell_centres(np.array([TILE]), ORDER)
    listed = catalogue(tmp_path / "list.csv", ra, dec)
    out = tmp_path / "out.csv"
    common = ("--model", model, "--positions", listed, "--output", out, "--tiles")
    for run, told in (("bands", "'u'"), ("scale", "0.8"), ("other", "those of des")):
        code, said = classify(*common, tmp_path / run)
        assert code == 1
        assert told in said
        assert not out.exists()
    assert classify(*common, tmp_path / "other", "--surveys", "des")[0] == 0


def test_stacked_surveys_are_put_together_and_gaps_are_background(tmp_path, classify):
    from tests.classify.conftest import SETTINGS, view

    from clusterscan.config.networks import NetworkSettings
    from clusterscan.networks.card import save_model
    from clusterscan.networks.registry import build

    assert isinstance(SETTINGS, NetworkSettings)
    network = build(SETTINGS, 4, seed=1)
    card = {"views": [view("sdss+xray", (*BANDS, "counts"))], "classes": ["other", "cluster"]}
    save_model(tmp_path / "model", network, card)
    run_tile(tmp_path / "run")
    run_tile(tmp_path / "run", "xray", ("counts",), tile=TILE + 1)
    first, second = (sky.cell_centres(np.array([t]), ORDER) for t in (TILE, TILE + 1))
    listed = catalogue(tmp_path / "list.csv", [*first[0], *second[0]], [*first[1], *second[1]])
    out = tmp_path / "out.parquet"
    code, said = classify(
        "--model", tmp_path / "model", "--positions", listed, "--tiles", tmp_path / "run",
        "--output", out,
    )  # fmt: skip
    assert code == 0, said
    assert pd.read_parquet(out)["status"].tolist() == ["ok", "ok"]


def test_columns_are_found_by_their_usual_names_or_named(tmp_path):
    from clusterscan.classify.positions import read_positions

    table = pd.DataFrame({"alpha": [10.0], "DEJ2000": [20.0], "obj": [7]})
    table.to_parquet(tmp_path / "list.parquet")
    with pytest.raises(CatalogueError, match="looks like ra_deg"):
        read_positions(tmp_path / "list.parquet", {})
    found = read_positions(tmp_path / "list.parquet", {"ra_deg": "alpha", "id": "obj"})
    assert found.loc[0, ["id", "ra_deg", "dec_deg"]].tolist() == ["7", 10.0, 20.0]
    with pytest.raises(CatalogueError, match="no such file"):
        read_positions(tmp_path / "none.csv", {})
