"""Entries of bytes kept on disk by their digests, and the folder of all that is kept.

A part is a file that is written once, under a temporary name: sorted keys, ends of the entries,
entries. It is mapped into memory, so that a run reads the requested entries only. Each entry is
compared with a checksum; damaged entries are ignored. If there are too many entries, the parts that
were not used for the longest time are removed; of too many parts, each of which is an open file,
small ones are joined.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.files import atomic_path
from specvae.sources import from_home

MOST_ENTRIES = 1_000_000
"""The most entries of a store, some 500 bytes each."""

_KEY_BYTES = 16
_MAGIC_BYTES = 24
_SUM_BYTES = 8
FEWEST_ENTRIES = 1000  # entries that are worth a part
MOST_UNSAVED = 50_000
MOST_PARTS = 32
"""Parts that are opened; macOS lets a process have 256 files open."""


def default_cache_directory() -> Path:
    """Return ``$SPECVAE_CACHE``, else ``$XDG_CACHE_HOME/specvae``, else ``~/.cache/specvae``."""
    own = os.environ.get("SPECVAE_CACHE")
    if own:
        return from_home(Path(own))
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "specvae"
    try:
        return Path.home() / ".cache" / "specvae"
    except RuntimeError:  # a user without a home, as in a container
        return Path(tempfile.gettempdir()) / "specvae-cache"


def digest(content: str | bytes) -> bytes:
    """Return the digest under which an entry for a text, or for bytes, is stored in a cache."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=_KEY_BYTES).digest()


def halves(digests: Iterable[bytes]) -> NDArray[np.uint64]:
    """Return digests as two numbers each, uint64 (n, 2)."""
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2).astype(np.uint64)


def find(
    first: NDArray[np.uint64], second: NDArray[np.uint64], wanted: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which of the wanted digests are among others, and their places, int64 (n_found,) each.

    Parameters
    ----------
    first, second
        Halves of the other digests, uint64 (n,), n > 0, by ascending first halves.
    wanted
        Halves of the digests wanted, uint64 (n_wanted, 2).
    """
    row = np.searchsorted(first, wanted[:, 0])
    row[row == len(first)] = 0
    which = np.flatnonzero((first[row] == wanted[:, 0]) & (second[row] == wanted[:, 1]))
    return which, row[which]


class _Part(NamedTuple):
    """An open part: first halves and second halves of the keys, ends of entries, entries."""

    keys: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    entries: NDArray[np.uint8]


class EntryStore:
    """Entries by their keys, which are digests.

    Parameters
    ----------
    directory
        The folder of the store. It is made when first needed. A folder that cannot be written to is
        no error: nothing is stored then.
    kind
        The kind of entries, in a word, with which names of files begin.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        self.directory = directory
        self._magic = f"specvae {kind} 1\n".encode().ljust(_MAGIC_BYTES, b"\0")
        self._unsaved: dict[bytes, bytes] = {}
        self._parts: list[_Part] = []
        with suppress(OSError):
            # If parts have entries of one key, that of the newest part is taken.
            paths = sorted(self.directory.glob("part-*.bin"), key=_age)
            for path in paths[:MOST_PARTS]:
                part = _opened(path, self._magic)
                if part is not None:
                    self._parts.append(part)

    def lookup(self, keys: Iterable[bytes]) -> dict[int, bytes]:
        """Return the entries of those keys that have one, by their places."""
        found: dict[int, bytes] = {}
        listed = list(keys) if self._parts else []
        if not listed:
            return found
        wanted = halves(listed)
        for part in self._parts:
            rows, places = find(part.keys, part.rest, wanted)
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                if row not in found and (entry := _entry(part, place)) is not None:
                    found[row] = entry
        return found

    def put(self, key: bytes, entry: bytes) -> None:
        """Keep an entry."""
        self._unsaved[key] = entry
        if len(self._unsaved) >= MOST_UNSAVED:
            self.save()

    def save(self) -> None:
        """Write the new entries, if there are enough for a file."""
        unsaved, self._unsaved = self._unsaved, {}
        if len(unsaved) < FEWEST_ENTRIES:
            return
        with suppress(OSError):
            path = self.directory / f"part-{uuid.uuid4().hex}.bin"
            with atomic_path(path) as temporary:
                _write(temporary, self._magic, unsaved)
            _drop_oldest(self.directory)
            while _join_small(self.directory, self._magic):
                pass


def _sum(entry: bytes) -> bytes:
    return hashlib.blake2b(entry, digest_size=_SUM_BYTES).digest()


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0


def _entry(part: _Part, place: int) -> bytes | None:
    """Return an entry, None if it is damaged."""
    begin = int(part.ends[place - 1]) if place else 0
    data = part.entries[begin : int(part.ends[place])].tobytes()
    if _sum(data[_SUM_BYTES:]) != data[:_SUM_BYTES]:
        return None
    return data[_SUM_BYTES:]


def _write(path: Path, magic: bytes, entries: dict[bytes, bytes]) -> None:
    keys = halves(entries)
    order = np.argsort(keys[:, 0], kind="stable")
    values = list(entries.values())
    chosen = [values[row] for row in order.tolist()]
    ends = np.cumsum([_SUM_BYTES + len(value) for value in chosen], dtype="<u8")
    with path.open("wb") as stream:
        stream.write(magic)
        stream.write(len(chosen).to_bytes(8, "little"))
        for column in (keys[order, 0], keys[order, 1], ends):
            stream.write(column.astype("<u8").tobytes())
        for value in chosen:
            stream.write(_sum(value) + value)


def _opened(path: Path, magic: bytes) -> _Part | None:
    """Open a part; remove it if it is not whole."""
    try:
        part = _mapped(path, magic)
    except OSError:  # it is gone, cannot be read, or too many files are open
        return None
    with suppress(OSError):  # a folder that others wrote
        if part is not None:
            path.touch()
        else:
            path.unlink()
    return part


def _mapped(path: Path, magic: bytes) -> _Part | None:
    """Return the contents of a part, None if it is incomplete; the file is closed then."""
    with suppress(ValueError, IndexError):
        # As a plain array: a slice of a memmap takes longer than what is in it.
        content = np.asarray(np.memmap(path, np.uint8, "r"))
        begin = _MAGIC_BYTES + 8
        n = int.from_bytes(content[begin - 8 : begin].tobytes(), "little")
        entries = begin + 3 * 8 * n
        if content[:_MAGIC_BYTES].tobytes() == magic and n and entries < len(content):
            keys, rest, ends = content[begin:entries].view("<u8").reshape(3, n)
            if entries + int(ends[-1]) == len(content):
                return _Part(keys, rest, ends, content[entries:])
    return None


def _drop_oldest(directory: Path) -> None:
    n_kept = 0
    for path in sorted(directory.glob("part-*.bin"), key=_age):
        # Another process has removed it or, on Windows, has it open.
        with suppress(OSError):
            with path.open("rb") as stream:
                stream.seek(_MAGIC_BYTES)
                n_kept += int.from_bytes(stream.read(8), "little")
            if n_kept > MOST_ENTRIES:
                path.unlink()


def _join_small(directory: Path, magic: bytes) -> bool:
    """Join the smallest of too many parts; return whether there are fewer now."""
    paths = sorted(directory.glob("part-*.bin"), key=lambda path: path.stat().st_size)
    if len(paths) <= MOST_PARTS:
        return False
    entries: dict[bytes, bytes] = {}
    joined: list[Path] = []
    for path in paths:
        if len(joined) > 1 and len(entries) >= MOST_UNSAVED:
            break
        with suppress(FileNotFoundError):  # another process has removed it
            entries |= _entries_of(path, magic)
        joined.append(path)
    if entries:
        with atomic_path(directory / f"part-{uuid.uuid4().hex}.bin") as temporary:
            _write(temporary, magic, entries)
    for path in joined:
        with suppress(PermissionError):  # on Windows, somebody has it open
            path.unlink(missing_ok=True)
    return sum(path.exists() for path in joined) < len(joined) - 1


def _entries_of(path: Path, magic: bytes) -> dict[bytes, bytes]:
    """Return the sound entries of a part by their keys."""
    part = _mapped(path, magic)
    if part is None:
        return {}
    keys = np.stack([part.keys, part.rest], axis=1).astype("<u8").tobytes()
    size = len(keys) // max(1, len(part.keys))
    found = ((place, _entry(part, place)) for place in range(len(part.keys)))
    return {
        keys[place * size : (place + 1) * size]: entry
        for place, entry in found
        if entry is not None
    }
