"""What numba has kept, by its files."""

from pathlib import Path

import pytest
from rdkit import Chem

from specvae.molecules import fragments, kept_code
from specvae.molecules.kept_code import is_kept, places_of

FUNCTION = "molecules/graph._classify"


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
    index = tmp_path / "molecules_0a1b2c" / "graph._classify-425.py311.nbi"
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
