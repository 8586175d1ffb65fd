"""Parsed structures kept on disk, so that a table that is read again is not parsed again.

A part is a file that is written once, under a temporary name: sorted keys, where each entry ends,
entries. It is mapped into memory, so that a run reads what it asks for only, and each entry is
compared with a checksum: what is damaged is parsed again. Where there are too many structures, the
parts that were not used for longest go.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase

from specvae.files import atomic_path
from specvae.limits import limits
from specvae.molecules.cache import default_cache_directory, digest, find, halves
from specvae.molecules.molecule import STANDARD_VERSION, Molecule

MOST_STRUCTURES = 1_000_000
"""That are kept, each in some 500 bytes."""

_MAGIC = b"specvae structures 1\n".ljust(24, b"\0")
_SUM_BYTES = 8
_FEWEST = 1000  # structures that are worth a part
_MOST_UNSAVED = 50_000

Texts = tuple[str, str]
"""SMILES and InChI as a table has them, "" for none."""


class _Part(NamedTuple):
    """An open part: first halves and second halves of the keys, ends of entries, entries."""

    keys: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    entries: NDArray[np.uint8]


class StructureCache:
    """Parsed structures by the texts that they were parsed from.

    Parameters
    ----------
    directory
        Where it lies; None for `default_cache_directory`. It is made when first needed. A folder
        that cannot be written to is no error: nothing is kept then.
    """

    def __init__(self, directory: Path | None = None) -> None:
        most = limits()
        # Other versions, or other limits, may take another text for a structure.
        name = (
            f"s{STANDARD_VERSION}-rdkit{rdBase.rdkitVersion}-{most.structure_characters}-"
            f"{most.structure_components}-{most.structure_atoms}"
        )
        self.directory = (directory or default_cache_directory()) / "structures" / name
        self._unsaved: dict[bytes, bytes] = {}
        self._parts: list[_Part] = []
        with suppress(OSError):
            # Of several spellings the same: the newest part is asked first.
            for path in sorted(self.directory.glob("part-*.bin"), key=_age):
                part = _opened(path)
                if part is not None:
                    self._parts.append(part)

    def lookup(self, texts: Sequence[Texts]) -> list[Molecule | None]:
        """Return the structures of some texts, without trusted keys; None for what is not kept."""
        found: list[Molecule | None] = [None] * len(texts)
        if not self._parts or not texts:
            return found
        wanted = halves(map(_key, texts))
        for part in self._parts:
            rows, places = find(part.keys, part.rest, wanted)
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                if found[row] is None:
                    found[row] = _molecule(part, place)
        return found

    def put(self, texts: Sequence[Texts], molecules: Sequence[Molecule | str]) -> None:
        """Keep structures; texts that have none are left out."""
        for pair, molecule in zip(texts, molecules, strict=True):
            if isinstance(molecule, Molecule):
                self._unsaved[_key(pair)] = molecule.to_bytes()
        if len(self._unsaved) >= _MOST_UNSAVED:
            self.save()

    def save(self) -> None:
        """Write what was put in, if it is worth a file."""
        unsaved, self._unsaved = self._unsaved, {}
        if len(unsaved) < _FEWEST:
            return
        with suppress(OSError):
            path = self.directory / f"part-{uuid.uuid4().hex}.bin"
            with atomic_path(path) as temporary:
                _write(temporary, unsaved)
            _drop_oldest(self.directory)


def _key(texts: Texts) -> bytes:
    return digest("\0".join(texts))


def _sum(entry: bytes) -> bytes:
    return hashlib.blake2b(entry, digest_size=_SUM_BYTES).digest()


def _age(path: Path) -> float:
    return -path.stat().st_mtime


def _molecule(part: _Part, place: int) -> Molecule | None:
    begin = int(part.ends[place - 1]) if place else 0
    data = part.entries[begin : int(part.ends[place])].tobytes()
    if _sum(data[_SUM_BYTES:]) != data[:_SUM_BYTES]:
        return None
    return Molecule.from_bytes(data[_SUM_BYTES:])


def _write(path: Path, entries: dict[bytes, bytes]) -> None:
    keys = halves(entries)
    order = np.argsort(keys[:, 0], kind="stable")
    values = list(entries.values())
    chosen = [values[row] for row in order.tolist()]
    ends = np.cumsum([_SUM_BYTES + len(value) for value in chosen], dtype="<u8")
    with path.open("wb") as stream:
        stream.write(_MAGIC)
        stream.write(len(chosen).to_bytes(8, "little"))
        for column in (keys[order, 0], keys[order, 1], ends):
            stream.write(column.astype("<u8").tobytes())
        for value in chosen:
            stream.write(_sum(value) + value)


def _opened(path: Path) -> _Part | None:
    """Open a part; remove it if it is not whole."""
    with suppress(OSError, ValueError, IndexError):
        content = np.memmap(path, np.uint8, "r")
        begin = len(_MAGIC) + 8
        n = int.from_bytes(content[begin - 8 : begin].tobytes(), "little")
        entries = begin + 3 * 8 * n
        if content[: len(_MAGIC)].tobytes() == _MAGIC and n and entries < len(content):
            keys, rest, ends = content[begin:entries].view("<u8").reshape(3, n)
            if entries + int(ends[-1]) == len(content):
                with suppress(OSError):  # a folder that others wrote
                    path.touch()
                return _Part(keys, rest, ends, content[entries:])
    with suppress(OSError):
        path.unlink()
    return None


def _drop_oldest(directory: Path) -> None:
    n_kept = 0
    for path in sorted(directory.glob("part-*.bin"), key=_age):
        with path.open("rb") as stream:
            stream.seek(len(_MAGIC))
            n_kept += int.from_bytes(stream.read(8), "little")
        if n_kept > MOST_STRUCTURES:
            path.unlink()
