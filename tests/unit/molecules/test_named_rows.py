from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from specvae.errors import InputError
from specvae.molecules.structures import read_rows
from specvae.molecules.text_tables import read_named_rows
from specvae.report import ReadReport


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


@pytest.mark.parametrize("name", ["long.csv.gz", "long.smi"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    text = b"smiles\nCC\n" + b"C" * 10_000_001
    path.write_bytes(gzip.compress(text, 1) if name.endswith(".gz") else text)
    with pytest.raises(InputError, match=r":3: found a line of more than 10,000,000 characters"):
        list(read_rows(path, ReadReport()))
