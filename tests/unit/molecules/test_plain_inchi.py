"""InChI that are read in compiled code say the same as RDKit and InChI's library make of them."""

from itertools import product

import pytest
from rdkit import Chem
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from specvae.molecules.kept_code import compiling
from specvae.molecules.molecule import Molecule
from specvae.molecules.parsing import parse_together
from specvae.molecules.plain_inchi import PlainForm, read_plain
from specvae.molecules.quiet import quiet_rdkit

MOST_ATOMS = 400

# Each end is bound to each middle by the first atom of the end.
ENDS = (
    "C",
    "F",
    "C#N",
    "C#CC",
    "N=C=O",
    "C(=O)O",
    "C(=O)NC",
    "C(N)=N",
    "NC(N)=N",
    "NC(=O)NC",
    "C(=S)N",
    "[N+](=O)[O-]",
    "S(C)(=O)=O",
    "S(C)=O",
    "S(N)(=O)=O",
    "S(=O)(=O)O",
    "P(=O)(O)O",
    "OP(=O)(OC)OC",
    "c8ccncc8",
    "c8ncc[nH]8",
    "c8nnn[nH]8",
    "c8cccs8",
    "C8CC8",
    "C=CC=O",
)
# With the share of structures that are read at least.
MIDDLES = {
    "c1({})ccc({})cc1": 0.9,
    "C({})C{}": 0.9,
    "c1({})cc({})c(=O)[nH]c1": 0.9,
    "c1({})cc({})nc(=O)[nH]1": 0.9,
    "c1({})ccc2[nH]cc({})c2c1": 0.9,
    "c1({})cnc2nc({})[nH]c(=O)c2n1": 0.0,
    "C1({})CC(=O)C=C1{}": 0.9,
    "N1({})CCN({})CC1": 0.9,
}
ALSO = (
    "c1ccc2ccccc2c1",
    "c1ccc2cccc-2cc1",  # azulene
    "c1cc2ccc3cccc4ccc(c1)c2c34",
    "c1ccc2c(c1)-c1ccccc1-2",
    "C1=CC=CC=CC=C1",
    "C1CC2CCC1C2",
    "C12C3C4C1C5C2C3C45",
    "CC=C=CC",
    "C#CC#CC#C",
    "O=C=O",
    "N#CC#N",
    "CSSC",
    "BrCCI",
    "CC(C)(C)c1cc(=O)c2ccccc2o1",
    "O=c1c(O)c(-c2ccc(O)c(O)c2)oc2cc(O)cc(O)c12",
    "Nc1ncnc2[nH]cnc12",
    "CNN=Nc1ccccc1",
    "CN(C)C(=N)NC(=N)N",
    "O=C1NS(=O)(=O)c2ccccc21",
    "N=S(=O)(O)c1ccccc1",
    "CCOP(=O)(S)OCC",
    "CS(=O)(=O)S",
    "CCOP(=N)(S)OC",
    "c1ccc2c(c1)N=S=N2",
    "C1=S=CC=C1",
    "CC(C)c1cccc(=O)c(O)c1",
    "O=c1c(O)ccccc1O",
    "CCC1(CC)C(=O)NC(=O)NC1=O",
    "Cc1n[nH]c2c1C(=C1C=CC(=O)C=C1)C1=C(COC1=O)N2",
    "NC1=NC2=Nc3cc(N)ccc3NC2=C(N)N1",  # InChI has five sites, mobile_groups six
    "C1CCCCCCCCCCC1",
)


def _inchi_of(mol: Chem.Mol) -> str:
    text: str = Chem.MolToInchi(mol)  # type: ignore[no-untyped-call]
    return text


def inchi_of(smiles: str) -> str:
    with quiet_rdkit():
        text: str = Chem.MolToInchi(Chem.MolFromSmiles(smiles), options="/SNon")  # type: ignore[no-untyped-call]
    return text


def plain_form(inchi: str) -> str:
    """Return the SMILES of what is read, "" where it is left to RDKit."""
    with pytest.MonkeyPatch.context() as patch, compiling(True):
        patch.setattr(Chem, "MolFromInchi", lambda *_, **__: None)
        (found,) = parse_together([("", inchi)])
    return found.smiles if isinstance(found, Molecule) else ""


@pytest.mark.parametrize(("middle", "share"), MIDDLES.items())
def test_structures_are_those_of_rdkit(middle: str, share: float) -> None:
    texts = [inchi_of(middle.format(*ends)) for ends in product(ENDS, ENDS)]
    read = {text: plain_form(text) for text in texts}
    assert sum(map(bool, read.values())) >= share * len(read)
    wanted = {text: Molecule.parse(None, text).smiles for text in read}
    assert {text: smiles for text, smiles in read.items() if smiles not in ("", wanted[text])} == {}


@pytest.mark.parametrize("smiles", ALSO)
def test_odd_structures_are_those_of_rdkit_or_left_to_it(smiles: str) -> None:
    inchi = inchi_of(smiles)
    assert plain_form(inchi) in ("", Molecule.parse(None, inchi).smiles)


def test_most_kinds_are_read() -> None:
    wanted = {
        "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3": "CCO",
        "InChI=1S/C2H5NO/c1-2(3)4/h1H3,(H2,3,4)": "CC(N)=O",
        "InChI=1S/C6H5NO2/c8-7(9)6-4-2-1-3-5-6/h1-5H": "O=[N+]([O-])c1ccccc1",
        "InChI=1S/C5H5NO/c7-5-3-1-2-4-6-5/h1-4H,(H,6,7)": "O=c1cccc[nH]1",
        "InChI=1S/C6H7NO2S/c7-10(8,9)6-4-2-1-3-5-6/h1-5H,(H2,7,8,9)": "NS(=O)(=O)c1ccccc1",
        "InChI=1S/C4H4N2O2/c7-3-1-2-5-4(8)6-3/h1-2H,(H2,5,6,7,8)": "O=c1cc[nH]c(=O)[nH]1",
        "InChI=1S/CClN/c2-1-3": "N#CCl",
        "InChI=1S/C7H6N2/c1-2-4-7-6(3-1)8-5-9-7/h1-5H,(H,8,9)": "c1ccc2[nH]cnc2c1",
    }
    assert {text: plain_form(text) for text in wanted} == wanted


def test_atoms_that_share_hydrogens_are_told() -> None:
    (amide,) = read_plain([inchi_of("CC(=O)NC")], MOST_ATOMS)
    assert amide is not None
    mol = Chem.MolFromSmiles(amide.smiles)
    (atoms,) = amide.sharing
    assert sorted(mol.GetAtomWithIdx(atom).GetSymbol() for atom in atoms) == ["N", "O"]
    assert [form and form.sharing for form in read_plain(["", inchi_of("CCO")], MOST_ATOMS)] == [
        None,
        [],
    ]


WITH_STEREO = (
    "C[C@H](N)C(=O)O",
    "O[C@@H]1[C@@H](CO)O[C@H](O)[C@H](O)[C@H]1O",
    "O[C@H](C(=O)O)[C@@H](O)C(=O)O",  # meso
    "C[C@]12CC[C@H]3[C@@H](CC=C4CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
    "CN1[C@H]2CC[C@@H]1[C@H](C(=O)OC)[C@@H](OC(=O)c1ccccc1)C2",
    "F[C@](Cl)(Br)C",
    "C[C@@H]1CC[C@H](C(C)C)C(O)C1",  # of three, one is not said
    "C/C=C/C",
    "C/C=C\\C",
    "C/C(F)=C(/Cl)Br",
    "C/C=C/C=C/C=C\\C=C/C(=O)O",
    "CO/C=C(/C(C)=C/C)C(=O)OC",
    "C/C=C(\\C)/C(=C\\C)/C",
    "C/C(=C\\C=C\\C(C)=C\\C)C=C",
    "CC(/C=C\\c1ccccc1)=C/C(=O)CC[C@H](C)C(=O)O",
    "C/C=C1/CC(=O)C/C1=C/C",
    "C(/C=C/c1ccccc1)=C\\c1ccncc1",
    "CC/C(C)=N/O",
    "C/C(=N\\NC(N)=O)c1ccccc1",
    "CC/C(=N/N=C(\\CC)c1ccccc1O)c1ccccc1O",
    "O=C(O)/C=C/C(=O)N[C@@H](Cc1c[nH]c2ccccc12)C(N)=O",
    "C[C@H](NC(=O)/C=C/[C@@H](O)C#N)[C@@H]1C=C[C@H](F)C1",
)


@pytest.mark.parametrize("smiles", WITH_STEREO)
def test_stereochemistry_is_that_of_rdkit(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    read = 0
    for seed in range(4):
        # All stereocentres and double bonds, and their mirror images, one after the other.
        options = StereoEnumerationOptions(  # type: ignore[no-untyped-call]
            maxIsomers=8, rand=seed, onlyUnassigned=seed == 0
        )
        for isomer in EnumerateStereoisomers(mol, options):  # type: ignore[no-untyped-call]
            inchi = _inchi_of(isomer)
            if found := plain_form(inchi):
                read += 1
                assert found == Molecule.parse(None, inchi).smiles
                assert _inchi_of(Chem.MolFromSmiles(found)) == inchi
    assert read > 3


@pytest.mark.parametrize(
    "inchi",
    [
        "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3/i1D",
        "InChI=1S/C3H6O3/c1-2(4)3(5)6/h2,4H,1H3,(H,5,6)/t2-/m0/s2",
        "InChI=1S/C3H6O3/c1-2(4)3(5)6/h2,4H,1H3,(H,5,6)/t2u/m0/s1",
        "InChI=1S/C4H8/c1-3-4-2/h3-4H,1-2H3/b4-3?",
        "InChI=1S/C5H8/c1-3-5-4-2/h3-4H,1-2H3/t5-/m1/s1",  # an allene
        "InChI=1S/C3H8OS/c1-3-5(2)4/h3H2,1-2H3/t5-/m0/s1",
        "InChI=1S/C8H14/c1-2-4-6-8-7-5-3-1/h1-2H,3-8H2/b2-1+",
        "InChI=1S/C2H4O2.Na/c1-2(3)4;/h1H3,(H,3,4);/q;+1/p-1",
        "InChI=1S/C5H14NO/c1-6(2,3)4-5-7/h7H,4-5H2,1-3H3/q+1",
        "InChI=1/C2H6O/c1-2-3/h3H,2H2,1H3",
        "InChI=1S/CH4/h1H4",
        "InChI=1S/C3H9N/c1-4(2)3/h1-3H3 ",
        "InChI=1S/C2H3N/c1-3-2/h1H3",  # an isonitrile, which is charged
        "InChI=1S/C3H10Si/c1-4(2)3/h4H,1-3H3",
        "InChI=1S/C10H8/c1-2-5-9-7-4-8-10(9)6-3-1/h1-8H",  # azulene
        "InChI=1S/C8H8/c1-2-5-3(1)7-4(1)6(2)8(5)7/h1-8H",  # cubane, whose rings can be chosen
        "",
        "CCO",
        "InChI=1S/",
        "InChI=1S/C2H6\udc80O/c1-2-3",
    ],
)
def test_what_is_not_plain_is_left_to_rdkit(inchi: str) -> None:
    assert read_plain([inchi], MOST_ATOMS) == [None]


@pytest.mark.parametrize(
    ("inchi", "n_read"),
    [
        # A comma is missing, or a superfluous H.
        ("InChI=1S/C8H9NO2/c1-6(10)9-7-2-4-8(11)5-3-7/h2-5,11H,1H3,(H,9,10)", 2),
        ("InChI=1S/C6H7N3O2S/c7-12(10,11)9-6-8-4-2-1-3-5-6/h1-5H,(H,8,9)(H2,7,10,11)", 0),
        # Layers of stereochemistry are missing as well.
        ("InChI=1S/C6H11NO2/c1-2-3-4-5(7)6(8)9/h2-3,5H,4,7H2,1H3,(H,8,9)/b3-2+/t5-/m0/s1", 5),
    ],
)
def test_damaged_texts_are_refused_or_read_as_by_rdkit(inchi: str, n_read: int) -> None:
    damaged = {inchi[:k] for k in range(len(inchi))}
    damaged |= {inchi[:k] + inchi[k + 1 :] for k in range(len(inchi))}
    damaged |= {inchi[:k] + letter + inchi[k:] for k in range(9, len(inchi)) for letter in "1(,-H"}
    read = {
        text: smiles
        for text in sorted(damaged)
        if read_plain([text], MOST_ATOMS) != [None] and (smiles := plain_form(text))
    }
    assert len(read) == n_read
    assert read == {text: Molecule.parse(None, text).smiles for text in read}


def test_larger_ones_than_wanted_are_left() -> None:
    text = inchi_of("CCCCO")
    assert read_plain([text], 5) == [PlainForm("CCCCO", [])]
    assert read_plain([text], 4) == [None]
    assert read_plain([inchi_of("C" * 63)], MOST_ATOMS) == [None]


def test_rows_of_tables_are_the_same_in_both_ways() -> None:
    smiles = ["CCO", "CC(=O)NC", "C[N+](C)(C)CCO", "C[C@H](N)C(=O)O", "c1ccc2[nH]cnc2c1"]
    inchi = [str(Chem.MolToInchi(Chem.MolFromSmiles(text))) for text in smiles]  # type: ignore[no-untyped-call]
    texts = [
        *(("", text) for text in inchi),
        *zip(smiles, inchi, strict=True),
        ("", "no"),
        ("", ""),
    ]
    found = []
    for is_worth in (False, True):
        with compiling(is_worth):
            batch = parse_together(texts)
        found.append(
            [
                (one.smiles, one.written, one.notes, one.n_components, one.charge, one.formula)
                if isinstance(one, Molecule)
                else one
                for one in batch
            ]
        )
    assert found[0] == found[1]
