"""Small comparisons of methods of ranking: a library of three spectra, and its candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from specvae_bench.retrieval.comparison import Problem, same_formula

from specvae.annotation.library.library import Library
from specvae.molecules.candidates import CandidateSet, read_candidates
from specvae.molecules.molecule import parse_molecule
from specvae.spectra.spectrum import Spectrum

# The propanols have one formula; acetic acid has their nominal mass.
PROPANOL, ISOPROPANOL, ACETIC_ACID = "CCCO", "CC(C)O", "CC(=O)O"


def spectrum(query_id: str = "q", mz: tuple[float, ...] = (50.0,)) -> Spectrum:
    """Return a spectrum of [M+H]+ of propanol, each peak twice as high as the one before."""
    heights = np.array([2.0**place for place in range(len(mz))])
    return Spectrum(
        mz=np.array(mz), intensity=heights, query_id=query_id, precursor_mz=61.0648, adduct="[M+H]+"
    )


def known() -> Library:
    """Return two spectra of propanol and one of acetic acid."""
    propanol, acid = parse_molecule(PROPANOL), parse_molecule(ACETIC_ACID)
    return Library.from_pairs(
        [
            (spectrum("a", (31.018, 43.054)), propanol),
            (spectrum("b", (43.018, 45.034)), acid),
            (spectrum("c", (41.039, 43.054)), propanol),
        ],
        keep_records=True,
    )


def candidates(tmp_path: Path, *smiles: str) -> CandidateSet:
    """Return structures as candidates."""
    path = tmp_path / "candidates.csv"
    path.write_text("smiles\n" + "".join(f"{text}\n" for text in smiles))
    return read_candidates(path)


def problem(found: CandidateSet, place: int | None, query: Spectrum | None = None) -> Problem:
    """Return a problem whose truth is the candidate at `place`."""
    truth = "A" * 14 if place is None else str(found.first_block[place])
    return Problem(query or spectrum(), truth, found, place, same_formula(found, place))
