"""Footprints from files have the tiles that other tools find."""

import gzip

import healpy as hp
import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from mocpy import MOC

from clusterscan.catalogs.reading import read_catalogue
from clusterscan.config.catalogs import PublishedCatalogue
from clusterscan.config.load import load_config
from clusterscan.config.searched_sky import CatalogueCells, MaskFile, MocFile, Overlap
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.flow.footprint import footprint_tiles, run_tiles
from clusterscan.flow.stage_settings import catalogue_source

CENTRES = {"RA 0": (0.3, 4.0), "pole": (40.0, 88.0), "anywhere": (200.0, -33.0)}
RADIUS = 6.0
NSIDE = 128


def mask(path, **values):
    return MaskFile(kind="mask", path=str(path), **values)


def tiles_in_disc(centre, order, radius):
    middle = hp.ang2vec(*centre, lonlat=True)
    return set(
        hp.query_disc(2**order, middle, np.radians(radius), inclusive=True, nest=True, fact=64)
    )


def disc_image(path, centre, projection):
    step = 0.4
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.cdelt = [-step, step]
    wcs.wcs.crval = [0.0, 0.0] if projection != "ARC" else list(centre)
    shape = (47, 47) if projection == "ARC" else (451, 900)
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    if projection == "CEA":
        wcs.wcs.set_pv([(2, 1, 1.0)])
        wcs.wcs.cdelt = [-step, 180 / np.pi / 225]
    y, x = np.indices(shape)
    ra, dec = wcs.pixel_to_world_values(x.ravel(), y.ravel())
    good = np.zeros(ra.size)
    on = np.isfinite(ra) & np.isfinite(dec)
    good[on] = sky.separation_deg(ra[on], dec[on], *centre) < RADIUS
    fits.PrimaryHDU(good.reshape(shape).astype(np.float32), wcs.to_header()).writeto(path)


@pytest.mark.parametrize(
    ("projection", "place", "order"),
    [("CAR", "RA 0", 5), ("CEA", "anywhere", 5), ("ARC", "pole", 6), ("ARC", "RA 0", 5)],
)
def test_a_mask_image_gives_the_tiles_of_its_disc(tmp_path, projection, place, order):
    disc_image(tmp_path / "mask.fits", CENTRES[place], projection)
    found = set(footprint_tiles(mask(tmp_path / "mask.fits"), order))
    slack = 0.6  # a pixel and a half
    assert tiles_in_disc(CENTRES[place], order, RADIUS - slack) <= found
    assert found <= tiles_in_disc(CENTRES[place], order, RADIUS + slack)


@pytest.mark.parametrize("kind", ["RING", "EXPLICIT", "galactic", "gzip"])
def test_a_healpix_mask_gives_the_tiles_of_its_disc(tmp_path, kind):
    centre, nest = CENTRES["anywhere"], kind == "EXPLICIT"
    where = SkyCoord(*centre, unit="deg")
    lon, lat = (where.galactic.l.deg, where.galactic.b.deg) if kind == "galactic" else centre
    middle = hp.ang2vec(lon, lat, lonlat=True)
    values = np.full(hp.nside2npix(NSIDE), hp.UNSEEN if kind == "EXPLICIT" else 0.0)
    values[hp.query_disc(NSIDE, middle, np.radians(RADIUS), nest=nest)] = 1.0
    hp.write_map(
        tmp_path / "mask.fits", values, nest=nest, partial=kind == "EXPLICIT",
        coord="G" if kind == "galactic" else "C", dtype=np.float32,
    )  # fmt: skip
    path = tmp_path / "mask.fits"
    if kind == "gzip":
        path = tmp_path / "mask.fits.gz"
        path.write_bytes(gzip.compress((tmp_path / "mask.fits").read_bytes()))
    found = set(footprint_tiles(mask(path), 5))
    assert tiles_in_disc(centre, 5, RADIUS - 0.7) <= found
    assert found <= tiles_in_disc(centre, 5, RADIUS + 0.7)


def test_a_mask_without_anything_inside_is_an_error_and_so_is_no_mask(tmp_path):
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "nowhere.fits")
    with pytest.raises(SourceError, match="no celestial WCS"):
        footprint_tiles(mask(tmp_path / "nowhere.fits"), 5)
    disc_image(tmp_path / "mask.fits", CENTRES["anywhere"], "ARC")
    with pytest.raises(SourceError, match="leaves no tile; no value above 2 was seen"):
        footprint_tiles(mask(tmp_path / "mask.fits", above=2.0), 5)
    (tmp_path / "text.fits").write_text("no")
    with pytest.raises(SourceError, match="not a mask"):
        footprint_tiles(mask(tmp_path / "text.fits"), 5)
    with pytest.raises(SourceError, match="not a MOC"):
        footprint_tiles(MocFile(kind="moc", path=str(tmp_path / "text.fits")), 5)


def test_a_moc_gives_the_tiles_that_it_touches_and_their_exact_parts(tmp_path):
    # Of tile 7 of order 3 three quarters, of tile 9 one 4096th.
    moc = MOC.from_healpix_cells(
        np.array([28, 29, 30, 9 * 4096 + 17], dtype=np.uint64), np.array([4, 4, 4, 9]), max_depth=9
    )
    moc.save(str(tmp_path / "m.fits"), format="fits")
    for least, expected in ((0.0, [7, 9]), (1 / 4096, [7, 9]), (0.001, [7]), (0.75, [7])):
        moc_file = MocFile(kind="moc", path=str(tmp_path / "m.fits"), min_fraction=least)
        assert footprint_tiles(moc_file, 3) == expected
    with pytest.raises(SourceError, match="min_fraction"):
        footprint_tiles(MocFile(kind="moc", path=str(tmp_path / "m.fits"), min_fraction=0.8), 3)


def test_real_mocs_touch_the_tiles_that_mocpy_says(real_data):
    for name in ("moc_north.moc.fits", "P-GALEXGR6-AIS-FUV.fits"):
        path = real_data / "footprints" / name
        theirs = MOC.load(str(path), format="fits").degrade_to_order(5).flatten()
        assert footprint_tiles(MocFile(kind="moc", path=str(path)), 5) == sorted(theirs.tolist())


def test_the_real_mask_of_actpol_covers_the_area_of_its_pixels(real_data):
    """In CEA all pixels are as large as the first: 0.5' × 0.5'."""
    path = real_data / "footprints/surveyMask.fits.gz"
    area = (fits.getdata(path) > 0).sum() * (0.5 / 60) ** 2
    half = footprint_tiles(mask(path, min_fraction=0.5), 5)
    assert len(half) * sky.cell_area_deg2(5) == pytest.approx(area, rel=0.02)  # borders cancel


def test_the_cells_of_act_dr5s_clusters_are_its_survey(real_data):
    """Hilton et al. 2021, ApJS 253, 3: 4195 clusters in 13,211 deg2."""
    path = str(real_data / "clusters/aactpol.csv.gz")
    cells = CatalogueCells(kind="catalogue", layout="act_dr5", path=path, order=4)
    found = footprint_tiles(cells, 5)
    table = read_catalogue(PublishedCatalogue(kind="act_dr5", name="act", path=path)).table
    owners = sky.owning_cell(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), 5)
    assert set(owners.tolist()) <= set(found)
    # Of cells with 4 clusters in the mean some hold none, and some reach over the border.
    assert len(found) * sky.cell_area_deg2(5) == pytest.approx(13211, rel=0.1)
    fewer = footprint_tiles(cells.model_copy(update={"min_objects": 2}), 5)
    assert set(fewer) < set(found)


def test_an_overlap_is_what_all_share(tmp_path):
    disc_image(tmp_path / "mask.fits", CENTRES["anywhere"], "ARC")
    cone = {"kind": "cone", "ra_deg": 204.0, "dec_deg": -33.0, "radius_deg": 5.0}
    both = Overlap(kind="overlap", of=[mask(tmp_path / "mask.fits"), cone])
    parts = [set(footprint_tiles(part, 5)) for part in both.of]
    assert set(footprint_tiles(both, 5)) == parts[0] & parts[1]
    assert parts[0] & parts[1]
    far = Overlap(kind="overlap", of=[cone | {"dec_deg": 33.0}, cone])
    with pytest.raises(SourceError, match="share no tile"):
        footprint_tiles(far, 5)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"NSIDE": 12}, "NSIDE = 12 is not a power of two"),
        ({"ORDERING": "FOO"}, "ORDERING = 'FOO'.*write NESTED or RING"),
        ({"COORDSYS": " "}, "does not state its frame; give the setting frame"),
    ],
)
def test_a_healpix_mask_that_cannot_be_placed_says_what_to_mend(tmp_path, header, words):
    table = fits.BinTableHDU.from_columns([fits.Column("M", "E", array=np.ones(12 * 16**2))])
    table.header.update({"NSIDE": 16, "ORDERING": "RING", "COORDSYS": "C"} | header)
    table.writeto(tmp_path / "mask.fits")
    with pytest.raises(SourceError, match=words):
        footprint_tiles(mask(tmp_path / "mask.fits"), 3)


def test_a_configuration_is_checked_without_its_files_and_a_changed_file_changes_its_tiles(
    mini_text, tmp_path
):
    path = tmp_path / "mask.fits"
    text = yaml.safe_load(mini_text(output=str(tmp_path / "run")))
    text["sky"]["footprint"] = {"kind": "mask", "path": str(path)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    config = load_config([tmp_path / "config.yaml"])
    with pytest.raises(SourceError, match=r"mask\.fits"):
        run_tiles(config.sky)
    disc_image(path, CENTRES["anywhere"], "ARC")
    first = run_tiles(config.sky)
    name = config.catalogs[0].name
    made_of = catalogue_source(config, name)
    path.unlink()
    disc_image(path, CENTRES["RA 0"], "ARC")
    assert not set(first) & set(run_tiles(config.sky))
    assert catalogue_source(config, name) != made_of  # simulated catalogues cover the footprint
