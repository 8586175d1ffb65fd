import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from specvae.errors import SpecvaeError, StructureError
from specvae.masses import ELECTRON_MASS
from specvae.molecules.candidates import read_candidates
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.molecule import (
    Molecule,
    average_mass_of_formula,
    blocks_of_inchi,
    blocks_of_salt,
    parse_molecule,
)
from specvae.molecules.parsing import parse_together
from specvae.molecules.quiet import TOGETHER, each_quietly, quiet_rdkit
from specvae.molecules.standard import standard_form
from specvae.molecules.tautomers import may_be_tautomers
from specvae.molecules.text_mass import text_masses
from specvae.molecules.text_tables import is_inchi
from specvae.report import ReadReport


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        (r"C\/C=C\/C", "C/C=C/C"),
        (r"C/C=C\\C", "C/C=C\\C"),
        (r"C\\\\C=C\\\\C", "C/C=C/C"),
        (r"InChI=1S\/C2H6O\/c1-2-3\/h3H,2H2,1H3", "CCO"),
    ],
)
def test_backslashes_that_json_has_added_are_left_out(text: str, usual: str) -> None:
    assert parse_molecule(text).smiles == usual
    (together,) = parse_together([(text, "") if "InChI" not in text else ("", text)])
    assert isinstance(together, Molecule)
    assert together.smiles == usual
    assert np.isnan(text_masses([text]).each()[0]).any()  # so it is parsed, whatever is asked for


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("[N+H3]CC([O-])=O", "NCC(=O)O"),
        ("C[N+H2]C", "CNC"),
        ("C[N@+H](CC)CCC", "CCCN(C)CC"),
        ("[n+H:3]1ccccc1", "c1ccncc1"),
        ("CC(=O)[O-].[Ca2+].CC(=O)[O-]", "CC(=O)O"),
        ("[Fe+++]", "[Fe+3]"),
        ("[Zr4+:1]", "[Zr+4]"),
    ],
)
def test_a_charge_may_stand_before_the_hydrogens(text: str, usual: str) -> None:
    assert parse_molecule(text).smiles == usual
    (together,) = parse_together([(text, "")])
    assert isinstance(together, Molecule)
    assert together.smiles == usual


def test_ethanol() -> None:
    molecule = parse_molecule("OCC")
    assert molecule.smiles == "CCO"
    assert molecule.inchikey == "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
    assert molecule.first_block == "LFQSCWFLJHTTHZ"
    assert molecule.formula == "C2H6O"
    # 2 * 12 + 6 * 1.00782503 + 15.99491462 Da
    assert molecule.exact_mass == pytest.approx(46.0418648, abs=1e-6)
    assert (molecule.charge, molecule.n_components) == (0, 1)


@pytest.mark.parametrize(
    ("given", "parent", "n_components"),
    [
        ("CC(=O)[O-].[Na+]", "CC(=O)O", 2),
        ("CCN.Cl", "CCN", 2),
        ("CC[NH3+].[Cl-]", "CCN", 2),
        ("O.O.CC(=O)O", "CC(=O)O", 3),
        ("[NH4+].[O-]C=O", "O=CO", 2),
        ("OS(O)(=O)=O.CN", "CN", 2),  # the acid is heavier, but only the amine is organic
        ("[Na+].[Cl-]", "Cl", 2),
        ("[NH3+]CC(=O)[O-]", "NCC(=O)O", 1),
        ("[O-][N+](=O)c1ccccc1", "O=[N+]([O-])c1ccccc1", 1),
    ],
)
def test_parent_of_salts_and_zwitterions(given: str, parent: str, n_components: int) -> None:
    molecule = parse_molecule(given)
    assert molecule.smiles == parent
    assert molecule.n_components == n_components
    assert molecule.charge == 0
    assert molecule.inchikey == parse_molecule(parent).inchikey
    assert molecule.exact_mass == parse_molecule(parent).exact_mass


HEME = "Cc1c(C=C)c2[n-]c1cc1nc(cc3[n-]c(cc4nc(c2)C(C)=C4CCC(=O)O)c(C)c3C=C)C(C)=C1CCC(=O)O.[Fe+2]"


@pytest.mark.parametrize(
    ("smiles", "formula", "first_block"),
    [
        (HEME, "C34H32FeN4O4", None),
        ("[cH-]1cccc1.[cH-]1cccc1.[Fe+2]", "C10H10Fe", "KTWOOEGAPBSYNW"),
        ("[CH-]1C=CC=C1.[CH-]1C=CC=C1.[Fe+2]", "C10H10Fe", "KTWOOEGAPBSYNW"),
        ("N.N.Cl[Pt]Cl", "H6Cl2N2Pt", "LXZZYRPGZAFOLE"),
        ("[NH2-].[NH2-].C1CC(C1)(C(=O)O)C(=O)O.[Pt+2]", "C6H12N2O4Pt", "VSRXQHXAPYXROS"),
        ("[C-]#[O+].[C-]#[O+].[C-]#[O+].[C-]#[O+].[Ni]", "C4NiO4", None),
    ],
)
def test_a_metal_complex_is_kept_whole(smiles: str, formula: str, first_block: str | None) -> None:
    molecule = parse_molecule(smiles)
    assert (molecule.formula, molecule.charge, molecule.n_components) == (formula, 0, 1)
    assert molecule.notes == ("metal complex kept whole",)
    assert first_block in (None, molecule.first_block)
    assert parse_molecule(molecule.smiles) == molecule


@pytest.mark.parametrize(
    ("dative", "pieces"),
    [
        ("[NH3]->[Pt](<-[NH3])(Cl)Cl", "N.N.Cl[Pt]Cl"),
        ("[NH3][Pt]([NH3])(Cl)Cl", "N.N.Cl[Pt]Cl"),
        ("CC(C)[NH2]->[Pt](<-[NH3])(Cl)Cl", "CC(C)N.N.Cl[Pt]Cl"),
    ],
)
def test_a_complex_with_dative_bonds_is_the_same(dative: str, pieces: str) -> None:
    """InChI knows no such bonds, so that it had no key, and was another structure."""
    one, other = parse_molecule(dative), parse_molecule(pieces)
    assert (one, one.exact_mass, one.inchikey) == (other, other.exact_mass, other.inchikey)
    assert len(one.first_block) == 14
    assert one.notes == other.notes == ("metal complex kept whole",)


@pytest.mark.parametrize(
    "smiles",
    [
        "C[n+]1ccc(O)cc1",
        "C[n+]1ccc(N)cc1",
        "C[n+]1ccc(NC(C)=O)cc1",
        "COc1cc(N)cn[n+]1-c1ccccc1",
        "COc1ccc2cc3-c4cc(O)c(OC)cc4CC[n+]3cc2c1OC",
        "C[n+]1ccc(cc1)C(N)=O",
        "C[n+]1ccc(cc1)C(=O)NC",
        "C[N+](C)(C)CCOC(=O)c1ccc(O)cc1",
        "C[N+](C)(C)CCNC(=O)c1ccc(O)c(OC)c1",
        "C[n+]1ccccc1C=Cc1ccc(O)cc1",
        "C[N+](C)(C)CC(=O)O",
        "CC[n+]1c(-c2ccccc2)c2cc(N)ccc2c2ccc(N)cc21",  # ethidium
        "C[n+]1ccccc1C=NO",  # pralidoxime
        "C[n+]1ccc(C=NO)cc1",
        "ON=Cc1cc[n+](COC[n+]2ccc(C=NO)cc2)cc1",  # obidoxime
    ],
)
def test_a_cation_from_its_inchi_is_the_same(smiles: str) -> None:
    """InChI has them as neutral compounds with a proton, which RDKit puts where it can be taken."""
    cation = parse_molecule(smiles)
    inchi = Chem.MolToInchi(cation.mol)  # type: ignore[no-untyped-call]
    assert inchi.endswith(f"/p+{cation.charge}")
    again = parse_molecule(inchi=inchi)
    assert (again, again.charge, again.exact_mass) == (cation, cation.charge, cation.exact_mass)


@pytest.mark.parametrize(
    "smiles",
    [
        "[O-][n+]1cc[n+]([O-])cc1",
        "COC(=O)NN=Cc1c[n+]([O-])c2ccccc2[n+]1[O-]",
        "Oc1cccc2c1[n+]([O-])c1cccc(O)c1[n+]2[O-]",
    ],
)
def test_a_dioxide_from_its_inchi_is_the_same(smiles: str) -> None:
    dioxide = parse_molecule(smiles)
    inchi = Chem.MolToInchi(dioxide.mol)  # type: ignore[no-untyped-call]
    assert parse_molecule(inchi=inchi) == dioxide
    assert dioxide.smiles == Chem.MolToSmiles(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize(
    "smiles",
    [
        "CN(C)c1ccc(N=Nc2cc[n+]([O-])cc2)cc1",
        "CN(C)c1ccc(N=Nc2cccc[n+]2[O-])cc1",
        "[O-][N+](c1ccccc1)=Nc1ccc(N=Nc2ccccc2)cc1",
    ],
)
def test_an_azo_oxide_from_its_inchi_is_neutral(smiles: str) -> None:
    """RDKit reads it as a cation with an unpaired electron."""
    oxide = parse_molecule(smiles)
    inchi = Chem.MolToInchi(oxide.mol)  # type: ignore[no-untyped-call]
    assert parse_molecule(inchi=inchi).formula == oxide.formula
    assert parse_molecule(inchi=inchi) == oxide


@pytest.mark.parametrize(
    ("protonated", "neutral"),
    [
        ("Nc1cc[n+](C)c(O)n1", "Nc1ccn(C)c(=O)n1"),
        ("Cn1c(=O)c2c([nH+]cn2C)n(C)c1=O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O"),
        ("O=C(O)c1cn(CC)c2cc([NH+]3CCNCC3)ccc2c1=O", "O=C(O)c1cn(CC)c2cc(N3CCNCC3)ccc2c1=O"),
        ("CN(C)C(C)=[OH+]", "CN(C)C(C)=O"),
    ],
)
def test_a_protonated_compound_from_its_inchi_is_neutral(protonated: str, neutral: str) -> None:
    mol = Chem.MolFromSmiles(protonated)
    inchi = Chem.MolToInchi(mol)  # type: ignore[no-untyped-call]
    assert "/p+1" in inchi
    assert parse_molecule(inchi=inchi) == parse_molecule(neutral)


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (
            "C[N+](C)(C)CC(CC(=O)O)OC(=O)CCCC(=O)[O-]",
            "C[N+](C)(C)CC(CC(=O)[O-])OC(=O)CCCC(=O)O",
            "C[N+](C)(C)CC(CC(=O)[O-])OC(=O)CCCC(=O)O",
        ),
        (
            "C[N+](C)(C)CCOP(=O)(O)OCCC(=O)[O-]",
            "C[N+](C)(C)CCOP(=O)([O-])OCCC(=O)O",
            "C[N+](C)(C)CCOP(=O)([O-])OCCC(=O)O",
        ),
        (
            "C[N+](C)(C)CCC(CS(=O)(=O)O)C(=O)[O-]",
            "C[N+](C)(C)CCC(CS(=O)(=O)[O-])C(=O)O",
            "C[N+](C)(C)CCC(CS(=O)(=O)[O-])C(=O)O",
        ),
        (
            "C[N+](C)(C)c1ccc([O-])c(C(=O)O)c1",
            "C[N+](C)(C)c1ccc(O)c(C(=O)[O-])c1",
            "C[N+](C)(C)c1ccc(O)c(C(=O)[O-])c1",
        ),
        (  # two cations, and an acid with two hydroxyl groups
            "C[N+](C)(C)CC([N+](C)(C)C)(CC(=O)O)P(=O)([O-])[O-]",
            "C[N+](C)(C)CC([N+](C)(C)C)(CC(=O)[O-])P(=O)(O)[O-]",
            "C[N+](C)(C)CC([N+](C)(C)C)(CC(=O)[O-])P(=O)([O-])O",
        ),
    ],
)
def test_the_strongest_acid_of_an_inner_salt_has_its_charge(
    one: str, other: str, found: str
) -> None:
    salt = parse_molecule(one)
    assert salt == parse_molecule(other) == parse_molecule(found)
    assert salt.smiles == Chem.MolToSmiles(Chem.MolFromSmiles(found))
    assert parse_molecule(inchi=Chem.MolToInchi(salt.mol)) == salt  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "smiles",
    ["C[N+](C)(C)CC(=O)[O-]", "C[N+](C)(C)[O-]", "CC(C(=O)O)[N+](=O)[O-]", "C[n+]1ccc([O-])cc1"],
)
def test_a_single_acid_and_charges_side_by_side_stay(smiles: str) -> None:
    assert parse_molecule(smiles).smiles == Chem.MolToSmiles(Chem.MolFromSmiles(smiles))


def test_a_complex_from_its_inchi_is_the_same() -> None:
    inchi = "InChI=1S/2C5H5.Fe/c2*1-2-4-5-3-1;/h2*1-5H;/q2*-1;+2"
    assert parse_molecule(inchi=inchi) == parse_molecule("[cH-]1cccc1.[cH-]1cccc1.[Fe+2]")


@pytest.mark.parametrize(
    ("smiles", "parent", "metal"),
    [
        ("CC(=O)[O-].CC(=O)[O-].[Zn+2]", "CC(=O)O", "Zn"),
        ("CN(C)C(=S)[S-].CN(C)C(=S)[S-].[Mn+2]", "CN(C)C(=S)S", "Mn"),
        ("Nc1ccc(cc1)S(=O)(=O)[N-]c1ncccn1.[Ag+]", "Nc1ccc(S(=O)(=O)Nc2ncccn2)cc1", "Ag"),
    ],
)
def test_a_metal_salt_loses_its_metal_and_says_so(smiles: str, parent: str, metal: str) -> None:
    molecule = parse_molecule(smiles)
    assert molecule.smiles == parent
    assert molecule.notes == (f"metal taken off: {metal}",)


@pytest.mark.parametrize(
    ("bound", "ions"),
    [
        ("CC(=O)O[Na]", "CC(=O)[O-].[Na+]"),
        ("CC(=O)O[23Na]", "CC(=O)[O-].[Na+]"),
        ("O=C1N([Na])S(=O)(=O)c2ccccc12", "O=C1[N-]S(=O)(=O)c2ccccc12.[Na+]"),
        ("[K]OC(=O)c1ccccc1", "[O-]C(=O)c1ccccc1.[K+]"),
        ("COP(=O)(O[Li])O[Li]", "COP(=O)([O-])[O-].[Li+].[Li+]"),
        ("CC(=O)O[Ca]OC(C)=O", "CC(=O)[O-].CC(=O)[O-].[Ca+2]"),
        ("CN(C)C(=S)S[Zn]SC(=S)N(C)C", "CN(C)C(=S)[S-].CN(C)C(=S)[S-].[Zn+2]"),
        ("CC(=O)O[Mg+].[Cl-]", "CC(=O)[O-].[Cl-].[Mg+2]"),
        # ChEBI's, by RDKit.
        (
            "CN(C)C1=[S]->[Zn]2(<-[S]=C(N(C)C)S2)S1",
            "CN(C)C(=S)[S-].CN(C)C(=S)[S-].[Zn+2]",
        ),
    ],
)
def test_a_salt_that_is_written_with_a_bond_to_its_metal(bound: str, ions: str) -> None:
    """Sodium acetate was 82.0031 Da where it was written so, and 60.0211 Da as ions."""
    one, other = parse_molecule(bound), parse_molecule(ions)
    assert (one, one.exact_mass, one.inchikey) == (other, other.exact_mass, other.inchikey)
    assert (one.notes, one.n_components) == (other.notes, other.n_components)


@pytest.mark.parametrize(
    "smiles", ["[Li]CCCC", "CCCC[Sn](CCCC)(CCCC)OC(C)=O", "CC[Hg]Sc1ccccc1C(=O)O", "C[Mg]Br"]
)
def test_what_is_bound_to_a_metal_stays_so(smiles: str) -> None:
    molecule = parse_molecule(smiles)
    assert (molecule.n_components, molecule.notes) == (1, ())


def test_components_of_equal_size_do_not_depend_on_their_order() -> None:
    assert parse_molecule("CCO.CCN") == parse_molecule("CCN.CCO")
    assert parse_molecule("CC(C)O.CCCO") == parse_molecule("CCCO.CC(C)O")
    # Masses that are added up in another order differ in their last digit.
    tail = "COP(=O)([O-])OCC[N+](C)(C)C"
    one = f"CCCCCCCCCCCCCCCC(=O)OCC({tail})OC(=O)CCC=CCCCCCCCCCCC"
    other = f"CCCCCCCCCCCCCC=CCCC(=O)OC(COC(=O)CCCCCCCCCCCCC){tail}"
    assert parse_molecule(f"{one}.{other}") == parse_molecule(f"{other}.{one}")


def test_permanent_cation_keeps_its_charge_and_all_electrons() -> None:
    choline = parse_molecule("C[N+](C)(C)CCO.[Cl-]")
    assert (choline.charge, choline.formula) == (1, "C5H14NO+")
    atoms = 5 * 12.0 + 14 * 1.00782503207 + 14.0030740048 + 15.99491461956
    assert choline.exact_mass == pytest.approx(atoms, abs=1e-6)
    # What is measured as [M]+ (m/z 104.1070) is an electron lighter.
    assert choline.exact_mass - ELECTRON_MASS == pytest.approx(104.10699, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "formula", "charge"),
    [
        ("CN(C)c1ccc(cc1)[CH+]c1ccc(cc1)N(C)C", "C17H21N2+", 1),  # Michler's hydrol blue
        ("[CH2+]c1ccccc1", "C7H7+", 1),
        ("[CH+]1C=CC=CC=C1.[Br-]", "C7H7+", 1),
        ("InChI=1S/C7H7/c1-2-4-6-7-5-3-1/h1-7H/q+1", "C7H7+", 1),
        ("[CH2-]C[CH2+]", "C3H6", 0),
        ("InChI=1/C3H2/c1-3-2/h1-2H", "C3H2", 0),  # RDKit writes charges for such diradicals
        ("CC[BH-](CC)CC.[Li+]", "C6H16B-", -1),
        ("[CH-]1C=CC=C1.[Na+]", "C5H6", 0),
    ],
)
def test_charges_are_balanced_by_protons_alone(text: str, formula: str, charge: int) -> None:
    """A hydride was added to carbocations, so that they had the mass of another compound."""
    found = parse_molecule(text)
    assert (found.formula, found.charge) == (formula, charge)


def test_betaine_is_neutral() -> None:
    betaine = parse_molecule("C[N+](C)(C)CC(=O)[O-]")
    assert (betaine.charge, betaine.formula) == (0, "C5H11NO2")
    assert betaine.exact_mass == pytest.approx(117.0789786, abs=1e-6)


def test_radical_and_isotope_stay_as_written() -> None:
    assert parse_molecule("C[CH]C").formula == "C3H7"
    labelled, plain = parse_molecule("[2H]C([2H])([2H])O"), parse_molecule("CO")
    assert labelled.first_block == plain.first_block
    assert labelled.inchikey != plain.inchikey
    assert labelled.exact_mass - plain.exact_mass == pytest.approx(3 * 1.00627675, abs=1e-5)


def test_stereoisomers_share_the_first_block() -> None:
    left, right = parse_molecule("C[C@H](N)C(=O)O"), parse_molecule("C[C@@H](N)C(=O)O")
    assert left.inchikey != right.inchikey
    assert left.first_block == right.first_block


@pytest.mark.parametrize(
    "smiles",
    [
        "C/C=C/[C@H](N)C(=O)O",
        "C[C@@]1(O)CC[C@H](C/C1=C\\Cl)S(C)=O",
        "[13CH3]C([2H])=O",
        "Oc1ncccc1",
        "CC([O-])=NC1=CC=CC=C1.[Na+]",
        "[O-][S+](C)c1c[nH]cn1",
    ],
)
def test_smiles_is_that_of_the_structure_that_is_kept(
    smiles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for while RDKit's object is there, which need not be made for it again."""
    molecule = Molecule.parse(smiles)
    again = Chem.MolToSmiles(molecule.mol)
    monkeypatch.setattr(Chem, "Mol", None)
    assert molecule.smiles == again


def test_inchi_and_smiles_agree() -> None:
    smiles = "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"
    inchi = "InChI=1S/C8H10N4O2/c1-10-4-9-6-5(10)7(13)12(3)8(14)11(6)2/h4H,1-3H3"
    assert parse_molecule(inchi=inchi) == parse_molecule(smiles)
    assert parse_molecule(smiles, inchi="not read") == parse_molecule(smiles)


@pytest.mark.parametrize(
    "text", ["InChI=CC(C)O", "SMILES=CC(C)O", "smiles:CC(C)O", "InChI=InChI=CC(C)O", "IC", "SI=O"]
)
def test_a_mark_before_a_smiles_is_left_out(text: str) -> None:
    plain = "CC(C)O" if "CC(C)O" in text else text
    assert parse_molecule(smiles=text) == parse_molecule(inchi=text) == parse_molecule(plain)


@pytest.mark.parametrize(
    ("smiles", "inchi", "is_noted"),
    [
        ("CC(C)O", "InChI=1S/C3H8O/c1-3(2)4/h3-4H,1-2H3", False),
        ("CC(C)O", "InChI=1S/CH4O/c1-2/h2H,1H3", True),
        ("CC(C)O", "1S/C3H8S/c1-3(2)4/h3-4H,1-2H3", True),
        # Protons and labels are no other compound.
        ("C[N+](C)(C)CC(=O)O", "InChI=1S/C5H11NO2/c1-6(2,3)4-5(7)8/h4H2,1-3H3", False),
        ("CC[O-]", "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3/p-1", False),
        ("[2H]CO", "InChI=1S/CH4O/c1-2/h2H,1H3/i1D", False),
        # Of a salt, its parent's is as good.
        ("CC[O-].[Na+]", "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3", False),
        ("CCN", "InChI=1S/C2H7N.ClH/c1-2-3;/h2-3H2,1H3;1H", False),
        ("CCO", "N/A", False),
    ],
)
def test_an_inchi_of_another_formula_is_noted(smiles: str, inchi: str, is_noted: bool) -> None:
    noted = ("InChI of another formula, SMILES taken",) * is_noted
    molecule = parse_molecule(smiles, inchi)
    assert molecule == parse_molecule(smiles)
    assert [note for note in molecule.notes if "InChI" in note] == list(noted)
    (together,) = parse_together([(smiles, inchi)])
    assert isinstance(together, Molecule)
    assert together.notes == molecule.notes


def test_given_inchikey_is_trusted() -> None:
    assert parse_molecule("CCO", inchikey="AAAAAAAAAAAAAA-UHFFFAOYSA-N").first_block == "A" * 14


@pytest.mark.parametrize(
    ("smiles", "inchi", "said"),
    [
        (None, None, "no structure given"),
        ("", "", "no structure given"),
        ("   ", None, "no structure given"),
        ("c1cc", None, "SMILES cannot be parsed: c1cc (syntax)"),
        ("C(C)(C)(C)(C)C", None, "valence"),
        ("c1cccc1", None, "kekulize"),
        ("*CC", None, "wildcard"),
        ("N/A", None, "no structure given"),
        (None, "InChI=1S/zz", "InChI cannot be parsed: InChI=1S/zz"),
        ("C" * 300 + "(", None, "..."),
    ],
)
def test_unusable_structures_say_why_in_one_line(
    smiles: str | None, inchi: str | None, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StructureError) as caught:
        parse_molecule(smiles, inchi)
    message = str(caught.value)
    assert said.lower() in message.lower()
    assert "\n" not in message
    assert len(message) < 200
    assert isinstance(caught.value, SpecvaeError)
    # RDKit's own complaints stay out of the user's way.
    assert capfd.readouterr() == ("", "")


def test_neutral_form_is_perceived_like_one_written_neutral() -> None:
    ion = standard_form("Oc1cccc[nH+]1").mol
    neutral = standard_form("Oc1ccccn1").mol
    assert [a.GetTotalNumHs() for a in ion.GetAtoms()] == [
        a.GetTotalNumHs() for a in neutral.GetAtoms()
    ]
    assert ion.GetRingInfo().NumRings() == 1


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
def test_an_interrupt_waits_while_rdkit_would_lose_it() -> None:
    mol = Chem.MolFromSmiles("CCO")
    done: list[bool] = []

    def work() -> None:
        done.extend(mol.HasSubstructMatch(Chem.MolFromSmarts("CO")) for _ in range(2))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        done.append(True)

    with pytest.raises(KeyboardInterrupt), quiet_rdkit():
        work()
    assert done == [True, True, True]


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_waits_for_some_of_many_molecules() -> None:
    """RDKit is entered once for several, and never while a caller has the results."""
    done: list[int] = []

    def work(number: int) -> int:
        if number == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        done.append(number)
        return -number

    assert list(each_quietly(abs, range(-40, 0))) == list(range(40, 0, -1))
    with pytest.raises(KeyboardInterrupt):
        list(each_quietly(work, range(100)))
    assert done == list(range(TOGETHER))
    results = each_quietly(work, range(2, 100))
    assert next(results) == -2
    with pytest.raises(KeyboardInterrupt):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    "use",
    [
        lambda: parse_molecule("CCCO").inchikey,
        lambda: blocks_of_inchi("InChI=1S/C4H10O/c1-2-3-4-5/h5H,2-4H2,1H3"),
        lambda: blocks_of_salt("CCCCCO.Cl"),
        lambda: may_be_tautomers(Chem.MolFromSmiles("CC(=O)C"), Chem.MolFromSmiles("CC(O)=C")),
    ],
)
def test_rdkit_keeps_no_handler(use: Callable[[], object]) -> None:
    """InChI's functions of RDKit put one in place of Python's, too, which loses all Ctrl-C."""
    use()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
def test_rdkit_keeps_no_handler_in_other_threads() -> None:
    """Only the main thread may call signal.signal; a notebook's threads rank, too."""
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(parse_inchikey, ("CCCO", "CCCCO", "CCCCCO", "CCCCCCO")))
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


USED_BEFORE = """
import os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
from rdkit import Chem
mol = Chem.MolFromSmiles("CCO")
mol.HasSubstructMatch(mol)
from specvae.molecules.quiet import quiet_rdkit
def search():
    with quiet_rdkit():
        mol.HasSubstructMatch(mol)
thread = threading.Thread(target=search)
thread.start()
thread.join()
try:
    os.kill(os.getpid(), signal.SIGINT)
    print("lost")
except KeyboardInterrupt:
    print("heeded")
"""


def test_rdkit_that_was_used_before_keeps_no_handler() -> None:
    """A notebook searches, then imports specvae: the handler found there is RDKit's."""
    done = subprocess.run(
        [sys.executable, "-c", USED_BEFORE], capture_output=True, text=True, check=True
    )
    assert done.stdout == "heeded\n"


def parse_inchikey(smiles: str) -> str:
    return parse_molecule(smiles).inchikey


def test_an_interrupt_is_not_swallowed() -> None:
    # Python's own handler is not there where the tests run in the background of a shell.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        parse_molecule("C[N+](C)(C)CC(=O)[O-].Cl")
        get_layout("mixed2149").compute(["OCC1CCCCC1"])
        with quiet_rdkit():
            standard_form("C[N+](C)(C)CC(=O)[O-].Cl")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "inchi",
    [
        "InChI=1S/C2H4O/c1-2-3/h1-2H2/z101-1-3(2-1)",  # ends RDKit's process
        "InChI=1B/C2H4O/c1-2-3/h1-2H2/z101-1-3(2-1)",
        "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3/z101-1-2",
        "InChI=1B/C2H4OZz2/c4-2-1-3-5/h1-2H2",
        "InChI=1S/C4H6O2.C2H4O/c1-3-4(5)6-2;1-2-3/h3H,1H2,2H3;1-2H2/z101-1-3(2-1)",
    ],
)
def test_inchi_of_polymers_are_refused(inchi: str, tmp_path: Path) -> None:
    assert not is_inchi(inchi)
    for texts in ((None, inchi), (inchi, None)):
        with pytest.raises(StructureError, match="InChI of a polymer, or with open ends"):
            Molecule.parse(*texts)
    assert "polymer" in str(parse_together([("", inchi)] * 20)[0])
    path, report = tmp_path / "x.csv", ReadReport()
    path.write_text(f'inchi,name\n"{inchi}",a\n{inchi},b\nInChI=1S/CH4/h1H4,c\n')
    assert read_candidates(path, report).name.tolist() == ["c"]
    assert any("InChI of a polymer" in skip.detail for skip in report.skips)
    assert len(report.skips) == 2


@pytest.mark.parametrize("mark", ["InChI=1B/", "1B/", "InChI=InChI=1b/", "InChI=1/"])
def test_inchi_that_is_called_beta_is_read(mark: str) -> None:
    inchi = f"{mark}C2H6O/c1-2-3/h3H,2H2,1H3"
    assert Molecule.parse(None, inchi) == Molecule.parse(inchi) == Molecule.parse("CCO")
    for version in ("1.12Beta", "2S"):
        with pytest.raises(StructureError, match=f"InChI cannot be parsed: InChI={version}/"):
            Molecule.parse(f"InChI={version}/C2H6O/c1-2-3/h3H,2H2,1H3")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("CCO |^1:1|", "C[CH]O"),
        ("CC(C)(C)N(O)C(C)(C)C |^1:5| a nitroxide", "CC(C)(C)N([O])C(C)(C)C"),
        ("[CH2]CO |^1:0|", "[CH2]CO"),
        ("CCO |$;;_R1$,^1:0|", "[CH2]CO"),
        ("CCO |^1:1,$;;C:7$|", "C[CH]O"),
        ("C([H])([H])O[H] |^1:0|", "[CH2]O"),
        ("[H][H].O |^1:2|", "[OH].[H][H]"),
        ("N[Pt](N)(Cl)Cl |C:0.0,2.1|", "[NH3]->[Pt](<-[NH3])(Cl)Cl"),
        ("CCO |&1:1|", "CCO"),
        ("CC=CC |c:1|", "CC=CC"),
        ("CCO H:1|", "CCO"),
    ],
)
def test_an_extension_of_radicals_and_bonds_counts(written: str, meant: str) -> None:
    found, wanted = Molecule.parse(written), Molecule.parse(meant)
    assert found.smiles == wanted.smiles
    assert found.exact_mass == wanted.exact_mass
    (together,) = parse_together([(written, "")])
    assert together == found
    assert np.isnan(text_masses([written]).lightest[0]) or "^" not in written


@pytest.mark.parametrize(
    "mapped", ["[CH3:3][C:7]([OH:1])=[O:2]", "[C:1]([H:2])([H:4])([H:9])C([OH:5])=O"]
)
def test_atom_classes_change_nothing(mapped: str) -> None:
    found, plain = Molecule.parse(mapped), Molecule.parse("CC(=O)O")
    assert found.smiles == plain.smiles
    assert found.exact_mass == plain.exact_mass


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("CC(N)C(O)~O", "a bond of no order"),
        ("C:CO", "a bond of no order"),
        ("[#6]CC(N)C(=O)O", "names atoms by number, without their hydrogens"),
        ("OCCO |Sg:n:1,2:n:ht|", "atoms are not all known"),
        ("OCCO |Sg:n:1,2", "atoms are not all known"),
        ("OCCO |$;;;$,Sg:n:1,2:n:ht|", "atoms are not all known"),
        ("CCO |LN:1:1.3|", "atoms are not all known"),
        ("CO.c1ccccc1 |m:0:2.3.4|", "atoms are not all known"),
        ("CCCO |Z:1|", "a bond of no order"),
        ("CCO |^1:0", "an extension of radicals or bonds that cannot be read"),
        ("CCO |^1:1,3|", "an extension of radicals or bonds that cannot be read"),
        ("CCO |^1:1,^2:9|", "an extension of radicals or bonds that cannot be read"),
        ("[NH3].[Pt] |C:0.0|", "an extension of radicals or bonds that cannot be read"),
        ("CCO |H:0.2|", "an extension of radicals or bonds that cannot be read"),
        ("CCO |Z:2|", "an extension of radicals or bonds that cannot be read"),
        ("CC(C)NOC |^1:4|", "an extension of radicals or bonds that cannot be read"),
        ("CCCCCCCC CCCC(=O)O", "a second one behind a blank, or a divided one"),
        ("CCO CC(=O)O", "a second one behind a blank, or a divided one"),
        ("C C O", "a second one behind a blank, or a divided one"),
        ("CC (C)O", "a second one behind a blank, or a divided one"),
        ("CCO | COC", "a second one behind a blank, or a divided one"),
        ("CC(=O) OC", "a second one behind a blank, or a divided one"),
        ("CC(=O)\N{NO-BREAK SPACE}OC", "a second one behind a blank, or a divided one"),
        ("CCCCCCCC CCCCCCO", "a second one behind a blank, or a divided one"),
        ("CC =CO", "a second one behind a blank, or a divided one"),
        (f"CC ({'C' * 2000})O", "a second one behind a blank, or a divided one"),
        ("[C][C][O]", "a carbon without its hydrogens"),
        ("[13C]C(=O)O", "a carbon without its hydrogens"),
        ("C[C]1[C](C)CC[C]1O", "a carbon without its hydrogens"),
        ("C[C@](O)N", "a carbon without its hydrogens"),
    ],
)
def test_smiles_that_leave_atoms_open_are_refused(smiles: str, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        Molecule.parse(smiles)


@pytest.mark.parametrize(
    "smiles",
    [
        *(
            "c1:c:c:c:c:c1",
            "[#6](F)(F)(F)F",
            "CCO |SgD:1:m:5::::|",
            "CCO poly m:1:2",
            "[13CH3]C",
            "[C-]#[O+]",
        ),
        *("C[C@@](O)(F)N", "C[C]C", "c1ccccc1[C](c1ccccc1)c1ccccc1"),
        *(
            "CCO N-(2-x)",
            "CCO (R)-x",
            "CCO I",
            "CCO 50-00-0",
            "CCO (CO",
            "CCO (S) x",
            "CCO (PCB) x",
            "CCO | x",
            "CN1[C]N(C)C=C1",
            "[C]=O",
        ),
    ],
)
def test_smiles_that_leave_no_atom_open_are_read(smiles: str) -> None:
    assert Molecule.parse(smiles).exact_mass > 0


@pytest.mark.parametrize(
    ("smiles", "n_components"),
    [
        # InChI writes such as "2C2H6O", without a full stop.
        ("CCCO.CCOC", 2),
        ("NCC(=O)O.NCC(=O)O", 2),
        ("CCOP(=O)([O-])OCC[N+](C)(C)C.CCOP(=O)([O-])OCC[N+](C)(C)C", 2),
        # A proton that RDKit leaves alone.
        ("OS(=O)(=O)CCCC[P+](C)(C)C", 1),
        # Inner salts that RDKit does not read.
        ("C[N+](C)(C)CCOS(=O)(=O)[O-]", 1),
        ("C[n+]1ccccc1COS(=O)(=O)[O-].O", 2),
        ("C[S+](C)CCOS(=O)(=O)[O-]", 1),
    ],
)
def test_an_inchi_is_the_compound_of_its_smiles(smiles: str, n_components: int) -> None:
    inchi = Chem.MolToInchi(Chem.MolFromSmiles(smiles))  # type: ignore[no-untyped-call]
    found, wanted = Molecule.parse(inchi=inchi), Molecule.parse(smiles)
    assert (found.smiles, found.formula) == (wanted.smiles, wanted.formula)
    assert found.first_block == wanted.first_block
    assert found.n_components == wanted.n_components == n_components


@pytest.mark.parametrize(
    ("charged", "plain"),
    [
        ("C[S+](C)[O-]", "CS(C)=O"),
        ("C[S+2](C)([O-])[O-]", "CS(C)(=O)=O"),
        ("C[S+](N)(=O)[O-]", "CS(N)(=O)=O"),
        ("C[S+2]([O-])([O-])O", "CS(=O)(=O)O"),
        ("C[P+](C)(C)[O-]", "CP(C)(C)=O"),
        ("CO[P+]([O-])([O-])O", "COP(=O)(O)O"),
        ("C[Se+](C)[O-]", "C[Se](C)=O"),
        ("C[P+](O)(O)[S-]", "CP(O)(O)=S"),
        ("C[P+](C)(C)[N-]C", "CP(C)(C)=NC"),
        ("C[S+](C)[N-]C", "CS(C)=NC"),
        ("C[As+](C)([O-])O", "C[As](C)(=O)O"),
        ("C[I+2]([O-])[O-]", "CI(=O)=O"),
        ("CC[N-][N+]#N", "CCN=[N+]=[N-]"),
        ("O=S(=O)(C)[N-][N+]#N", "O=S(=O)(C)N=[N+]=[N-]"),
        ("CC(=O)[CH-][N+]#N", "CC(=O)C=[N+]=[N-]"),
        ("N#[N+][N-]C1=CC=CC=C1[N-][N+]#N", "[N-]=[N+]=Nc1ccccc1N=[N+]=[N-]"),
    ],
)
def test_oxides_and_azides_have_one_form(charged: str, plain: str) -> None:
    assert Molecule.parse(charged).smiles == Molecule.parse(plain).smiles


@pytest.mark.parametrize("smiles", ["C[S+](C)CC(=O)[O-]", "C[P+](C)(C)CC(=O)[O-]", "C[N+]#N"])
def test_other_inner_salts_stay(smiles: str) -> None:
    assert "+" in Molecule.parse(smiles).smiles


def test_deuterium_by_its_letter() -> None:
    for written, plain in (("[D]C([D])([D])O", "[2H]C([2H])([2H])O"), ("[T]OC", "[3H]OC")):
        (found,) = parse_together([(written, "")])
        assert isinstance(found, Molecule)
        assert (found.smiles, found.written) == (Molecule.parse(plain).smiles, plain)


@pytest.mark.parametrize("smiles", ["C[Sn](C)(C)C", "c1ccccc1[Hg]c1ccccc1", "CC[Pb](CC)(CC)CC"])
def test_an_inchi_without_the_bonds_of_its_metal_is_refused(smiles: str) -> None:
    """It was taken for the radical of a ligand."""
    inchi = Chem.MolToInchi(Chem.MolFromSmiles(smiles))  # type: ignore[no-untyped-call]
    with pytest.raises(StructureError, match="does not say how its metal is bound"):
        Molecule.parse(inchi=inchi)
    assert Molecule.parse(smiles, inchi).smiles == Molecule.parse(smiles).smiles


@pytest.mark.parametrize("inchi", ["InChI=1S/C3H7NO2/c1-4-2-3(5)6", "InChI=1S/C2H6O/c1-2-3/"])
def test_an_inchi_that_lost_its_hydrogens_is_refused(inchi: str) -> None:
    """RDKit makes a compound of it that has none."""
    with pytest.raises(StructureError, match="InChI is cut off"):
        parse_molecule(inchi=inchi)


@pytest.mark.parametrize(
    ("inchi", "formula"),
    [("InChI=1S/CCl4/c2-1(3,4)5", "CCl4"), ("InChI=1S/Hg", "Hg"), ("InChI=1S/Li.H", "Li")],
)
def test_an_inchi_of_a_compound_without_bound_hydrogens_is_read(inchi: str, formula: str) -> None:
    assert parse_molecule(inchi=inchi).formula == formula


def test_average_masses_are_molecular_weights() -> None:
    # Of ethanol and hexachlorobenzene, as catalogues of chemicals state them; of choline's cation.
    found = [average_mass_of_formula(formula) for formula in ("C2H6O", "C6Cl6", "C5H14NO+")]
    assert found == pytest.approx([46.07, 284.78, 104.17], abs=0.01)


def test_molecules_are_equal_by_their_structures() -> None:
    ethanol = parse_molecule("OCC")
    assert ethanol == parse_molecule("CCO")
    assert hash(ethanol) == hash(parse_molecule("CCO"))
    assert ethanol != parse_molecule("COC")
    assert ethanol != "CCO"
    assert len({ethanol, parse_molecule("CCO"), parse_molecule("COC")}) == 2
