"""From scores to the rows that a user sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence import mass_error, retention
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.list_features import clear_absentee
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.library.query import Query
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.explain import Explainer
from specvae.annotation.ranking.result import (
    N_ANALOGUES,
    Annotation,
    Answer,
    ListScores,
    Ranked,
)
from specvae.annotation.ranking.run_scoring import RunScoring, RunState
from specvae.errors import StructureError
from specvae.molecules.candidates import CandidateSet, is_whole_key
from specvae.molecules.molecule import Molecule
from specvae.spectra.adducts import Adduct


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A ranked query as it is kept until the shares and the retention line of a run are estimated.

    The shares of known compounds change the scores of all measured candidates, in either ion mode,
    by the same number. So the best candidates of each kind are kept, with the scores of all. What
    the run adds changes each score by so many nats at most (`_reach`). So candidates that are
    within this distance of being shown are kept too.

    Attributes
    ----------
    query
        The spectrum and its ion.
    lists
        Scores of all candidates, at the default shares of known compounds.
    rows
        int64 (n_kept,): places in the list of those that may be shown, in order of their first
        blocks.
    annotations
        The annotations of these candidates, without rank, score and probability.
    top
        How many are shown; None: all.
    analogues
        As in `Answer`.
    explainer
        What a report needs to explain the best candidate; None if there is no report.
    """

    query: Query
    lists: ListScores
    rows: NDArray[np.int64]
    annotations: tuple[Annotation, ...]
    top: int | None
    analogues: tuple[Analogue, ...] = ()
    explainer: Explainer | None = None

    def answer(
        self, scoring: RunScoring, run: RunState, annotator: Annotator | None = None
    ) -> Answer:
        """Return the candidates that are shown, with scores for what all queries of a run show.

        The probabilities hold if the list holds the truth. The chance that it does is added by
        `specvae.annotation.ranking.in_list.final_probabilities`.
        """
        lists = scoring.final_scores(self.lists, run)
        probabilities = scoring.probabilities(lists)
        terms = None if lists.evidence is None else _terms(lists.evidence)
        # Ties are shown in order of InChIKey, whose first blocks are distinct: the order in which
        # candidates were listed must not decide which of them the user sees first.
        order = np.argsort(-lists.scores[self.rows], kind="stable")
        rows = self.rows[order]
        ranks = np.searchsorted(np.sort(-lists.scores), -lists.scores[rows], side="right")
        shown = tuple(
            replace(
                self.annotations[place],
                rank=int(rank),
                score=float(lists.scores[row]),
                probability=(
                    None if probabilities is None else float(probabilities.given_in_list[row])
                ),
                terms=() if terms is None else tuple(terms[row].tolist()),
            )
            for place, row, rank in zip(order, rows, ranks, strict=True)
        )
        explanation = None
        if self.explainer is not None and annotator is not None:
            explanation = self.explainer.explain(
                annotator, self.query, shown[:2], order[:2].tolist(), self.analogues
            )
        return Answer(
            self.query,
            shown[: self.top],
            n_candidates=len(lists.scores),
            analogues=self.analogues,
            explanation=explanation,
            log_odds_in_list=None if probabilities is None else probabilities.log_odds_in_list,
            log_odds_known=scoring.log_odds_known(self.lists),
            window_share=self.lists.window_share,
        )


def draft(
    annotator: Annotator,
    ranked: Ranked,
    top: int | None,
    *,
    explained: bool = True,
    drawn: bool = True,
) -> Draft:
    """Return the draft of a ranked query's answer, which shows the `top` best candidates.

    Parameters
    ----------
    annotator
        The model that ranked.
    ranked
        The query.
    top
        How many candidates are shown; None: all.
    explained
        Whether a report is to explain the best candidate.
    drawn
        Whether a report shows the candidates, as standardised: their structures are parsed then.
    """
    evidence, candidates = ranked.evidence, ranked.candidates
    order = np.lexsort((candidates.first_block, -ranked.scores))
    kinds = [order]
    if evidence is not None:
        members = (evidence.measured, evidence.elsewhere, ~evidence.known)
        kinds = [order[of_kind[order]] for of_kind in members if of_kind.any()]
    # The best is explained against the second, which may not be shown itself.
    n_kept = None if top is None else max(top, 2) if explained else top
    reach = _reach(evidence)
    kept = np.concatenate([kind[: _n_near(ranked.scores[kind], n_kept, reach)] for kind in kinds])
    rows = kept[np.argsort(candidates.first_block[kept], kind="stable")]
    shown = candidates.select(rows)
    molecules = _structures(shown, drawn=drawn)
    formulas = _formulas(shown, molecules)
    pool = annotator.evidence_pool
    own = None if evidence is None else evidence.own
    fits = None if evidence is None else evidence.fits
    has_absentee = evidence is not None and clear_absentee(evidence.analogues) is not None
    leading = [] if evidence is None else evidence.leading_kinds()
    # One of these is shown first. The keys of all would take longer than their ranks.
    best = {int(kind[0]) for kind in kinds}
    annotations = tuple(
        Annotation(
            rank=0,
            smiles=shown.smiles[n],
            inchikey=key if molecule is None else molecule.inchikey,
            name=shown.name[n],
            score=0.0,
            molecule=molecule,
            remarks=_remarks(molecule, is_best=row in best),
            id=shown.id[n],
            exact_mass=float(shown.exact_mass[n]),
            formula=formulas[n],
            leading=leading[row] if leading else None,
            match=(
                None
                if own is None or pool is None
                else own.match(
                    pool.library.index,
                    ranked.query.spectrum_of(ion),
                    row,
                    fits=fits,
                    has_absentee=has_absentee,
                )
            ),
            adduct=None if shown.ion is None or ion is None else ion.name,
            counts=None if ranked.counts is None else float(ranked.counts[row]),
        )
        for n, (row, (_, key), molecule, ion) in enumerate(
            zip(rows.tolist(), shown.texts(), molecules, _ions(ranked.query, shown), strict=True)
        )
    )
    return Draft(
        ranked.query,
        ranked.list_scores,
        rows,
        annotations,
        top,
        () if evidence is None else evidence.analogues[:N_ANALOGUES],
        Explainer.of(ranked, rows) if explained else None,
    )


OTHER_KEY = "its InChIKey is another structure's"


def _remarks(molecule: Molecule | None, *, is_best: bool) -> tuple[str, ...]:
    """Return the remarks on a candidate; on the best, also whether its given key is its own.

    The key that a row gives is trusted: by the key, a candidate is found in the library and taken
    as the same compound as other rows.
    """
    if molecule is None:
        return ()
    is_looked_at = is_best and molecule.given_key and molecule.n_components == 1
    given = molecule.first_block if is_looked_at else ""
    own = molecule.with_key("").first_block if given else ""
    if own == given or not own:
        return molecule.notes
    return (*molecule.notes, f"{OTHER_KEY} ({given}, computed {own})")


def _terms(evidence: Evidence) -> NDArray[np.float64]:
    """Return the terms of all candidates' scores, (n_candidates, n_terms)."""
    nothing = np.zeros(len(evidence.scores))
    added = (evidence.of_run.retention, evidence.of_run.mass)
    return np.column_stack([evidence.parts, *(nothing if a is None else a for a in added)])


def _reach(evidence: Evidence | None) -> float:
    """Return by how many nats the run may move a candidate against another one, at most."""
    if evidence is None:
        return 0.0
    reach = 0.0 if evidence.elution is None else 2.0 * retention.LARGEST
    errors = evidence.mass_errors
    if errors is not None and errors.min() < errors.max():
        reach += mass_error.LARGEST
    return reach


def _n_near(scores: NDArray[np.float64], n_shown: int | None, reach: float) -> int:
    """Return how many of the best candidates may be among the first `n_shown` in the end.

    `scores` (n,) are in descending order. Two candidates may still change places if their scores
    differ by no more than `reach`.
    """
    if n_shown is None or n_shown >= len(scores):
        return len(scores)
    if reach == 0.0:
        return n_shown
    return int(np.searchsorted(-scores, reach - scores[n_shown - 1], side="right"))


def _ions(query: Query, candidates: CandidateSet) -> list[Adduct | None]:
    """Return the ion species for which each candidate has the query's mass."""
    if candidates.ion is None:
        return [query.ion] * len(candidates)
    return [query.ions[number] for number in candidates.ion.tolist()]


def _structures(candidates: CandidateSet, *, drawn: bool) -> list[Molecule | None]:
    """Return the structures of candidates; None where one cannot be parsed, or none is asked for.

    They are parsed already, unless the model ranks by fingerprints alone and these came from a
    pool. A pool stores most of what a table shows, so that structures of one component need not be
    parsed.
    """
    if candidates.has_molecules:
        found: list[Molecule | None] = candidates.molecules.tolist()
        return found
    asked = drawn or not candidates.has_formulas
    return [
        _parsed(smiles, key) if asked or "." in smiles or not is_whole_key(key) else None
        for smiles, key in candidates.texts()
    ]


def _formulas(candidates: CandidateSet, molecules: list[Molecule | None]) -> list[str | None]:
    """Return formulas as standardised, None where the structure is not known."""
    if candidates.has_formulas and not candidates.has_molecules:
        stored: list[str | None] = candidates.formula.tolist()
        return stored
    return [None if molecule is None else molecule.formula for molecule in molecules]


@lru_cache(maxsize=1 << 14)
def _parsed(smiles: str, inchikey: str) -> Molecule | None:
    # Spectra of one compound show the same candidates, whose keys take longest.
    try:
        return Molecule.parse(smiles, inchikey=inchikey)
    except StructureError:  # a pool may have been written by a version that accepted more
        return None
