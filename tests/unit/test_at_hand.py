"""Spectra and candidates that are in memory or open, as files."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, spectrum_of
from rdkit import Chem

from specvae.at_hand import given_candidates, given_spectra
from specvae.errors import InputError

SMILES = [Chem.CanonSmiles(smiles) for smiles in (CAFFEINE, ASPIRIN)]  # type: ignore[no-untyped-call]
TABLE = pd.DataFrame({"smiles": SMILES, "id": ["a", "b"]})
TEXT = TABLE.to_csv(index=False)


def table_of(candidates: Any) -> pd.DataFrame:  # noqa: ANN401 (whatever a user gives)
    with given_candidates(candidates) as (path, is_named):
        assert not is_named
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert not path.exists()
    return table


class _Foreign:
    """A table of another library, such as pyarrow's or polars'."""

    def __init__(self, table: object) -> None:
        self.table = table

    def to_pandas(self) -> object:
        if isinstance(self.table, Exception):
            raise self.table
        return self.table


@pytest.mark.parametrize(
    "candidates",
    [
        TABLE,
        _Foreign(TABLE),
        io.StringIO(TEXT),
        io.BytesIO(TEXT.encode()),
        TABLE.astype("category"),
        TABLE.to_dict("list"),
        TABLE.to_dict(),
        TABLE.to_dict("records"),
        [row for _, row in TABLE.iterrows()],
        TABLE.itertuples(index=False),
        {"smiles": iter(TABLE["smiles"]), "id": iter("ab")},
        TABLE.set_index("smiles").reset_index(),
        TABLE.assign(x=1, y=[2, 3]).set_index(["x", "y"]).reset_index(drop=True),
        TABLE.assign(smiles=[Chem.MolFromSmiles(smiles) for smiles in SMILES]),
    ],
)
def test_tables_of_all_kinds(candidates: Any) -> None:  # noqa: ANN401
    assert table_of(candidates).to_dict("list") == TABLE.to_dict("list")


@pytest.mark.parametrize(
    "candidates",
    [
        TABLE["smiles"],
        _Foreign(TABLE["smiles"]),
        pd.Index(TABLE["smiles"]),
        TABLE["smiles"].to_numpy(),
        TABLE["smiles"].astype("category"),
        np.array(TABLE["smiles"].tolist()),
        iter(TABLE["smiles"]),
        [Chem.MolFromSmiles(smiles) for smiles in SMILES],
        pd.DataFrame({"ROMol": [Chem.MolFromSmiles(smiles) for smiles in SMILES]}),
    ],
)
def test_lists_of_all_kinds(candidates: Any) -> None:  # noqa: ANN401
    assert table_of(candidates).to_dict("list") == {"smiles": TABLE["smiles"].tolist()}


def test_one_candidate_may_be_a_dictionary() -> None:
    wanted = {"smiles": ["CCO"], "id": ["7"]}
    assert table_of({"smiles": "CCO", "id": 7}).to_dict("list") == wanted
    assert table_of(pd.Series({"smiles": "CCO", "id": 7})).to_dict("list") == wanted


def test_a_set_has_one_order() -> None:
    texts = {"CCO", "CCC", "CC", "C", "CCN"}
    assert table_of(texts)["smiles"].tolist() == sorted(texts)
    molecules = frozenset(map(Chem.MolFromSmiles, texts))
    assert table_of(molecules)["smiles"].tolist() == sorted(texts)


def test_whole_numbers_stay_whole_beside_gaps() -> None:
    given = pd.DataFrame(
        {
            "smiles": ["C", "CC"],
            "query_id": [1.0, np.nan],
            "id": np.array([2244.0, 5.0], np.float32),
            "mass": [16.03, 30.0],
            "large": [1e300, 1.0],
            "sparse": pd.arrays.SparseArray([0.0, 1.0]),
        }
    )
    assert table_of(given).to_dict("list") == {
        "smiles": ["C", "CC"],
        "query_id": ["1", ""],
        "id": ["2244", "5"],
        "mass": ["16.03", "30.0"],
        "large": ["1e+300", "1.0"],
        "sparse": ["0", "1"],
    }
    assert given["query_id"].dtype == "float64"  # the user's own is as it was


def test_columns_of_one_name_are_all_written() -> None:
    with given_candidates(pd.concat([TABLE, TABLE], axis=1)) as (path, _):
        assert path.read_text(encoding="utf-8").startswith("smiles,id,smiles,id\n")


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        (3, "candidates: found 3, wanted a path, an open file, a DataFrame, or a list"),
        (None, "candidates: found None, wanted"),
        (b"cands.csv", "candidates: found b'cands.csv', wanted a path"),
        (np.array("CCO"), "candidates: found ndarray, wanted"),
        (["CCO", None], "candidate 2: found None, wanted a SMILES or a molecule of RDKit"),
        ([["CCO"]], r"candidate 1: found \['CCO'\], wanted a SMILES"),
        ({"smiles": ["C"], "id": [1, 2]}, "candidates: no table can be made of them"),
        (_Foreign(ImportError("no pyarrow")), r"no table can be made of them \(no pyarrow\)"),
        (
            pd.DataFrame([["C"]], columns=pd.MultiIndex.from_tuples([("a", "smiles")])),
            "candidates: found columns whose names have 2 levels, wanted one",
        ),
        (io.StringIO(""), "candidates: found an open file at its end, or an empty one"),
        (io.BytesIO(b""), "candidates: found an open file at its end, or an empty one"),
        (io.TextIOWrapper(io.BytesIO(b"\xff"), "utf-8"), "is no text in utf-8: open it with"),
    ],
)
def test_what_is_no_table_is_one_line(candidates: Any, said: str) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=said), given_candidates(candidates):
        pass


def test_open_files_keep_their_names(tmp_path: Path) -> None:
    file = tmp_path / "cands.csv.gz"
    with gzip.open(file, "wt") as packed:
        packed.write(TEXT)
    with gzip.open(file) as unpacked, given_candidates(unpacked) as (path, is_named):
        assert is_named
        assert path.read_text(encoding="utf-8") == TEXT
    unreadable = pytest.raises(InputError, match="candidates: the open file cannot be read")
    with unreadable, given_candidates(unpacked):  # it is closed
        pass
    with (tmp_path / "out.csv").open("w") as out, unreadable, given_candidates(out):
        pass


def test_errors_do_not_name_the_copy() -> None:
    with (
        pytest.raises(InputError, match=r"^candidates: is bad$"),
        given_candidates(["CCO"]) as (path, _),
    ):
        raise InputError(f"{path}: is bad")


def test_spectra_of_all_kinds() -> None:
    one = spectrum_of(CAFFEINE, 50.0, 60.0)
    for given in (one, [one], (one,), iter([one]), pd.Series([one])):
        with given_spectra(given, print) as spectra:
            assert spectra == [one]
    with given_spectra(io.StringIO("BEGIN IONS\n"), print) as path:
        assert isinstance(path, Path)
        assert path.read_text(encoding="utf-8") == "BEGIN IONS\n"
    assert not path.exists()


def test_spectra_of_several_files(tmp_path: Path) -> None:
    """As in the command: files, folders, and whatever yields them."""
    files = [tmp_path / "a.mgf", tmp_path / "b.mgf"]
    for file in files:
        file.write_text("BEGIN IONS\n", encoding="utf-8")
    for given in (files, list(map(str, files)), set(files), tmp_path, [tmp_path], iter(files)):
        with given_spectra(given, print) as found:
            assert found == files
    with given_spectra([files[1]], print) as found:
        assert found == [files[1]]


@pytest.mark.parametrize(
    ("spectra", "said"),
    [
        (3, "spectra: found 3, wanted a path, several, an open file, or spectra of"),
        ({"a": 1}, "spectra: found dict, wanted a path"),
        (pd.DataFrame({"mz": [1.0]}), "spectra: found DataFrame, wanted a path"),
        ("", "spectra: found '', wanted a path"),
        (b"q.mgf", "spectra: found b'q.mgf', wanted a path"),
        (["q.mgf", 3], "spectra 2: found 3, wanted a path"),
        ([Path("q.mgf"), "./q.mgf"], r"q.mgf: is there twice among the files of queries"),
        (np.array(1.0), "spectrum 1: found ndarray, wanted"),
    ],
)
def test_what_is_no_spectrum_is_one_line(spectra: Any, said: str) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=said), given_spectra(spectra, print):
        pass
