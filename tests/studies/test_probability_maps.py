"""Small maps: which places, where their cells lie, and what is missing."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS

from clusterscan.core import sky
from clusterscan.formats.tile_image import TileImage
from clusterscan.train.examples import Examples, View
from clusterscan_studies.config.extras import ProbabilityMapSettings
from clusterscan_studies.extras.pages import map_pictures
from clusterscan_studies.extras.probability_maps import (
    Field,
    choose_fields,
    grid,
    map_fields,
    picture,
    probability_map,
)

SETTINGS = ProbabilityMapSettings(
    experiments=("net",), clusters=3, random=2, stars=1, side_arcmin=10.0, cells=5
)


def listed(number: int = 40) -> Examples:
    rng = np.random.default_rng(2)
    kinds = np.array(["known", "random", "star", "offset"])[np.arange(number) % 4]
    names = np.where(kinds == "random", "", np.array([f"o{n}" for n in range(number)]))
    images = np.zeros((number, 1, 4, 4), np.float16)
    return Examples(
        views=(View("s", images, ("g",), 1.0, "", np.ones(number, bool)),),
        label=(kinds == "known").astype(np.int64),
        classes=("other", "cluster"),
        split=np.array(["train", "validation", "test"])[rng.integers(0, 3, number)],
        kind=kinds,
        example_id=np.array([f"e{n}" for n in range(number)]),
        object_id=names,
        ra_deg=rng.uniform(10, 30, number),
        dec_deg=rng.uniform(-5, 5, number),
        redshift=np.full(number, np.nan),
        weight=np.ones(number, np.float32),
    )


def test_fields_are_places_that_no_network_has_learnt_from_and_do_not_follow_the_rows_order():
    examples = listed()
    fields = choose_fields(examples, SETTINGS, tile_order=5)
    assert [field.kind for field in fields] == ["known"] * 3 + ["random"] * 2 + ["star"]
    part = dict(zip(examples.ra_deg, examples.split, strict=True))
    assert all(part[field.ra_deg] != "train" for field in fields)
    tested = (examples.split == "test") & (examples.kind == "known")
    count = min(int(tested.sum()), 3)
    assert sum(part[field.ra_deg] == "test" for field in fields[:3]) == count
    order = np.random.default_rng(1).permutation(len(examples))
    shuffled = replace(
        examples,
        **{
            key: getattr(examples, key)[order]
            for key in ("split", "kind", "example_id", "object_id", "ra_deg", "dec_deg")
        },
    )
    assert choose_fields(shuffled, SETTINGS, tile_order=5) == fields


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.99, 60.0), (120.0, -85.0)])
def test_cells_are_evenly_spaced_with_north_up_and_east_to_the_left(ra, dec):
    found_ra, found_dec = grid(ra, dec, side_arcmin=10.0, cells=5)
    middle = (found_ra[2, 2], found_dec[2, 2])
    assert sky.separation_deg(*middle, ra, dec) < 1e-9
    assert found_dec[4, 2] > found_dec[0, 2]
    east = (found_ra[2, 0] - ra + 180) % 360 - 180
    assert east > 0
    for place in ((0, 2), (4, 2), (2, 0), (2, 4)):
        distance = 60 * sky.separation_deg(found_ra[place], found_dec[place], ra, dec)
        assert distance == pytest.approx(5.0, rel=1e-4)


def tile(side: int = 41, scale_arcmin: float = 0.5) -> TileImage:
    """Return an image whose value is the distance east of its centre [arcmin]."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [50.0, 10.0], [(side + 1) / 2] * 2
    wcs.wcs.cdelt = [-scale_arcmin / 60, scale_arcmin / 60]
    east = -scale_arcmin * (np.arange(side) - (side - 1) / 2)
    image = np.broadcast_to(east, (1, side, side)).astype(np.float32)
    return TileImage(image, np.zeros((side, side), np.uint8), wcs, "nanomaggy", ("g",))


def test_a_map_reads_the_tile_at_its_cells_and_is_empty_beyond_the_image():
    def east_of_centre(image, x, y):
        outside = (x < -0.5) | (x > 40.5)
        return np.where(outside, np.nan, -0.5 * (x - 20.0))

    settings = SETTINGS.model_copy(update={"side_arcmin": 8.0})
    found = probability_map(tile(), Field("known", "a", 50.0, 10.0), east_of_centre, settings)
    np.testing.assert_allclose(found, np.tile([4.0, 2.0, 0.0, -2.0, -4.0], (5, 1)), atol=1e-3)
    wide = settings.model_copy(update={"side_arcmin": 40.0})
    beyond = probability_map(tile(), Field("known", "a", 50.0, 10.0), east_of_centre, wide)
    assert np.isnan(beyond[:, 0]).all()
    assert np.isfinite(beyond[:, 2]).all()


def test_the_picture_of_a_field_has_east_on_the_left_and_no_data_beyond_the_image():
    shown = picture(tile(), Field("known", "a", 50.0, 10.0), side_arcmin=30.0, pixels=31)
    assert np.isnan(shown[0, 15, 0])
    assert shown[0, 15, 8] > 0 > shown[0, 15, 22]


def test_every_kind_of_place_gets_a_figure_that_is_always_the_same(monkeypatch, tmp_path):
    from clusterscan_studies.extras import probability_maps

    monkeypatch.setattr(
        probability_maps, "scanner", lambda folder: lambda image, x, y: np.full(x.shape, 0.5)
    )
    fields = [Field("known", "a", 50.0, 10.0), Field("star", "b", 50.02, 10.0)]
    images = [tile(), tile()]
    found = map_fields(images, fields, {"Net": tmp_path}, SETTINGS, lambda *_: None)
    assert found["maps"]["Net"].shape == (2, 5, 5)
    arguments = ("sky", fields, found["images"], found["maps"], 10.0, "nanomaggy")
    drawn = map_pictures(*arguments)
    assert ["clusters" in p.alt for p in drawn] == [True, False]
    assert drawn == map_pictures(*arguments)
