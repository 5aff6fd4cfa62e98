"""Whatever Snakemake does not watch is found when it is gone or damaged, and made anew."""

import hashlib
import json
import os

import pytest

from clusterscan.commands.verify import forget, verify
from clusterscan.core.checksums import checksums_text
from clusterscan.core.errors import ProductError
from clusterscan.core.records import BlockManifest, TileRecord, write_record
from clusterscan.formats.training_set import read_release, release_folder, write_release

TILES = (17681, 17683)


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def block(root, stage, key, folder, suffix):
    """Write a stage's two tiles with records and manifest, as a block job leaves them."""
    records = {}
    for tile in TILES:
        path = f"{folder}/{key}/Norder6/Dir10000/Npix{tile}{suffix}"
        data = f"{stage} {tile}".encode()
        sha256 = put(root / path, data)
        records[tile] = TileRecord(tile, "ok", "f", path, len(data), sha256)
        write_record(
            root / f"records/{stage}/{key}/Norder6/Dir10000/Npix{tile}.json", records[tile]
        )
    manifest = BlockManifest(stage, 1, key, 4, 1105, 6, tuple(records.values()))
    manifest.write(root / f"manifests/{stage}/{key}/o4-1105.json")
    return records


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run: tiles, maps, a training set, a network."""
    images = block(tmp_path, "preprocess", "act", "tiles", ".fits")
    block(tmp_path, "scan", "act/net", "maps", ".fits")
    samples = block(tmp_path, "sample", "act", "samples", ".parquet")
    put(tmp_path / "catalogs/known.parquet", b"rows")
    catalogues = [tmp_path / "catalogs/known.parquet"]
    write_release(tmp_path / "releases/act.json", tmp_path, "act", "s", samples, images, catalogues)
    weights = {"file": "weights.safetensors"}
    weights["sha256"] = put(tmp_path / "models/act-net/weights.safetensors", b"weights")
    put(tmp_path / "models/act-net/model.json", json.dumps({"weights": weights}).encode())
    return tmp_path


FILES = {
    "tiles/act/Norder6/Dir10000/Npix17681.fits": "manifests/preprocess/act/o4-1105.json",
    "maps/act/net/Norder6/Dir10000/Npix17683.fits": "manifests/scan/act/net/o4-1105.json",
    "releases/act/Norder6/Dir10000/Npix17683.parquet": "releases/act.json",
    "models/act-net/weights.safetensors": "models/act-net/model.json",
}


def replace(path, data):
    """Give a path new bytes without touching other names of the old ones."""
    path.unlink()
    path.write_bytes(data)


def test_a_whole_run_has_no_fault(run):
    assert verify(run) == (2 * 4 + 1, [])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("problem", ["missing", "damaged"])
def test_a_bad_file_is_named_and_forgetting_removes_what_vouches_for_it(run, name, problem):
    data = bytearray((run / name).read_bytes())
    data[0] ^= 1  # of the same size
    replace(run / name, bytes(data)) if problem == "damaged" else (run / name).unlink()
    _, bad = verify(run)
    assert [(fault.problem, fault.path) for fault in bad] == [(problem, name)]
    others = set(FILES.values()) - {FILES[name]}
    forget(bad)
    assert not (run / name).exists()
    assert not (run / FILES[name]).exists()
    assert all((run / other).exists() for other in others)


@pytest.mark.parametrize("name", ["releases/act.json", "models/act-net/model.json"])
def test_a_list_that_cannot_be_read_is_a_fault_of_its_own(run, name):
    (run / name).write_text("{")
    assert [(fault.problem, fault.path) for fault in verify(run)[1]] == [("damaged", name)]


def test_a_broken_manifest_is_a_fault_and_the_look_goes_on(run):
    (run / "manifests/preprocess/act/o4-1105.json").write_text("{")
    (run / "models/act-net/weights.safetensors").unlink()
    checked, bad = verify(run)
    assert [(fault.problem, fault.path) for fault in bad] == [
        ("damaged", "manifests/preprocess/act/o4-1105.json"),
        ("missing", "models/act-net/weights.safetensors"),
    ]
    assert checked == 3 * 2 + 1 + 1  # the broken manifest's shards are unknown
    forget(bad)
    assert not (run / "manifests/preprocess/act/o4-1105.json").exists()


def test_the_probes_of_the_selection_function_are_looked_at(run):
    block(run / "selection", "probe", "injected", "maps", ".parquet")
    assert verify(run) == (2 * 4 + 1 + 2, [])
    shard = run / "selection/maps/injected/Norder6/Dir10000/Npix17681.parquet"
    shard.write_bytes(b"other")
    _, bad = verify(run)
    assert [(fault.problem, fault.path) for fault in bad] == [
        ("damaged", "selection/maps/injected/Norder6/Dir10000/Npix17681.parquet")
    ]
    forget(bad)
    assert not (run / "selection/manifests/probe/injected/o4-1105.json").exists()
    assert not (run / "selection/records/probe/injected/Norder6/Dir10000/Npix17681.json").exists()


@pytest.fixture
def published(run):
    """Return a run whose catalogue, selection and report are published, as copies."""
    sums = {}
    for name in ("catalogue/clusters.csv", "selection/randoms.parquet", "report.html"):
        sums[name] = put(run / "published" / name, name.encode())
        if name != "report.html":
            put(run / name, name.encode())
    put(run / "selection/selection.json", b"{}")
    (run / "published/SHA256SUMS").write_text(checksums_text(sums))
    return run


def test_published_files_and_their_products_are_looked_at(published):
    assert verify(published) == (2 * 4 + 1 + 3 + 2, [])  # the report has no product beside it


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("published/report.html", []),
        ("published/catalogue/clusters.csv", []),
        ("catalogue/clusters.csv", []),
        ("selection/randoms.parquet", ["selection/selection.json"]),
    ],
)
def test_a_product_that_is_missing_is_published_anew(published, name, gone):
    (published / name).unlink()
    _, bad = verify(published)
    assert [(fault.problem, fault.path) for fault in bad] == [("missing", name)]
    forget(bad)
    for path in ("published/SHA256SUMS", *gone):
        assert not (published / path).exists()
    assert (published / "models/act-net/model.json").exists()


def test_a_damaged_product_is_told_from_one_that_was_made_since(published):
    table = published / "selection/randoms.parquet"
    table.write_bytes(b"other")
    then = (published / "published/SHA256SUMS").stat().st_mtime
    os.utime(table, (then + 60, then + 60))
    assert verify(published)[1] == []  # of a run that has not come to publish yet
    os.utime(table, (then - 60, then - 60))
    assert [(f.problem, f.path) for f in verify(published)[1]] == [
        ("damaged", "selection/randoms.parquet")
    ]


def test_checksums_that_cannot_be_read_are_a_fault(published):
    (published / "published/SHA256SUMS").write_text("what?")
    assert [(f.problem, f.path) for f in verify(published)[1]] == [
        ("damaged", "published/SHA256SUMS")
    ]


def test_a_shard_of_the_right_size_and_other_bytes_is_not_read(run):
    records = block(run, "scan", "act/net", "maps", ".fits")
    record = records[TILES[0]]
    assert record.checked_shard(run) == run / record.path
    data = (run / record.path).read_bytes()
    (run / record.path).write_bytes(data[::-1])
    with pytest.raises(ProductError, match=r"Npix17681.*verify --forget"):
        record.checked_shard(run)


def test_a_training_set_outlives_its_examples(run):
    release = read_release(run / "releases/act.json")
    before = [path.read_bytes() for path in release.checked_shards(run)]
    for path in (run / "samples").rglob("*.parquet"):
        replace(path, b"newer examples")
    assert [path.read_bytes() for path in release.checked_shards(run)] == before
    assert verify(run)[1] != []  # the newer examples are not those of their manifest


def test_a_newer_training_set_leaves_no_examples_of_the_older(run):
    samples = {TILES[0]: block(run, "sample", "act", "samples", ".parquet")[TILES[0]]}
    write_release(run / "releases/act.json", run, "act", "s", samples, {}, [])
    left = [path.name for path in release_folder(run, "act").rglob("*.parquet")]
    assert left == ["Npix17681.parquet"]


def test_a_training_set_that_leads_out_of_its_folder_is_refused(run):
    content = json.loads((run / "releases/act.json").read_text())
    content["examples"] = {"../../etc/passwd": "0"}
    (run / "releases/act.json").write_text(json.dumps(content))
    with pytest.raises(ProductError, match="outside"):
        read_release(run / "releases/act.json")


@pytest.mark.parametrize("moved_s", [0, 60])
@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("selection/randoms.parquet", "selection/selection.json"),
        ("models/act-net/history.json", "models/act-net/model.json"),
    ],
)
def test_damage_under_both_names_of_a_published_file_is_not_published_again(
    run, name, beside, moved_s
):
    sums = {name: put(run / name, b"as it was made")}
    put(run / "selection/selection.json", b"{}")
    (run / "published" / name).parent.mkdir(parents=True)
    os.link(run / name, run / "published" / name)
    (run / "published/SHA256SUMS").write_text(checksums_text(sums))
    assert verify(run)[1] == []
    before = (run / name).stat()
    (run / name).write_bytes(b"as a disk spoilt")
    os.utime(run / name, (before.st_atime, before.st_mtime + moved_s))
    _, bad = verify(run)
    assert [(fault.problem, fault.path) for fault in bad] == [("damaged", f"published/{name}")]
    forget(bad)
    for path in (name, beside, f"published/{name}", "published/SHA256SUMS"):
        assert not (run / path).exists()
