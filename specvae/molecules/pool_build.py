"""Building a candidate pool: files of structures -> rows by rising mass, one for each compound.

A file is read once and in pieces. The results of a piece (structures, keys, masses, fingerprints)
are written to a folder beside the pool as soon as they are computed, so that a build that was
killed continues where it stopped and computes nothing twice. Several pieces are joined to a run,
sorted by mass. When all files are read, the runs are merged one range of masses after the other.
Memory depends neither on the number of structures nor on how many of them are equal.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.counting import counted
from specvae.errors import InputError
from specvae.files import LOCK, atomic_path, exclusive, sha256_of
from specvae.molecules.fingerprint import FingerprintLayout, compute_all, in_this_process
from specvae.molecules.mixtures import with_other_components
from specvae.molecules.molecule import FIRST_BLOCK, Molecule
from specvae.molecules.pool_file import PoolFile
from specvae.molecules.pool_format import FORMAT_VERSION, TEXTS, PoolRows, StoredLayout
from specvae.molecules.pool_pieces import (
    Ordinals,
    Piece,
    PieceRows,
    SkippedRow,
    SortedRows,
    Spool,
    first_text,
    joined_ids,
    merged_rows,
    rounded_mass,
    rounded_masses,
    sorted_rows,
    spans_in,
)
from specvae.molecules.pool_writer import PoolWriter
from specvae.molecules.quiet import each_quietly
from specvae.molecules.standard import STANDARD_VERSION
from specvae.molecules.structure_files import read_cells
from specvae.molecules.structures import parse_rows, with_own_keys
from specvae.molecules.text_tables import Cells, record_of
from specvae.molecules.workers import Engine
from specvae.progress import Progress
from specvae.report import ReadReport, Reason
from specvae.sources import no_such_file

PIECE_ROWS = 1000  # of the files; a process computes some seconds for them
MERGED_ROWS = 50_000  # that are sorted at a time
_UNITS_PER_BIN = 100


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


def build_pool(
    paths: Sequence[Path],
    layouts: Sequence[FingerprintLayout],
    output: Path,
    *,
    append: bool,
    report: ReadReport,
    engine: Engine,
    progress: Progress,
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
        What computes.
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
    names = tuple(map(_stored, layouts))
    digests = [{"file": path.name, "sha256": sha256_of(path)} for path in map(_existing, paths)]
    folder = _folder_of(output)
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
            spool = Spool(folder, PIECE_ROWS)
            n_rows = _compute_all(paths, tuple(layouts), spool, report, engine, progress)
            if not n_rows:
                _empty(folder)
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
            if folder.is_dir() and not any(spans_in(folder)):
                (folder / _PLAN).unlink(missing_ok=True)  # nothing to go on with
        _empty(folder)
    return n


_PLAN = "plan.json"


def _folder_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.building")


def kept_of(output: Path) -> str:
    """Return the message on a build that was interrupted, "" if nothing of it is kept."""
    folder = _folder_of(output)
    if not folder.is_dir() or not any(spans_in(folder)):
        return ""
    return f"what is done is kept in {folder}: the same command goes on from there"


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
    """Continue the build in the folder if it is the same one, else begin anew."""
    file, text = folder / _PLAN, json.dumps(plan, indent=1)
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    if _empty(folder):
        progress.log(f"note: {folder} holds the beginning of another pool, which is dropped")
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _empty(folder: Path) -> int:
    """Remove what a build has left, but not what keeps the folder; return how many files."""
    left = [path for path in folder.iterdir() if path.name != LOCK]
    for path in left:
        path.unlink()
    return len(left)


def _compute_all(
    paths: Sequence[Path],
    layouts: tuple[FingerprintLayout, ...],
    spool: Spool,
    report: ReadReport,
    engine: Engine,
    progress: Progress,
) -> int:
    """Compute all pieces that the spool lacks; return the number of usable rows."""
    if spool.n_done:
        progress.log(
            f"going on with {spool.folder}: {counted(spool.n_done, 'rows are', 'row is')} done"
        )
    waiting: deque[tuple[int, list[tuple[int, int, Cells]]]] = deque()

    def tasks() -> Iterator[_Task]:
        begin = 0
        cells = _cells_of(paths, report)
        while batch := list(itertools.islice(cells, PIECE_ROWS)):
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
        for line, cells in with_other_components(read_cells(path, report), report):
            yield number, line, cells


QUERY_ID_LEFT_OUT = "query_id left out: the structures of a pool are candidates of any query"


def _key_of(parsed: Molecule | str) -> str:
    return "" if isinstance(parsed, str) else parsed.given_key or parsed.inchikey


def _compute(task: _Task) -> _ComputedRows:
    """Return the structures of some rows; runs in any process, and depends on the rows alone."""
    molecules: dict[int, tuple[str, Molecule]] = {}
    skipped: list[tuple[int, str]] = []
    notes: Counter[str] = Counter()
    rows_of: dict[tuple[str, int], list[int]] = {}
    n_read = 0
    if n_of_queries := sum(bool(cells.query_id) for cells in task.cells):
        notes[QUERY_ID_LEFT_OUT] = n_of_queries
    parsed = with_own_keys(parse_rows(task.cells, "formula"))
    keys = each_quietly(_key_of, parsed)
    for index, (molecule, key) in enumerate(zip(parsed, keys, strict=True)):
        if isinstance(molecule, str):
            skipped.append((index, molecule))
            continue
        if not key:
            skipped.append((index, "no InChIKey can be computed for it"))
            continue
        notes.update(molecule.notes)
        n_read += 1
        same = rows_of.setdefault((key[:FIRST_BLOCK], rounded_mass(molecule.exact_mass)), [])
        if not same:
            molecules[index] = key, molecule
        same.append(index)
    kept = [molecule for _, molecule in molecules.values()]
    cells_of = [task.cells[index] for index in molecules]
    columns = {
        "inchikey": [key for key, _ in molecules.values()],
        "smiles": [molecule.text for molecule in kept],
        "name": [cells.name for cells in cells_of],
        "id": [cells.id for cells in cells_of],
        "formula": [molecule.formula for molecule in kept],
    }
    merged = [
        rows_of[key[:FIRST_BLOCK], rounded_mass(m.exact_mass)] for key, m in molecules.values()
    ]
    for place, rows in enumerate(merged):
        if len(rows) > 1:
            columns["name"][place] = first_text(task.cells[row].name for row in rows)
            columns["id"][place] = joined_ids(task.cells[row].id for row in rows)
    packed = compute_all([in_this_process(layout) for layout in task.layouts], kept)
    found = PoolRows(
        np.array([molecule.exact_mass for molecule in kept], np.float64),
        {n: [text.encode("utf-8", "replace") for text in columns[n]] for n in TEXTS},
        {layout.name: rows for layout, rows in zip(task.layouts, packed, strict=True)},
    )
    return _ComputedRows(list(molecules), found, n_read, skipped, dict(notes))


def _piece(begin: int, batch: list[tuple[int, int, Cells]], computed: _ComputedRows) -> Piece:
    skips = []
    for index, cause in computed.skipped:
        file, line, cells = batch[index]
        skips.append(SkippedRow(file, line, record_of(cells), cause))
    ordinal = begin + np.array(computed.kept, np.int64)
    return Piece(
        begin,
        begin + len(batch),
        *sorted_rows(ordinal, computed.rows),
        computed.n_read,
        skips,
        computed.notes,
    )


class _EarlierRows:
    """Rows of a pool that is added to: they come before all others."""

    def __init__(self, pool: PoolFile) -> None:
        self._pool = pool

    def units(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rounded masses, in pieces."""
        for first in range(0, len(self._pool), MERGED_ROWS):
            end = min(first + MERGED_ROWS, len(self._pool))
            yield rounded_masses(self._pool.masses(first, end))

    def read(self, first: int, end: int) -> tuple[Ordinals, PoolRows]:
        """Return a range of rows."""
        return np.arange(first, end), self._pool.rows(first, end)


def _write(
    output: Path,
    layouts: tuple[StoredLayout, ...],
    spool: Spool,
    earlier: PoolFile | None,
    attributes: dict[str, str | int],
    n_rows: int,
    progress: Progress,
) -> int:
    """Write the pool of all rows; return the number of structures."""
    sources: list[SortedRows] = spool.sources()
    n_earlier = n_known = 0
    if earlier is not None:
        n_earlier = len(earlier)
        n_known = n_earlier + int(earlier.attributes["n_duplicates"])
        sources = [_EarlierRows(earlier), *(PieceRows(path, n_earlier) for path in spool.paths)]
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
            ordinal, rows = merged_rows(ordinal, PoolRows.joined([rows for _, rows in parts]))
            order = np.lexsort((ordinal, rows.exact_mass))
            writer.append(rows.select(order))
            n_written += len(rows)
            progress.progress("writing the pool", n_written, None)
        attributes["n_duplicates"] = n_known + n_rows - n_written
        n = writer.finish(attributes)
        if earlier is not None:
            earlier.close()  # Windows replaces no file that is open
        return n


def _limits(sources: Sequence[SortedRows]) -> NDArray[np.int64]:
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
        if n_rows and n_rows + n_of_bin > MERGED_ROWS:
            edges.append(number * _UNITS_PER_BIN)
            n_rows = 0
        n_rows += n_of_bin
    edges.append((max(counts) + 1) * _UNITS_PER_BIN)
    limits = np.zeros((len(sources), len(edges)), np.int64)
    for row, source in enumerate(sources):
        for units in source.units():
            limits[row] += np.searchsorted(units, edges, side="left")
    return limits
