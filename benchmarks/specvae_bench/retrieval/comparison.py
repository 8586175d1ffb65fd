"""Methods of ranking on the same queries and candidates: their scores, and the figures of these."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evaluation.evaluate import place_of_truth
from specvae.annotation.evaluation.hits import TruthRank, rank_of_truth
from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.evidence.pool import Comparison as Compared
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.library.library import Library
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.queries import QueryFilter
from specvae.annotation.ranking.result import ListScores, Refusal
from specvae.cli.console import Console
from specvae.counting import counted
from specvae.errors import InputError
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintCache, fingerprints, get_layout
from specvae.molecules.molecule import Molecule
from specvae.molecules.query_ids import by_form, listed_as
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum
from specvae_bench.evidence import compare
from specvae_bench.folds.contest import Challenges
from specvae_bench.retrieval.methods import LAYOUTS

# What models are combined with: of the look-ups the one that ranks best.
PARTNER = "sum of 30, morgan4096"
# Structures of one formula have one mass; more than this apart, no formula need be compared.
_SAME_MASS_DA = 0.002

Scores = list[NDArray[np.float64]]


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A query with its candidates and its truth.

    Attributes
    ----------
    spectrum
        The query's, with the ion that it is taken to be.
    truth
        InChIKey first block.
    candidates
        One per first block; None if there are none.
    place
        Index of the truth among them; None if it is absent.
    of_formula
        int64 (n,): indices of the candidates of the truth's formula; none if the truth is absent.
    """

    spectrum: Spectrum
    truth: str
    candidates: CandidateSet | None
    place: int | None
    of_formula: NDArray[np.int64]

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return 0 if self.candidates is None else len(self.candidates)

    @property
    def molecules(self) -> list[Molecule]:
        """The candidates' structures."""
        return [] if self.candidates is None else list(self.candidates.molecules)

    def rows(self, track: str) -> NDArray[np.int64]:
        """Return the indices (n,) of the candidates that compete in a track."""
        return self.of_formula if track == "formula" else np.arange(self.n_candidates)

    def rank(self, scores: NDArray[np.float64], track: str) -> TruthRank:
        """Return where the truth stands among the scores (n,) of the track's candidates."""
        if self.place is None:
            return rank_of_truth(self.truth, scores, None)
        place = int(np.searchsorted(self.rows(track), self.place))
        return rank_of_truth(self.truth, scores, place)


def read_problems(
    files: Challenges, truth: Mapping[str, str], wanted: QueryFilter, ppm: float, console: Console
) -> tuple[list[Problem], list[str]]:
    """Return the queries that have a truth and pass the filter, and what has a truth but no query.

    A query that could not be read is of the second kind. Candidates without a query_id are those
    within `ppm` of a query's mass.
    """
    # The library has no other ion mode, as if a model that knows one only were asked.
    assumed = Assumptions(ion_mode=wanted.ion_mode)
    report, of_candidates = ReadReport(), ReadReport()
    problems: list[Problem] = []
    seen: set[str] = set()
    forms = by_form(truth)
    with CandidateSource(files.candidates, get_layout(LAYOUTS[0]), ppm, of_candidates) as source:
        for spectrum in read_spectra(files.queries, report):
            console.progress("finding candidates", report.n_read)
            query = Query.assign_ion(spectrum, assumed)
            name = listed_as(query.query_id, truth, forms)
            if name is None:
                continue
            seen.add(name)
            if not wanted.reject(query):
                problems.append(_problem(query, truth[name], source.find(query)))
    console.log(f"queries: {report.summary()}")
    missing = [query_id for query_id in truth if query_id not in seen]
    if missing:
        console.log(without_query(len(missing)))
    say_skipped(of_candidates, console)
    return problems, missing


def _problem(query: Query, truth: str, found: CandidateSet | Refusal) -> Problem:
    if isinstance(found, Refusal):
        return Problem(query.spectrum, truth, None, None, np.empty(0, np.int64))
    place, truth = place_of_truth(found, truth)
    return Problem(query.spectrum, truth, found, place, same_formula(found, place))


def say_skipped(candidates: ReadReport, console: Console) -> None:
    """Say which rows of a table of candidates cannot be used, if there are any."""
    if candidates.skips:
        console.log(f"candidates: {candidates.summary('candidates')}")


def without_query(n: int) -> str:
    """Return what is said of `n` truths that belong to no query that was read."""
    verbs = ("has", "is") if n == 1 else ("have", "are")
    return f"note: {counted(n, 'truths')} {verbs[0]} no query and {verbs[1]} not evaluated"


def same_formula(candidates: CandidateSet, place: int | None) -> NDArray[np.int64]:
    """Return the indices (n,), ascending, of the candidates with the formula of the one at `place`.

    None have it if `place` is None.
    """
    if place is None:
        return np.empty(0, np.int64)

    def formula(row: int) -> str:
        molecule: Molecule = candidates.molecules[row]
        return molecule.formula

    mass = candidates.exact_mass
    rivals = np.flatnonzero(np.abs(mass - mass[place]) <= _SAME_MASS_DA)
    wanted = formula(place)
    return np.array([row for row in rivals.tolist() if formula(row) == wanted], dtype=np.int64)


class Comparison:
    """Scores of one method after the other for the same problems.

    Parameters
    ----------
    problems
        Queries with their candidates.
    known
        The library that methods look up and learn from.
    jobs
        Processes that compute fingerprints; None for one per core.
    console
        Where progress is shown.

    Attributes
    ----------
    steps
        Seconds of what several methods share, and of training.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        known: Library,
        jobs: int | None,
        console: Console,
    ) -> None:
        self.problems = problems
        self.known = known
        self.console = console
        self.steps: dict[str, float] = {}
        self._jobs = jobs
        self._packed: dict[str, list[NDArray[np.uint8]]] = {}
        self._known_packed: dict[str, NDArray[np.uint8]] = {}
        # Method -> the methods whose scores are standardised and added; itself if it is single.
        self._parts: dict[str, tuple[str, ...]] = {}
        self._scores: dict[str, Scores] = {}
        self._seconds: dict[str, float] = {}

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods so far."""
        return tuple(self._parts)

    @property
    def queries(self) -> list[Spectrum]:
        """The spectrum of each problem."""
        return [problem.spectrum for problem in self.problems]

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the seconds of the block to a step's."""
        start = time.perf_counter()
        yield
        self.steps[step] = round(self.steps.get(step, 0.0) + time.perf_counter() - start, 2)

    def add(self, name: str, scores: Iterable[NDArray[np.float64]], seconds: float = 0.0) -> None:
        """Take a method's scores, one array (n_candidates,) a problem, and time their coming.

        `seconds` is what was spent on the method before.

        Raises
        ------
        InputError
            If there is a method of this name.
        """
        if name in self._parts:
            raise InputError(f"two methods are called {name!r}; rename the model's folder")
        start = time.perf_counter()
        self._scores[name] = []
        for n_done, of_problem in enumerate(scores, start=1):
            self._scores[name].append(of_problem)
            self.console.progress(name, n_done, len(self.problems))
        self._parts[name] = (name,)
        self._seconds[name] = time.perf_counter() - start + seconds

    def add_sum(self, name: str, parts: tuple[str, ...]) -> None:
        """Add the sum of several methods' scores, standardised over the candidates that compete."""
        self._parts[name] = parts

    def add_model(self, name: str, path: Path, device: str) -> dict[str, Any]:
        """Add a model's rows, and return what it is.

        Blind, by its predicted fingerprint, by all that it knows, and by the fingerprint with
        analogues, where these are there.
        """
        annotator = Annotator.load(path, device)
        table = self.packed(annotator.layout.name)
        start = time.perf_counter()
        logits = annotator.predict(self.queries)
        predicting = time.perf_counter() - start
        blind = annotator.blind_logits
        self.add(f"{name}, blind", (log_likelihoods(packed, blind) for packed in table))
        scored = zip(table, logits, strict=True)
        self.add(
            name, (log_likelihoods(packed, of_query) for packed, of_query in scored), predicting
        )
        pool = annotator.evidence_pool
        if pool is not None:
            compared = self.packed(pool.layout.name)
            start = time.perf_counter()
            final = _final_scores(annotator, pool, self.problems, compared, self._scores[name])
            self.add(
                f"{name}, everything",
                (final.get(n, scores) for n, scores in enumerate(self._scores[name])),
                predicting + time.perf_counter() - start,
            )
        if PARTNER in self._parts:
            self.add_sum(f"{name} + analogues", (name, PARTNER))
        return self._described(name, annotator)

    def seconds(self, name: str) -> float:
        """Return the seconds that a method took to score all queries."""
        return round(sum(self._seconds[part] for part in self._parts[name]), 2)

    def ranks(self, track: str) -> dict[str, list[TruthRank]]:
        """Return where each method puts the truth of each problem in a track."""
        rows = [problem.rows(track) for problem in self.problems]
        ranks = {}
        for name, parts in self._parts.items():
            scores = [
                [of_problem[row] for of_problem, row in zip(self._scores[part], rows, strict=True)]
                for part in parts
            ]
            if len(parts) > 1:
                scores = [[standardised(s) for s in part] for part in scores]
            ranks[name] = [
                problem.rank(sum(of_parts[1:], start=of_parts[0]), track)
                for problem, *of_parts in zip(self.problems, *scores, strict=True)
            ]
        return ranks

    def packed(self, layout: str) -> list[NDArray[np.uint8]]:
        """Return the candidates' fingerprints, uint8 (n_candidates, n_bytes) for each problem."""
        if layout not in self._packed:
            table = self._fingerprints([m for p in self.problems for m in p.molecules], layout)
            ends = np.cumsum([p.n_candidates for p in self.problems])
            self._packed[layout] = np.split(table, ends[:-1])
        return self._packed[layout]

    def known_packed(self, layout: str) -> NDArray[np.uint8]:
        """Return the fingerprints of the library's compounds, uint8 (n_compounds, n_bytes)."""
        if layout not in self._known_packed:
            self._known_packed[layout] = self._fingerprints(self.known.molecules, layout)
        return self._known_packed[layout]

    def _fingerprints(self, molecules: Sequence[Molecule], layout: str) -> NDArray[np.uint8]:
        with self.timed(f"fingerprints, {layout}"):
            return fingerprints(
                molecules,
                get_layout(layout),
                FingerprintCache(),
                self._jobs,
                lambda done, total: self.console.progress(f"computing {layout}", done, total),
            )

    def _described(self, name: str, annotator: Annotator) -> dict[str, Any]:
        header = annotator.header
        known = [p for p in self.problems if p.truth in annotator.training_compounds]
        if known:
            self.console.log(
                f"warning: {name} has learned from the truth of {counted(len(known), 'queries')}; "
                "its figures flatter it"
            )
        return {
            "kind": header.config.model.kind,
            "preset": header.config.preset,
            "fingerprint": annotator.layout.name,
            "weights_sha256": header.weights_sha256,
            "n_training_spectra": header.provenance.n_spectra_by_fold["train"],
            "training_seconds": dict(header.seconds),
            "n_truth_in_training": len(known),
        }


def _final_scores(
    annotator: Annotator,
    pool: EvidencePool,
    problems: Sequence[Problem],
    compared: Sequence[NDArray[np.uint8]],
    predicted: Scores,
) -> dict[int, NDArray[np.float64]]:
    """Return the scores that `annotate` ranks by of each problem that has candidates.

    The queries are one run, which shows how many of them the library knows, the line of their
    retention times, and the errors of their precursor m/z.

    Parameters
    ----------
    annotator, pool
        The model, and its evidence.
    problems
        The queries.
    compared
        The candidates' fingerprints in the layout of the evidence.
    predicted
        The log-likelihoods of their predicted fingerprints.
    """
    found: dict[int, tuple[Spectrum, Compared]] = {}
    for number, (problem, bits, scores) in enumerate(
        zip(problems, compared, predicted, strict=True)
    ):
        if problem.candidates is not None:
            one = compare(pool, problem.spectrum, problem.candidates, bits, scores)
            found[number] = problem.spectrum, one
    with pool.scoring([([s], one.broken, one.candidates) for s, one in found.values()]) as scored:
        fragments = scored()
    lists = {}
    for (number, (spectrum, one)), of_query in zip(found.items(), fragments, strict=True):
        evidence = pool.evidence(one, of_query)
        lists[number] = ListScores.of(evidence, spectrum.n_compared)
    return annotator.run_scoring.scores_of_run(lists)


def standardised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one query's scores (n,) minus their mean, in standard deviations; 0 if all agree.

    Scores of different methods that were standardised over the same candidates can be added.
    """
    # Rounding can give equal numbers a deviation above 0, and tiny ones a deviation of 0.
    spread = scores.std() if len(scores) and np.ptp(scores) > 0.0 else 0.0
    if spread == 0.0:
        return np.zeros_like(scores)
    return np.asarray((scores - scores.mean()) / spread)
