from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from specvae.molecules import fingerprint_cache as module
from specvae.molecules.entry_store import default_cache_directory, digest
from specvae.molecules.fingerprint_cache import FingerprintCache
from specvae.molecules.kept_code import is_kept

KEY = "layout-v1-abc"


def store(directory: Path, names: str, n_bytes: int = 4) -> None:
    bits = np.array([[ord(name)] * n_bytes for name in names], dtype=np.uint8)
    FingerprintCache(directory).store(KEY, list(names), bits)


def found(directory: Path, names: str, n_bytes: int = 4) -> dict[str, int]:
    table = FingerprintCache(directory).lookup(KEY, list(names), n_bytes)
    return {str(name): int(bits[0]) for name, bits in table.items()}


def parts(directory: Path) -> list[Path]:
    return sorted(directory.rglob("part-*.h5"))


def test_what_was_stored_is_found(tmp_path: Path) -> None:
    assert found(tmp_path, "ab") == {}
    store(tmp_path, "ab")
    store(tmp_path, "c")
    assert found(tmp_path, "abcd") == {"a": 97, "b": 98, "c": 99}
    assert FingerprintCache(tmp_path).lookup("layout-v2-abc", ["a"], 4) == {}


def test_another_process_s_work_is_seen(tmp_path: Path) -> None:
    early = FingerprintCache(tmp_path)
    assert early.lookup(KEY, ["a"], 4) == {}
    store(tmp_path, "a")
    assert list(early.lookup(KEY, ["a"], 4)) == ["a"]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "foreign", "flipped"])
def test_damaged_part_is_dropped_and_the_others_survive(tmp_path: Path, damage: str) -> None:
    import h5py

    store(tmp_path, "a")
    (broken,) = parts(tmp_path)
    store(tmp_path, "b")
    if damage == "truncated":
        broken.write_bytes(broken.read_bytes()[:-700])
    elif damage == "flipped":
        with h5py.File(broken) as file:
            chunk = file["packed"].id.get_chunk_info(0)
        content = bytearray(broken.read_bytes())
        content[chunk.byte_offset + chunk.size // 2] ^= 1
        broken.write_bytes(content)
    elif damage == "foreign":
        with h5py.File(broken, "w") as file:
            file["other"] = 1
    else:
        broken.write_bytes(b"garbage" * 100 if damage == "garbage" else b"")
    assert found(tmp_path, "ab") == {"b": 98}
    assert broken not in parts(tmp_path)
    store(tmp_path, "a")
    assert found(tmp_path, "ab") == {"a": 97, "b": 98}


def test_unfinished_file_of_a_killed_process_is_ignored(tmp_path: Path) -> None:
    store(tmp_path, "a")
    (part,) = parts(tmp_path)
    part.with_name(".part-0.1.tmp.h5").write_bytes(b"half")
    assert found(tmp_path, "a") == {"a": 97}


def test_rows_of_another_length_are_not_served(tmp_path: Path) -> None:
    store(tmp_path, "a", n_bytes=4)
    assert found(tmp_path, "a", n_bytes=5) == {}


def test_many_parts_are_merged(tmp_path: Path) -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    for name in names:
        store(tmp_path, name)
    assert len(parts(tmp_path)) <= module._MOST_PARTS
    assert found(tmp_path, names) == {name: ord(name) for name in names}


def test_large_parts_are_not_merged_anew_each_time(tmp_path: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    store(tmp_path, letters)
    (large,) = parts(tmp_path)
    for name in "0123456789ABCDEFGHIJ":
        store(tmp_path, name)
    assert len(parts(tmp_path)) <= module._MOST_PARTS
    assert large in parts(tmp_path)
    assert len(found(tmp_path, letters + "0J")) == 28


def test_part_merged_away_by_another_process_is_no_error(tmp_path: Path) -> None:
    store(tmp_path, "a")
    store(tmp_path, "b")
    early = FingerprintCache(tmp_path)
    assert sorted(early.lookup(KEY, ["a", "b"], 4)) == ["a", "b"]
    taken = list(early._parts.values())
    for part in taken:
        part.path.unlink()
    assert early.lookup(KEY, ["a", "b"], 4) == {}
    keys = np.concatenate([part.keys for part in taken])
    assert [len(rows) for part in taken for rows in part.rows(keys, 4)] == [0, 0, 0, 0]


def test_a_short_list_is_looked_up_without_reading_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    names = [str(number) for number in range(5000)]
    bits = np.arange(20000, dtype=np.uint32).view(np.uint8).reshape(5000, 16)
    FingerprintCache(tmp_path).store(KEY, names, bits)
    read: list[int] = []
    whole = h5py.Dataset.__getitem__

    def counted(self: h5py.Dataset, what: object) -> object:
        found = whole(self, what)
        if self.name == "/packed":
            read.append(len(found))
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    cache = FingerprintCache(tmp_path)
    table = cache.lookup(KEY, ["4999", "absent", "17"], 16)
    assert {name: row.tolist() for name, row in table.items()} == {
        "4999": bits[4999].tolist(),
        "17": bits[17].tolist(),
    }
    assert sum(read) <= 2 * module._ROWS_AT_ONCE
    assert sorted(cache.lookup(KEY, names, 16)) == sorted(names)


def test_folder_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    own = FingerprintCache(tmp_path / "cache")
    own.store(KEY, ["a"], np.array([[1]], dtype=np.uint8))
    assert list(own.lookup(KEY, ["a"], 1)) == ["a"]


def test_a_folder_of_another_user_s_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where sudo keeps the home of whoever calls it."""

    def refused(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", refused)
    assert found(tmp_path, "ab") == {}
    assert not is_kept("molecules/graph.classify")


def test_default_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "own"))
    assert default_cache_directory() == tmp_path / "own"
    assert FingerprintCache().directory == tmp_path / "own"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPECVAE_CACHE", "~/own")
    assert default_cache_directory() == tmp_path / "own"
    monkeypatch.delenv("SPECVAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_directory() == tmp_path / "specvae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_directory() == tmp_path / ".cache" / "specvae"


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPECVAE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_cache_directory().name == "specvae-cache"


def test_a_text_is_digested_once_however_many_parts_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FingerprintCache(tmp_path)
    for text in "abc":
        cache.store("layout", [text], np.full((1, 4), ord(text), np.uint8))
    digested: list[str] = []

    def counted(text: str) -> bytes:
        digested.append(text)
        return digest(text)

    monkeypatch.setattr("specvae.molecules.fingerprint_cache.digest", counted)
    found = cache.lookup("layout", ["a", "b", "c", "d"], 4)
    assert {text: row[0] for text, row in found.items()} == {t: ord(t) for t in "abc"}
    assert digested == ["a", "b", "c", "d"]
