"""Every published catalogue that clusterscan can read, by kind.

To teach clusterscan another, declare a `Layout` in the module of its wavelength and add its kind
to `clusterscan.config.catalogs.PublishedKind`.
"""

from __future__ import annotations

from clusterscan.catalogs import known_optical, known_sz, known_xray
from clusterscan.catalogs.layouts import Layout

LAYOUTS: dict[str, Layout] = dict(
    sorted({**known_sz.LAYOUTS, **known_xray.LAYOUTS, **known_optical.LAYOUTS}.items())
)


def readers_table() -> str:
    """Return the Markdown table of all readers, for `docs/catalogues.md`."""
    lines = [
        "| kind | reference | holds | format | from | checked on | traps |",
        "|---|---|---|---|---|---|---|",
    ]
    checked = {"file": "the file", "columns": "its columns", "declared": "not confirmed"}
    for kind, layout in LAYOUTS.items():
        remote = layout.remote
        source = "a file" if remote is None else f"`{remote.table or remote.url}`"
        cells = (
            f"`{kind}`", layout.reference, layout.holds, layout.format, source,
            checked[layout.checked], layout.traps,
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
