"""What the selection function reads of its probes."""

import pandas as pd

from clusterscan.core.fingerprint import file_sha256
from clusterscan.core.records import BlockManifest, TileRecord
from clusterscan.flow.products import Products
from clusterscan.formats.tables import write_table
from clusterscan.selection.stage import maps_of


def probed(products, tile, value):
    """Write the map and the manifest of one probed tile, which is a block of its own."""
    run = products.folder.selection_run
    shard = run.root / f"maps/inverted/{tile}.parquet"
    write_table(shard, pd.DataFrame({"act/net": [value]}))
    path, size = shard.relative_to(run.root).as_posix(), shard.stat().st_size
    record = TileRecord(tile, "ok", "f", path, size, file_sha256(shard))
    manifest = BlockManifest("probe", 1, "inverted", 6, tile, 6, (record,))
    manifest.write(run.manifest("probe", "inverted", f"o6-{tile}"))


def test_probes_of_an_earlier_larger_footprint_are_not_read(tmp_path):
    products = Products(tmp_path, (17681, 17683), 6, 6, 7)
    for tile in (17681, 17683, 17686):
        probed(products, tile, float(tile))
    maps = maps_of(products, "inverted", [17681, 17683], [("act", "net")])
    assert sorted(maps[("act", "net")]) == [17681, 17683]
