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
    with pytest.raises(ProductError, match=r"verify --forget.*run again"):
        read_table(tmp_path / "1.parquet")


def test_a_single_flipped_bit_anywhere_is_refused_in_words_or_changes_no_value(tmp_path):
    path = tmp_path / "1.parquet"
    names = [f"cluster {n}" for n in range(20)]
    table = pd.DataFrame({"name": names, "ra_deg": np.linspace(0, 1, 20), "n": np.arange(20)})
    write_table(path, table)
    whole, good = path.read_bytes(), read_table(path)
    refused = 0
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 1 << (at % 8)
        path.write_bytes(data)
        try:
            pd.testing.assert_frame_equal(read_table(path), good)
        except ProductError:
            refused += 1
    assert len(whole) - refused <= 36  # the mark before the checksum says nothing of the table


def test_a_table_of_an_earlier_version_is_read(tmp_path):
    table = pd.DataFrame({"ra_deg": [1.0, 2.0]})
    table.to_parquet(tmp_path / "1.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "1.parquet"), table)
