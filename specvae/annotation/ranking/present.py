"""From scores to the rows that a user sees."""

from __future__ import annotations

import numpy as np

from specvae.annotation.evidence.items import Analogue, PeakEvidence
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.result import Annotation, Answer, Ranked, Unranked
from specvae.errors import StructureError
from specvae.molecules.molecule import Molecule

_N_ANALOGUES = 3


def present(annotator: Annotator, outcome: Ranked | Unranked, top: int | None) -> Answer | Unranked:
    """Return the `top` best candidates of a ranked query (None: all), and what explains them.

    Probabilities take it for sure that the list holds the truth; what all queries say of that is
    for `specvae.annotation.ranking.in_list.settle_share` to add.
    """
    if isinstance(outcome, Unranked):
        return outcome
    candidates, scores, probabilities = outcome.candidates, outcome.scores, outcome.probabilities
    # Ties are shown in order of InChIKey, whose first blocks are distinct: the order in which
    # candidates were listed must not decide which of them the user sees first.
    order = np.lexsort((candidates.first_block, -scores))
    ordered = scores[order]
    ranks = np.searchsorted(-ordered, -ordered, side="right")[:top]
    shown = candidates.select(order[:top])
    # Parsed already, unless the fingerprint alone was ranked by and came from a pool.
    molecules = shown.molecules if shown.has_molecules else [None] * len(shown)
    annotations = tuple(
        Annotation(
            rank=int(rank),
            smiles=shown.smiles[i],
            inchikey=shown.inchikey[i],
            name=shown.name[i],
            score=float(ordered[i]),
            probability=(
                None if probabilities is None else float(probabilities.given_in_list[order[i]])
            ),
            molecule=molecules[i],
            remarks=_remarks(molecules[i], shown.smiles[i]),
        )
        for i, rank in enumerate(ranks)
    )
    best = order[0]
    analogues: tuple[Analogue, ...] = ()
    peaks: tuple[PeakEvidence, ...] = ()
    if annotator.evidence_pool is not None and outcome.evidence is not None:
        analogues = outcome.evidence.analogues[:_N_ANALOGUES]
        spectrum = outcome.query.spectrum
        peaks = annotator.evidence_pool.explain(spectrum, candidates.molecules[best])
    return Answer(
        outcome.query,
        annotations,
        n_candidates=len(scores),
        bits=annotator.loudest_bits(outcome.logits, outcome.packed[best]),
        analogues=analogues,
        peaks=peaks,
        log_odds_in_list=None if probabilities is None else probabilities.log_odds_in_list,
    )


def _remarks(molecule: Molecule | None, smiles: str) -> tuple[str, ...]:
    """Return what was decided about a structure when it was parsed."""
    if molecule is None and "." in smiles:
        try:
            molecule = Molecule.parse(smiles)
        except StructureError:  # from a pool, ranked by its stored fingerprint alone
            return ()
    return molecule.notes if molecule is not None else ()
