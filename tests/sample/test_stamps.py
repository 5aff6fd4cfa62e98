"""Examples from stamps look like the mosaic, and no test galaxy's sky is in training."""

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from clusterscan.config.sample import StampSampleSettings
from clusterscan.config.searched_sky import CellSplit
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError, ImageError
from clusterscan.fetch.stamp_files import Stamps
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.examples import read_examples, write_examples
from clusterscan.formats.tile_image import TileImage
from clusterscan.sample.leakage import find_leakage
from clusterscan.sample.stamps import central_crop, read_labels, reduce_stamp, sample_stamps

ORDER, SCALE = 12, 1.0  # tiles of 52"
TILE = 100_000_000
BANDS = ("r", "g")


@pytest.fixture
def world(tmp_path):
    """Return settings, stamps and an image of a little sky with six galaxies, one a star."""
    (tmp_path / "stamps").mkdir()
    wcs, shape = sky.tile_frame(TILE, ORDER, SCALE, 0.3)
    ra0, dec0 = sky.cell_centres(np.int64(TILE), ORDER)
    east = np.array([-12, -8, 0, 5, 10, 200]) / 3600 / np.cos(np.radians(dec0))
    north = np.array([0, 8, -14, 3, -3, 0]) / 3600
    rng = np.random.default_rng(1)
    for index in range(6):
        pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "stamps" / f"{index}.png")
    table = pd.DataFrame(
        {
            "id": [f"G{i}" for i in range(6)],
            "ra": ra0 + east,
            "dec": dec0 + north,
            "type": [3, 1, 5, 2, 9, 3],
            "file": [f"{i}.png" for i in range(6)],
            "rmag": np.arange(18.0, 24.0),
        }
    )
    table.to_csv(tmp_path / "labels.csv", index=False)
    settings = {
        "kind": "stamps",
        "size_px": 8,
        "stamps": {
            "path": str(tmp_path / "stamps"),
            "pixel_scale_arcsec": 0.25,
            "size_px": 40,
            "bands": ["i", "r", "g"],
        },
        "labels": str(tmp_path / "labels.csv"),
        "columns": {
            "object_id": "id",
            "ra_deg": "ra",
            "dec_deg": "dec",
            "class": "type",
            "member": "file",
            "rmag": "rmag",
        },
        "positive": [3, 5],
        "ignored": [9],
        "random_per_deg2": 500_000.0,
        "exclusion_arcmin": 0.1,
        "offsets_per_known": 3,
        "offset_min_arcmin": 0.05,
        "offset_max_arcmin": 0.1,
        "stars_per_deg2": 1e6,
        "star_min_value": 50.0,
    }
    planes = np.zeros((2, *shape), np.float32)
    x, y = wcs.world_to_pixel_values(ra0 + 20 / 3600 / np.cos(np.radians(dec0)), dec0)
    planes[:, round(float(y)), round(float(x))] = 2000.0  # an unlisted star
    image = TileImage(planes, np.zeros(shape, np.uint8), wcs, "display", BANDS)
    return settings, image


ALL_TRAIN = SkySplit(CellSplit(kind="cells", order=3, validation=[0], test=[1]))


def sample(world, split=ALL_TRAIN, image=True, **changes):
    settings = StampSampleSettings(**{**world[0], **changes})
    return sample_stamps(
        TILE,
        ORDER,
        world[1] if image else None,
        read_labels(settings),
        Stamps(settings.stamps),
        split,
        settings,
        bands=BANDS,
        pixel_scale_arcsec=SCALE,
        seed=1,
    )


def test_the_tile_s_own_stamps_are_labelled_by_their_class(world):
    stamps = sample(world).table.query("kind == 'stamp'").set_index("object_id")
    assert stamps["label"].to_dict() == {"G0": 1, "G1": 0, "G2": 1, "G3": 0}  # G4 ignored, G5 away
    assert stamps["rmag"].to_dict() == {"G0": 18.0, "G1": 19.0, "G2": 20.0, "G3": 21.0}
    assert stamps["class"].to_dict() == {"G0": 3, "G1": 1, "G2": 5, "G3": 2}


def test_stamps_are_averaged_with_the_survey_s_bands_and_north_up(world, tmp_path):
    found = sample(world)
    row = found.table.index[found.table["example_id"] == "stamp-G2"][0]
    pixels = np.asarray(Image.open(tmp_path / "stamps" / "2.png"), dtype=float)[::-1]
    expected = [
        [pixels[4 * y + 4 : 4 * y + 8, 4 * x + 4 : 4 * x + 8, band].mean() for x in range(8)]
        for band in (1, 2)
        for y in range(8)
    ]
    expected = np.array(expected).reshape(2, 8, 8)
    np.testing.assert_allclose(found.images[row], expected, rtol=1e-3)


def test_sky_and_offsets_keep_away_from_members_and_stars_from_all_listed(world):
    table = sample(world).table
    labels = read_labels(StampSampleSettings(**world[0]))

    def nearest(kind, objects):
        mine = table[table["kind"] == kind]
        return 60 * sky.separation_deg(
            mine["ra_deg"].to_numpy()[:, None],
            mine["dec_deg"].to_numpy()[:, None],
            objects["ra_deg"].to_numpy(),
            objects["dec_deg"].to_numpy(),
        ).min(axis=1)

    taboo = labels[labels["label"] != 0]
    assert nearest("sky", taboo).min() >= 0.1
    assert nearest("offset", taboo).min() >= 0.05 * (1 - 1e-6)
    assert len(nearest("star", labels)) == 1
    assert nearest("star", labels).min() >= 0.1
    assert (table.loc[table["kind"].isin(["sky", "star", "offset"]), "label"] == 0).all()


def test_without_an_image_only_stamps_are_left(world):
    assert set(sample(world, image=False).table["kind"]) == {"stamp"}


def test_parts_share_no_sky(world):
    finer = ORDER + 1
    cells = sky.descendants(TILE, ORDER, finer).tolist()
    split = SkySplit(CellSplit(kind="cells", order=finer, validation=cells[:1], test=cells[1:2]))
    found = sample(world, split, random_per_deg2=2_000_000.0)
    assert found.counts["dropped_guard"] > 0
    assert found.table["split"].nunique() == 3
    assert not find_leakage(found.table, 8 * SCALE / 60 * 2**0.5)


def test_examples_of_stamps_survive_writing(world, tmp_path):
    found = sample(world)
    write_examples(tmp_path / "a.parquet", found)
    again = read_examples(tmp_path / "a.parquet")
    np.testing.assert_array_equal(again.images, found.images)
    assert set(again.table["kind"]) == {"stamp", "sky", "star", "offset"}
    assert again.table.loc[again.table["kind"] == "sky", "rmag"].isna().all()


def test_labels_with_a_repeated_object_or_a_class_that_is_no_number_are_refused(world, tmp_path):
    table = pd.read_csv(tmp_path / "labels.csv")
    table.assign(id="G0").to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(CatalogueError, match="G0 appears twice"):
        sample(world)
    table.assign(type=["3", "x", "5", "2", "9", "3"]).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(CatalogueError, match=r"row 2, column type: 'x'"):
        sample(world)


def test_averaging_keeps_the_mean_and_refuses_scales_that_do_not_divide():
    stamp = np.random.default_rng(1).random((3, 40, 40))
    small = reduce_stamp(stamp, 0.1, 0.4)
    assert small.shape == (3, 10, 10)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), stamp.mean(axis=(1, 2)))
    for scale in (0.25, 0.05, 0.3):
        with pytest.raises(ImageError, match="whole pixels"):
            reduce_stamp(stamp, 0.1, scale)
    with pytest.raises(ImageError, match="lower it"):
        central_crop(small, 12)


def test_perseus_stamps_are_the_mosaic_s_own_pixels(real_data):
    folder = real_data / "images/perseus"
    settings = {
        "path": str(folder / "stamps200.zip"),
        "pixel_scale_arcsec": 0.1,
        "size_px": 200,
        "bands": ["i", "r", "g"],
    }
    stamps = Stamps(StampSampleSettings.model_fields["stamps"].annotation(**settings))
    labels = pd.read_csv(folder / "pcc_labels.csv").sample(40, random_state=2)
    with fits.open(folder / "perseus_sdss_gri_mosaic_0p4as.fits.fz") as hdus:
        x, y = WCS(hdus["R"].header).all_world2pix(labels["ra"], labels["dec"], 0)
        ours, theirs = [], []
        for column, row, member in zip(x, y, labels["stamp200"], strict=True):
            x0, y0 = round(column - 24.5), round(row - 24.5)
            here = (slice(y0, y0 + 50), slice(x0, x0 + 50))
            theirs.append([hdus[plane].section[here] for plane in "RGB"])
            ours.append(reduce_stamp(stamps.read(member), 0.1, 0.4))
    ours, theirs = np.array(ours), np.array(theirs, dtype=float)
    slope, offset = np.polyfit(theirs.ravel(), ours.ravel(), 1)
    assert slope == pytest.approx(1.0, abs=0.03)
    assert offset == pytest.approx(0.0, abs=1.0)
    for band in range(3):
        good = np.corrcoef(ours[:, band].ravel(), theirs[:, band].ravel())[0, 1]
        others = [
            np.corrcoef(ours[:, band].ravel(), theirs[:, other].ravel())[0, 1]
            for other in range(3)
            if other != band
        ]
        assert good > 0.95
        assert good > max(others)
