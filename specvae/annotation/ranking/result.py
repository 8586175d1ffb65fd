"""The ranked table: its rows, its columns, and what belongs to one query."""

from __future__ import annotations

from dataclasses import dataclass

from specvae.annotation.evidence.items import Analogue, BitEvidence, PeakEvidence
from specvae.spectra.spectrum import Spectrum

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
)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One candidate of one query, or the reason why a query has none.

    Attributes
    ----------
    query_id
        The query's identifier, unique within its file.
    rank
        1 is best; candidates of equal score share the worst rank of their group. None if the
        query cannot be ranked.
    smiles, inchikey, name
        The candidate as its file gives it; empty where unknown.
    score
        In nats: the pooled evidence (`specvae.annotation.evidence.pool`), or the log-likelihood of
        the candidate's fingerprint under the prediction, if that is all that is ranked by.
    probability
        Chance that this candidate is the right one; None unless the model is calibrated.
    n_candidates
        Distinct candidates (by InChIKey first block) that were ranked.
    precursor_mz
        Of the query (Th), or None.
    adduct
        Of the query, stated or assumed (`status` says which), or None.
    status
        ``ok``, ``ok; ...`` with a remark, or why the query cannot be ranked.
    """

    query_id: str
    rank: int | None
    smiles: str
    inchikey: str
    name: str
    score: float | None
    probability: float | None
    n_candidates: int
    precursor_mz: float | None
    adduct: str | None
    status: str


@dataclass(frozen=True, slots=True)
class QueryResult:
    """All rows of one query (at least one), with what a report needs to explain them.

    Attributes
    ----------
    query
        The spectrum; None for a record that could not be read.
    annotations
        Best first; a single row without rank if the query cannot be ranked.
    evidence
        The bits that speak loudest for or against the best candidate.
    analogues
        Compounds of the library with like spectra, the nearest first.
    peaks
        The peaks that the best candidate's fragments explain best, by m/z.
    log_odds_in_list
        Log odds that the list of candidates holds the truth, at a share of one half of all
        lists; None unless the model is calibrated.
    """

    query: Spectrum | None
    annotations: tuple[Annotation, ...]
    evidence: tuple[BitEvidence, ...] = ()
    analogues: tuple[Analogue, ...] = ()
    peaks: tuple[PeakEvidence, ...] = ()
    log_odds_in_list: float | None = None
