"""What analogues of a query say of its candidates: votes by the likeness of structures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import popcount
from specvae.molecules.compiling import compiled_with


@dataclass(frozen=True)
class AnalogueRule:
    """How the nearest compounds of a query vote for a candidate.

    Attributes
    ----------
    n_nearest
        Number of compounds that vote.
    cosine_power, tanimoto_power
        Exponents of the likeness of the spectra and of the structures.
    combine
        Whether a candidate's score is the sum of the votes or the largest of them.
    """

    n_nearest: int = 30
    cosine_power: float = 3.0
    tanimoto_power: float = 2.0
    combine: Literal["sum", "max"] = "sum"


EVIDENCE_RULE = AnalogueRule(cosine_power=1.5, tanimoto_power=4.0)
"""Of the evidence of analogues, fitted with `ELSEWHERE`: see docs/research.md, section 13."""

OTHER_MODE_RULE = AnalogueRule(cosine_power=3.0, tanimoto_power=4.0)
"""The same of analogues by their spectra of the other ion mode: docs/research.md, section 21."""

ELSEWHERE = 0.002
"""Density of compounds that are like no analogue, in votes: see `density_ratios`."""


def tanimoto(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the share of common bits among all bits set in either, float32 (n_left, n_right).

    Two fingerprints without any bit have a likeness of 0.

    Parameters
    ----------
    left, right
        Packed fingerprints of one layout, uint8 (n_left, n_bytes) and (n_right, n_bytes).
    """
    ours, theirs = words(left), words(right)
    common = np.empty((len(ours), len(theirs)), np.float32)
    either = np.empty_like(common)
    _count_bits(ours, theirs, common, either)
    # Counts are below 2 ** 24, so float32 holds them exactly and equal fingerprints tie exactly.
    return np.asarray(common / np.maximum(either, np.float32(1.0)), dtype=np.float32)


def words(packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return packed fingerprints, uint8 (n, n_bytes), as words, uint64 (n, n_words)."""
    padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


@compiled_with(nogil=True)
def _count_bits(
    ours: NDArray[np.uint64],
    theirs: NDArray[np.uint64],
    common: NDArray[np.float32],
    either: NDArray[np.float32],
) -> None:  # pragma: no cover (compiled)
    """Count the bits that are set in both of two fingerprints, and in either."""
    for i in range(len(ours)):
        for j in range(len(theirs)):
            n_both = np.uint64(0)
            n_either = np.uint64(0)
            for w in range(ours.shape[1]):
                n_both += popcount(ours[i, w] & theirs[j, w])
                n_either += popcount(ours[i, w] | theirs[j, w])
            common[i, j] = n_both
            either[i, j] = n_either


def analogue_scores(
    cosines: NDArray[np.float32],
    analogues: NDArray[np.uint8],
    candidates: NDArray[np.uint8],
    rule: AnalogueRule | None = None,
    own: NDArray[np.bool_] | None = None,
    listed: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the votes of a query's nearest compounds for each candidate, float64 (n_candidates,).

    ``sum_n cosine_n ** a * tanimoto(n, candidate) ** b`` over the `rule.n_nearest` first, or the
    largest of these terms. Candidates with the same fingerprint get exactly the same score.

    Parameters
    ----------
    cosines
        float32 (k,), descending; k may exceed what the rule uses.
    analogues
        Packed fingerprints of the same compounds, uint8 (k, n_bytes).
    candidates
        Packed fingerprints of the same layout, uint8 (n_candidates, n_bytes).
    rule
        None for the default.
    own
        bool (n_candidates, k): where the analogue is the candidate itself. Such votes are left out:
        a candidate that was measured before would outvote all that were not, however its spectrum
        differs from the query.
    listed
        bool (k,): which analogues are candidates themselves. They speak for themselves by their own
        spectra, and for others by what these leave unexplained: their votes are multiplied by
        ``1 - cosine ** 2``.
    """
    rule = rule or AnalogueRule()
    k = rule.n_nearest
    alike = tanimoto(candidates, analogues[:k]).astype(np.float64) ** rule.tanimoto_power
    if own is not None:
        alike[own[:, :k]] = 0.0
    cosine = cosines[:k].astype(np.float64)
    strength = cosine**rule.cosine_power
    if listed is not None:
        strength = np.where(listed[:k], strength * (1.0 - cosine**2), strength)
    votes = alike * strength
    # Row by row, not as a matrix product, whose rounding may depend on a row's place.
    return np.asarray(votes.sum(axis=1) if rule.combine == "sum" else votes.max(axis=1))


def density_ratios(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the evidence of analogues of each candidate, float64 (n_candidates,), nats, 0 or more.

    A query's compound is thought of as drawn around one of its analogues, or from elsewhere, so
    that its density is a mixture. This is the logarithm of the mixture's ratio to the part from
    elsewhere, ``log(1 + votes / ELSEWHERE)``. It does not depend on which others are in the list.
    """
    return np.asarray(np.log(1.0 + votes / ELSEWHERE))
