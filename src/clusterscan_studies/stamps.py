"""Data sets of labelled stamps: what they are made from, and making them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clusterscan.core.data_paths import expand_path
from clusterscan.core.fingerprint import file_sha256
from clusterscan.fetch.stamps import Stamps
from clusterscan_studies.config.stamp_data import StampDataset

_FILE_KEYS = ("path", "export")


def stamp_sources(settings: StampDataset) -> dict[str, Any]:
    """Return the token of the stamps and the sha256 of each table that labels them.

    Raises
    ------
    SourceError
        If one is missing.
    """
    files = sorted(set(_files(settings.labels.model_dump(mode="json"))))
    return {
        "stamps": Stamps(settings.source).token(),
        "tables": {name: file_sha256(expand_path(name)) for name in files},
    }


def _files(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if key in _FILE_KEYS and isinstance(value, str):
                yield value
            else:
                yield from _files(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _files(value)
