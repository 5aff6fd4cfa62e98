"""The comparison with nemo: its maps hold our pixels untouched, its positions come back right."""

import importlib.util
import sys
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from clusterscan.core import sky

FOLDER = Path(__file__).parents[2] / "benchmarks" / "against_nemo"


def script(name):
    spec = importlib.util.spec_from_file_location(f"against_nemo_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


run_nemo, compare = script("run_nemo"), script("compare")


@pytest.fixture
def tiles(tmp_path):
    """Two raw tile images that touch, as a run leaves them."""
    rng = np.random.default_rng(0)
    for tile in (4440, 4441):
        wcs, shape = sky.tile_frame(tile, 5, 30.0, 20.0)
        planes = [fits.ImageHDU(rng.normal(size=shape).astype("f4"), wcs.to_header()) for _ in "ab"]
        primary = fits.PrimaryHDU()
        primary.header["TILE"] = tile
        fits.HDUList([primary, *planes]).writeto(tmp_path / f"Npix{tile}.fits")
    return run_nemo.read_tiles(tmp_path)


def test_every_pixel_is_laid_out_once_and_untouched(tiles):
    strip, seen, at = run_nemo.lay_out(tiles)
    assert seen.sum() == sum(image[0].size for image, _ in tiles.values())
    assert not strip[:, ~seen].any()
    for tile, (image, _) in tiles.items():
        ny, nx = image.shape[1:]
        part = strip[:, run_nemo.GAP_PX : run_nemo.GAP_PX + ny, at[tile] : at[tile] + nx]
        np.testing.assert_array_equal(part, image)


def test_positions_come_back_to_the_sky_and_overlaps_count_once(tiles):
    _, seen, at = run_nemo.lay_out(tiles)
    wcs = run_nemo.strip_wcs(seen.shape, 0.5 / 60)
    ra, dec = sky.cell_centres(sky.descendants(4440, 5, 8), 8)
    places = []
    for tile, (image, frame) in tiles.items():  # both tiles see what lies in their overlap
        x, y = frame.world_to_pixel_values(ra, dec)
        ny, nx = image.shape[1:]
        inside = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)
        places.append(wcs.pixel_to_world_values(x[inside] + at[tile], y[inside] + run_nemo.GAP_PX))
    found = Table(np.concatenate(places, axis=1).T, names=["RADeg", "decDeg"])
    assert len(found) > ra.size
    for name, value in (
        ("SNR", 5.0),
        ("fixed_SNR", 4.0),
        ("template", "one"),
        ("flags", 2),
        ("ringFlag", 1),
    ):
        found[name] = value
    rows = run_nemo.on_the_sky(found, tiles, at, wcs, 5)
    assert len(rows) == ra.size
    assert {r["flags"] for r in rows} == {3}
    back = hp.ang2pix(2**8, [r["ra_deg"] for r in rows], [r["dec_deg"] for r in rows],
                      nest=True, lonlat=True)  # fmt: skip
    assert sorted(back) == sky.descendants(4440, 5, 8).tolist()
    apart = [sky.separation_deg(r["ra_deg"], r["dec_deg"], ra, dec).min() * 3600 for r in rows]
    assert max(apart) < 0.01


def test_the_beam_that_nemo_reads_has_the_surveys_width(tmp_path):
    run_nemo.write_beam(tmp_path / "beam.txt", 1.4)
    away, response = np.loadtxt(tmp_path / "beam.txt").T
    assert np.interp(0.7 / 60, away, response) == pytest.approx(0.5, abs=2e-3)
    # Solid angle of a Gaussian beam: 2 pi sigma^2, here 188 nsr.
    assert "187.9" in (tmp_path / "beam.txt").read_text().splitlines()[0]


def test_a_table_says_where_no_sample_is_pure_enough_and_where_a_ratio_has_no_bound():
    region = {
        "n_truth": 10,
        "purity_0.9": {
            "at": {"merged": {"n": 5, "n_found": 4}, "weak": {"n": 0, "n_found": 0}},
            "methods": {
                name: {"completeness": c, "low": c, "high": c}
                for name, c in (("merged", 0.4), ("weak", 0.0))
            },
            "differences": [
                {"second": "weak", "ratio": None, "ratio_low": 2.0, "ratio_high": None}
            ],
        },
    }
    lines = compare.table_of("test", region, 0.9).splitlines()
    assert lines[4] == "| merged | 5 | 4 | 40.0% (40.0% to 40.0%) | – |"
    assert lines[5] == "| weak | not reached | 0 | 0.0% (0.0% to 0.0%) | ∞ (2.00 to ∞) |"
    assert "SIMULATED" in lines[0]
