"""Tables between stages are the same bytes for the same rows, and damage is reported."""

import numpy as np
import pandas as pd
import pytest

from clusterscan.core.errors import ProductError
from clusterscan.formats.tables import read_table, write_table


def test_a_table_survives_writing_with_the_same_bytes_every_time(tmp_path):
    table = pd.DataFrame({"name": ["a"], "ra_deg": [1.0], "dec_deg": [2.0], "z": [np.nan]})
    write_table(tmp_path / "1.parquet", table)
    write_table(tmp_path / "2.parquet", table)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    pd.testing.assert_frame_equal(read_table(tmp_path / "1.parquet"), table, check_dtype=False)


def test_a_damaged_table_says_what_to_do(tmp_path):
    (tmp_path / "1.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ProductError, match="delete it and run again"):
        read_table(tmp_path / "1.parquet")
