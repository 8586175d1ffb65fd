"""One run of ranking: a model, candidates, rules for queries, and what becomes of a file of them.

The commands ``annotate`` and ``evaluate`` and ``specvae.Model.annotate`` are each a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.features import group_by, listed_as, merge_outcomes
from specvae.annotation.ranking.in_list import (
    dependence_lines,
    keep_probable,
    settle_share,
    summary_lines,
)
from specvae.annotation.ranking.library import with_library
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.present import Draft, draft
from specvae.annotation.ranking.queries import QueryFilter, read_queries
from specvae.annotation.ranking.rank import rank_spectra
from specvae.annotation.ranking.restriction import Restriction
from specvae.annotation.ranking.result import Answer, QueryResult, Ranked, Unranked
from specvae.annotation.ranking.settlement import Settlement
from specvae.annotation.ranking.tally import Tally
from specvae.progress import Progress, Silence
from specvae.report import ReadReport
from specvae.spectra.lines import sniff_format
from specvae.spectra.spectrum import Spectrum

Place = tuple[int, int]
"""Where in a whole run an outcome stands: number of the feature, and within it."""

Placed = tuple[Place, Draft | Unranked]

MOST_EXPLAINED = 2_500
"""Queries that a report explains, the first of the run: what this takes is kept to the end."""


@dataclass(frozen=True, eq=False)
class Opened:
    """What a run reads, opened.

    Attributes
    ----------
    source
        The candidates.
    groups
        The queries; those of one feature together.
    """

    source: CandidateSource
    groups: list[list[Query | Unranked]]

    @property
    def n_records(self) -> int:
        """Number of queries."""
        return sum(map(len, self.groups))


@dataclass(frozen=True)
class Results:
    """What becomes of the queries of a run, and of all of them together.

    Attributes
    ----------
    results
        One for each record, in their order.
    share_in_list
        Share of lists that hold their truth, as estimated or given; None if no probabilities are.
    lines
        What the probabilities of all queries say together, as lines for the user.
    """

    results: list[QueryResult]
    share_in_list: float | None = None
    lines: tuple[str, ...] = ()


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
    queries, candidates, library
        What was read of these files, and what was skipped.
    notes
        What is to be said of the library, as lines for the user.
    merging
        What is to be said of spectra that are of one feature, as a line; empty if there are none.
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
        self.tally = Tally()
        self.merging = ""
        self._progress = progress or Silence()
        self.annotator, self.notes = with_library(
            annotator,
            options.library,
            self.library,
            use_own=options.use_library,
            n_jobs=options.n_jobs,
            progress=self._progress,
        )
        self._restriction = Restriction.of(options.formula, options.elements, options.exclude)
        self._wanted = QueryFilter.of(options.ion_mode, options.adducts)
        assumed = Assumptions.parse(options.assume_adduct, options.assume_ion_mode)
        self._settle = partial(annotator.settle, assumed=assumed)

    def outcomes(self, spectra: Path | Iterable[Spectrum]) -> Iterator[Ranked | Unranked]:
        """Yield what becomes of each query of a file, or of each spectrum, in their order.

        Scores assume that the library knows half of the compounds: see `rank_spectra`.

        Raises
        ------
        InputError
            If a file cannot be used.
        """
        return (outcome for _, outcome in self._placed(spectra))

    def _placed(
        self, spectra: Path | Iterable[Spectrum]
    ) -> Iterator[tuple[Place, Ranked | Unranked]]:
        with self.opened(spectra) as opened:
            yield from self._ranked(opened, self.options.shard or (1, 1))

    @contextmanager
    def opened(self, spectra: Path | Iterable[Spectrum]) -> Iterator[Opened]:
        """Open the candidates and read the queries; leaving closes the candidates.

        Raises
        ------
        InputError
            If a file cannot be used.
        """
        if isinstance(spectra, Path):
            # A wrong file of queries is refused before a long file of candidates is read.
            sniff_format(spectra)
        options, annotator = self.options, self.annotator
        with CandidateSource(
            options.candidates,
            annotator.layout,
            options.ppm,
            self.candidates,
            options.n_jobs,
            self._restriction,
        ) as source:
            self.tally.listed_ids = source.listed_ids
            records: list[Query | Unranked]
            if isinstance(spectra, Path):
                records = read_queries(spectra, self.queries, self._settle)
            else:
                records = [self._settle(spectrum) for spectrum in spectra]
            groups = [[record] for record in records]
            by_field = group_by(records, options.merge_by or "FEATURE_ID", options.ppm)
            if options.merge_by is not None:
                groups = by_field
            self.merging = _merging(options.merge_by, by_field)
            yield Opened(source, groups)

    def _ranked(
        self, opened: Opened, shard: tuple[int, int]
    ) -> Iterator[tuple[Place, Ranked | Unranked]]:
        options, annotator = self.options, self.annotator
        numbers = range(shard[0] - 1, len(opened.groups), shard[1])
        groups = opened.groups[shard[0] - 1 :: shard[1]]
        ranked = rank_spectra(
            annotator,
            [record for group in groups for record in group],
            opened.source,
            self._wanted,
            listed_as=listed_as(groups),
            rescore=options.rescore,
            n_jobs=options.n_jobs,
            progress=self._progress,
        )
        weights = annotator.settlement.weights
        outcomes = merge_outcomes(ranked, groups, weights)
        for number, found in zip(numbers, outcomes, strict=True):
            for within, outcome in enumerate(self.tally.counting(found)):
                yield (number, within), outcome

    def drafts(
        self, spectra: Path | Iterable[Spectrum], *, top: int | None = 10, explained: bool = False
    ) -> Iterator[Placed]:
        """Yield what is kept of each query until all have been ranked; arguments as `results`."""
        with self.opened(spectra) as opened:
            shard = self.options.shard or (1, 1)
            yield from self.drafts_of(opened, shard, top=top, explained=explained)

    def drafts_of(
        self, opened: Opened, shard: tuple[int, int], *, top: int | None, explained: bool
    ) -> Iterator[Placed]:
        """Yield the same of a part of the queries; `shard` as in `RunOptions`."""
        for place, outcome in self._ranked(opened, shard):
            if isinstance(outcome, Ranked):
                told = explained and place[0] < MOST_EXPLAINED
                yield place, draft(self.annotator, outcome, top, explained=told)
            else:
                yield place, outcome

    def results(
        self,
        spectra: Path | Iterable[Spectrum],
        *,
        top: int | None = 10,
        least: float | None = None,
        explained: bool = False,
    ) -> Results:
        """Return the best candidates of each query, with probabilities if the model has them.

        Parameters
        ----------
        spectra
            A file, or spectra.
        top
            Most candidates of a query; None: all.
        least
            Candidates of a smaller probability are left out.
        explained
            Whether a report is to explain the best candidates.
        """
        return self.finish(self.drafts(spectra, top=top, explained=explained), least)

    def finish(self, placed: Iterable[Placed], least: float | None = None) -> Results:
        """Return the final answers, given what is kept of all queries in their order."""
        drafts = [found for _, found in placed]
        source, options = self.annotator.calibration_source, self.options
        settlement = self.annotator.settlement
        return finish(drafts, settlement, source, options.in_list, options.known, least)


def _merging(field: str | None, groups: Sequence[Sequence[Query | Unranked]]) -> str:
    """Return what is to be said of spectra that agree in a field, or else in FEATURE_ID."""
    several = [group for group in groups if len(group) > 1]
    n_spectra = sum(map(len, several))
    if field is None and several:
        return (
            f"note: features (FEATURE_ID) with several spectra: {len(several):,}, of {n_spectra:,} "
            "spectra; --merge-by FEATURE_ID gives one answer for each feature"
        )
    if field is None:
        return ""
    return f"features with several spectra (by {field}): {len(several):,}, of {n_spectra:,} spectra"


def finish(
    drafts: Iterable[Draft | Unranked],
    settlement: Settlement,
    calibration_source: str,
    in_list: float | None = None,
    known: float | None = None,
    least: float | None = None,
) -> Results:
    """Return the final answers of a run from the drafts of all its queries.

    Parameters
    ----------
    drafts
        Of all queries, in their order.
    settlement
        Of the model that ranked them.
    calibration_source
        What its probabilities were fitted to, as a phrase.
    in_list
        Share of lists that hold their truth; None estimates it.
    known
        Share of queries whose compound the library knows; None estimates it.
    least
        Candidates of a smaller probability are left out.
    """
    drafts = list(drafts)
    of_known = settlement.share_of_known((d.lists for d in drafts if isinstance(d, Draft)), known)
    results: list[QueryResult] = [
        d.answer(settlement, of_known) if isinstance(d, Draft) else d for d in drafts
    ]
    model = settlement.probability
    if model is None or not any(isinstance(result, Answer) for result in results):
        return Results(results)
    results, share = settle_share(model, results, in_list)
    lines = summary_lines(model, results, share, in_list is None, least)
    estimated = {} if in_list is not None else {"--in-list": share}
    if known is None and settlement.weights is not None:
        estimated["--known"] = of_known
    lines += dependence_lines(estimated)
    if least is not None:
        results = [keep_probable(result, least) for result in results]
    return Results(results, share, (f"probabilities: {calibration_source}", *lines))
