"""The same compound has one structure, fingerprint and fragments, however it is written."""

import numpy as np
import pytest
from rdkit import Chem
from shared_data import shared

from specvae.molecules import mobile_groups, mobile_hydrogens
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.mobile_hydrogens import place_hydrogens
from specvae.molecules.molecule import Molecule

# The form that is wanted, and others of the same first block. Its InChI is tried, too.
SPELLINGS = {
    "glutathione": (
        "NC(CCC(=O)NC(CS)C(=O)NCC(=O)O)C(=O)O",
        "NC(CCC(O)=NC(CS)C(O)=NCC(=O)O)C(=O)O",
        "NC(CCC(=O)NC(CS)C(O)=NCC(=O)O)C(=O)O",
        "[NH3+]C(CCC(=O)NC(CS)C(=O)NCC(=O)[O-])C(=O)O",
    ),
    "tripeptide": ("CC(N)C(=O)NC(C)C(=O)NCC(N)=O", "CC(N)C(O)=NC(C)C(O)=NCC(=N)O"),
    "urea": ("CNC(=O)NC", "CN=C(O)NC"),
    "thiourea": ("CCNC(=S)NC", "CCNC(S)=NC", "CCN=C(S)NC"),
    "thioamide": ("CC(N)=S", "CC(=N)S"),
    "thioacid": ("CC(=O)S", "CC(O)=S"),
    "carbamate": ("COC(N)=O", "COC(=N)O"),
    "hydroxamic acid": ("CC(=O)NO", "CC(O)=NO"),
    "hydrazide": ("CC(=O)NN", "CC(O)=NN"),
    "semicarbazone": ("CC=NNC(N)=O", "CC=NNC(=N)O", "CC=NN=C(N)O"),
    "guanidine": ("N=C(N)NCCCC(N)C(=O)O", "NC(N)=NCCCC(N)C(=O)O"),
    "biguanide": ("CN(C)C(=N)NC(=N)N", "CN(C)C(N)=NC(=N)N", "CN(C)C(=N)N=C(N)N"),
    "nitroguanidine": ("CNC(N)=N[N+](=O)[O-]", "CNC(=N)N[N+](=O)[O-]"),
    "amidine": ("CCNC(C)=N", "CCN=C(C)N"),
    "lactam": ("O=C1CCCN1", "OC1=NCCC1"),
    "penicillin": (
        "CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O",
        "CC1(C)SC2C(N=C(O)Cc3ccccc3)C(=O)N2C1C(=O)O",
    ),
    "barbiturate": ("CCC1(CC)C(=O)NC(=O)NC1=O", "CCC1(CC)C(O)=NC(=O)N=C1O"),
    "hydantoin": ("O=C1CNC(=O)N1", "OC1=NC(O)=NC1"),
    "saccharin": ("O=C1NS(=O)(=O)c2ccccc21", "OC1=NS(=O)(=O)c2ccccc21"),
    "2-pyridone": ("O=c1cccc[nH]1", "Oc1ccccn1"),
    "4-pyridone": ("O=c1cc[nH]cc1", "Oc1ccncc1"),
    "2-aminopyridine": ("Nc1ccccn1", "N=c1cccc[nH]1"),
    "uracil": ("O=c1cc[nH]c(=O)[nH]1", "Oc1ccnc(O)n1", "O=c1nccc(O)[nH]1"),
    "cytosine": ("Nc1cc[nH]c(=O)n1", "N=c1ccnc(O)[nH]1", "N=c1cc[nH]c(=O)[nH]1", "Nc1ccnc(O)n1"),
    "adenine": ("Nc1ncnc2[nH]cnc12", "Nc1ncnc2nc[nH]c12", "Nc1nc[nH]c2ncnc1-2"),
    "guanine": ("Nc1nc2[nH]cnc2c(=O)[nH]1", "N=c1nc(O)c2nc[nH]c2[nH]1"),
    "imidazole": ("Cc1cnc[nH]1", "Cc1c[nH]cn1"),
    "tetrazole": ("Cc1nn[nH]n1", "Cc1nnn[nH]1"),
    "benzimidazole": ("COc1ccc2[nH]cnc2c1", "COc1ccc2nc[nH]c2c1"),
    "allopurinol": ("O=c1[nH]cnc2[nH]ncc12", "Oc1ncnc2n[nH]cc12", "O=c1ncnc2[nH][nH]cc1-2"),
    "thiol of imidazole": ("Cn1cc[nH]c1=S", "Cn1ccnc1S"),
    "triazene": ("CNN=Nc1ccccc1", "CN=NNc1ccccc1"),
    "sulfonamide": ("NS(=O)(=O)c1ccccc1", "N=S(=O)(O)c1ccccc1"),
    "two sulfonamides": (
        "NS(=O)(=O)c1ccc(NC(=O)c2ccc(C(=O)Nc3ccc(S(N)(=O)=O)cc3)cc2)cc1",
        "N=S(=O)(O)c1ccc(NC(=O)c2ccc(C(=O)Nc3ccc(S(=N)(=O)O)cc3)cc2)cc1",
    ),
    "sulfonimidamide": ("N=S(N)(=O)c1ccccc1", "N=S(=N)(O)c1ccccc1"),
    "thiosulfonic acid": ("CS(O)(=O)=S", "CS(=O)(=O)S"),
    "thiophosphate": ("CCOP(O)(=S)OCC", "CCOP(=O)(S)OCC", "CCOP(=O)([S-])OCC"),
    "thiophosphoric acid": ("OP(O)(O)=S", "OP(O)(=O)S"),
    "selenophosphate": ("CCOP(O)(=[Se])OCC", "CCOP(=O)([SeH])OCC"),
    "amidophosphate": ("COP(N)(=O)SC", "COP(=N)(O)SC"),
    "thioarsinic acid": ("C[As](C)(O)=S", "C[As](C)(=O)S"),
    "benzothiadiazole": ("c1ccc2nsnc2c1", "C1=CC=C2C(=C1)N=S=N2", "C1=CC2=NSN=C2C=C1"),
    "thiophene": ("O=C(O)c1cccs1", "O=C(O)C1=S=CC=C1"),
    "selenadiazole": ("c1ccc2n[se]nc2c1", "c1ccc2c(c1)N=[Se]=N2"),
    "tropolone": ("CC(C)c1cccc(O)c(=O)c1", "CC(C)c1cccc(=O)c(O)c1"),
    "hydroxytropolone": ("CC(C)c1cccc(O)c(O)c1=O", "CC(C)c1cccc(=O)c(O)c1O"),
    "thiotropolone": ("Oc1cccccc1=S", "O=c1cccccc1S"),
    "benzotropolone": (
        "Cc1cc2c(O)cc3c(c2cc(O)c1=O)CCCC3(C)C",
        "Cc1cc2c(O)cc3c(c2cc(=O)c1O)CCCC3(C)C",
    ),
    "theaflavin's rings": (
        "Cc1cc(O)c(=O)c2c(O)c(O)c(C)cc2c1",
        "Cc1cc(=O)c(O)c2c(O)c(O)c(C)cc2c1",
    ),
    "hydrazone of a pyrazolone": (
        "CC1=NNC(=O)C1=NNc1ccccc1",
        "CC1=C(NNc2ccccc2)C(=O)N=N1",
        "CC=1C(=NNc2ccccc2)C(=O)NN=1",
    ),
    "hydrazone of isatin": ("O=C1Nc2ccccc2C1=NNc1ccccc1", "O=C1N=c2ccccc2=C1NNc1ccccc1"),
    "imine of isatin": ("COc1ccc(N=C2C(=O)Nc3ccccc32)cc1", "COc1ccc(NC2=c3ccccc3=NC2=O)cc1"),
    "imidazolium": ("CCn1cc[n+](C)c1", "CC[n+]1ccn(C)c1"),
    "pyrazolium": ("CCn1ccc(C)[n+]1C", "CC[n+]1ccc(C)n1C"),
    "triazolium": ("CC[n+]1cnn(C)c1", "CCn1cn[n+](C)c1"),
    "benzothiazolium": ("Cc1sc2ccccc2[n+]1C", "Cc1[s+]c2ccccc2n1C"),
    "aminopyridinium": ("CC[n+]1ccc(N(C)C)cc1", "CCn1ccc(=[N+](C)C)cc1"),
    "amidinium": ("CCN(C=CC=[N+](C)C)CC", "CC[N+](=CC=CN(C)C)CC"),
    "uronium": ("CCN(C)C(N(C)C)=[N+](C)C", "CC[N+](C)=C(N(C)C)N(C)C"),
    "thiouronium": ("CSC(N(C)C)=[N+](C)C", "C[S+]=C(N(C)C)N(C)C"),
    "methylene blue": (
        "CN(C)c1ccc2nc3ccc(=[N+](C)C)cc-3sc2c1",
        "CN(C)c1ccc2nc3ccc(N(C)C)cc3[s+]c2c1",
    ),
    "rhodamine B": (
        "CCN(CC)c1ccc2c(-c3ccccc3C(=O)O)c3ccc(=[N+](CC)CC)cc-3oc2c1",
        "CCN(CC)c1ccc2c(-c3ccccc3C(=O)O)c3ccc(N(CC)CC)cc3[o+]c2c1",
    ),
    "malachite green": (
        "CN(C)c1ccc(C(=C2C=CC(=[N+](C)C)C=C2)c2ccccc2)cc1",
        "CN(C)c1ccc([C+](c2ccccc2)c2ccc(N(C)C)cc2)cc1",
    ),
    "cyanine": (
        "CCN1C(=CC=Cc2sc3ccccc3[n+]2C)Sc2ccccc21",
        "CC[n+]1c(C=CC=C2Sc3ccccc3N2C)sc2ccccc12",
    ),
    "styryl dye": (
        "CN(C)c1ccc(C=CC2=[N+](C)c3ccccc3C2(C)C)cc1",
        "CN1C(=CC=C2C=CC(=[N+](C)C)C=C2)C(C)(C)c2ccccc21",
    ),
    "7-methylguanosine": (
        "Cn1c[n+](C)c2c(=O)[nH]c(N)nc21",
        "C[n+]1cn(C)c2c(=O)[nH]c(N)nc21",
    ),
    "sulfoxide": ("CS(C)=O", "C[S+](C)[O-]"),
    "common isotopes": ("CC(=O)NCl", "[12CH3]C(=O)N[35Cl]", "[1H]N(Cl)C(C)=O"),
}
# Two carbons, enol and keto, are two compounds; so are rings that InChI tells apart.
KEPT = (
    "CC(=O)CC(C)=O",
    "CC(O)=CC(C)=O",
    "O=C1C=C(O)C(=O)c2ccccc21",
    "Oc1ccc2cccnc2c1",
    "Oc1cccnc1",
    "Nc1ccccc1",
    "CC(=O)O",
    "c1ccc(N=Nc2ccccc2)cc1",
    "CN(C)C(C)=NC",
    "CN=C(O)O",  # carbamic acid
    "NN=C(O)O",
    "OC(O)=S",
    "O=c1ccccc(O)c1",  # not beside one another: no tropolone
    "COc1cccccc1=O",
    "O=C1CCCCCC1O",
    "COC=CC(=O)c1cc2cnc3c(=N)cc(NC(=O)C(C)C)c([nH]1)c23",
)
# What is written so stays, though rules of other molecules come near.
AS_WRITTEN = (
    "CN=S(=O)(O)c1ccccc1",  # another compound by InChI
    "CN=S=NC",
    "CS(C)(=O)=O",
    "NC1=C(C)N=NC1(C)C",  # no other place for its hydrogens
    "C[S+](C)c1c([O-])n(C)c(=O)n(C)c1=O",  # no double bond at its cation
    "CCN([N+](=O)[O-])C(N)=O",
    "C[N+](C)(C)CC(=O)[O-]",
    "CC(=O)N(C)C=C[N+](C)=CC",  # an amide's nitrogen takes no charge
)


def without_stereo(molecule: Molecule) -> str:
    return str(Chem.MolToSmiles(molecule.mol, isomericSmiles=False))


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_one_structure(name: str) -> None:
    wanted, *others = (Molecule.parse(smiles) for smiles in SPELLINGS[name])
    inchi = Chem.MolToInchi(wanted.mol)  # type: ignore[no-untyped-call]
    for molecule in (*others, Molecule.parse(inchi=inchi)):
        assert molecule.first_block == wanted.first_block
        assert without_stereo(molecule) == without_stereo(wanted)
        assert molecule.exact_mass == pytest.approx(wanted.exact_mass, abs=1e-9)
        table, same = FragmentTable.of(wanted), FragmentTable.of(molecule)
        np.testing.assert_array_equal(table.masses, same.masses)
        np.testing.assert_array_equal(
            np.unique(table.descriptors(), axis=0), np.unique(same.descriptors(), axis=0)
        )
        for layout in map(get_layout, ("morgan4096", "mixed2149")):
            bits = layout.compute([wanted, molecule])
            np.testing.assert_array_equal(bits[0], bits[1])


@pytest.mark.parametrize(
    ("smiles", "wanted"),
    [
        ("[2H]OS(=N)(=O)c1ccccc1", "[2H]OS(=N)(=O)c1ccccc1"),
        ("[2H]OP(=N)(O)OC", "[2H]OP(N)(=O)OC"),
        ("[2H]SP(=O)(OC)OC", "[2H]SP(=O)(OC)OC"),
        ("CC1=C(N([2H])C)C(=O)N=N1", "CC1=C(N([2H])C)C(=O)N=N1"),
        ("CC1=C(N([2H])[2H])C(=O)N=N1", "CC1=C(N([2H])[2H])C(=O)N=N1"),
        ("[2H]OC(=O)c1cc([N+](C)(C)C)ccc1[O-]", "[2H]OC(=O)c1cc([N+](C)(C)C)ccc1[O-]"),
    ],
)
def test_labelled_hydrogens_stay(smiles: str, wanted: str) -> None:
    """A double bond was drawn to the atom that bears one, which RDKit refuses."""
    found = Molecule.parse(smiles)
    assert found.smiles == Chem.MolToSmiles(Chem.MolFromSmiles(wanted))
    assert Molecule.parse(found.smiles) == found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[13CH3]n1cc[n+](C)c1", "C[n+]1ccn([13CH3])c1"),
        ("[13CH3]CNC(C)=NCC", "[13CH3]CN=C(C)NCC"),
        ("[Se]C1=NC[13CH2]N1", "[Se]C1=N[13CH2]CN1"),
        ("C[C@H](F)CNC(C)=NC[C@@H](C)F", "C[C@@H](F)CNC(C)=NC[C@H](C)F"),
    ],
)
def test_labels_and_stereocentres_decide_where_nothing_else_does(one: str, other: str) -> None:
    """Of two places that are alike without them, each had been left as it was written."""
    assert Molecule.parse(one) == Molecule.parse(other)


@pytest.mark.parametrize(
    "spellings",
    [
        ("CC(C)c1[nH]c(=N)s[s+]1",),  # the charge moved once the imine was an amine
        (  # the acid was chosen that is near the charge as written
            "CN1C(=CC=CC2=[N+](CC)c3ccc(S(=O)(=O)O)cc3C2)Cc2cc(S(=O)(=O)[O-])ccc21",
            "C[N+]1=C(C=CC=C2N(CC)c3ccc(S(=O)(=O)O)cc3C2)Cc2cc(S(=O)(=O)[O-])ccc21",
        ),
    ],
)
def test_the_standard_form_is_its_own(spellings: tuple[str, ...]) -> None:
    found = {Molecule.parse(smiles).smiles for smiles in spellings}
    assert {Molecule.parse(smiles).smiles for smiles in found} == found
    assert len(found) == 1


@pytest.mark.parametrize("smiles", ["CCCCCCn1cc[n+](C)c1", "CN(C)c1ccc2nc3ccc(N)cc3[s+]c2c1"])
def test_a_label_moves_no_charge(smiles: str) -> None:
    plain = Chem.MolFromSmiles(smiles)
    wanted = Molecule.parse(smiles).smiles
    for atom in plain.GetAtoms():
        if atom.GetAtomicNum() == 6:
            labelled = Chem.Mol(plain)
            labelled.GetAtomWithIdx(atom.GetIdx()).SetIsotope(13)
            found = Molecule.parse(Chem.MolToSmiles(labelled)).mol
            for each in found.GetAtoms():
                each.SetIsotope(0)
            assert Chem.MolToSmiles(Chem.MolFromSmiles(Chem.MolToSmiles(found))) == wanted


@pytest.mark.parametrize("smiles", AS_WRITTEN)
def test_what_has_no_other_spelling_stays(smiles: str) -> None:
    assert Molecule.parse(smiles).smiles == Chem.MolToSmiles(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize(
    "name",
    [
        "glutathione",
        "urea",
        "thioamide",
        "lactam",
        "2-pyridone",
        "barbiturate",
        "2-aminopyridine",
        "sulfonamide",
        "thiophosphate",
        "thiophene",
        "benzothiadiazole",
    ],
)
def test_the_form_is_the_usual_one(name: str) -> None:
    wanted = SPELLINGS[name][0]
    usual = Chem.MolToSmiles(Chem.MolFromSmiles(wanted))
    assert {Molecule.parse(smiles).smiles for smiles in SPELLINGS[name]} == {usual}


@pytest.mark.parametrize(
    ("smiles", "wanted"),
    [
        ("NC(CCC(O)=NC(CS)C(O)=NCC(O)=O)C(=O)O", None),  # glutathione
        ("CCN=C(S)NC", None),
        ("O=C1NS(=O)(=O)c2ccccc21", None),
        ("Clc1ccn[nH]1", None),
        ("Cc1ccn[nH]1", None),
        ("c1ccc2n[nH]cc2c1", None),
        ("Oc1ccccn1", None),
        ("Oc1ccc2ccccc2n1", "O=c1ccc2ccccc2[nH]1"),
        ("CCc1nnc(N)[nH]1", "CCc1n[nH]c(N)n1"),
        ("CC(O)=NCC[N+](C)(C)C", "CC(=O)NCC[N+](C)(C)C"),
        ("CC(O)=NCC[Sn](C)(C)C", "CC(=O)NCC[Sn](C)(C)C"),
        ("Nc1nc[nH]c2ncnc1-2", "Nc1ncnc2[nH]cnc12"),
        ("CN=NNc1ccccc1", "CNN=Nc1ccccc1"),
    ],
)
def test_inchi_is_asked_only_where_its_answer_is_not_certain(
    smiles: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def first_block(mol: Chem.Mol) -> str:
        asked.append(Chem.MolToSmiles(mol))
        return "A" * 14

    monkeypatch.setattr(mobile_hydrogens, "first_block", first_block)
    mol = Chem.MolFromSmiles(smiles)
    placed = place_hydrogens(mol)
    if wanted is None:
        assert not asked
        assert Chem.MolToInchiKey(mol)[:14] == Chem.MolToInchiKey(placed)[:14]  # type: ignore[no-untyped-call]
    else:
        assert Chem.MolToSmiles(mol) in asked
        assert Chem.MolToSmiles(placed) == Chem.MolToSmiles(Chem.MolFromSmiles(wanted))


def test_the_inchi_that_was_read_answers_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    inchi = Chem.MolToInchi(Chem.MolFromSmiles("Nc1nc[nH]c2ncnc1-2"))  # type: ignore[no-untyped-call]
    expected = Molecule.parse(inchi=inchi).smiles
    asked: list[str] = []
    first_block = mobile_hydrogens.first_block

    def counted(mol: Chem.Mol) -> str:
        asked.append(Chem.MolToSmiles(mol))
        return first_block(mol)

    monkeypatch.setattr(mobile_hydrogens, "first_block", counted)
    assert Molecule.parse(inchi=inchi).smiles == expected
    assert asked == [expected]
    # One that says another compound decides nothing.
    mol = Chem.MolFromInchi(inchi)  # type: ignore[no-untyped-call]
    placed = place_hydrogens(mol, "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3")
    assert Chem.MolToSmiles(placed) == expected


@pytest.mark.parametrize("name", SPELLINGS)
def test_groups_are_the_same_where_rdkit_is_asked_for_each_atom(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Molecule.parse(smiles).smiles for smiles in SPELLINGS[name]]
    monkeypatch.setattr(mobile_groups, "records_of", lambda _: None)
    assert [Molecule.parse(smiles).smiles for smiles in SPELLINGS[name]] == found


@pytest.mark.parametrize("smiles", KEPT)
def test_other_hydrogens_stay(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    assert place_hydrogens(mol) is mol


def test_a_structure_of_kekule_forms_has_one_table() -> None:
    """Which double bonds were cut depended on the order of the atoms."""
    mol = Chem.MolFromSmiles("Cc1ccc2cc(O)c(C(=O)NC)cc2c1Cl")
    rng = np.random.default_rng(0)
    tables = [
        FragmentTable.of(Chem.RenumberAtoms(mol, rng.permutation(mol.GetNumAtoms()).tolist()))
        for _ in range(6)
    ]
    for table in tables:
        np.testing.assert_array_equal(table.valences, tables[0].valences)
        np.testing.assert_array_equal(table.descriptors(), tables[0].descriptors())


def test_genuine_structures_have_one_form() -> None:
    """All but a few in a thousand: tropolones, nitrones and mesoionic rings are as written."""
    path = shared("structures/structures.tsv.gz")
    import gzip

    with gzip.open(path, "rt", encoding="utf-8") as stream:
        lines = [line.rstrip("\n").split("\t")[4] for line in stream][1::1200]
    n_compared, different = 0, []
    for smiles in lines:
        molecule = Molecule.parse(smiles)
        other = Molecule.parse(inchi=Chem.MolToInchi(molecule.mol))  # type: ignore[no-untyped-call]
        if molecule.charge or other.first_block != molecule.first_block:
            continue
        n_compared += 1
        if without_stereo(molecule) != without_stereo(other):
            different.append(smiles)
    assert n_compared > 250
    assert len(different) <= 2, different
