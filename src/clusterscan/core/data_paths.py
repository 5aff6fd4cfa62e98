"""Paths of the data that a config names: ${CLUSTERSCAN_DATA}, or relative to the project."""

from __future__ import annotations

import os
from pathlib import Path

from clusterscan.core.errors import SourceError

PROJECT_ROOT = Path(__file__).resolve().parents[3]
_VARIABLE = "${CLUSTERSCAN_DATA}"


def data_root() -> Path:
    """Return the folder of reference data: $CLUSTERSCAN_DATA, else ../shared/data."""
    return Path(os.environ.get("CLUSTERSCAN_DATA") or PROJECT_ROOT.parent / "shared" / "data")


def expand_path(text: str, *, must_exist: bool = True) -> Path:
    """Return the file or folder that a config names.

    Parameters
    ----------
    text : str
        A path; may begin with ``${CLUSTERSCAN_DATA}``; else, if relative, it starts at the
        project's folder.
    must_exist : bool
        Raise an error if the path does not exist.

    Raises
    ------
    SourceError
        If the path must exist and does not, or ``~user`` is not a user of this machine.
    """
    if text.startswith(_VARIABLE):
        path = data_root() / text[len(_VARIABLE) :].lstrip("/")
        hint = (
            f"the reference data are looked for in {data_root()}; if they lie elsewhere, "
            "set the environment variable CLUSTERSCAN_DATA to their folder"
        )
    else:
        hint = "correct the path in the config"
        try:
            path = PROJECT_ROOT / Path(text).expanduser()
        except RuntimeError as error:
            raise SourceError(f"{text}: no such user's home; {hint}") from error
    if must_exist and not path.exists():
        raise SourceError(f"{text}: there is no {path}; {hint}")
    return path
