"""Building a candidate pool: files of structures -> rows by rising mass, one for each compound.

A file is read once and in pieces. What a piece gives (structures, keys, masses, fingerprints) is
written to a folder beside the pool as soon as it is known, so that a build that was killed goes on
where it was and computes nothing twice. Some pieces make a run, sorted by mass; when all files are
read, the runs are merged a range of masses at a time. Memory depends neither on the number of
structures nor on how many agree.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError
from specvae.files import atomic_path, exclusive, no_such_file, sha256_of
from specvae.molecules.fingerprint import FingerprintLayout, compute_all, in_this_process
from specvae.molecules.molecule import STANDARD_VERSION, Molecule
from specvae.molecules.pool_file import (
    DAMAGE,
    FORMAT_VERSION,
    TEXTS,
    PoolFile,
    PoolRows,
    PoolWriter,
    StoredLayout,
)
from specvae.molecules.structure_files import Cells, read_cells, record_of
from specvae.molecules.structures import parse_cells, with_own_keys
from specvae.molecules.workers import Engine, LocalEngine
from specvae.progress import Progress, Silence
from specvae.report import ReadReport, Reason

_FIRST_BLOCK = 14
_PIECE_ROWS = 1000  # of the files; a process computes some seconds for them
_PIECES_OF_RUN = 100
_MERGED_ROWS = 50_000  # that are sorted at a time
_UNITS_PER_DALTON = 10_000  # masses that agree to four decimals are of one compound
_UNITS_PER_BIN = 100
_ID_SEPARATOR = "; "
_DIGEST = "blake2b"

_Ordinals = NDArray[np.int64]


class SkippedRow(NamedTuple):
    """A row that cannot be used: number of its file, its line, what it calls itself, why."""

    file: int
    line: int
    record: str
    detail: str


@dataclass(frozen=True, eq=False)
class _Piece:
    """What some rows of the files give.

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
    ordinal: _Ordinals
    rows: PoolRows
    n_read: int
    skips: list[SkippedRow] = field(default_factory=list)
    notes: Mapping[str, int] = field(default_factory=dict)


class _Task(NamedTuple):
    layouts: tuple[FingerprintLayout, ...]
    cells: list[Cells]


class _ComputedRows(NamedTuple):
    """What a process returns for some rows."""

    kept: list[int]  # of equal ones, the first
    rows: PoolRows
    n_read: int
    skipped: list[tuple[int, str]]
    notes: dict[str, int]


class _Source(Protocol):
    """Rows by rising mass that are merged with those of others."""

    def units(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rounded masses, in pieces."""

    def read(self, first: int, end: int) -> tuple[_Ordinals, PoolRows]:
        """Return a range of rows."""


def build_pool(
    paths: Sequence[Path],
    layouts: Sequence[FingerprintLayout],
    output: Path,
    *,
    append: bool = False,
    report: ReadReport | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a pool of the structures of some files and return how many it holds.

    Of structures with the same first block and mass the first one is kept, with the identifiers of
    all and the first name. A build that ended early goes on where it was if it is asked for the
    same again.

    Parameters
    ----------
    paths
        CSV, TSV, SMI or SDF, see `specvae.molecules.structures.read_rows`.
    layouts
        The fingerprints to store, each in a column of its own.
    output
        The HDF5 file; it appears whole or not at all.
    append
        Keep what is in the pool already; its fingerprints are not computed again.
    report
        Where rows without a usable structure are counted.
    engine
        What computes; None: a process for each core.
    progress
        Where progress is shown.

    Raises
    ------
    InputError
        If a file cannot be used, there is no structure in all of them, another process is building
        this pool, or the pool that is added to is none or of another kind.
    SpecvaeError
        If the system ends one of the processes.
    """
    report = report if report is not None else ReadReport()
    progress = progress or Silence()
    engine = engine or LocalEngine(None, "compute fingerprints")
    names = tuple(map(_stored, layouts))
    digests = [{"file": path.name, "sha256": sha256_of(path)} for path in map(_existing, paths)]
    folder = output.with_name(f"{output.name}.building")
    with exclusive(folder, f"{output}: another process is building this pool"):
        earlier = _earlier(output, names) if append else None
        try:
            plan = {
                "format": FORMAT_VERSION,
                "standard_version": STANDARD_VERSION,
                "layouts": [layout.to_json() for layout in names],
                "sources": digests,
                "pool": earlier.attributes["digest"] if earlier is not None else None,
            }
            _require_plan(folder, plan, progress)
            spool = _Spool(folder)
            n_rows = _compute_all(paths, tuple(layouts), spool, report, engine, progress)
            if not n_rows:
                shutil.rmtree(folder)
                found = report.nothing_read("structures")
                raise InputError(f"{', '.join(map(str, paths))}: no usable structure ({found})")
            attributes: dict[str, str | int] = {
                "standard_version": STANDARD_VERSION,
                "n_skipped": spool.n_skipped,
                "sources": json.dumps(digests),
            }
            n = _write(output, names, spool, earlier, attributes, n_rows, progress)
        finally:
            if earlier is not None:
                earlier.close()
            if folder.is_dir() and not any(_spans_in(folder)):
                (folder / _PLAN).unlink(missing_ok=True)  # nothing to go on with
        shutil.rmtree(folder)
    return n


_PLAN = "plan.json"


def _existing(path: Path) -> Path:
    if not path.is_file():
        kind = "a folder, where a file is wanted" if path.is_dir() else no_such_file(path)
        raise InputError(f"{path}: {kind}")
    return path


def _stored(layout: FingerprintLayout) -> StoredLayout:
    return StoredLayout(layout.name, layout.version, layout.n_bits, layout.probe_sha256)


def _earlier(path: Path, layouts: tuple[StoredLayout, ...]) -> PoolFile:
    """Open the pool that is added to."""
    pool = PoolFile(path)
    found = ", ".join(layout.name for layout in pool.layouts)
    wanted = ", ".join(layout.name for layout in layouts)
    cause = ""
    if pool.version < FORMAT_VERSION or pool.attributes["standard_version"] != STANDARD_VERSION:
        cause = "the pool is of an earlier version: build it again"
    elif found != wanted:
        cause = f"its fingerprints are {found}, but {wanted} is to be added: name the same"
    elif pool.layouts != layouts:
        cause = "its fingerprints were computed with another version of RDKit: build it again"
    if cause:
        pool.close()
        raise InputError(f"{path}: {cause}")
    return pool


def _require_plan(folder: Path, plan: Mapping[str, Any], progress: Progress) -> None:
    """Go on with what is in the folder if it is of the same build, else begin anew."""
    file, text = folder / _PLAN, json.dumps(plan, indent=1)
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    left = [path for path in folder.iterdir() if path.name != "lock"]
    if left:
        progress.log(f"note: {folder} holds the beginning of another pool, which is dropped")
    for path in left:
        path.unlink()
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _compute_all(
    paths: Sequence[Path],
    layouts: tuple[FingerprintLayout, ...],
    spool: _Spool,
    report: ReadReport,
    engine: Engine,
    progress: Progress,
) -> int:
    """Let every piece of the files be in the spool; return the number of usable rows."""
    if spool.n_done:
        progress.log(f"going on with {spool.folder}: {spool.n_done:,} rows are done")
    waiting: deque[tuple[int, list[tuple[int, int, Cells]]]] = deque()

    def tasks() -> Iterator[_Task]:
        begin = 0
        cells = _cells_of(paths, report)
        while batch := list(itertools.islice(cells, _PIECE_ROWS)):
            if not spool.has(begin):
                waiting.append((begin, batch))
                yield _Task(layouts, [row for _, _, row in batch])
            begin += len(batch)

    for computed in engine.in_order(_compute, tasks()):
        spool.add(_piece(*waiting.popleft(), computed))
        progress.progress("reading structures", spool.n_done)
    for skip in spool.skips():
        report.skip(
            str(paths[skip.file]), skip.line, skip.record, Reason.BAD_STRUCTURE, skip.detail
        )
    report.notes.update(spool.notes())
    report.n_read += spool.n_read
    return spool.n_read


def _cells_of(paths: Sequence[Path], report: ReadReport) -> Iterator[tuple[int, int, Cells]]:
    """Yield the rows of all files with number of the file and line."""
    for number, path in enumerate(paths):
        for line, cells in read_cells(path, report):
            yield number, line, cells


QUERY_ID_LEFT_OUT = "query_id left out: the structures of a pool are candidates of any query"


def _compute(task: _Task) -> _ComputedRows:
    """Return the structures of some rows; runs in any process, and depends on the rows alone."""
    molecules: dict[int, tuple[str, Molecule]] = {}
    skipped: list[tuple[int, str]] = []
    notes: Counter[str] = Counter()
    rows_of: dict[tuple[str, int], list[int]] = {}
    n_read = 0
    if n_of_queries := sum(bool(cells[5]) for cells in task.cells):
        notes[QUERY_ID_LEFT_OUT] = n_of_queries
    for index, molecule in enumerate(with_own_keys([parse_cells(cells) for cells in task.cells])):
        if isinstance(molecule, str):
            skipped.append((index, molecule))
            continue
        key = molecule.given_key or molecule.inchikey
        if not key:
            skipped.append((index, "no InChIKey can be computed for it"))
            continue
        notes.update(molecule.notes)
        n_read += 1
        same = rows_of.setdefault((key[:_FIRST_BLOCK], _units(molecule.exact_mass)), [])
        if not same:
            molecules[index] = key, molecule
        same.append(index)
    kept = [molecule for _, molecule in molecules.values()]
    cells_of = [task.cells[index] for index in molecules]
    columns = {
        "inchikey": [key for key, _ in molecules.values()],
        "smiles": [molecule.written or molecule.smiles for molecule in kept],
        "name": [cells[3] for cells in cells_of],
        "id": [cells[4] for cells in cells_of],
        "formula": [molecule.formula for molecule in kept],
    }
    merged = [rows_of[key[:_FIRST_BLOCK], _units(m.exact_mass)] for key, m in molecules.values()]
    for place, rows in enumerate(merged):
        if len(rows) > 1:
            columns["name"][place] = first_text(task.cells[row][3] for row in rows)
            columns["id"][place] = joined_ids(task.cells[row][4] for row in rows)
    packed = compute_all([in_this_process(layout) for layout in task.layouts], kept)
    found = PoolRows(
        np.array([molecule.exact_mass for molecule in kept], np.float64),
        {n: [text.encode("utf-8", "replace") for text in columns[n]] for n in TEXTS},
        {layout.name: rows for layout, rows in zip(task.layouts, packed, strict=True)},
    )
    return _ComputedRows(list(molecules), found, n_read, skipped, dict(notes))


def _units(mass: float) -> int:
    return round(mass * _UNITS_PER_DALTON)


def first_text(texts: Iterable[str]) -> str:
    """Return the name of several rows of one compound: the first that there is."""
    return next((text for text in texts if text), "")


def joined_ids(ids: Iterable[str]) -> str:
    """Return the identifiers of several rows of one compound, each once."""
    parts = (part for text in ids if text for part in text.split(_ID_SEPARATOR))
    return _ID_SEPARATOR.join(dict.fromkeys(parts))


def _piece(begin: int, batch: list[tuple[int, int, Cells]], computed: _ComputedRows) -> _Piece:
    skips = []
    for index, cause in computed.skipped:
        file, line, cells = batch[index]
        skips.append(SkippedRow(file, line, record_of(cells), cause))
    ordinal = begin + np.array(computed.kept, np.int64)
    return _Piece(
        begin,
        begin + len(batch),
        *_sorted(ordinal, computed.rows),
        computed.n_read,
        skips,
        computed.notes,
    )


def _rounded(masses: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(masses * _UNITS_PER_DALTON).astype(np.int64)


def _sorted(ordinal: _Ordinals, rows: PoolRows) -> tuple[_Ordinals, PoolRows]:
    """Return the same rows by rounded mass; of equal ones the first read is first."""
    order = np.lexsort((ordinal, _rounded(rows.exact_mass)))
    return ordinal[order], rows.select(order)


def _merged(ordinal: _Ordinals, rows: PoolRows) -> tuple[_Ordinals, PoolRows]:
    """Return one row for each compound, sorted as by `_sorted`, with the identifiers of all."""
    units = _rounded(rows.exact_mass)
    blocks = np.array([key[:_FIRST_BLOCK] for key in rows.texts["inchikey"]], "S14")
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
    return _sorted(ordinal[kept], PoolRows(found.exact_mass, texts, found.packed))


class _Spool:
    """The folder that holds what is known of a pool that is being built.

    A file is named by the rows that it covers, so that a run takes the place of its pieces at once,
    however the process ends.

    Parameters
    ----------
    folder
        Where it is; damaged files in it are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spans: dict[tuple[int, int], Path] = {}
        self.n_read = self.n_skipped = 0
        self._notes: Counter[str] = Counter()
        for span, path in sorted(_spans_in(folder), key=lambda found: (found[0][0], -found[0][1])):
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

    def add(self, piece: _Piece) -> None:
        """Keep a piece; many pieces become a run."""
        self._write(piece)
        self._count(piece.n_read, len(piece.skips), piece.notes)
        pieces = [span for span in sorted(self._spans) if span[1] - span[0] <= _PIECE_ROWS]
        if len(pieces) >= _PIECES_OF_RUN:
            self._join(pieces)

    def sources(self) -> list[_Source]:
        """Return the files as rows by rising mass."""
        return [_Run(path) for path in self.paths]

    def _count(self, n_read: int, n_skips: int, notes: Mapping[str, int]) -> None:
        self.n_read += n_read
        self.n_skipped += n_skips
        self._notes.update(notes)

    def _write(self, piece: _Piece) -> None:
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
        parts = [_Run(path).read(0, None) for path in paths]
        ordinal = np.concatenate([ordinal for ordinal, _ in parts])
        ordinal, rows = _merged(ordinal, PoolRows.joined([rows for _, rows in parts]))
        described = [found for path in paths if (found := _described(path)) is not None]
        notes: Counter[str] = Counter()
        for found in described:
            notes.update(found["notes"])
        self._write(
            _Piece(
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


def _spans_in(folder: Path) -> Iterator[tuple[tuple[int, int], Path]]:
    for path in folder.iterdir():
        if found := re.fullmatch(r"rows-(\d+)-(\d+)\.h5", path.name):
            yield (int(found[1]), int(found[2])), path


def _write_piece(path: Path, piece: _Piece) -> None:
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
    with h5py.File(path, "w", libver="latest") as file:
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
    """Return what a file says of itself, None if it is not sound."""
    with suppress(*DAMAGE), h5py.File(path, "r") as file:
        columns = {name: file[name][()] for name in file}
        if file.attrs[_DIGEST].decode() == _digest_of(columns):
            found: dict[str, Any] = json.loads(file.attrs["described"])
            return found
    return None


def _skips_in(path: Path) -> list[SkippedRow]:
    with h5py.File(path, "r") as file:
        return [SkippedRow(*found) for found in json.loads(file["skips"][()].tobytes())]


class _Run:
    """Rows of the files in a file of the spool."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset

    def units(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rounded masses, in pieces."""
        with h5py.File(self._path, "r") as file:
            yield _rounded(file["exact_mass"][()])

    def read(self, first: int, end: int | None) -> tuple[_Ordinals, PoolRows]:
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


class _EarlierRows:
    """Rows of a pool that is added to: they come before all others."""

    def __init__(self, pool: PoolFile) -> None:
        self._pool = pool

    def units(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rounded masses, in pieces."""
        for first in range(0, len(self._pool), _MERGED_ROWS):
            end = min(first + _MERGED_ROWS, len(self._pool))
            yield _rounded(self._pool.masses(first, end))

    def read(self, first: int, end: int) -> tuple[_Ordinals, PoolRows]:
        """Return a range of rows."""
        return np.arange(first, end), self._pool.rows(first, end)


def _write(
    output: Path,
    layouts: tuple[StoredLayout, ...],
    spool: _Spool,
    earlier: PoolFile | None,
    attributes: dict[str, str | int],
    n_rows: int,
    progress: Progress,
) -> int:
    """Write the pool of all that is known; return the number of structures."""
    sources: list[_Source] = spool.sources()
    n_earlier = n_known = 0
    if earlier is not None:
        n_earlier = len(earlier)
        n_known = n_earlier + int(earlier.attributes["n_duplicates"])
        sources = [_EarlierRows(earlier), *(_Run(path, n_earlier) for path in spool.paths)]
        both = json.loads(earlier.attributes["sources"]) + json.loads(str(attributes["sources"]))
        attributes["sources"] = json.dumps(both)
        n_skipped = int(earlier.attributes["n_skipped"]) + int(attributes["n_skipped"])
        attributes["n_skipped"] = n_skipped
    limits = _limits(sources)
    n_written = 0
    with (
        atomic_path(output) as temporary,
        tempfile.TemporaryFile(dir=spool.folder) as masses,
        PoolWriter(temporary, layouts, masses) as writer,
    ):
        for step in range(limits.shape[1] - 1):
            parts = [
                source.read(first, end)
                for source, (first, end) in zip(sources, limits[:, step : step + 2], strict=True)
                if end > first
            ]
            ordinal = np.concatenate([ordinal for ordinal, _ in parts])
            ordinal, rows = _merged(ordinal, PoolRows.joined([rows for _, rows in parts]))
            order = np.lexsort((ordinal, rows.exact_mass))
            writer.append(rows.select(order))
            n_written += len(rows)
            progress.progress("writing the pool", n_written, None)
        attributes["n_duplicates"] = n_known + n_rows - n_written
        return writer.finish(attributes)


def _limits(sources: Sequence[_Source]) -> NDArray[np.int64]:
    """Return where ranges of mass begin and end in each source, (n_sources, n_ranges + 1).

    A range has some ten thousand rows of all sources together, or all that agree to 0.01 Da.
    """
    counts: Counter[int] = Counter()
    for source in sources:
        for units in source.units():
            bins, of_bins = np.unique(units // _UNITS_PER_BIN, return_counts=True)
            counts.update(dict(zip(bins.tolist(), of_bins.tolist(), strict=True)))
    edges, n_rows = [0], 0
    for number, n_of_bin in sorted(counts.items()):
        if n_rows and n_rows + n_of_bin > _MERGED_ROWS:
            edges.append(number * _UNITS_PER_BIN)
            n_rows = 0
        n_rows += n_of_bin
    edges.append((max(counts) + 1) * _UNITS_PER_BIN)
    limits = np.zeros((len(sources), len(edges)), np.int64)
    for row, source in enumerate(sources):
        for units in source.units():
            limits[row] += np.searchsorted(units, edges, side="left")
    return limits
