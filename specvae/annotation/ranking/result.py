"""The outcome of a query: ranked candidates, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.items import (
    Analogue,
    BitEvidence,
    LibrarySpectrum,
    PeakEvidence,
)
from specvae.annotation.evidence.library_match import TENTATIVE_LEVEL, LibraryMatch
from specvae.annotation.evidence.list_features import clear_absentee
from specvae.annotation.evidence.own_spectra import KnownShares
from specvae.annotation.evidence.weighted import NO_TERMS, Evidence, RunTerms
from specvae.annotation.library.query import Query
from specvae.errors import printable
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.molecule import FIRST_BLOCK, Molecule
from specvae.spectra.spectrum import Spectrum

_LONGEST_NAME = 40  # characters shown

TERMS = (*EVIDENCE_KINDS, "retention", "mass")
"""The terms of a score: by kind of evidence, and what the run adds (`RunTerms`)."""

TERM_COLUMNS = tuple(f"{term}_nats" for term in TERMS)
"""Columns of the terms of the score."""

LEADING_EVIDENCE = {kind: kind for kind in EVIDENCE_KINDS} | {"library": "library match"}
"""What the column ``evidence`` calls each kind of evidence."""

COLUMNS = (
    "query_id",
    "rank",
    "smiles",
    "inchikey",
    "name",
    "score",
    "probability",
    "n_candidates",
    "precursor_mz",
    "adduct",
    "status",
    "evidence",
    "library_match",
    "library_cosine",
    "level",
    *TERM_COLUMNS,
    "candidate_id",
    "formula",
    "error_ppm",
    "retention_time",
    "feature_id",
    "library_name",
    "analogue",
    "analogue_cosine",
    "library_adduct",
)
"""Columns of the ranked table."""

NUMBERS = (
    "score",
    "probability",
    "precursor_mz",
    "library_cosine",
    *TERM_COLUMNS,
    "error_ppm",
    "retention_time",
    "analogue_cosine",
)
"""Columns that hold numbers with decimals; `rank` and `n_candidates` are whole numbers."""


class Cause(StrEnum):
    """The kinds of reasons why a query is not ranked, in words by which queries are counted."""

    UNREADABLE = "unreadable record"
    ION_MODE = "left out by ion mode"
    ADDUCT = "left out by adduct"
    MS_LEVEL = "not MS level 2"
    NO_PRECURSOR = "no precursor m/z"
    UNKNOWN_ADDUCT = "unknown adduct"
    NO_ION = "no adduct and no ion mode"
    NOT_LISTED = "no candidates for this query_id"
    NONE_WITHIN = "no candidates of this mass"
    NONE_LIKE_THAT = "no candidate left by --formula, --elements or --exclude"
    NONE_USABLE = "no candidate with a structure that can be parsed"
    IMPROBABLE = "no candidate of the probability"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one query is not ranked.

    Attributes
    ----------
    cause
        The kind of reason.
    text
        The same with what is particular to the query, as the status words it; if empty, the
        cause's own words.
    nearest_ppm
        If there are no candidates of this mass: how far the nearest one is, in ppm of the neutral
        mass.
    """

    cause: Cause
    text: str = ""
    nearest_ppm: float | None = None

    def __str__(self) -> str:
        return self.text or self.cause

    @property
    def counted_as(self) -> str:
        """Words that are the same for all queries of a run with this cause."""
        is_of_run = self.cause in (Cause.NONE_WITHIN, Cause.NONE_LIKE_THAT)
        return str(self) if is_of_run else str(self.cause)

    @property
    def is_filter(self) -> bool:
        """Whether the user asked to leave such queries out; nothing is wrong with them."""
        return self.cause in (Cause.ION_MODE, Cause.ADDUCT)


@dataclass(frozen=True, slots=True, eq=False)
class ListProbabilities:
    """Probabilities of the candidates of one list.

    Attributes
    ----------
    given_in_list
        float64 (n_candidates,): of each candidate, if the list is sure to hold the truth.
    log_odds_in_list
        Log odds that the list holds the truth, at a share of one half of all lists.
    """

    given_in_list: NDArray[np.float64]
    log_odds_in_list: float


@dataclass(frozen=True, slots=True, eq=False)
class ListScores:
    """The scores of the candidates of one list.

    Attributes
    ----------
    scores
        float64 (n_candidates,), nats.
    n_peaks
        Peaks of the query that are compared (`Spectrum.n_compared`).
    evidence
        All kinds of evidence for the candidates; None for a model that ranks by the predicted
        fingerprint alone.
    window_share
        Chance that the truth is among the candidates if the table has it: less than 1 where
        candidates were looked up by a rounded mass (`CandidateSource.window_share`), and 0 where
        all that are listed for the query are of quite another mass.
    """

    scores: NDArray[np.float64]
    n_peaks: int
    evidence: Evidence | None = None
    window_share: float = 1.0

    @classmethod
    def of(cls, evidence: Evidence, n_peaks: int, window_share: float = 1.0) -> Self:
        """Return the scores by all kinds of evidence."""
        return cls(evidence.scores, n_peaks, evidence, window_share)

    def _by(self, evidence: Evidence) -> Self:
        return replace(self, scores=evidence.scores, evidence=evidence)

    def at_shares(self, shares: KnownShares, of_run: RunTerms = NO_TERMS) -> Self:
        """Return the scores at other shares of known compounds; see `Evidence.at_shares`."""
        return self if self.evidence is None else self._by(self.evidence.at_shares(shares, of_run))

    def fitting(self) -> Self:
        """Return the scores of the candidates that are not of quite another mass."""
        if self.evidence is None or (fits := self.evidence.fits).all():
            return self
        return self._by(self.evidence.select(np.flatnonzero(fits)))

    def as_guessed(self) -> Self:
        """Return the scores that probabilities are computed from; see `Evidence.guessed`."""
        if self.evidence is None or self.evidence.guessed is None:
            return self
        return self._by(self.evidence.as_guessed())


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A query with its candidates, in the candidates' own order, and their scores.

    Attributes
    ----------
    query
        The spectrum and its ion.
    candidates
        One at least, one per InChIKey first block.
    packed
        Their fingerprints, uint8 (n_candidates, n_bytes).
    list_scores
        Their scores, which assume that the library knows half of the queries' compounds.
    blind_scores
        float64 (n_candidates,), nats: scores for a spectrum in which nothing was measured.
    logits
        float64 (n_bits,) predicted for the query.
    counts
        The term of the scores from counts of references, float64 (n_candidates,), nats; None if
        there are no counts.
    spectra
        Of a feature whose spectra were merged, all of them; else none.
    """

    query: Query
    candidates: CandidateSet
    packed: NDArray[np.uint8]
    list_scores: ListScores
    blind_scores: NDArray[np.float64]
    logits: NDArray[np.float64]
    counts: NDArray[np.float64] | None = None
    spectra: tuple[Spectrum, ...] = ()

    @property
    def scores(self) -> NDArray[np.float64]:
        """The scores, float64 (n_candidates,)."""
        return self.list_scores.scores

    @property
    def evidence(self) -> Evidence | None:
        """The evidence that the scores are the sum of."""
        return self.list_scores.evidence

    @property
    def analogues(self) -> tuple[Analogue, ...]:
        """The nearest compounds of the library, the nearest first."""
        return () if self.evidence is None else self.evidence.analogues

    @property
    def query_id(self) -> str:
        """The query's identifier, unique within its file."""
        return self.query.query_id


N_ANALOGUES = 3
"""Compounds of the library with like spectra that are shown for a query."""


@dataclass(frozen=True, slots=True, eq=False)
class Unranked:
    """A query that has no ranked candidates.

    Attributes
    ----------
    query_id
        The query's identifier, unique within its file.
    refusal
        Why.
    query
        The spectrum and its ion; None for a record that could not be read.
    remarks
        What else the status says, such as the adduct that was assumed.
    n_candidates
        How many were ranked before all of them were found too improbable; else 0.
    analogues
        As in `Answer`.
    """

    query_id: str
    refusal: Refusal
    query: Query | None = None
    remarks: tuple[str, ...] = ()
    n_candidates: int = 0
    analogues: tuple[Analogue, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation:
    """One candidate of a query, ranked.

    Attributes
    ----------
    rank
        1 is best; candidates of equal score share the worst rank of their group.
    smiles, inchikey, name
        The candidate as its file gives it; empty where unknown.
    score
        In nats: the weighted evidence (`specvae.annotation.evidence.weighted`), or the
        log-likelihood of the candidate's fingerprint under the prediction, if that is all that is
        ranked by.
    probability
        Chance that this candidate is the right one; None unless the model is calibrated.
    molecule
        The structure, where ranking needed it.
    remarks
        What was decided about the structure, such as a metal that was taken off.
    id
        The candidate's identifier in its file; empty if it has none.
    exact_mass
        Da; None where unknown.
    formula
        As standardised; None where the structure is not known.
    terms
        Terms of the score in nats, in the order of `TERMS`; one that the run does not show is 0.
        Empty for a model that ranks by the predicted fingerprint alone.
    leading
        The kind of evidence that raises the candidate most (`Evidence.leading_kinds`).
    match
        The candidate's own library spectrum that is most like the query.
    adduct
        The ion species by which it has the query's mass, where several were tried; None: the
        query's.
    counts
        The term of the score from counts of references, nats; None if there are no counts.
    """

    rank: int
    smiles: str
    inchikey: str
    name: str
    score: float
    probability: float | None = None
    molecule: Molecule | None = None
    remarks: tuple[str, ...] = ()
    id: str = ""
    exact_mass: float | None = None
    formula: str | None = None
    terms: tuple[float, ...] = ()
    leading: str | None = None
    match: LibraryMatch | None = None
    adduct: str | None = None
    counts: float | None = None

    @property
    def first_block(self) -> str:
        """The first block of its InChIKey; empty where that is not known."""
        return self.inchikey[:FIRST_BLOCK]

    @property
    def level(self) -> str:
        """Level of identification of Schymanski et al. 2014 (doi:10.1021/es5002105).

        A clear match identifies the candidate only if no other ranks beside or above it.
        """
        return TENTATIVE_LEVEL if self.match is None or self.rank > 1 else self.match.level


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why the first candidate of a query is first.

    Attributes
    ----------
    second
        The candidate that it is compared with, whether or not it is shown; None for a lone one.
    peaks, second_peaks
        The peaks that the fragments of either explain, by m/z.
    bits
        The bits in which the two differ and that affect the scores, those with the largest effect
        first.
    library
        The library spectrum that the query is shown against: the first candidate's own, else that
        of the nearest analogue.
    spectrum
        The query's spectrum that is shown; of several that were merged, the one that is most like
        `library`. None: the query's only one.
    """

    second: Annotation | None = None
    peaks: tuple[PeakEvidence, ...] = ()
    second_peaks: tuple[PeakEvidence, ...] = ()
    bits: tuple[BitEvidence, ...] = ()
    library: LibrarySpectrum | None = None
    spectrum: Spectrum | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The best candidates of a query, with what a report needs to explain them.

    Attributes
    ----------
    query
        The spectrum and its ion.
    annotations
        One at least, best first.
    n_candidates
        Distinct candidates (by InChIKey first block) that were ranked, those beyond the best
        included.
    analogues
        Compounds of the library with like spectra, the nearest first.
    explanation
        For a report; None if there is no report.
    log_odds_in_list
        As in `ListProbabilities`; None unless the model is calibrated.
    log_odds_known
        Log odds that the truth is a compound that the library knows, in either ion mode, at the
        default shares of these; None where all candidates are, or the model ranks by the predicted
        fingerprint alone.
    window_share
        As in `ListScores`.
    """

    query: Query
    annotations: tuple[Annotation, ...]
    n_candidates: int
    analogues: tuple[Analogue, ...] = ()
    explanation: Explanation | None = None
    log_odds_in_list: float | None = None
    log_odds_known: float | None = None
    window_share: float = 1.0

    @property
    def query_id(self) -> str:
        """The query's identifier, unique within its file."""
        return self.query.query_id

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the status says beside ``ok``."""
        return (*self.query.remarks, *absentee_remark(self.query, self.analogues))


def absentee_remark(query: Query, analogues: Sequence[Analogue]) -> tuple[str, ...]:
    """Return the remark on a compound of the library that may be a query's and is not listed."""
    absentee = clear_absentee(analogues)
    if absentee is None:
        return ()
    is_other_ion = absentee.adduct and absentee.adduct != query.adduct
    compound = f"{quoted(absentee.title)}{f' as {absentee.adduct}' if is_other_ion else ''}"
    return (f"clearly like {compound} of the library, which is not among the candidates",)


QueryResult = Answer | Unranked


_OF_THERMO = "controllerType=0 controllerNumber=1 "  # all spectra of mzML from Thermo's raw files


def quoted(name: str) -> str:
    """Return a name as messages show it.

    What all names of a run begin with is left out, and the middle of a long name, as ends differ.
    """
    name = name.removeprefix(_OF_THERMO)
    half = _LONGEST_NAME // 2
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:half]}...{name[-half:]}"
    return f"'{printable(shown)}'"


def is_left_out(result: QueryResult) -> bool:
    """Return whether a query was ranked, but no candidate is probable enough to be shown."""
    return isinstance(result, Unranked) and result.refusal.cause is Cause.IMPROBABLE
