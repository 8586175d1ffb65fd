"""Structures of one compound that differ in the places of hydrogens and double bonds.

`standard_form` and InChI's first block have one form of hydrogens that move between heteroatoms.
Hydrogens of carbon stay where a structure has them: ketones and enols, and coumarins and the
chromones that they are in equilibrium with, are several compounds, and candidates of their own.
"""

from __future__ import annotations

from rdkit import Chem
from rdkit.Chem import rdMolHash

from specvae.molecules.quiet import quiet_rdkit

_MOBILE = "-KET -15T"
"""InChI's options by which hydrogens move to carbon, also over five atoms."""

# InChI takes sugars that differ in where the carbonyl is (glucose and fructose) for one compound.
_ACYLOIN = Chem.MolFromSmarts("[CX3](=O)[CX4;!H0][OX2H]")


def may_be_tautomers(one: Chem.Mol, other: Chem.Mol) -> bool:
    """Return whether two structures may be tautomers that are not one compound by InChI.

    The test uses InChI's options for keto-enol and 1,5 shifts, which do not cover all cases.
    """
    with quiet_rdkit():
        if one.HasSubstructMatch(_ACYLOIN) and other.HasSubstructMatch(_ACYLOIN):
            return False
    flat = [Chem.Mol(mol) for mol in (one, other)]
    for mol in flat:
        Chem.RemoveStereochemistry(mol)  # it goes where double bonds move
    graphs = {rdMolHash.MolHash(mol, rdMolHash.HashFunction.ElementGraph) for mol in flat}
    if len(graphs) > 1:
        return False
    with quiet_rdkit():
        texts = {
            Chem.MolToInchi(mol, options=_MOBILE)  # type: ignore[no-untyped-call]
            for mol in flat
        }
    return len(texts) == 1 and "" not in texts
