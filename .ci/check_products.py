"""Check the main job's products as a reader would open them, and its headline figures."""

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable import validate
from astropy.table import Table
from mocpy import MOC

MIN_NETWORK_LEAD = 0.0  # completeness at equal purity, networks minus plain filter
FULL_SKY_DEG2 = 4 * np.pi * np.degrees(1) ** 2
CONE_DEG = 0.5


def main(root: Path) -> None:
    """Open every product and fail with a message if one is wrong."""
    summary = json.loads((root / "summary.json").read_text())
    rows = check_products(root)
    html = (root / "report.html").read_text(encoding="utf-8")
    for outside in ("src='http", 'src="http', 'href="http', "url(http"):
        assert outside not in html, f"the report is not self-contained: {outside}"
    for model in (f for f in (root / "models").iterdir() if f.is_dir()):
        for name in ("weights.safetensors", "model.json", "history.json"):
            assert (model / name).is_file(), f"{model / name} is missing"
    for properties in root.glob("maps/*/*/properties"):
        assert list(properties.parent.glob("Norder*/Dir*/Npix*.fits")), properties
    networks, plain = (summary[key]["completeness"] for key in ("networks", "filter_baseline"))
    print(f"{rows} objects; completeness {networks:.3f}, plain filter {plain:.3f}")
    assert networks > plain + MIN_NETWORK_LEAD, "the networks do not beat the plain filter"
    for line in summary["headline"]:
        print(line)


def check_products(root: Path) -> int:
    """Check the products of a run with independent tools; return the catalogue's row count."""
    check_fits(root)
    table = check_tables(root)
    check_area(root)
    check_hats(root, table)
    check_regions(root, table)
    check_published(root)
    return len(table)


def check_fits(root: Path) -> None:
    """Check all FITS files against the standard, and the checksums of tables."""
    paths = [*root.glob("catalogue/*.fits"), *root.glob("maps/*/*/**/*.fits")]
    assert paths, "there is no FITS product"
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # astropy warns of wrong checksums
            with fits.open(path, checksum=True) as hdus:
                hdus.verify("exception")
                needs_sum = path.parent.name == "catalogue" or path.name == "Moc.fits"
                if needs_sum:
                    assert all("CHECKSUM" in hdu.header for hdu in hdus), f"{path}: no checksum"


def check_tables(root: Path) -> Table:
    """Check that all formats of the catalogue are valid and hold the same rows."""
    folder = root / "catalogue"
    table = Table.read(folder / "clusters.fits")
    assert len(table) > 0, "the catalogue is empty"
    said = io.StringIO()
    assert validate(folder / "clusters.vot", output=said), said.getvalue()
    votable = Table.read(folder / "clusters.vot")
    parquet = pd.read_parquet(folder / "clusters.parquet")
    csv = pd.read_csv(folder / "clusters.csv")
    for form in (votable, parquet, csv):
        assert list(form["name"]) == list(table["name"])
        assert np.array_equal(np.asarray(form["ra_deg"]), np.asarray(table["ra_deg"]))
    for field in pq.read_schema(folder / "clusters.parquet"):
        assert {b"unit", b"ucd", b"description"} <= set(field.metadata), field.name
    return table


def check_area(root: Path) -> None:
    """Check that the MOC of the searched sky has the area that all headers give."""
    moc = MOC.from_fits(str(root / "catalogue/searched_moc.fits"))
    area = moc.sky_fraction * FULL_SKY_DEG2
    for name in ("clusters.fits", "forced.fits", "searched_moc.fits"):
        said = fits.getheader(root / "catalogue" / name, 1)["AREADEG2"]
        assert abs(said - area) < 2e-6, f"{name}: AREADEG2 = {said}, its MOC has {area:.6f} deg2"
    cards = json.loads(pq.read_schema(root / "catalogue/clusters.parquet").metadata[b"clusterscan"])
    assert abs(cards["AREADEG2"] - area) < 2e-6


def check_hats(root: Path, table: Table) -> None:
    """Check that the HATS collection is valid, and that LSDB finds the same rows as astropy."""
    from hats.io.validation import is_valid_catalog

    folder = root / "catalogue/hats"
    assert is_valid_catalog(folder, strict=True), f"{folder}: not a valid HATS collection"
    centre = SkyCoord(table["ra_deg"][0], table["dec_deg"][0], unit="deg")
    places = SkyCoord(table["ra_deg"], table["dec_deg"], unit="deg")
    expected = set(table["name"][places.separation(centre) < CONE_DEG * u.deg])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings inside LSDB
        import lsdb

        catalogue = lsdb.open_catalog(folder)
        cone = catalogue.cone_search(centre.ra.deg, centre.dec.deg, 3600 * CONE_DEG)
        found = cone.compute(progress_bar=False)
    assert len(found) == len(expected), f"{len(found)} rows in a cone, not {len(expected)}"
    assert set(found["name"]) == expected


def check_regions(root: Path, table: Table) -> None:
    """Check that the regions can be read and lie at the objects."""
    from regions import Regions

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # warnings about lines that are not regions
        circles = Regions.read(root / "catalogue/clusters.reg", format="ds9")
    assert [c.meta["text"] for c in circles] == list(table["name"])
    places = SkyCoord([c.center for c in circles])
    own = SkyCoord(table["ra_deg"], table["dec_deg"], unit="deg")
    assert places.separation(own).max() < 0.001 * u.arcsec


def check_published(root: Path) -> None:
    """Check that the folder to share is complete, self-contained and described."""
    from rocrate.rocrate import ROCrate

    folder = root / "published"
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    named = {s[66:] for s in (folder / "SHA256SUMS").read_text().splitlines()} | {"SHA256SUMS"}
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    assert named == present, f"not in both folder and checksums: {named ^ present}"
    assert not any(path.is_symlink() for path in folder.rglob("*")), "a link may lead outside"
    for entity in ROCrate(folder).data_entities:
        assert (folder / entity.id).exists(), f"the crate names {entity.id}, which is not there"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
