"""Fusion networks on tiles, against the same network on crops."""

import numpy as np
import pytest
import torch

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.scan import ScanSettings
from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.formats.tile_image import TileImage
from clusterscan.networks.card import save_model
from clusterscan.networks.registry import build
from clusterscan.scan.fusion_scan import SurveyTile, scan_fusion_tile
from clusterscan.scan.scanners import fusion_scanner
from clusterscan.scan.validity import first_pixel
from clusterscan.scan.windowed_scan import cut

UNCHANGED = {"kind": "standard", "softening": 1.0, "median": [0.0], "sigma": [1.0]}
CARD = {"views": [{"normalisation": UNCHANGED}] * 2}
BRANCHES = {
    "unwise": NetworkSettings(size_px=40, window_px=8, output_stride=4),
    "act": NetworkSettings(size_px=32, window_px=16, output_stride=2, name="baseline"),
}


@pytest.fixture(scope="module")
def network():
    settings = FusionSettings(branches=BRANCHES, hidden=8, dropout=0.0)
    return build(settings, (1, 1), seed=1).eval()


def tiles():
    """Two surveys of the same sky: the second has pixels twice as large."""
    rng = np.random.default_rng(1)
    # Places at the middle of pixels of both, and on both dense grids.
    x, y = (v.ravel() for v in np.meshgrid(59.5 + 4 * np.arange(4), 63.5 + 4 * np.arange(3)))
    fine = rng.normal(size=(1, 140, 140)).astype(np.float32)
    coarse = rng.normal(size=(1, 90, 90)).astype(np.float32)
    masks = (np.zeros(image.shape[1:], np.uint8) for image in (fine, coarse))
    return [
        SurveyTile(fine, next(masks), x, y),
        SurveyTile(coarse, next(masks), (x - 0.5) / 2 + 10.0, (y - 0.5) / 2 + 10.0),
    ]


def of_crops(network, both, present):
    """What the network says of crops at the nearest pixels."""
    views = []
    for tile, size in zip(both, network.sizes_px, strict=True):
        columns, rows = first_pixel(tile.x, size), first_pixel(tile.y, size)
        places = zip(columns.tolist(), rows.tolist(), strict=True)
        views.append(
            torch.from_numpy(np.stack([cut(tile.image, c, r, size, size) for c, r in places]))
        )
    has = torch.tensor([present] * len(both[0].x))
    with torch.inference_mode():
        return torch.sigmoid(network.of_views(views, has)).numpy()


def how(engine):
    return [ScanSettings(engine=engine, step_px=1, device="cpu")] * 2


@pytest.mark.parametrize("engine", ["dense", "windowed"])
@pytest.mark.parametrize("present", [(True, True), (True, False), (False, True)])
def test_a_tile_is_scanned_as_crops_are_also_where_a_survey_is_missing(network, engine, present):
    both = tiles()
    given = [t if p else None for t, p in zip(both, present, strict=True)]
    found, reason = scan_fusion_tile(network, CARD, given, how(engine))
    assert (reason == 0).all()
    np.testing.assert_allclose(found, of_crops(network, both, present), atol=1e-4)


def test_each_survey_is_left_out_where_its_own_window_is_bad(network):
    both = tiles()
    both[1].mask[:] = 1
    without, reason = scan_fusion_tile(network, CARD, [both[0], None], how("dense"))
    masked, same = scan_fusion_tile(network, CARD, both, how("dense"))
    np.testing.assert_array_equal(masked, without)
    np.testing.assert_array_equal(same, reason)
    both[0].mask[:] = 2
    nothing, why = scan_fusion_tile(network, CARD, both, how("dense"))
    assert np.isnan(nothing).all()
    assert (why == 2).all()


@pytest.mark.parametrize("present", [("unwise", "act"), ("unwise",), ("act",)])
def test_the_workflows_scanner_reads_tiles_on_their_own_grids_with_one_missing(
    network, present, tmp_path
):
    """As the function that the other tests judge, given the same images and map pixels."""
    common = {"bands": ["b"], "unit": "", "normalisation": UNCHANGED}
    scales = {"unwise": 20.0, "act": 40.0}
    views = [{"survey": s, "pixel_scale_arcsec": p, **common} for s, p in scales.items()]
    save_model(tmp_path, network, {"views": views, "classes": ["other", "cluster"]})
    rng = np.random.default_rng(5)
    images = {}
    for survey, scale in scales.items():
        wcs, shape = sky.tile_frame(17681, 6, scale, 20.0)
        image = rng.normal(size=(1, *shape)).astype(np.float32)
        images[survey] = TileImage(image, np.zeros(shape, np.uint8), wcs, "", ("b",))
    ra, dec = sky.map_pixels(17681, 6, 9)
    given = {s: images[s] for s in present}
    settings = ScanSettings(step_px=1, device="cpu")
    scanner = fusion_scanner(tmp_path / "model.json", dict.fromkeys(images, settings))
    found, reason = scanner(given, ra, dec)
    assert (reason == 0).all()
    surveys = [
        SurveyTile(t.image, t.mask, *t.to_pixel(ra, dec)) if t else None
        for t in (given.get("unwise"), given.get("act"))
    ]
    expected, _ = scan_fusion_tile(network, CARD, surveys, [settings] * 2)
    # An untrained network says much the same everywhere, so what counts is the scatter.
    np.testing.assert_allclose(found, expected, atol=0.02 * np.ptp(expected))


def test_a_tile_for_every_survey_or_none_is_asked_for(network):
    both = tiles()
    with pytest.raises(ImageError, match="joins unwise, act: give a tile"):
        scan_fusion_tile(network, CARD, both[:1], how("dense")[:1])
    with pytest.raises(ImageError, match="but not everywhere"):
        scan_fusion_tile(network, CARD, [None, None], how("dense"))
