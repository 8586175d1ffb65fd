"""What numba has kept, by its files."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rdkit import Chem

from specvae.annotation.evidence import compile_ahead
from specvae.molecules import fragments, kept_code
from specvae.molecules.kept_code import WorthCompiling, compiling, is_kept, places_of

FUNCTION = "molecules/graph.classify"


def test_what_was_compiled_is_kept() -> None:
    """By the names that numba gives its files, wherever it puts them."""
    fragments.FragmentTable.of(Chem.MolFromSmiles("CCO"))
    assert is_kept(FUNCTION)
    assert not is_kept("molecules/graph._neighbours")  # compiled with those that call it


def test_what_was_never_compiled_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not is_kept(FUNCTION)
    index = tmp_path / "molecules_0a1b2c" / "graph.classify-425.py311.nbi"
    index.parent.mkdir()
    index.touch()
    assert is_kept(FUNCTION)


def test_places_are_beside_the_module_and_in_the_user_s_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    first, *others = places_of(FUNCTION)
    assert first == Path(kept_code.__file__).parent
    assert all("numba" in str(place).lower() for place in others)


def test_a_user_without_a_home_has_no_cache_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert places_of(FUNCTION) == [Path(kept_code.__file__).parent]


@pytest.mark.parametrize(("kept", "worth"), [(False, [False] * 4 + [True]), (True, [False, True])])
def test_it_is_worth_compiling_for_many_and_for_fewer_where_it_is_kept(
    kept: bool, worth: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_code, "is_kept", lambda _: kept)
    is_worth = WorthCompiling(FUNCTION, 40, few_if_kept=10)
    assert [is_worth(10) for _ in worth] == worth
    assert is_worth.n_needed == 10 * len(worth)


def test_what_would_be_worth_it_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_code, "is_kept", lambda _: False)
    is_worth = WorthCompiling(FUNCTION, 40)
    assert [is_worth.would_be(40), is_worth.would_be(41), is_worth(40)] == [False, True, False]
    assert is_worth.would_be(1)


def test_the_answer_may_be_given_for_some_work() -> None:
    is_worth = WorthCompiling(FUNCTION, 40, few_if_kept=40)
    with compiling(True):
        assert is_worth(1)
        with compiling(False), ThreadPoolExecutor(1) as threads:  # those of other threads, too
            assert not threads.submit(is_worth.would_be, 100).result()
    assert is_worth.n_needed == 1
    assert [is_worth.would_be(39), is_worth.would_be(40)] == [False, True]


@pytest.mark.parametrize(
    "function",
    [
        "molecules/plain_inchi._read_all",
        "molecules/drawn.set_kekule",
        "molecules/graphs_together._write_all",
        "molecules/topology_reader._read_all",
        "molecules/substructure_search._search_each",
        "molecules/morgan._set_all",
        *compile_ahead.PARTS.values(),
    ],
)
def test_the_functions_that_are_asked_for_exist(function: str) -> None:
    """Else they would never count as kept."""
    module, name = f"specvae/{function}".replace("/", ".").rsplit(".", 1)
    assert hasattr(getattr(importlib.import_module(module), name), "py_func")
