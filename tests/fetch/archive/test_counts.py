"""Counts over exposure keep their rate and add up."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS


def test_the_real_rosat_field_keeps_its_count_rate(
    tmp_path, real_data, tile_at, archive, fetched, positions
):
    folder = real_data / "images/rosat_a3158"
    band = {
        "image": str(folder / "b_37.fits.gz"),
        "exposure": str(folder / "expose_mask_37.fits.gz"),
        "background": str(folder / "back_37.fits.gz"),
    }
    scale = 14.947308
    source = archive(tmp_path, {"x": band}, unit="count / s", scale=scale, order=6, quantity="flux")
    cluster = SkyCoord(55.72, -53.63, unit="deg")
    raw = fetched(tmp_path, source, tile_at(cluster.ra.deg, cluster.dec.deg, 6))
    y, x, where = positions(raw)
    got = raw.image[0, y, x][where.separation(cluster).arcmin < 8].sum()
    counts, exposure, background = (
        fits.getdata(band[part]).astype(float) for part in ("image", "exposure", "background")
    )
    header = fits.getheader(band["image"])
    header.rename_keyword("RADECSYS", "RADESYS")
    wcs = WCS(header).celestial
    yy, xx = np.nonzero(exposure > 0)
    near = wcs.pixel_to_world(xx, yy).separation(cluster).arcmin < 8
    rate = ((counts - background) / np.where(exposure > 0, exposure, 1))[yy, xx]
    assert got == pytest.approx(rate[near].sum(), rel=0.01)
    assert got > 0.5  # a bright cluster


def test_pointings_of_unlike_exposure_add_up_as_counts_do(
    tmp_path, tile_at, archive, fetched, coadd
):
    for number, (rate, seconds) in enumerate(((2.0, 100.0), (4.0, 300.0))):
        stem = tmp_path / f"p{number}p000"
        for part, value in (("img", rate * seconds), ("exp", seconds)):
            stem.with_suffix(f".{part}.fits").write_bytes(coadd(10.0, 0.0, value, unit="count"))
    table = {"coadd_id": ["p0p000", "p1p000"], "ra": [10.0] * 2, "dec": [0.0] * 2}
    Table(table).write(tmp_path / "t.csv")
    stem = str(tmp_path / "{tile}")
    source = archive(
        tmp_path,
        {"x": {"image": stem + ".img.fits", "exposure": stem + ".exp.fits"}},
        unit="count / s",
        scale=60.0,
        order=6,
        atlas={"table": str(tmp_path / "t.csv"), "size_px": 120, "pixel_scale_arcsec": 60.0},
        quantity="flux",
    )
    raw = fetched(tmp_path, source, tile_at(10.0, 0.0, 6))
    values = raw.image[0][raw.mask == 0]
    np.testing.assert_allclose(values, (200.0 + 1200.0) / 400.0, rtol=1e-3)
