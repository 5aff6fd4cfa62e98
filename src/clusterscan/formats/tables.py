"""Tables between stages: Parquet that is the same bytes for the same rows, with a checksum.

The footer's metadata holds the sha256 of the whole file, taken while the sha256 itself is blank.
Parquet's own page checksums would leave the footer (column names, types, offsets) unguarded, and
the file stays readable by every Parquet reader. A single flipped bit is therefore refused in
words instead of being read as data.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pandas as pd

from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ProductError

_KEY, _MARK = "clusterscan_checksum", b"sha256-of-this-file-with-this-blank:"
_BLANK = b"0" * 64


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, atomically, without an index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # pandas would add its own version to the metadata, and so to the bytes.
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, arrow.schema) as writer:
        writer.write_table(arrow)
        writer.add_key_value_metadata({_KEY: (_MARK + _BLANK).decode()})
    data = bytearray(buffer.getvalue())
    # The last one: a cell of the table might hold the same text, but the footer comes last.
    at = data.rindex(_MARK) + len(_MARK)
    # Same length as the blanks, so no offset in the footer changes.
    data[at : at + 64] = hashlib.sha256(data).hexdigest().encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote.

    Raises
    ------
    ProductError
        If the file is missing or damaged.
    """
    try:
        data = Path(path).read_bytes()
        at = data.rfind(_MARK) + len(_MARK)
        # Without a mark it is a table of an earlier version, or the damage is in the mark alone.
        if at >= len(_MARK):
            blank = data[:at] + _BLANK + data[at + 64 :]
            if hashlib.sha256(blank).hexdigest().encode() != data[at : at + 64]:
                raise ValueError("its bytes do not have the checksum that its footer holds")
        return pd.read_parquet(io.BytesIO(data))
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise ProductError(
            f"{path}: not a readable table ({error}); `clusterscan verify --forget`, or delete it, "
            "then run again: it is made again"
        ) from error
