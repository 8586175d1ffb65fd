"""What Windows does otherwise: a file that is open there can be neither removed nor replaced."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pool_files import write_pool

from specvae.errors import InputError
from specvae.files import LOCK, exclusive
from specvae.molecules import entry_store, workers
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.fingerprint import get_layout


@pytest.mark.usefixtures("as_on_windows")
def test_a_folder_is_kept_and_given_up(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with exclusive(folder, "taken"):
        assert (folder / LOCK).exists()
        with pytest.raises(InputError, match="taken"), exclusive(folder, "taken"):
            pass
        assert (folder / LOCK).exists()
    assert not folder.exists()
    with exclusive(folder, "taken"):
        (folder / "result").touch()
    assert [path.name for path in folder.iterdir()] == ["result"]


@pytest.mark.usefixtures("as_on_windows")
def test_a_pool_is_built_and_added_to(tmp_path: Path) -> None:
    layout = get_layout("morgan4096")
    table, more, pool = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "pool.h5"
    table.write_text("smiles\nCCO\nCCN\n", encoding="utf-8")
    more.write_text("smiles\nCCO\nCCC\n", encoding="utf-8")
    assert write_pool(table, layout, pool) == 2
    assert write_pool(more, layout, pool, append=True) == 3
    more.write_text("smiles\nno structure\n", encoding="utf-8")
    with pytest.raises(InputError, match="no usable structure"):
        write_pool(more, layout, pool, append=True)
    with CandidatePool.open(pool, layout) as built:
        assert built.slice(0, len(built)).smiles.tolist() == ["CCC", "CCN", "CCO"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "b.csv", "pool.h5"}


@pytest.mark.usefixtures("as_on_windows")
def test_old_entries_that_are_in_use_stay_and_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_store, "FEWEST_ENTRIES", 1)

    def put(name: bytes) -> Path:
        before = set(tmp_path.iterdir())
        store = entry_store.EntryStore(tmp_path / "none", "kind")  # which opens nothing
        store.directory = tmp_path
        store.put(name * 16, b"value")
        store.save()
        (new,) = set(tmp_path.iterdir()) - before
        return new

    used = put(b"a")
    reader = entry_store.EntryStore(tmp_path, "kind")
    unused = put(b"b")
    os.utime(used, (2, 2))
    os.utime(unused, (1, 1))
    monkeypatch.setattr(entry_store, "MOST_ENTRIES", 1)
    newest = put(b"c")
    assert set(tmp_path.iterdir()) == {newest, used}
    assert reader.lookup([b"a" * 16]) == {0: b"value"}


@pytest.mark.parametrize("text", ["", "4711"])
def test_the_lock_is_of_one_byte_whatever_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    locked = []

    def locking(number: int, mode: int, n_bytes: int) -> None:
        locked.append((os.lseek(number, 0, os.SEEK_CUR), mode, n_bytes))

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    (tmp_path / LOCK).write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with exclusive(tmp_path, "taken"):
            assert (tmp_path / LOCK).read_text(encoding="utf-8") == str(os.getpid())
    assert locked == [(1 << 20, 2, 1)]


def test_no_more_processes_than_windows_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Pool:
        def __init__(self, n: int, **_: object) -> None:
            asked.append(n)

        def submit(self, *_: object) -> None: ...

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(workers, "MOST_PROCESSES", 61)
    for n in (8, 96):
        with workers.processes(n, "work"):
            pass
    assert asked == [8, 61]
