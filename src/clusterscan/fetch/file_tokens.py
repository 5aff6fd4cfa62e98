"""Version tokens of local files: checksums, computed again only where a file may have changed.

A file is hashed once; while its size and time stay, the checksum is taken from a small ledger.
So a file that was only touched keeps its token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clusterscan.core.atomic import write_json_if_changed
from clusterscan.core.fingerprint import file_sha256, fingerprint


class FileTokens:
    """Tokens and other facts of the files below one folder, with their ledger."""

    def __init__(self, folder: Path, root: Path):
        self._folder = folder
        self._ledger = root / "hashes" / f"{fingerprint(str(folder.resolve()))[:32]}.json"
        self._known: dict[str, Any] = self._read()

    def sha256(self, path: Path) -> str:
        """Return ``sha256 <hex>`` of a file (a strong token)."""
        state = path.stat()
        key = path.relative_to(self._folder).as_posix()
        stamp = [state.st_size, state.st_mtime_ns]
        known = self._known.get(key)
        if known is None or known["stamp"] != stamp:
            known = {"stamp": stamp, "sha256": file_sha256(path)}
            self._known[key] = known
        return f"sha256 {known['sha256']}"

    @staticmethod
    def mtime(path: Path) -> str:
        """Return size and time of a file (a weak token: some copies keep neither)."""
        state = path.stat()
        return f"weak {state.st_size} bytes, {state.st_mtime_ns} ns"

    def save(self) -> None:
        """Write the ledger."""
        write_json_if_changed(self._ledger, self._known)

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._ledger.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
