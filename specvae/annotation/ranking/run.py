"""One run of ranking: a model, candidates, rules for queries, and the outcome of each query.

The commands ``annotate`` and ``evaluate`` and ``specvae.Model.annotate`` are each a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Protocol, TypeGuard, cast

from specvae.annotation.evidence.own_spectra import StatedShares
from specvae.annotation.library.compounds import unread_exclusions
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.ranking.advice import told_of
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource, require_candidates
from specvae.annotation.ranking.counts import Counts
from specvae.annotation.ranking.in_list import (
    dependence_lines,
    final_probabilities,
    keep_probable,
    summary_lines,
)
from specvae.annotation.ranking.merging import group_by, listed_as, merge_outcomes, one_of
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.present import Draft, draft
from specvae.annotation.ranking.queries import QueryFilter, queries_at_hand, read_queries
from specvae.annotation.ranking.query_notes import (
    note_on_assumed_adduct,
    note_on_features,
    note_on_queries_in_library,
    note_on_shared_names,
    note_on_unmerged,
)
from specvae.annotation.ranking.rank import rank_spectra
from specvae.annotation.ranking.restriction import Restriction
from specvae.annotation.ranking.result import Answer, QueryResult, Ranked, Unranked
from specvae.annotation.ranking.run_library import with_library
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.annotation.ranking.tally import Tally
from specvae.annotation.ranking.told import Told
from specvae.molecules.workers import kept_processes
from specvae.progress import Progress, Silence
from specvae.report import ReadReport, Skip
from specvae.spectra.lines import sniff_format
from specvae.spectra.spectrum import Spectrum

Place = tuple[int, int, int]
"""The place of an outcome in a run: numbers of the file, the feature, and the spectrum in that."""

Sources = Path | Sequence[Path] | Iterable[Spectrum | Skip]
"""A file of queries, several, or spectra; in place of one that cannot be used stands why."""

Placed = tuple[Place, Draft | Unranked]

_KEPT_EVERY = 30.0  # s: how much work a run with a journal loses if it is killed

MOST_EXPLAINED = 2_500
"""A report explains so many queries, the first of the run: their data is kept until its end."""


@dataclass(frozen=True, eq=False)
class RunInputs:
    """What a run reads, opened.

    Attributes
    ----------
    source
        The candidates.
    groups
        The queries; those of one feature together.
    numbers
        For each group the number of its file, and the number of the feature in that file.
    """

    source: CandidateSource
    groups: list[list[Query | Unranked]]
    numbers: list[tuple[int, int]]

    @property
    def n_records(self) -> int:
        """Number of queries."""
        return sum(map(len, self.groups))


@dataclass(frozen=True)
class Results:
    """The results of a run: of each query, and of all together.

    Attributes
    ----------
    results
        One for each record, in their order.
    share_in_list
        Share of lists that hold their truth, as estimated or given; None if no probabilities are.
    told
        What the probabilities of all queries promise, for the user.
    file_numbers
        For each result the number of its file, from 0; empty if that is not known.
    """

    results: list[QueryResult]
    share_in_list: float | None = None
    told: Told = field(default_factory=Told)
    file_numbers: tuple[int, ...] = ()


class Journal(Protocol):
    """Keeps what was ranked, feature by feature, so that a stopped run can continue."""

    @property
    def kept(self) -> Mapping[tuple[int, int], Sequence[Draft | Unranked]]:
        """What is kept, by the numbers of the file and of the feature."""

    def add(self, file: int, feature: int, found: Sequence[Draft | Unranked]) -> None:
        """Keep the outcomes of one feature."""


class RankingRun:
    """Ranks the queries of one run.

    Parameters
    ----------
    annotator
        The model.
    options
        What is asked for.
    progress
        Where progress is shown.

    Attributes
    ----------
    queries, candidates, library, exclusions
        What was read of these files, and what was skipped.
    notes
        Notes on the library, on exclusion files and on counts of references, for the user.
    query_notes
        Notes on the queries that were read, for the user: see
        `specvae.annotation.ranking.query_notes`.
    tally
        How many queries were ranked, and why the others were not.

    Raises
    ------
    InputError
        If a file of the library cannot be used.
    ConfigError
        If an adduct is unknown, or the model cannot use a library.
    """

    def __init__(
        self, annotator: Annotator, options: RunOptions, progress: Progress | None = None
    ) -> None:
        self.options = options
        self.queries = ReadReport(strict=options.strict)
        self.candidates = ReadReport(strict=options.strict)
        self.library = ReadReport(strict=options.strict)
        self.tally = Tally(
            ppm=options.ppm, states_adduct=bool(options.assume_adduct or options.try_adducts)
        )
        self.query_notes: tuple[str, ...] = ()
        self._progress = progress or Silence()
        self.annotator, self.notes = with_library(
            annotator,
            options.library,
            self.library,
            use_own=options.use_library,
            n_jobs=options.n_jobs,
            progress=self._progress,
        )
        if not options.use_retention_times:
            self.annotator = self.annotator.ignoring_retention_times()
        if not options.has_mass_errors:
            self.annotator = self.annotator.ignoring_mass_errors()
        if not options.use_nearness:
            self.annotator = self.annotator.ignoring_nearness()
        self.exclusions = ReadReport(strict=options.strict)
        self._restriction = Restriction.of(
            options.formula, options.elements, options.exclude, self.exclusions
        )
        if unread := unread_exclusions(self.exclusions):
            self.notes = (*self.notes, unread)
        self._counts: Counts | None = None
        if options.counts is not None:
            self._counts = Counts.read(
                options.counts, options.counts_columns, options.counts_weight, options.n_jobs
            )
            self.notes = (*self.notes, self._counts.summary)
        self._wanted = QueryFilter.of(options.ion_mode, options.adducts)
        assumed = Assumptions.parse(
            options.assume_adduct, options.assume_ion_mode, options.try_adducts
        )
        self._assumed = assumed.adduct
        self._assign_ion = partial(annotator.assign_ion, assumed=assumed)

    @property
    def reports(self) -> tuple[ReadReport, ...]:
        """What was read of the files of each kind, and what was skipped."""
        return self.queries, self.candidates, self.library, self.exclusions

    def told(self, found: Results | None = None) -> Told:
        """Return what the run says: on the files that it read, and on what it found in them.

        Of a long table of candidates, it says how many rows were not parsed because no query has
        their mass.
        """
        lines = []
        if self.options.library and (self.library.n_read or self.library.skips):
            lines.append(f"library: {self.library.summary()}")
        lines += self.notes
        if self.queries.n_read or self.queries.skips:  # of a file, not at hand
            lines.append(f"queries: {self.queries.summary()}")
        lines += self.query_notes
        if self.candidates.skips or self.candidates.notes:
            lines.append(f"candidates: {self.candidates.summary('candidates')}")
        told = Told.of_notes(lines) + told_of(self.tally)
        return told if found is None else told + found.told

    def outcomes(self, spectra: Sources) -> Iterator[Ranked | Unranked]:
        """Yield the outcome of each query of the files, or of each spectrum, in their order.

        Spectra of a feature that are merged have one outcome: see `one_of`.

        Scores assume that the library knows half of the compounds: see `rank_spectra`.

        Raises
        ------
        InputError
            If a file cannot be used.
        """
        with self.opened(spectra) as opened:
            for _, found in self._ranked(opened, self.options.shard or (1, 1), {}):
                yield one_of(list(self.tally.counting(found)))

    @contextmanager
    def opened(self, spectra: Sources) -> Iterator[RunInputs]:
        """Open the candidates and read the queries; leaving closes the candidates.

        Raises
        ------
        InputError
            If a file cannot be used.
        """
        sources, options = _listed(spectra), self.options
        # Processes that were started for the run end with it, even if a file is refused.
        with kept_processes():
            # A wrong file is refused before a long one is read.
            for queries in sources:
                if isinstance(queries, Path):
                    sniff_format(queries)
            require_candidates(options.candidates, self.annotator.layout)
            groups, numbers = self._read_queries(sources)
            first, step = options.shard or (1, 1)
            asked = chain.from_iterable(groups[first - 1 :: step])
            with CandidateSource(
                options.candidates,
                self.annotator.layout,
                options.ppm,
                self.candidates,
                n_jobs=options.n_jobs,
                restriction=self._restriction,
                queries=[query for query in asked if isinstance(query, Query)],
                counts=self._counts,
                names=(query.query_id for group in groups for query in group),
            ) as source:
                self.tally.listed_ids = source.listed_ids
                if source.listed_ids and (line := note_on_shared_names(groups, numbers)):
                    self.query_notes = (*self.query_notes, line)
                yield RunInputs(source, groups, numbers)

    def _read_queries(
        self, sources: Sequence[Path | Iterable[Spectrum | Skip]]
    ) -> tuple[list[list[Query | Unranked]], list[tuple[int, int]]]:
        """Return the queries as they are ranked together, and their numbers: see `RunInputs`."""
        all_groups: list[list[Query | Unranked]] = []
        numbers: list[tuple[int, int]] = []
        files: list[list[list[Query | Unranked]]] = []
        for number, queries in enumerate(sources):
            files.append(groups := self._grouped(queries))
            all_groups += groups
            numbers += ((number, feature) for feature in range(len(groups)))
        merge_by, ppm = self.options.merge_by, self.options.ppm
        notes = (
            *(note_on_queries_in_library(path) for path in sources if self._is_in_library(path)),
            note_on_assumed_adduct(self._assumed, all_groups),
            note_on_unmerged([list(chain.from_iterable(groups)) for groups in files], ppm)
            if merge_by is None
            else note_on_features(merge_by, all_groups),
        )
        self.query_notes = tuple(filter(None, notes))
        return all_groups, numbers

    def _is_in_library(self, queries: Path | Iterable[Spectrum | Skip]) -> TypeGuard[Path]:
        return isinstance(queries, Path) and any(
            path.exists() and path.samefile(queries) for path in self.options.library
        )

    def _grouped(self, queries: Path | Iterable[Spectrum | Skip]) -> list[list[Query | Unranked]]:
        """Return the queries of a file, those together that get one answer."""
        if isinstance(queries, Path):
            records = read_queries(queries, self.queries, self._assign_ion)
        else:
            records = queries_at_hand(queries, self._assign_ion)
        if self.options.merge_by is None:
            return [[record] for record in records]
        return group_by(records, self.options.merge_by, self.options.ppm)

    def _ranked(
        self,
        opened: RunInputs,
        shard: tuple[int, int],
        kept: Mapping[tuple[int, int], Sequence[Draft | Unranked]],
        step_seconds: float | None = None,
    ) -> Iterator[tuple[tuple[int, int], list[Ranked | Unranked]]]:
        """Yield numbers and outcomes of each feature; no outcomes where they are kept already."""
        pairs = list(zip(opened.numbers, opened.groups, strict=True))[shard[0] - 1 :: shard[1]]
        # File by file: identifiers are those of one file.
        for _, of_file in groupby(pairs, key=lambda pair: pair[0][0]):
            features = list(of_file)
            fresh = [group for numbers, group in features if numbers not in kept]
            ranked = rank_spectra(
                self.annotator,
                [record for group in fresh for record in group],
                opened.source,
                self._wanted,
                listed_as=listed_as(fresh, opened.source.is_listed),
                rescore=self.options.rescore,
                step_seconds=step_seconds,
                n_jobs=self.options.n_jobs,
                progress=self._progress,
            )
            outcomes = merge_outcomes(ranked, fresh)
            for numbers, _ in features:
                yield numbers, [] if numbers in kept else next(outcomes)

    def drafts(
        self,
        spectra: Sources,
        *,
        top: int | None = 10,
        explained: bool = False,
        journal: Journal | None = None,
    ) -> Iterator[Placed]:
        """Yield the drafts of all queries, with their places; parameters as of `results`."""
        with self.opened(spectra) as opened:
            shard = self.options.shard or (1, 1)
            yield from self.drafts_of(opened, shard, top=top, explained=explained, journal=journal)

    def drafts_of(
        self,
        opened: RunInputs,
        shard: tuple[int, int],
        *,
        top: int | None,
        explained: bool,
        journal: Journal | None = None,
    ) -> Iterator[Placed]:
        """Yield the drafts of a part of the queries; `shard` as in `RunOptions`."""
        kept, every = ({}, None) if journal is None else (journal.kept, _KEPT_EVERY)
        place_of = {numbers: place for place, numbers in enumerate(opened.numbers)}
        for numbers, outcomes in self._ranked(opened, shard, kept, every):
            found = kept.get(numbers)
            if found is None:
                is_explained = explained and place_of[numbers] < MOST_EXPLAINED
                found = [
                    draft(self.annotator, outcome, top, explained=is_explained, drawn=explained)
                    if isinstance(outcome, Ranked)
                    else outcome
                    for outcome in outcomes
                ]
                if journal is not None:
                    journal.add(*numbers, found)
            for within, one in enumerate(self.tally.counting(found)):
                yield (*numbers, within), one

    def results(
        self,
        spectra: Sources,
        *,
        top: int | None = 10,
        least: float | None = None,
        explained: bool = False,
    ) -> Results:
        """Return the best candidates of each query, with probabilities if the model has them.

        Parameters
        ----------
        spectra
            A file, several, or spectra.
        top
            Most candidates of a query; None: all.
        least
            Candidates of a smaller probability are left out.
        explained
            Whether a report is to explain the best candidates.
        """
        return self.finish(self.drafts(spectra, top=top, explained=explained), least)

    def finish(self, placed: Iterable[Placed], least: float | None) -> Results:
        """Return the final answers, given the drafts of all queries in their order."""
        placed = list(placed)
        drafts = [found for _, found in placed]
        source, options = self.annotator.calibration_source, self.options
        scoring = self.annotator.run_scoring
        found = finish(
            drafts, scoring, source, options.in_list, options.known, least, self.annotator
        )
        return replace(found, file_numbers=tuple(file for (file, _, _), _ in placed))


def _listed(spectra: Sources) -> list[Path | Iterable[Spectrum | Skip]]:
    if isinstance(spectra, Path):
        return [spectra]
    if isinstance(spectra, Sequence) and spectra and isinstance(spectra[0], Path):
        return [path for path in spectra if isinstance(path, Path)]
    return [cast("Iterable[Spectrum | Skip]", spectra)]


def finish(
    drafts: Iterable[Draft | Unranked],
    scoring: RunScoring,
    calibration_source: str,
    in_list: float | None,
    known: StatedShares | None,
    least: float | None,
    annotator: Annotator | None = None,
) -> Results:
    """Return the final answers of a run from the drafts of all its queries.

    Parameters
    ----------
    drafts
        Of all queries, in their order.
    scoring
        Of the model that ranked them.
    calibration_source
        What its probabilities were fitted to, as a phrase.
    in_list
        Share of lists that hold their truth; None estimates it.
    known
        Share of queries whose compound the library knows, of those whose list holds the truth, or
        both shares; None estimates them.
    least
        Candidates of a smaller probability are left out.
    annotator
        Explains the best candidates, where the drafts have what that takes; None: nothing does.
    """
    drafts = list(drafts)
    of_run = scoring.of_run([d.lists for d in drafts if isinstance(d, Draft)], known, in_list)
    results: list[QueryResult] = [
        d.answer(scoring, of_run, annotator) if isinstance(d, Draft) else d for d in drafts
    ]
    model = scoring.probability
    told = Told(details=tuple(of_run.summaries()))
    if model is None or not any(isinstance(result, Answer) for result in results):
        return Results(results, told=told)
    results, share = final_probabilities(model, results, in_list)
    share_known = None if scoring.weights is None else of_run.known.known
    source = Told(found=(f"probabilities: {calibration_source}",))
    told = source + summary_lines(model, results, share, in_list is None, least, share_known) + told
    estimated: dict[str, tuple[float, ...]] = {} if in_list is not None else {"--in-list": (share,)}
    if known is None and scoring.weights is not None:
        estimated["--known"] = of_run.known
    told += Told(
        details=tuple(
            dependence_lines(
                estimated, timed=of_run.line is not None, weighed=of_run.mass_error is not None
            )
        )
    )
    if least is not None:
        results = [keep_probable(result, least) for result in results]
    return Results(results, share, told)
