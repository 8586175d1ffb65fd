"""MetFrag's score: a small example by hand, and fragments that keep a metal."""

from __future__ import annotations

import numpy as np
import pytest
from specvae_bench.metfrag import metfrag_scores

from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.masses import ELECTRON_MASS, formula_mass
from specvae.molecules.fragments import FragmentTable
from specvae.spectra.spectrum import Spectrum


def ion(formula: str) -> float:
    """Return the m/z of a cation of this composition."""
    return formula_mass(formula) - ELECTRON_MASS


def peaks(*mz: float, adduct: str = "[M+H]+") -> Peaks:
    heights = np.linspace(1.0, 0.5, len(mz))
    return Peaks.of(Spectrum(mz=np.array(mz), intensity=heights, query_id="q", adduct=adduct))


def test_metfrag_score_by_hand() -> None:
    ether, alcohol = (FragmentTable.of(s) for s in ("COC", "CCO"))
    query = peaks(ion("CH3O"), ion("C2H7O"))  # the second is the molecule's own peak
    # C-O is cut in the one, C-C in the other.
    expected = [ion("CH3O") ** 1.84 / energy**0.47 for energy in (358, 346)]
    assert metfrag_scores(query, [ether, alcohol]) == pytest.approx(expected)
    assert metfrag_scores(peaks(200.0), [ether]).tolist() == [0.0]


def test_a_fragment_may_keep_the_sodium_of_the_adduct() -> None:
    tables = [FragmentTable.of(smiles) for smiles in ("OC(=O)Cc1ccccc1", "COC(=O)c1ccccc1")]
    query = peaks(ion("C7H8Na"), ion("C8H8O2Na"), adduct="[M+Na]+")  # the acid loses CO2
    acid, ester = metfrag_scores(query, tables)
    assert acid > 0.0 == ester
