"""Read a configuration: strict, and with the line, the fault and the mending in every message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clusterscan.config.model import Config
from clusterscan.config.reading import Places, merge, read_yaml, validated


def load_config(files: Iterable[str | Path], overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the validated configuration of one or several files, later ones winning.

    Parameters
    ----------
    files : iterable of path
        YAML files; mappings are merged key by key.
    overrides : mapping, optional
        Settings from the command line, merged last.

    Raises
    ------
    ConfigError
        With one line for each fault: ``file:line: key: what is wrong; what would be right``.
    """
    merged: dict[str, Any] = {}
    places: Places = {}
    for file in files:
        values, where = read_yaml(Path(file), "the shipped config.yaml")
        merge(merged, values)
        places.update(where)
    if overrides:
        merge(merged, dict(overrides))
    return validated(Config, merged, places)
