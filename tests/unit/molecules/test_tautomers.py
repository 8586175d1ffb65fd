"""Tautomers that InChI takes for several compounds."""

import pytest

from specvae.molecules.molecule import parse_molecule
from specvae.molecules.tautomers import may_be_tautomers


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("O=c1cc(O)c2ccccc2o1", "O=c1cc(O)oc2ccccc12", True),  # 4-hydroxycoumarin
        ("CCOC(=O)CC(C)=O", "CCOC(=O)/C=C(/C)O", True),
        ("CN1CC(=O)N=C1N", "Cn1cc(O)[nH]c1=N", True),  # creatinine
        ("C[C@H](N)C(=O)CC(C)=O", "CC(N)C(O)=CC(C)=O", True),
        ("CC[C@H](C)OC(=O)CC(C)=O", "CCC(C)OC(=O)C=C(C)O", True),
        ("O=CC(O)C(O)C(O)C(O)CO", "OCC(=O)C(O)C(O)C(O)CO", False),  # glucose, fructose
        ("CC(=O)C(O)CC", "CC(O)C(=O)CC", False),
        ("Cc1ccccc1O", "Cc1cccc(O)c1", False),
        ("CC=CC(=O)O", "C=CCC(=O)O", False),
    ],
)
def test_keto_and_enol_forms_may_be_tautomers(one: str, other: str, *, expected: bool) -> None:
    molecules = parse_molecule(one).mol, parse_molecule(other).mol
    assert may_be_tautomers(*molecules) == expected
    assert may_be_tautomers(*molecules[::-1]) == expected
