"""The file of a candidate pool: HDF5, with checksums that are compared when a part is read.

Texts are bytes beside the places where each ends, and attributes have a fixed length: HDF5's
own texts of any length lie in a heap without checksums, in which a flipped bit can keep a reader
busy for ever. The file's other structures are of the kind that HDF5 itself checks.

Rows are sorted by exact mass. Masses lie in one piece, so that the file is searched as it is mapped
into memory: the first mass of every chunk is read when the file is opened, and the chunks at both
ends of a mass window when it is searched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError
from specvae.files import no_such_file

FORMAT_VERSION = 3
"""1 has texts of HDF5's own, and no checksums; 2 has one layout, and masses that are checked as a
whole."""

DAMAGE = (
    AttributeError, IndexError, KeyError, MemoryError, OSError, OverflowError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What h5py raises where a file's bytes make no sense, and this module where a checksum differs."""

TEXTS = ("inchikey", "smiles", "name", "id", "formula")
"""Columns of text; the last one is of format 3."""

CHUNK_ROWS = 512

_KIND = "specvae candidate pool"
_DIGEST_SIZE = 16  # bytes
_BLOCK_ROWS = 16 * CHUNK_ROWS  # rows that are written at a time
_TEXT_CHUNK = 1 << 16  # bytes
_END_CHUNK = 4096  # rows
_MASS, _TEXT = "mass", "text"  # names of checksums, beside those of layouts
_EARLIER_TEXTS = TEXTS[:4]
_MASS_TYPE = np.dtype("<f8")
_LONGEST_TEXT = 0xFFFFFFFF  # bytes: checksums are of lengths in four of them
_KEPT_BYTES = 1 << 23  # of each column, unpacked, for the next query

Packed = Mapping[str, NDArray[np.uint8]]
_Parts = Callable[[slice], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class StoredLayout:
    """Which fingerprints a pool holds.

    Attributes
    ----------
    name, version, n_bits, probe_sha256
        As of the `specvae.molecules.fingerprint.FingerprintLayout`.
    """

    name: str
    version: int
    n_bits: int
    probe_sha256: str

    @property
    def n_bytes(self) -> int:
        """Length of a packed fingerprint."""
        return (self.n_bits + 7) // 8

    def to_json(self) -> dict[str, Any]:
        """Return the layout as JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "n_bits": self.n_bits,
            "probe_sha256": self.probe_sha256,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StoredLayout:
        """Return the layout that `to_json` described."""
        return cls(
            str(data["name"]), int(data["version"]), int(data["n_bits"]), str(data["probe_sha256"])
        )


@dataclass(frozen=True, slots=True, eq=False)
class PoolRows:
    """Some rows of a pool.

    Attributes
    ----------
    exact_mass
        In Da, (n,).
    texts
        By column: n texts in UTF-8.
    packed
        By layout: fingerprints, (n, n_bytes).
    """

    exact_mass: NDArray[np.float64]
    texts: Mapping[str, Sequence[bytes]]
    packed: Packed

    def __len__(self) -> int:
        return len(self.exact_mass)

    def select(self, rows: NDArray[np.intp]) -> PoolRows:
        """Return the given rows (n,) in the given order."""
        return PoolRows(
            self.exact_mass[rows],
            {name: [values[row] for row in rows.tolist()] for name, values in self.texts.items()},
            {name: values[rows] for name, values in self.packed.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[PoolRows]) -> PoolRows:
        """Return the rows of several parts, at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.exact_mass for part in parts]),
            {
                name: [value for part in parts for value in part.texts[name]]
                for name in parts[0].texts
            },
            {name: np.concatenate([p.packed[name] for p in parts]) for name in parts[0].packed},
        )


class _Texts(NamedTuple):
    """Texts one after another.

    Attributes
    ----------
    ends
        Where each ends, and in front of them where the first begins, int64 (n + 1,).
    joined
        All of them in UTF-8.
    """

    ends: NDArray[np.int64]
    joined: bytes

    @classmethod
    def of(cls, values: Sequence[bytes]) -> _Texts:
        """Return what texts are joined to."""
        return cls(np.cumsum([0, *map(len, values)], dtype=np.int64), b"".join(values))

    def parts(self, rows: slice) -> tuple[bytes, bytes]:
        """Return the lengths of some of them, four bytes each, and these texts."""
        ends = self.ends[rows.start : rows.stop + 1]
        return np.diff(ends).astype("<u4").tobytes(), self.joined[ends[0] : ends[-1]]

    def values(self, rows: slice) -> list[bytes]:
        """Return some of them."""
        ends = self.ends[rows.start : rows.stop + 1].tolist()
        return [self.joined[a:b] for a, b in pairwise(ends)]

    def decoded(self, rows: slice) -> list[str]:
        """Return some of them as text."""
        ends = self.ends[rows.start : rows.stop + 1]
        text = self.joined[ends[0] : ends[-1]].decode()
        if not text.isascii():
            return [value.decode() for value in self.values(rows)]
        return [text[a:b] for a, b in pairwise((ends - ends[0]).tolist())]


class PoolWriter:
    """Writes a pool chunk by chunk, by rising mass; memory does not grow with the pool.

    Parameters
    ----------
    path
        The file, which must not be used before `finish`.
    layouts
        The fingerprints of each row.
    spool
        An empty binary file for reading and writing: masses wait there, as their number is known at
        the end.
    """

    def __init__(self, path: Path, layouts: Sequence[StoredLayout], spool: IO[bytes]) -> None:
        self._layouts = tuple(layouts)
        self._spool = spool
        self._waiting: list[PoolRows] = []
        self._n_waiting = 0
        self._n_rows = 0
        self._first_mass: list[float] = []
        self._last_mass = -np.inf
        self._sums: dict[str, list[bytes]] = {
            name: [] for name in (_MASS, _TEXT, *(layout.name for layout in self._layouts))
        }
        self._text_end = dict.fromkeys(TEXTS, 0)
        self._file = h5py.File(path, "w", libver="latest")
        for name in TEXTS:
            self._dataset(f"{name}_end", np.dtype("<u8"), _END_CHUNK)
            self._dataset(f"{name}_text", np.dtype(np.uint8), _TEXT_CHUNK)
        for layout in self._layouts:
            self._dataset(
                f"packed_{layout.name}", np.dtype(np.uint8), CHUNK_ROWS, (layout.n_bytes,)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, rows: PoolRows) -> None:
        """Add rows whose masses rise, and are not below those before.

        Raises
        ------
        ValueError
            If they fall.
        """
        if not len(rows):
            return
        if rows.exact_mass[0] < self._last_mass or (np.diff(rows.exact_mass) < 0).any():
            raise ValueError("rows of a pool are added by rising mass")
        self._last_mass = float(rows.exact_mass[-1])
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        if self._n_waiting >= _BLOCK_ROWS:
            self._flush(self._n_waiting // CHUNK_ROWS * CHUNK_ROWS)

    def finish(self, attributes: Mapping[str, str | int]) -> int:
        """Write what waits and what is said of the pool as a whole; return the number of rows."""
        self._flush(self._n_waiting)
        file = self._file
        masses = file.create_dataset("exact_mass", (self._n_rows,), _MASS_TYPE)
        self._spool.seek(0)
        for first in range(0, self._n_rows, _BLOCK_ROWS):
            end = min(first + _BLOCK_ROWS, self._n_rows)
            chunk = self._spool.read((end - first) * _MASS_TYPE.itemsize)
            masses[first:end] = np.frombuffer(chunk, _MASS_TYPE)
        first_mass = np.array(self._first_mass, _MASS_TYPE)
        file["first_mass"] = first_mass
        for name, sums in self._sums.items():
            file[f"checksum_{name}"] = np.array(sums, dtype=f"V{_DIGEST_SIZE}")
        described = {
            "kind": _KIND,
            "format_version": FORMAT_VERSION,
            "n_structures": self._n_rows,
            "layouts": json.dumps([layout.to_json() for layout in self._layouts]),
            **attributes,
        }
        for key, value in described.items():
            file.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
        sums = [value for values in self._sums.values() for value in values]
        file.attrs["digest"] = np.bytes_(_digest_of_whole(described, first_mass, sums))
        return self._n_rows

    def _dataset(
        self, name: str, dtype: np.dtype[Any], n_rows: int, width: tuple[int, ...] = ()
    ) -> None:
        self._file.create_dataset(
            name,
            shape=(0, *width),
            maxshape=(None, *width),
            chunks=(n_rows, *width),
            dtype=dtype,
            compression="gzip",
            compression_opts=1,
            shuffle=dtype.itemsize > 1,
        )

    def _flush(self, n_rows: int) -> None:
        """Write the first of the waiting rows: whole chunks, unless they are the last."""
        if not n_rows:
            return
        waiting = PoolRows.joined(self._waiting)
        rows = waiting.select(np.arange(n_rows)) if n_rows < len(waiting) else waiting
        rest = waiting.select(np.arange(n_rows, len(waiting)))
        self._waiting, self._n_waiting = ([rest] if len(rest) else []), len(rest)
        masses = rows.exact_mass.astype(_MASS_TYPE)
        self._spool.write(masses.tobytes())
        columns = {name: _Texts.of(rows.texts[name]) for name in TEXTS}
        for name, texts in columns.items():
            ends = texts.ends[1:] + self._text_end[name]
            self._extend(f"{name}_end", ends)
            self._extend(f"{name}_text", np.frombuffer(texts.joined, np.uint8))
            self._text_end[name] = int(ends[-1])
        for name, packed in rows.packed.items():
            self._extend(f"packed_{name}", packed)
        for first in range(0, n_rows, CHUNK_ROWS):
            chunk = slice(first, min(first + CHUNK_ROWS, n_rows))
            self._first_mass.append(float(masses[first]))
            self._sums[_MASS].append(_checksum([masses[chunk].tobytes()]))
            self._sums[_TEXT].append(_checksum(_parts_of_texts(columns, chunk)))
            for name, packed in rows.packed.items():
                self._sums[name].append(_checksum([packed[chunk].tobytes()]))
        self._n_rows += n_rows

    def _extend(self, name: str, values: NDArray[Any]) -> None:
        dataset = self._file[name]
        n = len(dataset)
        dataset.resize(n + len(values), axis=0)
        dataset[n:] = values


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
    layouts
        Its fingerprints.
    exact_mass
        In Da, rising, (n,); mapped into memory, and not compared with checksums: see `masses`.

    Raises
    ------
    InputError
        If the file is missing, truncated, no pool, damaged, or newer than this program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: {no_such_file(path)}")
        try:
            self._file = h5py.File(path, "r", rdcc_nbytes=_KEPT_BYTES)
        except DAMAGE:
            raise InputError(
                f"{path}: not a complete HDF5 file; a candidate pool is wanted"
            ) from None
        self._checksums: dict[str, list[bytes]] = {}
        self._checked: dict[str, set[int]] = {}
        self._columns: dict[str, h5py.Dataset] = {}  # looked up once: that takes as long as a read
        try:
            self.attributes = _attributes(self._file)
            self._require_kind()
            self._texts_here = TEXTS if self.version >= 3 else _EARLIER_TEXTS
            self.layouts = self._stored_layouts()
            self.exact_mass: NDArray[np.float64] = self._mapped_masses()
            self._require_columns()
            self._first_mass: NDArray[np.float64] = self._fence()
            if self.has_checksums:
                self._require_whole()
        except DAMAGE:
            self.close()
            raise self._damaged() from None
        except InputError:
            self.close()
            raise

    @property
    def version(self) -> int:
        """Version of the file's format."""
        return int(self.attributes["format_version"])

    @property
    def has_checksums(self) -> bool:
        """Whether damage is noticed: pools of the first format have none."""
        return self.version >= 2

    def __len__(self) -> int:
        return len(self.exact_mass)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def masses(self, first: int, end: int) -> NDArray[np.float64]:
        """Return the exact masses of a range of rows (n,), Da, compared with their checksums.

        Raises
        ------
        InputError
            If the file is damaged there.
        """
        if self.version < 3:  # compared as a whole when the file was opened, if at all
            return self.exact_mass[first:end]
        begin, stop = self._whole_chunks(first, end)
        try:
            masses = np.array(self.exact_mass[begin:stop])
            self._require_sums(_MASS, begin, len(masses), lambda rows: [masses[rows].tobytes()])
        except DAMAGE:
            raise self._damaged() from None
        return masses[first - begin : end - begin]

    def window(self, low: float, high: float) -> tuple[int, int]:
        """Return first and end of the rows with masses from `low` to `high`, both included."""
        return self._search(low, "left"), self._search(high, "right")

    def nearest(self, mass: float) -> float:
        """Return the exact mass that is nearest to a mass."""
        place = self._search(mass, "left")
        beside = self.masses(max(place - 1, 0), min(place + 1, len(self)))
        return float(beside[np.argmin(np.abs(beside - mass))])

    def texts(self, first: int, end: int) -> dict[str, list[str]]:
        """Return the texts of a range of rows by column.

        Chunks are read whole and compared with their checksums the first time.

        Raises
        ------
        InputError
            If the file is damaged there.
        """
        begin, stop = self._whole_chunks(first, end)
        try:
            columns = {name: self._texts(name, begin, stop) for name in self._texts_here}
            if self.version >= 3:
                self._require_sums(
                    _TEXT, begin, stop - begin, lambda rows: _parts_of_texts(columns, rows)
                )
            elif self.has_checksums:
                self._require_earlier(begin, columns, self._columns["packed"][begin:stop])
            rows = slice(first - begin, end - begin)
            return {name: texts.decoded(rows) for name, texts in columns.items()}
        except DAMAGE:
            raise self._damaged() from None

    def packed(self, layout: str, first: int, end: int) -> NDArray[np.uint8]:
        """Return fingerprints of a range of rows, (n, n_bytes); errors as in `texts`."""
        begin, stop = self._whole_chunks(first, end)
        try:
            if self.version >= 3:
                packed = self._columns[f"packed_{layout}"][begin:stop]
                self._require_sums(
                    layout, begin, len(packed), lambda rows: [packed[rows].tobytes()]
                )
            else:
                packed = self._columns["packed"][begin:stop]
                if self.has_checksums:
                    columns = {name: self._texts(name, begin, stop) for name in self._texts_here}
                    self._require_earlier(begin, columns, packed)
        except DAMAGE:
            raise self._damaged() from None
        # A copy, as the rows of a query shall not keep whole chunks in memory.
        found: NDArray[np.uint8] = packed[first - begin : end - begin].copy()
        return found

    def rows(self, first: int, end: int) -> PoolRows:
        """Return all of a range of rows; errors as in `texts`."""
        texts = self.texts(first, end)
        return PoolRows(
            self.masses(first, end),
            {name: [text.encode() for text in values] for name, values in texts.items()},
            {layout.name: self.packed(layout.name, first, end) for layout in self.layouts},
        )

    def _search(self, mass: float, side: str) -> int:
        chunk = int(np.searchsorted(self._first_mass, mass, side=side)) - 1  # type: ignore[call-overload]
        if chunk < 0:
            return 0
        first = chunk * CHUNK_ROWS
        masses = self.masses(first, min(first + CHUNK_ROWS, len(self)))
        return first + int(np.searchsorted(masses, mass, side=side))  # type: ignore[call-overload]

    def _whole_chunks(self, first: int, end: int) -> tuple[int, int]:
        begin = first // CHUNK_ROWS * CHUNK_ROWS
        return begin, min(-(-end // CHUNK_ROWS) * CHUNK_ROWS, len(self.exact_mass))

    def _stored_layouts(self) -> tuple[StoredLayout, ...]:
        found = self.attributes
        if self.version >= 3:
            return tuple(map(StoredLayout.from_json, json.loads(found["layouts"])))
        return (
            StoredLayout(
                str(found["layout"]),
                int(found["layout_version"]),
                int(found["n_bits"]),
                str(found["probe_sha256"]),
            ),
        )

    def _mapped_masses(self) -> NDArray[np.float64]:
        dataset = self._file["exact_mass"]
        offset = dataset.id.get_offset()
        if self.version < 3 or offset is None:
            masses: NDArray[np.float64] = dataset[:]
            return masses
        return np.memmap(self.path, _MASS_TYPE, "r", offset, dataset.shape)

    def _fence(self) -> NDArray[np.float64]:
        """Return the first mass of each chunk."""
        if self.version >= 3:
            first: NDArray[np.float64] = self._file["first_mass"][:]
            return first
        masses = self.exact_mass
        if not np.isfinite(masses).all() or (np.diff(masses) < 0).any():
            raise ValueError("masses are not sorted")
        return masses[::CHUNK_ROWS]

    def _texts(self, name: str, begin: int, stop: int) -> _Texts:
        """Return a column's texts of a range of rows.

        Raises
        ------
        ValueError
            If they end where they cannot.
        """
        if not self.has_checksums:
            return _Texts.of([bytes(value) for value in self._columns[name][begin:stop]])
        stored = self._columns[f"{name}_end"][max(begin - 1, 0) : stop].astype(np.int64)
        ends = stored if begin else np.concatenate([[0], stored])
        lengths = np.diff(ends)
        if (lengths < 0).any() or (lengths > _LONGEST_TEXT).any():
            raise ValueError("ends")
        joined = self._columns[f"{name}_text"][ends[0] : ends[-1]].tobytes()
        return _Texts(ends - ends[0], joined)

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
        n = len(self.exact_mass)
        shapes: dict[str, tuple[tuple[int, ...] | None, str]] = {"exact_mass": ((n,), "f")}
        for layout in self.layouts:
            name = "packed" if self.version < 3 else f"packed_{layout.name}"
            shapes[name] = ((n, layout.n_bytes), "u")
        if self.version >= 3:
            shapes["first_mass"] = ((-(-n // CHUNK_ROWS),), "f")
        for name in self._texts_here:
            if self.has_checksums:
                shapes |= {f"{name}_end": ((n,), "u"), f"{name}_text": (None, "u")}
            else:
                shapes[name] = ((n,), "S" if name == "inchikey" else "O")
        for name, (shape, kind) in shapes.items():
            values = self._columns[name] = self._file[name]
            is_inside = isinstance(self._file.get(name, getlink=True), h5py.HardLink)
            if not is_inside or values.external or values.is_virtual:
                raise ValueError(f"{name} is stored elsewhere")
            if shape not in (None, values.shape) or values.dtype.kind != kind:
                raise ValueError(f"{name} is of another kind")
        if not n or not self.layouts:
            raise ValueError("nothing is stored")

    def _require_whole(self) -> None:
        """Compare the digest of the attributes, of what masses are found by, and of all sums."""
        names = [""]
        if self.version >= 3:
            names = [_MASS, _TEXT, *(layout.name for layout in self.layouts)]
        for name in names:
            stored = self._file[f"checksum_{name}" if name else "checksum"][:]
            self._checksums[name] = [bytes(value) for value in stored]
            self._checked[name] = set()
        described = {key: value for key, value in self.attributes.items() if key != "digest"}
        masses = self._first_mass if self.version >= 3 else self.exact_mass
        sums = [value for name in names for value in self._checksums[name]]
        n_chunks = -(-len(self.exact_mass) // CHUNK_ROWS)
        if _digest_of_whole(described, masses, sums) != self.attributes["digest"] or any(
            len(self._checksums[name]) != n_chunks for name in names
        ):
            raise ValueError("digest")

    def _require_earlier(
        self, begin: int, columns: Mapping[str, _Texts], packed: NDArray[np.uint8]
    ) -> None:
        """Compare the sums of format 2, which are of texts and fingerprints together."""

        def parts(rows: slice) -> Iterator[bytes]:
            for name in _EARLIER_TEXTS:
                yield from columns[name].values(rows)
            yield np.ascontiguousarray(packed[rows]).tobytes()

        self._require_sums("", begin, len(packed), parts)

    def _require_sums(self, name: str, begin: int, n_rows: int, parts: _Parts) -> None:
        checked, sums = self._checked[name], self._checksums[name]
        for offset in range(0, n_rows, CHUNK_ROWS):
            number = (begin + offset) // CHUNK_ROWS
            if number in checked:
                continue
            if _checksum(parts(slice(offset, min(offset + CHUNK_ROWS, n_rows)))) != sums[number]:
                raise ValueError("checksum")
            checked.add(number)

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


def _parts_of_texts(columns: Mapping[str, _Texts], rows: slice) -> Iterator[bytes]:
    for name in TEXTS:
        yield from columns[name].parts(rows)


def _checksum(parts: Iterable[bytes]) -> bytes:
    """Return the BLAKE2b digest of some rows."""
    return _digest(parts).digest()


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
