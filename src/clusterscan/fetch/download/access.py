"""How a job may download, and where it keeps what it downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clusterscan.config.execution import DownloadSettings
from clusterscan.core.data_paths import expand_path
from clusterscan.fetch.download.store import Store


@dataclass(frozen=True)
class Access:
    """The settings of downloads and the folder of downloaded files."""

    settings: DownloadSettings
    root: Path

    @classmethod
    def of(cls, settings: DownloadSettings, output: Path) -> Access:
        """Return the access of a run that writes to ``output``."""
        if settings.cache is None:
            return cls(settings, output / "downloads")
        return cls(settings, expand_path(settings.cache, must_exist=False))

    @property
    def store(self) -> Store:
        """The downloaded files."""
        return Store(self.root / "files")
