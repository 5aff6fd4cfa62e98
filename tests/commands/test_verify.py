"""Whatever Snakemake does not watch is found when it is gone or damaged, and made anew."""

import hashlib
import json
import os
import shutil

import pytest

from clusterscan.commands.verify import forget, verify
from clusterscan.core.atomic import atomic_path, noting_writes
from clusterscan.core.checksums import checksums_text, write_job_list
from clusterscan.core.errors import ProductError
from clusterscan.core.records import BlockManifest, TileRecord, write_record
from clusterscan.formats.training_set import (
    read_training_set,
    training_set_folder,
    write_training_set,
)

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


def job(root, output, **files):
    """Write the files of a job that is no block job, and its list of checksums."""
    with noting_writes() as written:
        for name, data in {**files, output: b"{}"}.items():
            with atomic_path(root / name) as temporary:
                temporary.write_bytes(data)
    write_job_list(root, root / output, written)


NETWORK = ("weights.safetensors", "history.json", "roc_precision.png")


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run: tiles, maps, a training set, a network, the published folder."""
    images = block(tmp_path, "preprocess", "act", "tiles", ".fits")
    block(tmp_path, "scan", "act/net", "maps", ".fits")
    block(tmp_path / "selection", "probe", "injected", "maps", ".parquet")
    samples = block(tmp_path, "sample", "act", "samples", ".parquet")
    put(tmp_path / "catalogs/known.parquet", b"rows")
    write_job_list(tmp_path, tmp_path / "catalogs/known.parquet", [])
    listed = tmp_path / "releases/act.json"
    with noting_writes() as written:
        tables = [tmp_path / "catalogs/known.parquet"]
        write_training_set(listed, tmp_path, "act", "s", samples, images, tables)
    write_job_list(tmp_path, listed, written)
    job(tmp_path, "models/act-net/model.json", **{f"models/act-net/{n}": b"abc" for n in NETWORK})
    job(tmp_path, "summary.json", **{"catalogue/clusters.csv": b"rows"})
    sums = {"catalogue/clusters.csv": put(tmp_path / "published/catalogue/clusters.csv", b"rows")}
    sums["report.html"] = put(tmp_path / "published/report.html", b"page")
    (tmp_path / "published/SHA256SUMS").write_text(checksums_text(sums))
    return tmp_path


SHARD = "Norder6/Dir10000/Npix17681"
NAMED_BY = {
    f"tiles/act/{SHARD}.fits": "manifests/preprocess/act/o4-1105.json",
    f"records/scan/act/net/{SHARD}.json": "manifests/scan/act/net/o4-1105.json",
    f"selection/maps/injected/{SHARD}.parquet": "selection/manifests/probe/injected/o4-1105.json",
    f"releases/act/{SHARD}.parquet": "releases/act.json",
    "models/act-net/weights.safetensors": "models/act-net/model.json",
    "models/act-net/roc_precision.png": "models/act-net/model.json",
    "catalogue/clusters.csv": "summary.json",
    "published/report.html": "published/SHA256SUMS",
}


def damage(path):
    """Give a path other bytes of the same length, without touching other names of the old ones."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def faults(run):
    return [(fault.problem, fault.path) for fault in verify(run)[1]]


def test_a_whole_run_has_no_fault(run):
    # Four block jobs with two tiles, each with a record and a shard; the other jobs' files.
    assert verify(run) == (4 * 2 * 2 + 1 + 3 + 4 + 2 + 2, [])


@pytest.mark.parametrize("name", NAMED_BY)
@pytest.mark.parametrize("problem", ["missing", "damaged"])
def test_a_bad_file_is_named_and_forgetting_removes_it_and_what_names_it(run, name, problem):
    damage(run / name) if problem == "damaged" else (run / name).unlink()
    _, bad = verify(run)
    assert [(fault.problem, fault.path) for fault in bad] == [(problem, name)]
    others = set(NAMED_BY.values()) - {NAMED_BY[name]}
    forget(run, bad)
    assert not (run / name).exists()
    assert not (run / NAMED_BY[name]).exists()
    assert all((run / other).exists() for other in others)


@pytest.mark.parametrize("name", sorted(set(NAMED_BY.values())))
def test_a_list_with_one_flipped_bit_is_a_fault_and_the_check_goes_on(run, name):
    damage(run / name)
    (run / "catalogs/known.parquet").unlink()  # Snakemake misses it, so verify need not
    assert (run / "models/act-net/history.json").is_file()
    found = faults(run)
    assert ("damaged", name) in found or name == "published/SHA256SUMS"
    assert found


@pytest.mark.parametrize("output", ["models/act-net/model.json", "catalogs/known.parquet"])
@pytest.mark.parametrize("problem", ["missing", "damaged"])
def test_a_bad_list_of_checksums_has_its_job_run_again(run, output, problem):
    listing = run / f"checksums/{output}.sha256"
    listing.unlink() if problem == "missing" else listing.write_text("what?")
    _, bad = verify(run)
    assert [(f.problem, f.path) for f in bad] == [(problem, f"checksums/{output}.sha256")]
    forget(run, bad)
    assert not (run / output).exists()


def lead_out(run, victim, how):
    """Have a manifest, record or list name a file outside of the run; return what names it."""
    name = {"above": "../victim", "absolute": str(victim), "link": "tiles/link.fits"}[how]
    if how == "link":
        (run / "tiles/link.fits").symlink_to(victim)
    manifest = run / "manifests/preprocess/act/o4-1105.json"
    record = TileRecord(17681, "ok", "f", name, 1, "0" * 64)
    BlockManifest("preprocess", 1, "act", 4, 1105, 6, (record,)).write(manifest)
    write_record(run / f"records/preprocess/act/{SHARD}.json", record)
    listing = run / "checksums/models/act-net/model.json.sha256"
    listing.write_text(checksums_text({name: "0" * 64}))
    sums = run / "published/SHA256SUMS"
    if how != "link":
        sums.write_text(checksums_text({name: "0" * 64}))
    training_set = run / "releases/act.json"
    training_set.write_text(json.dumps({"examples": {name: "0" * 64}}))
    card = run / "models/act-net/model.json"
    card.write_text(json.dumps({"weights": {"file": name, "sha256": "0" * 64}}))
    return manifest, listing


@pytest.mark.parametrize("how", ["above", "absolute", "link"])
def test_forgetting_never_leaves_the_folder_of_the_run(run, tmp_path_factory, how):
    victim = run.parent / "victim"
    victim.write_text("precious")
    before = {p for p in run.rglob("*") if p.is_file()}
    manifest, listing = lead_out(run, victim, how)
    _, bad = verify(run)
    named = {fault.path for fault in bad}
    assert {manifest.relative_to(run).as_posix(), listing.relative_to(run).as_posix()} <= named
    forget(run, bad)
    assert victim.read_text() == "precious"
    assert not manifest.exists()
    assert not listing.exists()
    gone = {p.relative_to(run).as_posix() for p in before if not p.exists()}
    assert not [name for name in gone if name.startswith(("tiles/", "maps/", "samples/"))]
    victim.unlink()


def test_a_manifest_that_is_itself_a_link_out_is_forgotten_and_its_target_stays(run):
    target = run.parent / "elsewhere.json"
    manifest = run / "manifests/scan/act/net/o4-1105.json"
    manifest.rename(target)
    manifest.symlink_to(target)
    forget(run, verify(run)[1])
    assert target.is_file()
    assert not manifest.is_symlink()
    target.unlink()


def test_folders_that_are_links_to_another_disk_are_checked_there_and_made_anew(run):
    disk = run.parent / "disk"
    disk.mkdir()
    for name in ("tiles", "maps", "records"):
        (run / name).rename(disk / name)
        (run / name).symlink_to(disk / name)
    assert faults(run) == []
    shard = disk / "tiles/act" / f"{SHARD}.fits"
    damage(shard)
    _, bad = verify(run)
    manifest = "manifests/preprocess/act/o4-1105.json"
    assert [(fault.problem, fault.path) for fault in bad] == [("damaged", manifest)]
    assert bad[0].forget == (run / f"records/preprocess/act/{SHARD}.json", run / manifest)
    forget(run, bad)
    assert shard.is_file()
    assert not (run / manifest).exists()
    shutil.rmtree(disk)


WRONG = (None, -1, 1.5, "a\0b", "x" * 300, [], {})


@pytest.mark.parametrize("place", ["stage", "key", "tile_order", "records"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_manifest_with_values_of_the_wrong_kind_is_forgotten(run, place, wrong):
    manifest = run / "manifests/preprocess/act/o4-1105.json"
    content = json.loads(manifest.read_text())
    del content["content_sha256"]  # as in manifests of earlier versions
    manifest.write_text(json.dumps({**content, place: wrong}))
    _, bad = verify(run)
    forget(run, bad)
    assert place == "records" or not manifest.exists() or (place, wrong) == ("tile_order", -1)


@pytest.mark.parametrize("place", ["tile", "path", "size", "sha256"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_record_with_values_of_the_wrong_kind_is_a_fault(run, place, wrong):
    manifest = run / "manifests/preprocess/act/o4-1105.json"
    content = json.loads(manifest.read_text())
    del content["content_sha256"]
    content["records"][0][place] = wrong
    manifest.write_text(json.dumps(content))
    _, bad = verify(run)
    assert bad != []
    forget(run, bad)
    assert not manifest.exists()


def test_a_manifest_that_is_nothing_but_brackets_is_a_fault_like_any_other(run):
    manifest = run / "manifests/preprocess/act/o4-1105.json"
    manifest.write_text("[" * 100_000)
    assert [fault.path for fault in verify(run)[1]] == [manifest.relative_to(run).as_posix()]


def test_a_job_whose_output_is_gone_is_left_to_snakemake(run):
    (run / "models/act-net/model.json").unlink()
    (run / "models/act-net/weights.safetensors").unlink()
    assert faults(run) == []


def test_a_shard_of_the_right_size_and_other_bytes_is_not_read(run):
    records = block(run, "scan", "act/net", "maps", ".fits")
    record = records[TILES[0]]
    assert record.checked_shard(run) == run / record.path
    data = (run / record.path).read_bytes()
    (run / record.path).write_bytes(data[::-1])
    with pytest.raises(ProductError, match=r"Npix17681.*verify --forget"):
        record.checked_shard(run)


def test_a_training_set_outlives_its_examples(run):
    release = read_training_set(run / "releases/act.json")
    before = [path.read_bytes() for path in release.checked_shards(run)]
    for path in (run / "samples").rglob("*.parquet"):
        path.unlink()  # its second name keeps the old bytes
        path.write_bytes(b"newer examples")
    assert [path.read_bytes() for path in release.checked_shards(run)] == before
    assert verify(run)[1] != []  # the newer examples are not those of their manifest


def test_a_newer_training_set_leaves_no_examples_of_the_older(run):
    samples = {TILES[0]: block(run, "sample", "act", "samples", ".parquet")[TILES[0]]}
    write_training_set(run / "releases/act.json", run, "act", "s", samples, {}, [])
    left = [path.name for path in training_set_folder(run, "act").rglob("*.parquet")]
    assert left == ["Npix17681.parquet"]


def test_a_training_set_that_leads_out_of_its_folder_is_refused(run):
    content = json.loads((run / "releases/act.json").read_text())
    content["examples"] = {"../../etc/passwd": "0"}
    (run / "releases/act.json").write_text(json.dumps(content))
    with pytest.raises(ProductError, match="outside"):
        read_training_set(run / "releases/act.json")


def test_damage_under_both_names_of_a_published_file_is_not_published_again(run):
    product, second = run / "catalogue/clusters.csv", run / "published/catalogue/clusters.csv"
    second.unlink()
    os.link(product, second)
    product.write_bytes(b"as a disk spoilt")
    _, bad = verify(run)
    assert {fault.path for fault in bad} == {
        "catalogue/clusters.csv", "published/catalogue/clusters.csv",
    }  # fmt: skip
    forget(run, bad)
    for path in (product, second, run / "published/SHA256SUMS", run / "summary.json"):
        assert not path.exists()
