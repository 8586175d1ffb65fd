"""How near candidates are to the library's compounds, whatever the spectra say.

What people measure is alike: of structures of one mass, the one that resembles compounds of the
user's library is likelier to be met than one that resembles none. No spectrum is needed to see
that, so this is what is known before, not evidence of the query. It says most where the rest says
little: in long lists, and where the library has no analogue of the query's ion mode.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.votes import words
from specvae.molecules.bit_sets import popcount
from specvae.molecules.compiling import compiled_with

FLOOR = 0.002
"""Density of structures that are like no compound of the library: see `nearness`."""

# Compounds whose fingerprints stay in the processor's nearest memory while all candidates pass.
_AT_ONCE = 32


def nearness(
    candidates: NDArray[np.uint8], compounds: NDArray[np.uint64], own: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return how near candidates are to compounds, float64 (n_candidates,), nats, 0 or more.

    ``log(1 + sum_m tanimoto(m, candidate) ** 10 / FLOOR)`` over the compounds, without the one that
    the candidate is: the log-density of compounds around it, of which only those nearby count. The
    exponent and the floor were chosen on the fitting laboratories (docs/research.md, section 22).
    Candidates with the same fingerprint and place get exactly the same number.

    Parameters
    ----------
    candidates
        Packed fingerprints, uint8 (n_candidates, n_bytes).
    compounds
        Those of the compounds, of the same layout, as `words`, uint64 (n_compounds, n_words): they
        are the same for many queries.
    own
        int64 (n_candidates,): which compound each candidate is, or -1.
    """
    ours = words(candidates)
    density = np.zeros(len(ours))
    if len(ours) and len(compounds):
        _add_densities(ours, compounds, own, density)
    return np.log1p(density / FLOOR)


@compiled_with(nogil=True, error_model="numpy")
def _add_densities(
    ours: NDArray[np.uint64],
    theirs: NDArray[np.uint64],
    own: NDArray[np.int64],
    density: NDArray[np.float64],
) -> None:  # pragma: no cover (compiled)
    """Add tanimoto ** 10 of each pair but a candidate's with itself to the candidate's `density`.

    Pairs without any bit have a likeness of 0.
    """
    n_theirs, common = np.empty(_AT_ONCE), np.empty(_AT_ONCE)
    for first in range(0, len(theirs), _AT_ONCE):
        end = min(first + _AT_ONCE, len(theirs))
        for j in range(first, end):
            n = np.uint64(0)
            for w in range(theirs.shape[1]):
                n += popcount(theirs[j, w])
            n_theirs[j - first] = n
        for i in range(len(ours)):
            n_ours = np.uint64(0)
            for w in range(ours.shape[1]):
                n_ours += popcount(ours[i, w])
            for j in range(first, end):
                n = np.uint64(0)
                for w in range(ours.shape[1]):
                    n += popcount(ours[i, w] & theirs[j, w])
                common[j - first] = n
            total = 0.0
            for j in range(first, end):
                both = common[j - first]
                alike = both / max(n_ours + n_theirs[j - first] - both, 1.0)
                squared = alike * alike
                fourth = squared * squared
                if j != own[i]:
                    total += fourth * fourth * squared
            density[i] += total
