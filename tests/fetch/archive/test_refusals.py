"""Settings and files that do not say what they must are refused in words."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from clusterscan.config.image_sources import ArchiveSource
from clusterscan.core.errors import SourceError


def test_files_that_do_not_belong_together_are_named(tmp_path, tile_at, archive, fetch, coadd):
    (tmp_path / "a.fits").write_bytes(coadd(10.0, 0.0, 1.0))
    (tmp_path / "w.fits").write_bytes(coadd(10.0, 0.0, 1.0, side=60))
    tile = tile_at(10.0, 0.0)
    band = {"image": str(tmp_path / "a.fits")}

    def attempt(**changes):
        source = archive(tmp_path, {"f": {**band, **changes}}, unit="count")
        return fetch(source, tile, tmp_path / "raw.fits")

    with pytest.raises(SourceError, match="same grid"):
        attempt(weight=str(tmp_path / "w.fits"))
    with pytest.raises(SourceError, match="no conversion from 'Vega nanomaggies' to 'count'"):
        attempt()
    with pytest.raises(SourceError, match="band's `extension`"):
        attempt(extension="SCI")
    with pytest.raises(SourceError, match=r"there is no .*gone\.fits"):
        attempt(image=str(tmp_path / "gone.fits"))
    assert attempt(scale_by=2.0).status == "ok"


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"files": {"f": {"image": "a-{tile}.fits"}}}, "`atlas` is needed"),
        ({"files": {"f": {"image": "{id}.fits"}}}, "is not a placeholder"),
        ({"files": {"f": {"image": "a", "weight": "b"}}, "format": "healpix"}, "no further files"),
        ({"files": {"f": {"image": "a"}}, "atlas": {"table": "t"}}, "must name"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        ArchiveSource(kind="archive", **values)


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("CRVAL1", None, "lacks a number for CRVAL1"),
        ("CRVAL2", "abc", "lacks a number for CRVAL2"),
        ("CRPIX1", None, "lacks a number for CRPIX1"),
        ("CDELT2", None, "lacks a number for CDELT2"),
        ("CDELT1", 0.0, "a damaged celestial WCS"),
        ("CTYPE1", None, "celestial WCS"),
    ],
)
def test_an_image_that_does_not_say_its_place_is_an_error_and_not_at_ra_0_dec_0(
    tmp_path, keyword, value, words, tile_at, archive, fetch, car_wcs
):
    header = car_wcs("icrs").to_header()
    del header[keyword]
    if value is not None:
        header[keyword] = value
    path = tmp_path / "map.fits"
    fits.PrimaryHDU(np.ones((361, 720), np.float32), header).writeto(path)
    source = archive(tmp_path, {"f150": path})
    with pytest.raises(SourceError, match=rf"map\.fits: .*{words}"):
        fetch(source, tile_at(100.0, 1.0), tmp_path / "raw.fits")


@pytest.mark.filterwarnings("ignore:Error validating header")
def test_a_gzip_file_whose_header_ends_too_soon_is_named(tmp_path, tile_at, archive, fetch, coadd):
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(coadd(10.0, 0.0, 1.0)[:1000]))
    with pytest.raises(SourceError, match=r"a\.fits\.gz: cannot be read .*restore"):
        fetch(archive(tmp_path, {"f": path}), tile_at(10.0, 0.0), tmp_path / "raw.fits")
