from collections.abc import Iterator

import numpy as np
import pytest
from rdkit import Chem

from specvae.molecules import substructure, substructure_search
from specvae.molecules.blocks import get_block
from specvae.molecules.kept_code import compiling
from specvae.molecules.search_plan import UNSETTLED
from specvae.molecules.substructure import SubstructureMatcher
from specvae.molecules.topology import Topologies

MOLECULES = [
    "CCO",
    "[H][H]",
    "[2H]C([2H])([2H])O",
    "C[N+](C)(C)CC(=O)[O-]",
    "O=[N+]([O-])c1ccccc1",
    "CN1CCC[C@H]1c1cccnc1",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "OCC1OC(O)C(O)C(O)C1O",
    "O=c1cc(-c2ccc(O)c(O)c2)oc2cc(O)cc(O)c12",
    "CSCCC(N)C(=O)NC(CS)C(=O)O",
    "BrC1CC(Br)(Cl)C1(F)I",
    "OP(=O)(O)OP(=O)(O)OCC1OC(n2cnc3c(N)ncnc32)C(O)C1O",
    "CC(C)(C)[Si](C)(C)OB(O)c1ccsc1",
    "N#Cc1ccc(N=Nc2ccc([N+](=O)[O-])cc2)cc1C#C",
    "C1CC2CCC1C2",
    "c1ccc2c(c1)ccc1ccccc12",
    "NS(=O)(=O)c1cc(C(=O)NCc2ccco2)c(Cl)cc1NC=O",
    "[Na]OC(=O)C=C",
    "CC(=O)O[Hg]c1ccccc1",
    "[SeH]CC1(CC1)C(N)=N",
    "CC1=CC2CC(C1)C2(C)C",
    "C",
    "C12C3C4C1C5C2C3C45",
    "C1" + "C" * 30 + "1",
    "OC1COCCOC1" + "CCO" * 50,
    "c1ccn(->O)cc1",
    "Cc1ccc(S(=O)(=O)NC(=O)NN2CC3CCCC3C2)cc1",
    "CC1OC(OC2CC(O)C(N)C2)C(O)C(F)C1=NO",
]


@pytest.fixture(autouse=True)
def searched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Search for patterns from the first molecule on."""
    monkeypatch.setattr(substructure, "FEWEST_MOLECULES", 0)
    with compiling(True):
        yield


def matches_of(matcher: SubstructureMatcher, mol: Chem.Mol) -> list[bool]:
    """Return which patterns of a matcher a molecule has."""
    found: list[bool] = matcher.matches(Topologies([mol]))[0].tolist()
    return found


@pytest.mark.parametrize(
    "block", ["laggner", "pubchem", "klekota_roth", "functional_groups", "maccs"]
)
def test_every_pattern_matches_as_rdkit_alone_says(block: str) -> None:
    source = get_block(block)
    # A third of Klekota and Roth's patterns will do.
    step = 3 if source.n_bits > 1000 else 1
    patterns = [p for p in map(source.pattern, range(0, source.n_bits, step)) if p is not None]
    matcher = SubstructureMatcher(patterns)
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    expected = np.array([[mol.HasSubstructMatch(p) for p in patterns] for mol in mols])
    for _ in range(2):  # the second time answers come from memory
        found = matcher.matches(Topologies(mols))
        np.testing.assert_array_equal(found, expected)
    assert expected.any(axis=1).sum() > 12


@pytest.mark.parametrize(
    ("smarts", "smiles", "expected"),
    [
        ("C", "CC", True),
        ("CCC", "CC", False),
        ("C1CC1", "CCC", False),  # three paths of a ring are more than a chain has
        ("C1CC1", "C1CC1", True),
        ("CC.CC", "CCCC", True),
        ("[C;R]CC", "CCC", False),  # the ring is not counted but still asked for
        ("[C,N;!R]O", "CO", True),
        ("[C,$(N~N)]O", "NO", False),
        ("[$(CO),N]", "CO", True),
        ("C/C=C/C", "CC=CC", True),
        ("[OH]", "CO", True),
        ("[OH2]", "CO", False),
        ("[13CH3]C", "CC", False),
        ("[13CH3]C", "[13CH3]C", True),
        ("[C@H](O)(N)C", "CC(O)N", True),
        ("[#6&X4]-,:[#6]", "CC", True),
        ("*~*~*", "CO", False),
        ("[D1]", "CO", True),
        ("[v4]", "O", False),
        ("[+]", "C[NH3+]", True),
        ("[-,-2]", "C[O-]", True),
        ("[!#1;!C]", "CO", True),
        ("[r5]", "C1CCCC1", True),
        ("[k6]O", "CO", False),
        ("[R]1@[R]@[R]@[R]@[R]@[R]@1", "C1CCCC2C1CCC2", True),
        ("[R]1@[R]@[R]@[R]@[R]@[R]@[R]@[R]@[R]@1", "C1CCCC2C1CCC2", True),  # around both
        ("[R]1@[R]@[R]@[R]@[R]@[R]@[R]@1", "C1CCCC2C1CCC2", False),
        ("*@*!@[#8]", "OC1CC1", True),
        ("*@*!@[#8]", "C1CO1", False),
        ("CC(C)(C)CO", "CC(C)(C)C(C)O", True),
        ("CC(C)(C)CO", "CC(C)CC(C)O", False),
        ("C1CC1CC=O", "C1CC1CC(C)=O", True),
        ("C1CC1CC=O", "C1CC1C(C)C=C", False),
        ("CCCCC-CO", "CCCCC=CO", False),
        ("CCCCC=CO", "CCCCC=CO", True),
        ("C1CCCC1", "C1CCCCC1", False),
        ("[$(C=O),$(N=O)]", "CC=C", False),
        ("[$(C=O),$(N=O)]", "CN=O", True),
        ("[$(C=O);!$(CN)]", "NC=O", False),
        ("[$(C=O)&$(CN),$(S=O)]", "NC=O", True),
        ("[C;!$(C=[O,$(N~[#7])])]CO", "CC(=NC)CO", True),  # an environment within another
        ("[C;!$(C=[O,$(N~[#7])])]CO", "CC(=NN)CO", False),
        ("[$([H1]),$(C(C)C)]N", "CCN", False),
        ("[$([CH1]),$(C(C)C)]N", "CC(C)N", True),
        ("[O,N;!H0,$(N(C)(C)C)]=,-C", "CN(C)C", True),
        ("[r3]C[R2]", "C1CC1CC1CC2CC12", True),
        ("[r4]C[R2]", "C1CC1CC1CCCC1", False),
        ("[!R2;R]~[r5]", "C1CCCC1", True),
        ("*1~*~*~*~*~*1", "C1CCC2(CC1)CC2", True),
        ("*1~*~*~*~*~*~*~*~*1", "C1CCC2CCCCC2C1", False),
        ("*1~*~*~*~*~*~*~*~*~*1", "C1CCC2CCCCC2C1", True),  # around both
        ("C1CC1", "C" * 70 + "C1CC1", True),  # atoms of a second word
        ("C1CCC1", "C" * 62 + "C1CCC1", True),  # of two words
        ("[$(C=O);!$(CN)]CC", "C" * 70 + "C=O", True),
        ("[!$(CC)]", "C" * 66, False),
        ("CCCCCCBr", "C" * 63 + "CBr", True),
        ("CC=CCC=CC", "CC=CCCC=CC", False),
    ],
)
def test_single_patterns(smarts: str, smiles: str, expected: bool) -> None:
    pattern = Chem.MolFromSmarts(smarts)
    mol = Chem.MolFromSmiles(smiles)
    assert mol.HasSubstructMatch(pattern) == expected
    assert matches_of(SubstructureMatcher([pattern]), mol) == [expected]


def test_a_search_that_takes_long_is_left_to_rdkit(monkeypatch: pytest.MonkeyPatch) -> None:
    n_open: list[int] = []

    def unsettled(*arguments: np.ndarray) -> None:
        found = arguments[-1]
        n_open.append(found.size)
        found[:] = UNSETTLED

    monkeypatch.setattr(substructure_search, "search_all", unsettled)
    patterns = [Chem.MolFromSmarts(smarts) for smarts in ("C1CC1", "C1CCC1", "CC(C)CO")]
    matcher = SubstructureMatcher(patterns)
    assert matches_of(matcher, Chem.MolFromSmiles("C1CCC1CO")) == [False, True, True]
    assert n_open == [3]


def test_few_molecules_need_no_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(substructure_search, "search_all")
    matcher = SubstructureMatcher([Chem.MolFromSmarts("CC(C)CO")])
    mol = Chem.MolFromSmiles("CC(C)CO")
    with compiling(False):
        assert matches_of(matcher, mol) == [True]
    with pytest.raises(ImportError):
        matches_of(matcher, mol)


def test_patterns_are_not_looked_into_for_the_first_molecules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(substructure, "FEWEST_MOLECULES", 2)
    monkeypatch.setattr(substructure, "pattern_paths", None)
    patterns = [Chem.MolFromSmarts(smarts) for smarts in ("CC(C)CO", "[#6]", "CN")]
    matcher = SubstructureMatcher(patterns, [1, 3, 1])
    mol = Chem.MolFromSmiles("CC(C)CO")
    assert [matches_of(matcher, mol) for _ in range(2)] == [[True, True, False]] * 2
    with pytest.raises(TypeError):
        matches_of(matcher, mol)


def test_no_patterns() -> None:
    assert SubstructureMatcher([]).matches(Topologies([Chem.MolFromSmiles("CCO")])).shape == (1, 0)


@pytest.mark.parametrize(
    ("smarts", "smiles", "least", "expected"),
    [
        ("[#8]", "OCO", 2, True),
        ("[#8]", "OCO", 3, False),
        ("[#8]=*", "O=C=O", 2, True),
        ("C=C", "C=CC", 2, False),
        ("C-C", "CCC", 2, True),
        ("[!#6]~C~*", "OCCC", 2, False),
        ("[!#6]~C~*", "OC(C)C", 2, True),
        ("*~*~*", "C1CC1", 2, False),  # three paths, but the same atoms
        ("*1~*~*1", "C1CC1C1CC1", 2, True),
        ("*1~*~*1", "C1CC1C1CC1", 3, False),
        ("*1~*~*1", "C1CC1(C1CC1)C1CC1", 3, True),
        ("[$(CO)]~*~*", "OCCC", 2, False),
        ("[$(CO)]~*~*", "OC(CC)CC", 2, True),
    ],
)
def test_patterns_that_must_match_several_times(
    smarts: str, smiles: str, least: int, expected: bool
) -> None:
    pattern = Chem.MolFromSmarts(smarts)
    mol = Chem.MolFromSmiles(smiles)
    assert (len(mol.GetSubstructMatches(pattern)) >= least) == expected
    assert matches_of(SubstructureMatcher([pattern], [least]), mol) == [expected]
