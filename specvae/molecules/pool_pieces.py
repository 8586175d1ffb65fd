"""Interim results of a pool that is being built: pieces of its rows, on disk, sorted by mass."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from specvae.files import atomic_path
from specvae.molecules.hdf5 import written_hdf5
from specvae.molecules.molecule import FIRST_BLOCK
from specvae.molecules.pool_format import DAMAGE, TEXTS, PoolRows

PIECES_OF_RUN = 100
_UNITS_PER_DALTON = 10_000  # masses that agree to four decimals are of one compound
_ID_SEPARATOR = "; "
_DIGEST = "blake2b"

Ordinals = NDArray[np.int64]
"""Places of rows among those of all files, (n,)."""


class SkippedRow(NamedTuple):
    """A row that cannot be used: number of its file, its line, its name, and why."""

    file: int
    line: int
    record: str
    detail: str


@dataclass(frozen=True, eq=False)
class Piece:
    """The results of some rows of the files.

    Attributes
    ----------
    begin, end
        Which rows, counted over all files.
    ordinal
        int64 (n,): of each structure, the first of its rows.
    rows
        The structures by mass.
    n_read
        Rows that can be used.
    skips, notes
        The others, and decisions on those that were read.
    """

    begin: int
    end: int
    ordinal: Ordinals
    rows: PoolRows
    n_read: int
    skips: list[SkippedRow] = field(default_factory=list)
    notes: Mapping[str, int] = field(default_factory=dict)


class SortedRows(Protocol):
    """Rows by rising mass that are merged with those of others."""

    def units(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rounded masses, in pieces, int64 (n,) each; see `rounded_mass`."""

    def read(self, first: int, end: int) -> tuple[Ordinals, PoolRows]:
        """Return a range of rows."""


def rounded_mass(mass: float) -> int:
    """Return a mass in Da as a whole number of 0.1 mDa, by which masses are compared."""
    return round(mass * _UNITS_PER_DALTON)


def first_text(texts: Iterable[str]) -> str:
    """Return the name of several rows of one compound: the first that is not empty."""
    return next((text for text in texts if text), "")


def joined_ids(ids: Iterable[str]) -> str:
    """Return the identifiers of several rows of one compound, each once."""
    parts = (part for text in ids if text for part in text.split(_ID_SEPARATOR))
    return _ID_SEPARATOR.join(dict.fromkeys(parts))


def rounded_masses(masses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return masses (n,) rounded as by `rounded_mass`."""
    return np.rint(masses * _UNITS_PER_DALTON).astype(np.int64)


def sorted_rows(ordinal: Ordinals, rows: PoolRows) -> tuple[Ordinals, PoolRows]:
    """Return the same rows (n,) by rounded mass; of equal ones the first read is first."""
    order = np.lexsort((ordinal, rounded_masses(rows.exact_mass)))
    return ordinal[order], rows.select(order)


def merged_rows(ordinal: Ordinals, rows: PoolRows) -> tuple[Ordinals, PoolRows]:
    """Return one row for each compound, sorted as by `sorted_rows`, with the identifiers of all."""
    units = rounded_masses(rows.exact_mass)
    blocks = np.array([key[:FIRST_BLOCK] for key in rows.texts["inchikey"]], f"S{FIRST_BLOCK}")
    order = np.lexsort((ordinal, blocks, units))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(units[order]) != 0) | (blocks[order][1:] != blocks[order][:-1])
    starts = np.flatnonzero(is_first)
    kept = order[starts]
    found = rows.select(kept)
    names, ids = list(found.texts["name"]), list(found.texts["id"])
    sizes = np.diff(np.append(starts, len(order)))
    for group in np.flatnonzero(sizes > 1).tolist():
        same = order[starts[group] : starts[group] + sizes[group]].tolist()
        names[group] = first_text(rows.texts["name"][row].decode() for row in same).encode()
        ids[group] = joined_ids(rows.texts["id"][row].decode() for row in same).encode()
    texts = {**found.texts, "name": names, "id": ids}
    return sorted_rows(ordinal[kept], PoolRows(found.exact_mass, texts, found.packed))


class Spool:
    """The folder of the interim results of a pool that is being built.

    A file is named by the rows that it covers, so that a run takes the place of its pieces at once,
    however the process ends.

    Parameters
    ----------
    folder
        Where it is; damaged files in it are removed.
    piece_rows
        Rows of the files in a piece; what covers more is a run.
    """

    def __init__(self, folder: Path, piece_rows: int) -> None:
        self.folder = folder
        self._piece_rows = piece_rows
        self._spans: dict[tuple[int, int], Path] = {}
        self.n_read = self.n_skipped = 0
        self._notes: Counter[str] = Counter()
        for span, path in sorted(spans_in(folder), key=lambda found: (found[0][0], -found[0][1])):
            covered = any(a <= span[0] and span[1] <= b for a, b in self._spans)
            described = None if covered else _described(path)
            if described is None:
                path.unlink()
            else:
                self._spans[span] = path
                self._count(described["n_read"], described["n_skips"], described["notes"])

    @property
    def n_done(self) -> int:
        """Rows of the files that are dealt with."""
        return sum(end - begin for begin, end in self._spans)

    @property
    def paths(self) -> list[Path]:
        """The files, by the rows that they cover."""
        return [path for _, path in sorted(self._spans.items())]

    def has(self, row: int) -> bool:
        """Return whether a row of the files is dealt with."""
        return any(begin <= row < end for begin, end in self._spans)

    def notes(self) -> Counter[str]:
        """Return what was decided on rows that were read, counted."""
        return self._notes

    def skips(self) -> Iterator[SkippedRow]:
        """Yield the rows that cannot be used, in their order."""
        for path in self.paths:
            yield from _skips_in(path)

    def add(self, piece: Piece) -> None:
        """Keep a piece; many pieces become a run."""
        self._write(piece)
        self._count(piece.n_read, len(piece.skips), piece.notes)
        pieces = [span for span in sorted(self._spans) if span[1] - span[0] <= self._piece_rows]
        if len(pieces) >= PIECES_OF_RUN:
            self._join(pieces)

    def sources(self) -> list[SortedRows]:
        """Return the files as rows by rising mass."""
        return [PieceRows(path) for path in self.paths]

    def _count(self, n_read: int, n_skips: int, notes: Mapping[str, int]) -> None:
        self.n_read += n_read
        self.n_skipped += n_skips
        self._notes.update(notes)

    def _write(self, piece: Piece) -> None:
        path = self.folder / f"rows-{piece.begin:012d}-{piece.end:012d}.h5"
        with atomic_path(path) as temporary:
            _write_piece(temporary, piece)
        self._spans[piece.begin, piece.end] = path

    def _join(self, spans: list[tuple[int, int]]) -> None:
        """Make a run of the pieces that follow each other from the first on."""
        joined = spans[:1]
        for span in spans[1:]:
            if span[0] != joined[-1][1]:
                break
            joined.append(span)
        if len(joined) < 2:
            return
        paths = [self._spans[span] for span in joined]
        parts = [PieceRows(path).read(0, None) for path in paths]
        ordinal = np.concatenate([ordinal for ordinal, _ in parts])
        ordinal, rows = merged_rows(ordinal, PoolRows.joined([rows for _, rows in parts]))
        described = [found for path in paths if (found := _described(path)) is not None]
        notes: Counter[str] = Counter()
        for found in described:
            notes.update(found["notes"])
        self._write(
            Piece(
                joined[0][0],
                joined[-1][1],
                ordinal,
                rows,
                sum(found["n_read"] for found in described),
                [skip for path in paths for skip in _skips_in(path)],
                notes,
            )
        )
        for span, path in zip(joined, paths, strict=True):
            del self._spans[span]
            path.unlink()


def spans_in(folder: Path) -> Iterator[tuple[tuple[int, int], Path]]:
    """Yield the files of a spool, each with the first of its rows and the end of them."""
    for path in folder.iterdir():
        if found := re.fullmatch(r"rows-(\d+)-(\d+)\.h5", path.name):
            yield (int(found[1]), int(found[2])), path


def _write_piece(path: Path, piece: Piece) -> None:
    skips = json.dumps(piece.skips).encode()
    columns: dict[str, NDArray[Any]] = {
        "ordinal": piece.ordinal,
        "exact_mass": piece.rows.exact_mass,
        **{f"packed_{name}": values for name, values in piece.rows.packed.items()},
        "skips": np.frombuffer(skips, np.uint8),
    }
    for name, values in piece.rows.texts.items():
        columns[f"{name}_end"] = np.cumsum([len(value) for value in values], dtype=np.int64)
        columns[f"{name}_text"] = np.frombuffer(b"".join(values), np.uint8)
    described = {
        "layouts": list(piece.rows.packed),
        "n_read": piece.n_read,
        "n_skips": len(piece.skips),
        "notes": dict(piece.notes),
    }
    with written_hdf5(path, libver="latest") as file:
        for name, column in columns.items():
            file[name] = column
        file.attrs["described"] = np.bytes_(json.dumps(described).encode())
        file.attrs[_DIGEST] = np.bytes_(_digest_of(columns))


def _digest_of(columns: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, column in sorted(columns.items()):
        digest.update(f"{name} {column.shape}\n".encode())
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _described(path: Path) -> dict[str, Any] | None:
    """Return the header of a file, None if the file is damaged."""
    with suppress(*DAMAGE), h5py.File(path, "r") as file:
        columns = {name: file[name][()] for name in file}
        if file.attrs[_DIGEST].decode() == _digest_of(columns):
            found: dict[str, Any] = json.loads(file.attrs["described"])
            return found
    return None


def _skips_in(path: Path) -> list[SkippedRow]:
    with h5py.File(path, "r") as file:
        return [SkippedRow(*found) for found in json.loads(file["skips"][()].tobytes())]


class PieceRows:
    """Rows of the files in a file of the spool."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset

    def units(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rounded masses, in pieces, int64 (n,) each; see `rounded_mass`."""
        with h5py.File(self._path, "r") as file:
            yield rounded_masses(file["exact_mass"][()])

    def read(self, first: int, end: int | None) -> tuple[Ordinals, PoolRows]:
        """Return a range of rows; to the last one if `end` is None."""
        with h5py.File(self._path, "r") as file:
            names = [name.removeprefix("packed_") for name in file if name.startswith("packed_")]
            rows = PoolRows(
                file["exact_mass"][first:end],
                {name: self._texts(file, name, first, end) for name in TEXTS},
                {name: file[f"packed_{name}"][first:end] for name in names},
            )
            return self._offset + file["ordinal"][first:end], rows

    @staticmethod
    def _texts(file: h5py.File, name: str, first: int, end: int | None) -> list[bytes]:
        ends = file[f"{name}_end"][first:end].tolist()
        start = 0 if first == 0 else int(file[f"{name}_end"][first - 1])
        if not ends:
            return []
        joined = file[f"{name}_text"][start : ends[-1]].tobytes()
        return [joined[a - start : b - start] for a, b in itertools.pairwise([start, *ends])]
