"""The real ROSAT field: photons to a network's channel, and what a map says of known clusters."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from pydantic import ValidationError

from clusterscan.config.catalogs import PublishedCatalogue
from clusterscan.core.errors import ImageError
from clusterscan.formats.tile_image import TileImage
from clusterscan_studies.config.extras import RosatFieldSettings
from clusterscan_studies.extras.pages import field_picture, field_rows, field_summary
from clusterscan_studies.extras.rosat_field import (
    RosatField,
    judged_clusters,
    known_clusters,
    peaks,
    read_field,
    with_partners,
)

DATA = Path(os.environ.get("CLUSTERSCAN_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
REAL = DATA / "images" / "rosat_a3158"
SIDE, PIXEL_ARCSEC = 120, 15.0
LISTS = (
    PublishedCatalogue(
        kind="act_dr5", name="act_dr5", path=str(DATA / "clusters" / "aactpol.csv.gz")
    ),
    PublishedCatalogue(
        kind="redmapper_des", name="des", path=str(DATA / "clusters" / "DESy3_redmapper.csv.gz")
    ),
)


def _wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [55.83, -53.73]
    wcs.wcs.crpix = [(SIDE + 1) / 2] * 2
    wcs.wcs.cdelt = [-PIXEL_ARCSEC / 3600, PIXEL_ARCSEC / 3600]
    return wcs


@pytest.fixture
def settings(tmp_path):
    """Return settings of a made-up field: flat photons, a round exposure with a hole."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    exposure = np.where(np.hypot(x, y) < 50, 3000.0, 0.0)
    exposure[40:44, 60:64] = 0.0
    counts = np.random.default_rng(0).poisson(0.3, (SIDE, SIDE)).astype(np.int16)
    for name, data in (("counts", counts), ("exposure", exposure)):
        fits.PrimaryHDU(data, _wcs().to_header()).writeto(tmp_path / f"{name}.fits")
    return RosatFieldSettings(
        experiment="net",
        counts=str(tmp_path / "counts.fits"),
        exposure=str(tmp_path / "exposure.fits"),
        catalogues=LISTS,
    )


@pytest.fixture
def mapped():
    """Return a field, a map with two bumps, and three clusters: on a bump, off it, outside."""
    y, x = np.indices((SIDE, SIDE))
    values = 0.05 + 0.8 * np.exp(-0.5 * ((x - 40) ** 2 + (y - 70) ** 2) / 9)
    values = values + 0.6 * np.exp(-0.5 * ((x - 90) ** 2 + (y - 30) ** 2) / 9)
    values[:, :5] = np.nan
    image = TileImage(
        np.ones((1, SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.uint8), _wcs(),
        "ct/arcmin2", ("xray",),
    )  # fmt: skip
    field = RosatField(image, np.ones((SIDE, SIDE)), (59.5, 59.5))
    clusters = pd.DataFrame(
        {"name": ["on", "off", "out"], "ra_deg": 55.8, "dec_deg": -53.7, "z": [0.1, np.nan, 0.5],
         "catalogue": ["a", "b", "b"], "x": [41.0, 70.0, 2.0], "y": [70.0, 90.0, 50.0]}
    )  # fmt: skip
    return field, values.astype(np.float32), clusters


def test_photons_become_counts_per_arcmin2_and_none_are_lost(settings):
    field = read_field(settings)
    inner = np.hypot(*(np.indices((SIDE, SIDE)) - (SIDE - 1) / 2)) < 44
    density = field.counts[inner].mean() / (PIXEL_ARCSEC / 60) ** 2
    assert field.image.image[0][inner].mean() == pytest.approx(density, rel=0.03)
    assert field.image.pixel_scale_arcsec == pytest.approx(PIXEL_ARCSEC, rel=1e-6)
    assert field.image.bands == ("xray",)


def test_sources_cut_out_of_the_exposure_are_seen_and_the_outside_is_not(settings):
    field = read_field(settings)
    assert (field.image.mask[40:44, 60:64] == 0).all()
    assert (field.image.mask[0] == 1).all()
    assert (field.image.image[0][field.image.mask == 1] == 0).all()


def test_exposure_and_photons_must_be_of_one_image(settings, tmp_path):
    fits.PrimaryHDU(np.ones((10, 10)), _wcs().to_header()).writeto(tmp_path / "other.fits")
    wrong = settings.model_copy(update={"exposure": str(tmp_path / "other.fits")})
    with pytest.raises(ImageError, match=r"give the exposure of the same image"):
        read_field(wrong)


def test_a_file_that_is_no_image_is_named(settings, tmp_path):
    (tmp_path / "no.fits").write_text("no image")
    with pytest.raises(ImageError, match=r"no\.fits: no FITS image"):
        read_field(settings.model_copy(update={"counts": str(tmp_path / "no.fits")}))


def test_catalogues_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="twice"):
        RosatFieldSettings(experiment="net", catalogues=(LISTS[0], LISTS[0]))


def test_a_cluster_on_a_bump_outranks_random_places(mapped, settings):
    field, values, clusters = mapped
    judged = judged_clusters(field, values, clusters, settings).set_index("name")
    assert judged.loc["on", "probability"] == pytest.approx(np.nanmax(values))
    assert judged.loc["on", "rank"] < 0.05
    # a disc of 10 px radius around the place holds no bump, as around most places
    assert judged.loc["off", "rank"] > 0.3
    assert np.isnan(judged.loc["out", "rank"])
    assert judged.loc["on", "off_axis_arcmin"] == pytest.approx(np.hypot(18.5, 10.5) / 4)
    assert judged.loc["on", "counts"] == pytest.approx(np.pi * 6**2, rel=0.1)  # 1.5 arcmin


def test_peaks_are_the_bumps_and_know_their_clusters(mapped, settings):
    field, values, clusters = mapped
    found = peaks(field, values, settings)
    assert found[["x", "y"]].to_numpy().tolist() == [[40.0, 70.0], [90.0, 30.0]]
    named = with_partners(found, clusters, 0.25, settings.match_arcmin)
    assert named["cluster"].tolist() == ["on", ""]


def test_a_flat_top_is_one_peak(mapped, settings):
    field, _, _ = mapped
    values = np.zeros((SIDE, SIDE), np.float32)
    values[50:53, 60:63] = 0.9
    assert len(peaks(field, values, settings)) == 1


def test_the_page_lists_every_cluster_and_says_how_many_stand_out(mapped, settings):
    field, values, clusters = mapped
    judged = judged_clusters(field, values, clusters, settings)
    found = with_partners(peaks(field, values, settings), judged, 0.25, settings.match_arcmin)
    rows = field_rows(judged)
    assert [row["cluster"] for row in rows] == ["on", "off", "out"]
    assert rows[1]["redshift"] is None
    assert "1 of 2 listed clusters" in field_summary(judged, found)
    assert "of 2 peaks 1 lie" in field_summary(judged, found)
    assert field_picture("net", field, values, judged, found).alt


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no ROSAT field at {REAL}")
def test_the_real_field_holds_the_clusters_that_are_known_to_lie_in_it():
    settings = RosatFieldSettings(
        experiment="net",
        counts=str(REAL / "b_37.fits.gz"),
        exposure=str(REAL / "expose_mask_37.fits.gz"),
        catalogues=LISTS,
    )
    field = read_field(settings)
    clusters = known_clusters(field, settings)
    assert clusters.groupby("catalogue").size().to_dict() == {"act_dr5": 5, "des": 24}
    abell = clusters[clusters["name"] == "ACT-CL J0342.9-5337"].iloc[0]
    top = np.unravel_index(field.image.image[0].argmax(), field.shape)
    assert np.hypot(abell["y"] - top[0], abell["x"] - top[1]) * 0.249 < 2.0
