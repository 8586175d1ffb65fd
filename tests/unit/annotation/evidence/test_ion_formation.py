"""How readily molecules become an ion species."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from annotation_examples import candidates, spectrum_of

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.ion_formation import (
    FORMATION,
    formation_of_candidates,
    ion_formation,
)
from specvae.annotation.evidence.library_memory import LibraryMemory
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT, RememberedSpectra
from specvae.annotation.library.library import Library
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.molecule import Molecule, parse_molecule
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.spectrum import Spectrum

PHOSPHOCHOLINE = "CCCCCCCC(=O)OCC(O)COP(=O)([O-])OCC[N+](C)(C)C"
PHOSPHOETHANOLAMINE = "CCCCCCCC(=O)OCC(O)COP(=O)(O)OCCN"
PHENOL = "Oc1ccccc1"
BUTYLAMINE, ANILINE, ACETAMIDE = "CCCCN", "Nc1ccccc1", "CC(N)=O"
VALERIC, ESTER, URACIL = "CCCCC(=O)O", "CCC(=O)OCC", "O=c1cc[nH]c(=O)[nH]1"
CHOLINE, OCTANOL = "C[N+](C)(C)CCO", "CCCCCCCCO"
SULFONIC, SULFONE = "CCCCS(=O)(=O)O", "CCS(=O)(=O)CCO"


def nats(ion: str, *smiles: str) -> list[float]:
    species = parse_adduct(ion)
    assert species is not None
    return list(ion_formation([Molecule.parse(text) for text in smiles], species))


@pytest.mark.parametrize("ion", ["[M+HCOO]-", "[M+CH3COO]-", "[M+FA-H]-", "[M+Hac-H]-", "[M+Cl]-"])
def test_acids_of_phosphorus_and_sulfur_form_no_adducts_of_anions(ion: str) -> None:
    found = nats(ion, PHOSPHOCHOLINE, PHOSPHOETHANOLAMINE, SULFONE, SULFONIC, VALERIC)
    np.testing.assert_allclose(found, [0.0, -5.0, 0.0, -5.0, 0.0])


def test_an_amine_takes_the_proton_of_ammonium() -> None:
    found = nats("[M+NH4]+", ESTER, BUTYLAMINE, ANILINE, ACETAMIDE, PHENOL)
    np.testing.assert_allclose(found, [0.0, -1.5, 0.0, 0.0, 0.0])


def test_what_has_no_hydrogen_to_lose_is_hardly_deprotonated() -> None:
    found = nats("[M-H]-", OCTANOL, ESTER, VALERIC, SULFONIC, URACIL, ANILINE)
    np.testing.assert_allclose(found, [0.0, -1.5, 0.0, 0.0, 0.0, 0.0])


def test_a_cation_is_whole_and_others_lose_an_electron() -> None:
    assert nats("[M]+", CHOLINE, OCTANOL) == [0.0, -4.0]


@pytest.mark.parametrize("ion", ["[M+H]+", "[M+Na]+", "[M+2H]2+", "[2M-H]-", "[M+H-H2O]+"])
def test_of_other_species_nothing_is_known(ion: str) -> None:
    assert nats(ion, CHOLINE, PHOSPHOETHANOLAMINE, PHENOL) == [0.0, 0.0, 0.0]
    assert nats(ion) == []


def test_species_are_named_as_they_are_read() -> None:
    for name in FORMATION:
        ion = parse_adduct(name)
        assert ion is not None
        assert ion.name == name


def memory_of(*spectra: Spectrum) -> LibraryMemory:
    library = Library.from_pairs(
        [(s, parse_molecule(s.smiles)) for s in spectra], peaks=ANALOGUE_BINS
    )
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    return LibraryMemory.of(
        RememberedSpectra.from_library(library, np.arange(len(library)), packed)
    )


def test_nothing_speaks_against_an_ion_that_was_measured() -> None:
    acetate = parse_adduct("[M+CH3COO]-")
    assert acetate is not None
    as_acetate = replace(
        spectrum_of(SULFONIC, 79.957, 137.028), adduct="[M+Hac-H]-", ion_mode="negative"
    )
    as_proton = replace(as_acetate, adduct="[M-H]-")
    found = candidates(SULFONIC, SULFONE)
    for memory, expected in (
        (None, [-5.0, 0.0]),
        (memory_of(as_proton), [-5.0, 0.0]),
        (memory_of(as_proton, as_acetate), [0.0, 0.0]),
        (memory_of(as_acetate).forgetting(), [-5.0, 0.0]),
        (memory_of(as_proton, as_acetate).without(found.first_block[0]), [-5.0, 0.0]),
    ):
        np.testing.assert_allclose(formation_of_candidates(found, [acetate], memory), expected)


def test_each_candidate_becomes_the_species_by_which_it_has_the_mass() -> None:
    ammonium, acetate, other = map(parse_adduct, ("[M+NH4]+", "[M+CH3COO]-", "[M+H]+"))
    found = candidates(BUTYLAMINE, SULFONIC, PHENOL, SULFONIC)
    found.ion = np.array([0, 1, 0, 2])
    mixed = formation_of_candidates(found, [ammonium, acetate, other], None)
    np.testing.assert_allclose(mixed, [-1.5 + 0.15, -5.0 + 0.15, 0.15, 0.0])
    assert formation_of_candidates(found, [None], None).tolist() == [0.0] * 4
