"""Structures that are parsed together are those that are parsed one by one."""

import pytest
from rdkit import Chem

from specvae.errors import StructureError
from specvae.limits import changed_limits
from specvae.molecules import parsing
from specvae.molecules.molecule import Molecule
from specvae.molecules.parsing import parse_together
from specvae.molecules.standard import is_standard, is_usual

# What needs no closer look.
IN_STANDARD_FORM = (
    "CCO",
    "OC(=O)c1ccccc1",
    "F/C=C/[C@H](O)[C@@H](N)S",
    "C%10CCCC%10",
    "[H]N=NC(C)=O",
    "[H]C([H])([H])O[H]",
    "[nH]1cccc1",
    "CS(=O)(=N)C",
    "CC=CC",
)
SMILES = (
    *IN_STANDARD_FORM,
    # What must be looked at more closely.
    "C[N+](=O)[O-]",
    "CN(=O)=O",
    "C1CC[C]CC1",
    "CC(O)=NC",
    "Oc1ccccn1",
    "c1ccc2[nH]cnc2c1",
    "CC1=C(NC)C(=O)N=N1",
    "N(=NC1=O)C(C)=C1NC",
    "O=C1C(NC)=C(C)N=%10.N%10=1",
    "CNc1c(C)nnc1=O",
    "C[N+](C)(C)CC(=O)[O-]",
    "CC(=O)[O-].[Na+]",
    "CC(=O)O[Na]",
    "[13CH4]",
    "[12CH3]C",
    "[2H]C",
    "CCO |f:0|",
    '"CCN"',
    "CC\u2011O",
    "C*",
    "[Fe]",
    "CCCCCCCCCCCCCC-CCCCCCCCCC-C",
    # What is no structure.
    "",
    "N/A",
    "none",
    "na",
    "C1CC",
    "C(C)(C)(C)(C)C",
    "InChI=1S/CH4O/c1-2/h2H,1H3",
    "1S/CH4O/c1-2/h2H,1H3",
)
INCHI = ("", "InChI=1S/C2H6/c1-2/h1-2H3", "CCCl", "no")


def _said(molecule: Molecule | str) -> tuple[object, ...] | str:
    if isinstance(molecule, str):
        return molecule
    numbers = molecule.exact_mass, molecule.charge, molecule.n_components
    texts = molecule.smiles, molecule.written, molecule.formula, molecule.notes
    return molecule.binary, *numbers, *texts


def _one(smiles: str, inchi: str) -> Molecule | str:
    try:
        return Molecule.parse(smiles, inchi)
    except StructureError as error:
        return str(error)


@pytest.mark.parametrize("kept", ["smiles", "formula"])
@pytest.mark.parametrize("inchi", INCHI)
def test_molecules_are_those_that_are_parsed_alone(kept: parsing.Kept, inchi: str) -> None:
    texts = [(smiles, inchi) for smiles in SMILES]
    found = parse_together(texts, kept)
    assert [_said(one) for one in found] == [_said(_one(*pair)) for pair in texts]


def test_limits_hold() -> None:
    texts = [("CCCC", ""), ("CCCCCCCC", ""), ("C", "CCC")]
    for limit in ("structure_characters", "structure_atoms"):
        with changed_limits([f"{limit}=4"]):
            found = parse_together(texts)
            assert [_said(one) for one in found] == [_said(_one(*pair)) for pair in texts]
            assert isinstance(found[1], str)
            assert limit in found[1]


def test_rdkit_reads_a_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_smiles = Chem.MolFromSmiles

    def noted(text: str, *how: Chem.SmilesParserParams) -> Chem.Mol:
        read.append(text)
        return read_smiles(text, *how)

    monkeypatch.setattr(Chem, "MolFromSmiles", noted)
    parse_together([("CCO", ""), ("CC(O)=NC", "")])
    assert read == ["CCO", "CC(O)=NC", "CNC(C)=O"]


@pytest.mark.parametrize("smiles", SMILES)
def test_what_needs_no_closer_look_is_in_standard_form(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles) if is_usual(smiles) else None
    if mol is None or not is_standard(mol, smiles):
        assert smiles not in IN_STANDARD_FORM
    else:
        assert smiles in IN_STANDARD_FORM
        assert Molecule.parse(smiles).binary == mol.ToBinary()
