import itertools

import numpy as np
import pytest

from specvae.annotation.evidence.fragment_peaks import (
    Composition,
    Peaks,
    composition,
    has_subformula,
)
from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS, formula_mass
from specvae.molecules.fragments import FragmentTable


def peaks(*mz: float) -> Peaks:
    return Peaks.highest(np.array(sorted(mz)), np.ones(len(mz)), 1e5)


def test_parts_of_a_formula_are_those_of_a_slow_search() -> None:
    table = FragmentTable.of("OCC(N)C(=O)NCCSCl")
    parts = [
        c * 12.0
        + h * HYDROGEN_MASS
        + sum(n * formula_mass(e) for e, n in zip("NOS", nos, strict=True))
        + cl * formula_mass("Cl")
        for c, h, *nos, cl in itertools.product(
            range(6), range(13), range(3), range(3), range(2), range(2)
        )
    ]
    rng = np.random.default_rng(0)
    beside = rng.choice(parts[100:], 60) + rng.uniform(-0.006, 0.006, 60)
    query = peaks(*(beside - ELECTRON_MASS).tolist())
    neutral = query.mz + ELECTRON_MASS
    nearest = np.abs(np.array(parts)[:, None] - neutral).min(axis=0)
    expected = nearest <= np.maximum(0.003, 1e-5 * query.mz)
    assert 10 < expected.sum() < 55
    assert has_subformula(composition(table.graph), query).tolist() == expected.tolist()


def test_no_part_of_a_large_formula_is_left_out() -> None:
    # 51 * 31 * 31 * 11 * 7 selections of heavy atoms: over three million.
    atoms = "C" * 50 + "N" * 30 + "O" * 30 + "S" * 10 + "P" * 6
    table = FragmentTable.of(atoms, n_steps=0)
    whole = {"C": 50, "N": 30, "O": 30, "S": 10, "P": 6}
    heavy = sum(n * formula_mass(e) for e, n in whole.items())
    query = peaks(heavy - ELECTRON_MASS, 6 * formula_mass("P") + 10 * formula_mass("S"))
    assert has_subformula(composition(table.graph), query).all()


@pytest.mark.parametrize(
    ("smiles", "found"),
    [("[13CH3]CO", True), ("CCO", False), ("[12CH3]CO", False)],
)
def test_a_labelled_atom_has_its_own_mass(smiles: str, found: bool) -> None:
    labelled_methyl = 13.00335483507 + 3 * HYDROGEN_MASS - ELECTRON_MASS
    assert has_subformula(
        composition(FragmentTable.of(smiles).graph), peaks(labelled_methyl)
    ).tolist() == [found]


def test_deuterium_is_no_hydrogen() -> None:
    table = FragmentTable.of("[2H]C([2H])([2H])CO")
    methyl = 12.0 + 3 * 2.01410177812 - ELECTRON_MASS
    assert has_subformula(composition(table.graph), peaks(methyl)).tolist() == [True]


def ion_of(formula: str) -> float:
    return formula_mass(formula) - ELECTRON_MASS


def test_peaks_that_are_no_part_of_a_formula_are_left_out() -> None:
    ethanol, pyridine = (composition(FragmentTable.of(one).graph) for one in ("CCO", "c1ccncc1"))
    mz = np.array([ion_of("CH3O"), 33.5, ion_of("C4H4"), ion_of("C3H3N"), 61.5])
    query = Peaks.highest(mz, np.array([0.5, 100.0, 0.1, 0.2, 3.0]), 80.05)

    def left(*formulas: Composition, by: float = 0.0) -> Peaks:
        moved = query._replace(mz=query.mz + by)
        return moved.relative(moved.are_of_formulas(formulas))

    assert left(ethanol, pyridine).mz.tolist() == mz[[0, 2, 3]].tolist()
    assert left(ethanol, pyridine).intensity.tolist() == [1.0, 0.2, 0.4]
    assert left(pyridine).intensity.tolist() == [0.5, 1.0]
    assert left(ethanol).mz.tolist() == mz[:1].tolist()
    assert left(ethanol).precursor_mz == query.precursor_mz
    assert len(left(ethanol, pyridine, by=0.1).mz) == 0
    assert len(left().mz) == 0


def test_parts_may_have_the_metal_of_the_adduct() -> None:
    kinds = composition(FragmentTable.of("CCO").graph)
    mz = np.array([ion_of("CH2ONa")])
    query = Peaks.highest(mz, np.ones(1), 69.03)
    with_metal = query._replace(metal="Na", n_metals=1)
    found = [each.are_of_formulas([kinds]).tolist() for each in (query, with_metal)]
    assert found == [[False], [True]]
