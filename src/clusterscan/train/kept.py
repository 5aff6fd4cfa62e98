"""Trained networks kept by what they were made from, so that none is trained twice.

Snakemake deletes a job's outputs before it starts the job. A setting that is changed and changed
back, or settings files that are newer than a network because Snakemake's notes are lost, would
therefore cost the whole training again. So every training leaves second names of its files in
``trained/<network>/<what it was made from>/``, and a job that would make the same network takes
them back from there.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from clusterscan.core.atomic import link_or_copy, write_json
from clusterscan.core.checksums import leads_out
from clusterscan.core.fingerprint import file_sha256

log = logging.getLogger(__name__)

_RECORD = "record.json"
_MOST = 4
"""Trainings of one network that are kept; the one that was used longest ago goes first."""


def keep_training(shelf: Path, made_from: str, folder: Path, files: Iterable[Path]) -> None:
    """Give the files of a training second names, and write the record of their checksums.

    Parameters
    ----------
    shelf : Path
        The folder of all kept trainings of this network.
    made_from : str
        The hash of all that the training was made from.
    folder : Path
        The network's folder.
    files : iterable of Path
        The training's files in that folder.
    """
    place = shelf / made_from
    names = sorted({file.relative_to(folder).as_posix() for file in files})
    for name in names:
        link_or_copy(folder / name, place / name)
    # The record is written last: a copy without one is never taken.
    sha256s = {name: file_sha256(place / name) for name in names}
    write_json(place / _RECORD, {"made_from": made_from, "files": sha256s})
    others = [path.parent for path in shelf.glob(f"*/{_RECORD}") if path.parent != place]
    others.sort(key=lambda path: (path / _RECORD).stat().st_mtime_ns, reverse=True)
    for old in others[_MOST - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def take_back(shelf: Path, made_from: str, folder: Path, last: str) -> bool:
    """Put a kept training back into the network's folder; return False if there is none.

    A training with a missing or damaged file counts as none. The file named ``last`` is put back
    last.
    """
    place = shelf / made_from
    sha256s = _record(place, made_from)
    if last not in sha256s:
        return False
    for name, sha256 in sha256s.items():
        if not (place / name).is_file() or file_sha256(place / name) != sha256:
            log.warning("%s is missing or damaged; the network is trained again", place / name)
            return False
    for name in sorted(sha256s, key=lambda name: (name == last, name)):
        link_or_copy(place / name, folder / name)
        # Snakemake compares times: an output must not be older than the inputs of its job.
        os.utime(folder / name)
    # The job's list of checksums names the files that the job wrote, the second names included.
    keep_training(shelf, made_from, folder, [folder / name for name in sha256s])
    return True


def _record(place: Path, made_from: str) -> Mapping[str, str]:
    """Return the sha256 of each file of a kept training; nothing if its record is not good."""
    try:
        record = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        files = {str(name): str(sha256) for name, sha256 in record["files"].items()}
        good = record["made_from"] == made_from and not any(map(leads_out, files))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return files if good else {}
