"""Fingerprints stored on disk, so that none is computed twice.

One folder per layout holds HDF5 parts that are written once, under a temporary name, and never
changed: a process that is killed leaves no half-written part, and several processes may store at
the same time. The rows of a part are sorted by their keys and compressed some at a time, so that a
short list is looked up in a large cache without reading all of it. Small parts are merged. A part
that cannot be read is removed, and its fingerprints are computed again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from specvae.files import atomic_path
from specvae.molecules.entry_store import default_cache_directory, digest, find, halves
from specvae.molecules.hdf5 import written_hdf5

_MOST_PARTS = 16
_ROWS_AT_ONCE = 256  # compressed together, with a checksum


class FingerprintCache:
    """Packed fingerprints by layout and `Molecule.identity`.

    Parameters
    ----------
    directory
        The folder of the cache; None for `default_cache_directory`. It is made when first needed. A
        folder that cannot be written to is no error: fingerprints are then stored in this object
        only.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_cache_directory()
        self._unwritten: dict[str, dict[str | bytes, NDArray[np.uint8]]] = {}
        self._parts: dict[Path, _Part] = {}

    def lookup(
        self, layout_key: str, identities: Sequence[str | bytes], n_bytes: int
    ) -> dict[str | bytes, NDArray[np.uint8]]:
        """Return the stored fingerprints, uint8 (n_bytes,), by identity.

        Parameters
        ----------
        layout_key
            Names the layout, its version and its probe digest.
        identities
            Those of the molecules wanted, as they were stored.
        n_bytes
            Length of a packed fingerprint.
        """
        unwritten = self._unwritten.get(layout_key, {})
        found = {one: unwritten[one] for one in identities if one in unwritten}
        others = [one for one in identities if one not in found]
        keys = halves(map(digest, others))
        missing = np.arange(len(others))
        for part in self._parts_of(layout_key):
            if not len(missing):
                break
            place, packed = part.rows(keys[missing], n_bytes)
            rows = missing[place].tolist()
            found |= {others[k]: row for k, row in zip(rows, packed, strict=True)}
            missing = np.delete(missing, place)
        return found

    def store(
        self, layout_key: str, identities: Sequence[str | bytes], packed: NDArray[np.uint8]
    ) -> None:
        """Keep fingerprints; `packed` is uint8 (n_molecules, n_bytes)."""
        if not identities:
            return
        try:
            self._write(layout_key, halves(map(digest, identities)), packed)
        except OSError:
            self._unwritten.setdefault(layout_key, {}).update(zip(identities, packed, strict=True))
            return
        parts = self._parts_of(layout_key)
        if len(parts) > _MOST_PARTS:
            with suppress(OSError):
                self._merge(layout_key, parts, packed.shape[1])

    def _folder(self, layout_key: str) -> Path:
        return self.directory / "fingerprints" / layout_key

    def _parts_of(self, layout_key: str) -> list[_Part]:
        """Return all parts that are there now."""
        try:
            paths = sorted(self._folder(layout_key).glob("part-*.h5"))
        except OSError:  # another user's, as where sudo keeps the home of whoever calls it
            return []
        for path in paths:
            if path not in self._parts and (part := _Part.open(path)):
                self._parts[path] = part
        return [self._parts[path] for path in paths if path in self._parts]

    def _write(self, layout_key: str, keys: NDArray[np.uint64], packed: NDArray[np.uint8]) -> None:
        path = self._folder(layout_key) / f"part-{uuid.uuid4().hex}.h5"
        self._parts[path] = _Part.write(path, keys, packed)

    def _merge(self, layout_key: str, parts: Iterable[_Part], n_bytes: int) -> None:
        """Merge the small parts: each that has no more rows than all smaller ones together."""
        chosen: list[_Part] = []
        for part in sorted(parts, key=lambda part: len(part.keys)):
            if len(chosen) > 1 and len(part.keys) > sum(len(one.keys) for one in chosen):
                break
            chosen.append(part)
        keys, rows = [], []
        for part in chosen:
            place, packed = part.rows(part.keys, n_bytes)
            keys.append(part.keys[place])
            rows.append(packed)
        if any(map(len, keys)):
            self._write(layout_key, np.concatenate(keys), np.concatenate(rows))
        # Another process that merges the same parts only leaves some rows twice.
        for part in chosen:
            part.path.unlink(missing_ok=True)


class _Part(NamedTuple):
    """One file of the cache.

    Parameters
    ----------
    path
        The file.
    keys
        uint64 (n_rows, 2), ascending.
    """

    path: Path
    keys: NDArray[np.uint64]

    @classmethod
    def write(cls, path: Path, keys: NDArray[np.uint64], packed: NDArray[np.uint8]) -> _Part:
        """Write a part; a key that occurs twice is kept once."""
        keys, place = np.unique(keys, axis=0, return_index=True)
        n_at_once = min(_ROWS_AT_ONCE, len(keys))
        with atomic_path(path) as temporary, written_hdf5(temporary) as file:
            # A bit flipped on disk would otherwise be served as a fingerprint.
            file.create_dataset("key", data=keys, chunks=keys.shape, fletcher32=True)
            file.create_dataset(
                "packed",
                data=packed[place],
                chunks=(n_at_once, packed.shape[1]),
                compression="gzip",
                compression_opts=1,
                fletcher32=True,
            )
        return cls(path, keys)

    @classmethod
    def open(cls, path: Path) -> _Part | None:
        """Open a part; remove it if it is not sound."""
        try:
            with h5py.File(path, "r") as file:
                keys = file["key"][:]
                if keys.dtype == np.uint64 and keys.shape == (len(file["packed"]), 2):
                    return cls(path, keys)
        except FileNotFoundError:  # merged away by another process
            return None
        except _UNSOUND:
            pass
        _remove(path)
        return None

    def rows(
        self, keys: NDArray[np.uint64], n_bytes: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return the places of those keys that this part has, and their rows.

        It returns none if rows have another length, or the file is gone or damaged.
        """
        place, row = find(self.keys[:, 0], self.keys[:, 1], keys)
        packed = np.zeros((len(place), n_bytes), np.uint8)
        if not len(place):
            return place, packed
        try:
            with h5py.File(self.path, "r") as file:
                table = file["packed"]
                if table.shape[1] == n_bytes:
                    group = row // _ROWS_AT_ONCE
                    for g in np.unique(group).tolist():
                        block = table[g * _ROWS_AT_ONCE : (g + 1) * _ROWS_AT_ONCE]
                        packed[group == g] = block[row[group == g] - g * _ROWS_AT_ONCE]
                    return place, packed
        except FileNotFoundError:
            return place[:0], packed[:0]
        except _UNSOUND:
            pass
        _remove(self.path)
        return place[:0], packed[:0]


_UNSOUND = (OSError, KeyError, AttributeError, TypeError, ValueError, IndexError)
"""The errors that h5py raises for a file that is not of this program."""


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
