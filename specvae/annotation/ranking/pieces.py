"""A run of ranking in pieces, each ranked by a process of this or another computer.

A piece is every n-th feature of the queries. Each process reads the files itself, once, so that
they must lie where it can reach them under the same path. It returns drafts of the answers. The
shares of known compounds are estimated from all pieces together, so that the answers are the same
as those of one process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch

from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.present import Draft
from specvae.annotation.ranking.result import Unranked
from specvae.annotation.ranking.run import Placed, RankingRun, RunInputs
from specvae.errors import InputError
from specvae.molecules.workers import Engine
from specvae.progress import Progress
from specvae.report import ReadReport
from specvae.sources import is_stored_copy

_PIECES_OF_WORKER = 8


@dataclass(frozen=True)
class Job:
    """What all pieces of a run have in common.

    Attributes
    ----------
    options
        Of the run.
    model
        The model's file.
    fingerprint_only, device
        As of `Annotator.load`.
    queries
        The file of spectra.
    top, explained
        As of `RankingRun.results`.
    folder
        Where relative paths begin.
    sizes
        Of the files in bytes, where the run was started.
    is_first
        Whether this piece reports what was read.
    """

    options: RunOptions
    model: Path
    fingerprint_only: bool
    device: str
    queries: Path
    top: int | None
    explained: bool
    folder: Path
    sizes: tuple[int, ...] = ()
    is_first: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return self.model, self.queries, *chain.from_iterable(self.options.inputs.values())

    def measured(self) -> Job:
        """Return the same with the sizes of the files as they are here."""
        return replace(self, sizes=tuple(path.stat().st_size for path in self.files))

    def resolved(self) -> Job:
        """Return the same with paths that hold in this process."""
        if Path.cwd() == self.folder:
            return self
        return replace(
            self,
            options=self.options.within(self.folder),
            model=self.folder / self.model,
            queries=self.folder / self.queries,
        )


@dataclass(frozen=True)
class Piece:
    """What a process returns.

    Attributes
    ----------
    placed
        What becomes of its queries, each with its place in the whole run.
    n_records
        Queries of all pieces.
    reading
        Reports of what was read of queries and candidates; from the first piece only, as they are
        the same for all.
    query_notes, listed_ids
        As of `RankingRun` and its tally.
    """

    placed: list[Placed]
    n_records: int
    reading: tuple[ReadReport, ReadReport] | None
    query_notes: tuple[str, ...]
    listed_ids: tuple[str, ...]


def drafts_in_pieces(
    run: RankingRun, job: Job, engine: Engine, progress: Progress
) -> Iterator[Placed]:
    """Yield what `RankingRun.drafts` yields, as an engine's processes find it.

    Parameters
    ----------
    run
        Takes the notes on the files, and counts the queries.
    job
        The run.
    engine
        What ranks.
    progress
        Where progress is shown.

    Raises
    ------
    InputError
        If a file cannot be used, or is another one where a process reads it.
    SpecvaeError
        If the engine fails.
    """
    for path in job.files:
        if is_stored_copy(path):
            raise InputError(f"{path}: what a pipe brings is here only; --scheduler wants files")
    job = job.measured()
    first, step = job.options.shard or (1, 1)
    n = _PIECES_OF_WORKER * engine.n_workers
    tasks = [
        replace(
            job,
            options=replace(job.options, shard=(first + number * step, n * step)),
            is_first=number == 0,
        )
        for number in range(n)
    ]
    placed: list[Placed] = []
    for piece in engine.in_order(rank_piece, tasks):
        placed += piece.placed
        if piece.reading is not None:
            run.queries, run.candidates = piece.reading
            run.query_notes = piece.query_notes
            run.tally.listed_ids = piece.listed_ids
        progress.progress("ranking queries", len(placed), piece.n_records)
    placed.sort(key=lambda found: found[0])
    places = [place for place, _ in placed]
    yield from zip(places, run.tally.counting(found for _, found in placed), strict=True)


class _Session:
    """A model and files that a process has opened for the pieces of one run."""

    def __init__(self, job: Job) -> None:
        self._stack = ExitStack()
        annotator = Annotator.load(job.model, job.device, fingerprint_only=job.fingerprint_only)
        self.run = RankingRun(annotator, replace(job.options, n_jobs=1))
        self.opened: RunInputs = self._stack.enter_context(self.run.opened(job.queries))

    def close(self) -> None:
        """Close the files."""
        self._stack.close()


# A worker gets piece after piece of the same run, and may have threads.
_turn = threading.Lock()
_sessions: dict[object, _Session] = {}


def rank_piece(job: Job) -> Piece:
    """Rank the queries of a piece; runs in any process that can read the files."""
    shard = job.options.shard or (1, 1)
    local = job.resolved()
    with _turn:
        session = _session_for(local)
        placed: list[Placed] = [
            (place, _named(outcome, local.queries, job.queries))
            for place, outcome in session.run.drafts_of(
                session.opened, shard, top=job.top, explained=job.explained
            )
        ]
        reading = _reading(session.run, local, job) if job.is_first else None
        return Piece(
            placed,
            session.opened.n_records,
            reading,
            session.run.query_notes,
            session.opened.source.listed_ids,
        )


def _session_for(job: Job) -> _Session:
    """Return the session of a run; a session of another run or of changed files is ended."""
    found = [path.stat() for path in job.files]
    for path, size, here in zip(job.files, job.sizes, found, strict=True):
        if here.st_size != size:
            raise InputError(
                f"{path}: {here.st_size:,} bytes where it is ranked, but {size:,} where the run "
                "was started; wanted the same file"
            )
    whole = replace(job, options=replace(job.options, shard=None), is_first=False)
    key = whole, tuple(each.st_mtime_ns for each in found)
    if key not in _sessions:
        for other in _sessions.values():
            other.close()
        _sessions.clear()
        torch.set_num_threads(1)
        _sessions[key] = _Session(whole)
    return _sessions[key]


def _named(outcome: Draft | Unranked, local: Path, given: Path) -> Draft | Unranked:
    """Return an outcome that names the file of queries as it was given."""
    if local == given or outcome.query is None:
        return outcome
    spectrum = replace(outcome.query.spectrum, path=str(given))
    return replace(outcome, query=replace(outcome.query, spectrum=spectrum))


def _reading(run: RankingRun, local: Job, given: Job) -> tuple[ReadReport, ReadReport]:
    names = {
        str(local.queries): str(given.queries),
        str(local.options.candidates): str(given.options.candidates),
    }
    reports = (run.queries, run.candidates)
    for report in reports:
        report.skips = [
            replace(skip, path=names.get(skip.path, skip.path)) for skip in report.skips
        ]
    return reports
