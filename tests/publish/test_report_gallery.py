"""The gallery: the right sky, north up, with bars of round lengths, even if an image is damaged."""

import dataclasses
import shutil

import numpy as np
import pytest

from clusterscan.core import sky
from clusterscan.publish.report_gallery import (
    SIDE_PX,
    gallery_section,
    marked_picture,
    north_up_grid,
)
from clusterscan.publish.report_inputs import read_scores


def test_the_gallery_separates_true_from_false_and_survives_damaged_images(run, tmp_path):
    shutil.copytree(run.root, tmp_path / "run")
    for path in (tmp_path / "run" / "tiles").rglob("*.fits"):
        path.write_bytes(b"no FITS file")
    damaged = dataclasses.replace(run, root=tmp_path / "run")
    section = gallery_section(damaged, read_scores(run.validation), 1)
    titles = [group.title for group in section.groups]
    assert titles == ["New clusters", "Known clusters found again", "False candidates"]
    # The maps are intact, so each card still shows one picture per model.
    assert {len(card.pictures) for group in section.groups for card in group.cards} == {4}


@pytest.mark.parametrize(("ra", "dec"), [(0.01, 0.0), (359.99, 45.0), (120.0, -89.9), (10.0, 90.0)])
def test_gallerynorth_up_grids_have_north_up_east_left_and_the_right_width(ra, dec):
    width_arcmin = 12.0
    grid_ra, grid_dec = north_up_grid(ra, dec, width_arcmin)
    r = 60 * sky.separation_deg(grid_ra, grid_dec, ra, dec)
    pixel = width_arcmin / SIDE_PX
    assert r.min() == pytest.approx(pixel / 2 * np.sqrt(2), rel=1e-3)
    assert r[SIDE_PX // 2, 0] == pytest.approx(width_arcmin / 2 - pixel / 2, rel=1e-2)
    if dec < 80:
        assert grid_dec[0, SIDE_PX // 2] > grid_dec[-1, SIDE_PX // 2]
        east = (grid_ra[SIDE_PX // 2, 0] - ra + 180) % 360 - 180
        assert east > 0


@pytest.mark.parametrize(("width", "bar"), [(0.8, "10″"), (5.5, "2′"), (0.2, "2″"), (30, "10′")])
def test_bars_have_round_lengths_in_arcseconds_or_arcminutes(width, bar):
    rgb = np.zeros((SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    assert marked_picture(rgb, "sdss", width, "x").caption == f"sdss, bar {bar}"
