"""The file of a candidate pool: HDF5, with checksums that are compared when a part is read.

Texts are bytes beside the places where each ends, and attributes have a fixed length: HDF5's
own texts of any length lie in a heap without checksums, in which a flipped bit can keep a reader
busy for ever. The file's other structures are of the kind that HDF5 itself checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError
from specvae.files import atomic_path

FORMAT_VERSION = 2  # 1 has texts of HDF5's own, and no checksums
DAMAGE = (
    AttributeError, IndexError, KeyError, MemoryError, OSError, OverflowError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What h5py raises where a file's bytes make no sense, and this module where a checksum differs."""

_KIND = "specvae candidate pool"
_CHUNK_ROWS = 512
_DIGEST_SIZE = 16  # bytes
_TEXTS = ("inchikey", "smiles", "name", "id")

Columns = dict[str, list[bytes] | NDArray[np.uint8]]


def write_pool(
    path: Path,
    attributes: Mapping[str, str | int],
    masses: NDArray[np.float64],
    texts: Mapping[str, Sequence[str]],
    packed: NDArray[np.uint8],
) -> None:
    """Write a pool that appears whole or not at all.

    Parameters
    ----------
    path
        The file.
    attributes
        What is said of the pool as a whole.
    masses
        Exact masses in Da, rising, (n,).
    texts
        Columns ``inchikey``, ``smiles``, ``name`` and ``id``, n each.
    packed
        Fingerprints, (n, n_bytes).
    """
    encoded = {name: [text.encode("utf-8", "replace") for text in texts[name]] for name in _TEXTS}
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        described = {"kind": _KIND, "format_version": FORMAT_VERSION, **attributes}
        for key, value in described.items():
            file.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
        file["exact_mass"] = masses
        for name, values in encoded.items():
            joined = np.frombuffer(b"".join(values), np.uint8)
            file[f"{name}_end"] = np.cumsum([len(value) for value in values], dtype=np.uint64)
            file.create_dataset(f"{name}_text", data=joined, **_packing(joined, 1 << 16))
        file.create_dataset("packed", data=packed, **_packing(packed, _CHUNK_ROWS))
        checksums = []
        for first in range(0, len(packed), _CHUNK_ROWS):
            rows = slice(first, first + _CHUNK_ROWS)
            columns: Columns = {name: values[rows] for name, values in encoded.items()}
            checksums.append(_checksum({**columns, "packed": packed[rows]}))
        file["checksum"] = np.array(checksums, dtype=f"V{_DIGEST_SIZE}")
        file.attrs["digest"] = np.bytes_(_digest_of_whole(described, masses, checksums))


class PoolFile:
    """An open pool.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    attributes
        What is said of the pool as a whole.
    exact_mass
        In Da, rising, (n,).

    Raises
    ------
    InputError
        If the file is missing, truncated, no pool, damaged, or newer than this program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            self._file = h5py.File(path, "r")
        except DAMAGE:
            raise InputError(
                f"{path}: not a complete HDF5 file; a candidate pool is wanted"
            ) from None
        self._checksums: list[bytes] = []
        self._checked: set[int] = set()
        try:
            self.attributes = _attributes(self._file)
            self._require_kind()
            self.exact_mass: NDArray[np.float64] = self._file["exact_mass"][:]
            self._require_columns()
            if self.has_checksums:
                self._require_whole()
        except DAMAGE:
            self.close()
            raise self._damaged() from None
        except InputError:
            self.close()
            raise

    @property
    def has_checksums(self) -> bool:
        """Whether damage is noticed: pools of the first format have none."""
        return int(self.attributes["format_version"]) >= 2

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rows(self, first: int, end: int) -> tuple[dict[str, list[str]], NDArray[np.uint8]]:
        """Return the texts of a range of rows by column, and their fingerprints.

        Chunks are read whole and compared with their checksums the first time.

        Raises
        ------
        InputError
            If the file is damaged there.
        """
        begin = first // _CHUNK_ROWS * _CHUNK_ROWS
        stop = min(-(-end // _CHUNK_ROWS) * _CHUNK_ROWS, len(self.exact_mass))
        try:
            columns: Columns = {name: self._texts(name, begin, stop) for name in _TEXTS}
            packed = columns["packed"] = self._file["packed"][begin:stop]
            if self.has_checksums:
                self._require_checksums(begin, columns)
            rows = slice(first - begin, end - begin)
            texts = {name: [bytes(v).decode() for v in columns[name][rows]] for name in _TEXTS}
        except DAMAGE:
            raise self._damaged() from None
        return texts, packed[rows]

    def _texts(self, name: str, begin: int, stop: int) -> list[bytes]:
        if not self.has_checksums:
            return list(self._file[name][begin:stop])
        ends = self._file[f"{name}_end"][max(begin - 1, 0) : stop].astype(np.int64).tolist()
        if begin == 0:
            ends = [0, *ends]
        joined = self._file[f"{name}_text"][ends[0] : ends[-1]].tobytes()
        limits = [place - ends[0] for place in ends]
        return [joined[a:b] for a, b in pairwise(limits)]

    def _require_kind(self) -> None:
        if self.attributes.get("kind") != _KIND:
            raise InputError(
                f"{self.path}: an HDF5 file, but no candidate pool (see specvae pool build)"
            )
        found = int(self.attributes["format_version"])
        if found > FORMAT_VERSION:
            raise InputError(
                f"{self.path}: pool format {found}, but this program knows up to {FORMAT_VERSION}"
            )

    def _require_columns(self) -> None:
        """Fail with a ValueError if columns are not those of a pool, or lie outside the file."""
        n, width = len(self.exact_mass), (int(self.attributes["n_bits"]) + 7) // 8
        shapes: dict[str, tuple[tuple[int, ...] | None, str]] = {
            "exact_mass": ((n,), "f"),
            "packed": ((n, width), "u"),
        }
        for name in _TEXTS:
            if self.has_checksums:
                shapes |= {f"{name}_end": ((n,), "u"), f"{name}_text": (None, "u")}
            else:
                shapes[name] = ((n,), "S" if name == "inchikey" else "O")
        for name, (shape, kind) in shapes.items():
            values = self._file[name]
            is_inside = isinstance(self._file.get(name, getlink=True), h5py.HardLink)
            if not is_inside or values.external or values.is_virtual:
                raise ValueError(f"{name} is stored elsewhere")
            if shape not in (None, values.shape) or values.dtype.kind != kind:
                raise ValueError(f"{name} is of another kind")
        masses = self.exact_mass
        if not n or not np.isfinite(masses).all() or (np.diff(masses) < 0).any():
            raise ValueError("masses are not sorted")

    def _require_whole(self) -> None:
        """Compare the digest of the attributes, the masses and the checksums."""
        self._checksums = [bytes(value) for value in self._file["checksum"][:]]
        described = {key: value for key, value in self.attributes.items() if key != "digest"}
        found = _digest_of_whole(described, self.exact_mass, self._checksums)
        n_chunks = -(-len(self.exact_mass) // _CHUNK_ROWS)
        if found != self.attributes["digest"] or len(self._checksums) != n_chunks:
            raise ValueError("digest")

    def _require_checksums(self, begin: int, columns: Columns) -> None:
        for offset in range(0, len(columns["packed"]), _CHUNK_ROWS):
            number = (begin + offset) // _CHUNK_ROWS
            if number in self._checked:
                continue
            rows = slice(offset, offset + _CHUNK_ROWS)
            if _checksum({k: v[rows] for k, v in columns.items()}) != self._checksums[number]:
                raise ValueError("checksum")
            self._checked.add(number)

    def _damaged(self) -> InputError:
        return InputError(f"{self.path}: the candidate pool is damaged")


def _attributes(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in file.attrs.items():
        if isinstance(value, bytes):  # NumPy's texts of fixed length too
            found[key] = value.decode()
        else:
            found[key] = value.item() if hasattr(value, "item") else value
    return found


def _packing(values: NDArray[np.uint8], n_rows: int) -> dict[str, Any]:
    if not len(values):
        return {}
    chunks = (min(n_rows, len(values)), *values.shape[1:])
    return {"chunks": chunks, "compression": "gzip", "compression_opts": 1}


def _checksum(columns: Columns) -> bytes:
    """Return the BLAKE2b digest of some rows."""
    return _digest(_parts(columns)).digest()


def _parts(columns: Columns) -> Iterator[bytes]:
    for name in _TEXTS:
        yield from (bytes(value) for value in columns[name])
    yield np.ascontiguousarray(columns["packed"]).tobytes()


def _digest_of_whole(
    attributes: Mapping[str, Any], masses: NDArray[np.float64], checksums: Sequence[bytes]
) -> str:
    described = json.dumps(attributes, sort_keys=True).encode()
    return _digest([described, masses.tobytes(), *checksums]).hexdigest()


def _digest(parts: Iterable[bytes]) -> hashlib.blake2b:
    """Return a digest of some texts, each with its length."""
    found = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found
