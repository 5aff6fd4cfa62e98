"""Check the main job's products as a reader would open them, and its headline figures."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table

MIN_NETWORK_LEAD = 0.0  # completeness at equal purity, networks minus plain filter


def main(root: Path) -> None:
    """Open every product and fail with a message where one is not what it should be."""
    summary = json.loads((root / "summary.json").read_text())
    with fits.open(root / "catalogue/clusters.fits", checksum=False) as hdus:
        hdus.verify("exception")
        rows = len(hdus[1].data)
    assert rows > 0, "the catalogue is empty"
    assert len(Table.read(root / "catalogue/clusters.vot")) == rows
    assert pq.read_metadata(root / "catalogue/clusters.parquet").num_rows == rows
    html = (root / "report.html").read_text(encoding="utf-8")
    for outside in ("src='http", 'src="http', 'href="http', "url(http"):
        assert outside not in html, f"the report is not self-contained: {outside}"
    for model in (root / "models").iterdir():
        for name in ("weights.safetensors", "model.json", "history.json"):
            assert (model / name).is_file(), f"{model / name} is missing"
    for properties in root.glob("maps/*/*/properties"):
        assert list(properties.parent.glob("Norder*/Dir*/Npix*.fits")), properties
    networks, plain = (summary[key]["completeness"] for key in ("networks", "filter_baseline"))
    print(f"{rows} objects; completeness {networks:.3f}, plain filter {plain:.3f}")
    assert networks > plain + MIN_NETWORK_LEAD, "the networks do not beat the plain filter"
    for line in summary["headline"]:
        print(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
