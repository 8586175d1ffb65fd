from __future__ import annotations

from pathlib import Path

import pytest

from specvae.errors import InputError
from specvae.molecules.structures import read_named_rows


def test_cells_by_column_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('\ufeffName;Ion Mode\n"a;b";positive\n\nc\nd;e;f\n', encoding="utf-8")
    assert list(read_named_rows(path)) == [
        (2, {"name": "a;b", "ion_mode": "positive"}),
        (4, {"name": "c", "ion_mode": ""}),
        (5, {"name": "d", "ion_mode": "e"}),
    ]


def test_a_file_that_is_no_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(read_named_rows(tmp_path / "absent.csv"))
