"""Many texts of structures, parsed together.

Most SMILES are in standard form as they are written: RDKit reads them, and they need no change.
Their properties are computed for several at a time, which takes three quarters of the time. If
there are many InChI of connections and hydrogens only, compiled code reads them. All other texts
are parsed one by one (`Molecule.parse`), and a test compares the results.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rdkit import Chem

from specvae.errors import StructureError
from specvae.limits import limits
from specvae.molecules.kept_code import WorthCompiling
from specvae.molecules.mobile_groups import are_groups
from specvae.molecules.molecule import Molecule
from specvae.molecules.quiet import TOGETHER, quiet_rdkit
from specvae.molecules.standard import is_standard, is_usual, notes_beside

if TYPE_CHECKING:
    from specvae.molecules.plain_inchi import PlainForm

Kept = Literal["smiles", "formula"]
"""Properties that may be computed while parsing: later RDKit's object must be made again."""

# To compile what reads plain InChI takes some ten seconds, once for all; it saves half a
# millisecond a structure.
_is_worth_compiling = WorthCompiling("molecules/plain_inchi._read_all", 5_000, few_if_kept=500)

_MOST_CERTAIN = 4  # atoms that share hydrogens, for which nobody has found another form

# Stereochemistry and hydrogens that are atoms: for these RDKit looks at a molecule once more.
_MARKED = re.compile(r"[@/\\]|\[\d*H")
_AS_IT_STANDS = Chem.SmilesParserParams()
for _step in ("sanitize", "removeHs", "allowCXSMILES", "parseName"):
    setattr(_AS_IT_STANDS, _step, False)


def parse_together(
    texts: Sequence[tuple[str, str]], kept: Kept | None = None
) -> list[Molecule | str]:
    """Return molecules of SMILES and InChI, or why there is none; see `Molecule.parse`.

    Parameters
    ----------
    texts
        SMILES and InChI of each, "" for none.
    kept
        The property that is computed at once; None for none, as canonical SMILES take a third of
        the time.
    """
    plain = _read_plain(texts)
    found: list[Molecule | str] = []
    for start in range(0, len(texts), TOGETHER):
        part = slice(start, start + TOGETHER)
        with quiet_rdkit():
            found += _parse_some(texts[part], plain[part], kept)
    return found


def _parse_some(
    texts: Sequence[tuple[str, str]], plain: Sequence[PlainForm | None], kept: Kept | None
) -> list[Molecule | str]:
    """Parse some structures; `plain` is the result of `_read_plain` for them."""
    most = limits()
    written = [
        smiles if len(smiles) <= most.structure_characters and is_usual(smiles) else ""
        for smiles, _ in texts
    ]
    mols = [
        _read(text) if (text := one or (form.smiles if form else "")) else None
        for one, form in zip(written, plain, strict=True)
    ]
    done = [
        mol
        if mol is not None
        and mol.GetNumAtoms() <= most.structure_atoms
        and (is_standard(mol, one) if one else form is not None and _is_in_place(mol, form))
        else None
        for mol, one, form in zip(mols, written, plain, strict=True)
    ]
    found = [
        Molecule(mol, written=one, notes=notes_beside(mol, inchi) if one and inchi else ())
        if mol is not None
        else _parse(smiles, inchi, _known(read, form))
        for mol, read, one, (smiles, inchi), form in zip(
            done, mols, written, texts, plain, strict=True
        )
    ]
    if kept is not None:
        for mol, molecule in zip(done, found, strict=True):
            if mol is not None and isinstance(molecule, Molecule):
                molecule.keep(kept, mol)
    return found


def _read(text: str) -> Chem.Mol | None:
    """Return the result of `Chem.MolFromSmiles`, in 60 % of its time for unmarked SMILES."""
    if _MARKED.search(text) is not None:
        return Chem.MolFromSmiles(text)
    mol = Chem.MolFromSmiles(text, _AS_IT_STANDS)
    if mol is not None:
        try:
            Chem.SanitizeMol(mol)
        except ValueError:
            return None
    return mol


def _parse(smiles: str, inchi: str, read: Chem.Mol | None) -> Molecule | str:
    try:
        return Molecule.parse(smiles, inchi, read=read)
    except StructureError as error:
        return str(error)


def _is_in_place(mol: Chem.Mol, form: PlainForm) -> bool:
    """Return whether hydrogens are where they are when InChI's own library has read an InChI."""
    largest = max(map(len, form.sharing), default=0)
    return largest == 0 or (
        is_standard(mol, form.smiles)
        and (largest <= _MOST_CERTAIN or are_groups(mol, form.sharing))
    )


def _known(mol: Chem.Mol | None, form: PlainForm | None) -> Chem.Mol | None:
    """Return a molecule that was read, None if it was from an InChI that RDKit must be asked about.

    RDKit is asked where atoms that share hydrogens are others than those of our own rules.
    """
    is_known = mol is None or form is None or are_groups(mol, form.sharing)
    return mol if is_known else None


def _read_plain(texts: Sequence[tuple[str, str]]) -> list[PlainForm | None]:
    """Return what `plain_inchi.read_plain` does of those that are InChI; None for others."""
    most = limits()
    inchi = [
        inchi if not smiles and len(inchi) <= most.structure_characters else ""
        for smiles, inchi in texts
    ]
    if not _is_worth_compiling(sum(map(bool, inchi))):
        return [None] * len(texts)
    # Here, since a process that parses few structures needs no compiled code.
    from specvae.molecules.plain_inchi import read_plain

    return read_plain(inchi, most.structure_atoms)
