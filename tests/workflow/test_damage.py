"""Every kind of file of a finished run is missed or found bad, and comes back with its bytes."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterscan.commands import verify as verifying
from clusterscan.commands.sync.offline import sync_offline
from clusterscan.config.load import load_config
from clusterscan.core.fingerprint import file_sha256
from clusterscan.flow.paths import Paths

pytestmark = pytest.mark.chain

# They tell how jobs went and are no results; the locks are empty.
EXEMPT = ("logs/", "costs/", ".progress/", "failures/", ".lock", ".jobs")
# They show what each job cost, which no two runs have alike.
SHOWS_COSTS = ("report.html", "summary.json")


def kinds(root: Path) -> dict[str, Path]:
    """Return one file of each kind: paths that differ only in a tile, cell or block number."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if not name.startswith(EXEMPT):
            found[re.sub(r"(Dir=?|Npix=?|o\d+-)\d+", r"\1N", name)] = path
    return found


def damaged(data: bytes) -> bytes:
    """Return data with one byte changed: a digit if there is one, so that JSON stays JSON."""
    digits = [m.start() for m in re.finditer(rb"[0-8]", data)]
    at = digits[len(digits) // 2] if digits else len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.fixture
def sha256_once(monkeypatch):
    """Have verify compute the sha256 of a file once as long as the file stays the same."""
    known: dict[tuple, str] = {}

    def sha256(path: Path) -> str:
        stat = path.stat()
        key = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if key not in known:
            known[key] = file_sha256(path)
        return known[key]

    monkeypatch.setattr(verifying, "file_sha256", sha256)


def declared_and_listed(run, monkeypatch) -> tuple[set[Path], Callable[[], None]]:
    """Return the files that Snakemake asks for, and what lists the sources again."""
    monkeypatch.chdir(run.folder)
    config = load_config(["config.yaml"])
    wanted = {(run.folder / path).absolute() for path in Paths(config).everything()}
    return wanted, lambda: sync_offline(config)


def test_each_kind_of_file_is_noticed_when_it_is_deleted_and_when_one_byte_is_damaged(
    copy, monkeypatch, sha256_once
):
    declared, list_sources = declared_and_listed(copy, monkeypatch)
    unnoticed = []
    for kind, path in kinds(copy.root).items():
        if kind.startswith("run/"):  # each run writes its settings again, as the next test shows
            continue
        whole, aside = path.read_bytes(), path.with_name(path.name + ".aside")
        path.rename(aside)  # second names of the file keep their bytes
        if kind.startswith("sources/"):
            for spoil in (b"", damaged(whole)):
                if spoil:
                    path.write_bytes(spoil)
                list_sources()
                if path.read_bytes() != whole:
                    unnoticed.append(f"{kind} (rewritten by each run)")
            path.unlink()
        else:
            found = bad_files(copy.root)
            if path not in declared | found and not (kind.startswith("checksums/") and found):
                unnoticed.append(f"{kind} (deleted)")
            path.write_bytes(damaged(whole))
            # A flipped digit of a listed sha256 accuses the file that it belongs to.
            found = bad_files(copy.root)
            if path not in found and not (kind.startswith("checksums/") and found):
                unnoticed.append(f"{kind} (damaged)")
            path.unlink()
        aside.rename(path)
    assert unnoticed == []
    assert bad_files(copy.root) == set()


def bad_files(root: Path) -> set[Path]:
    """Return the files that `clusterscan verify --forget` would remove."""
    return {path for fault in verifying.verify(root)[1] for path in fault.forget}


def test_one_verify_and_one_run_bring_back_the_bytes_of_every_kind_of_file(finished, copy):
    """One half of the kinds is deleted, the other half damaged; both are forgotten alike."""
    found = kinds(copy.root)
    whole = {kind: path.read_bytes() for kind, path in found.items()}
    for number, (kind, path) in enumerate(found.items()):
        if path.is_file() and number % 2:
            path.unlink()
        elif path.is_file():
            # In place: a disk that spoils a file spoils it under all its names.
            with path.open("r+b") as file:
                file.write(damaged(whole[kind]))
    copy.clusterscan("verify", "--forget")
    copy.clusterscan("run", "--cores", os.environ.get("CLUSTERSCAN_TEST_CORES", "1"))
    assert "0 missing or damaged" in copy.clusterscan("verify")
    changed = [
        kind for kind, path in found.items()
        if kind not in SHOWS_COSTS and not kind.startswith("checksums/summary.json")
        and (not path.is_file() or path.read_bytes() != whole[kind])
    ]  # fmt: skip
    assert changed == []
    assert copy.catalogue() == finished.catalogue()
