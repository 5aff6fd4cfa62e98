"""Tables between stages: Parquet that is the same bytes for the same rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ProductError


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, atomically, without an index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # pandas would add its own version to the metadata, and so to the bytes.
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote.

    Raises
    ------
    ProductError
        If the file is missing or damaged.
    """
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise ProductError(
            f"{path}: not a readable table ({error}); delete it and run again"
        ) from error
