"""Tables with columns that were sorted separately, so that names belong to other structures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from rdkit import Chem

from specvae.errors import StructureError
from specvae.masses import parse_formula
from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.standard import standard_form
from specvae.molecules.text_tables import column_meaning, plain_word
from specvae.report import ReadReport

FORMULAS_OF_OTHERS = (
    "formulas of other structures: were columns sorted or moved without the others?"
)

_FORMULA_COLUMNS = (
    *("formula", "molecularformula", "molformula", "chemicalformula", "mf", "cmpdformula"),
    *("structuremolecularformula", "compoundmolecularformula", "neutralformula"),
)
_ROWS, _COMPARED, _FEWEST = 600, 30, 10

Rows = Iterator[tuple[int, list[str]]]


def noted_where_sorted_apart(header: Sequence[str], rows: Rows, report: ReadReport) -> Rows:
    """Return rows, and add a note if most formulas do not fit the structures of their rows.

    A sample is tested if the table has a column of formulas. Hydrogens do not count, as ions are
    written in many ways; the formula of a salt may be that of the whole or of its main component.
    """
    words = [*map(plain_word, header)]
    meanings = [*map(column_meaning, words)]
    formula = next((n for n, word in enumerate(words) if word in _FORMULA_COLUMNS), -1)
    field = "smiles" if "smiles" in meanings else "inchi"
    if formula < 0 or field not in meanings:
        return rows
    structure = meanings.index(field)
    head = list(islice(rows, _ROWS))
    full = [row for _, row in head if len(row) > max(structure, formula)]
    step = -(-len(full) // _COMPARED) or 1
    found = [_agree(row[structure], row[formula]) for row in full[::step]]
    told = [one for one in found if one is not None]
    if len(told) >= _FEWEST and 2 * sum(told) < len(told):
        report.note(FORMULAS_OF_OTHERS)
    return chain(head, rows)


def _agree(text: str, formula: str) -> bool | None:
    """Return whether a formula is that of a structure, None where one of them cannot be read."""
    try:
        stated = Counter(parse_formula(formula.strip("[] ").rstrip("+-")))
        form = standard_form(text)
    except (ValueError, StructureError):
        return None
    with quiet_rdkit():
        whole = Chem.MolFromSmiles(form.written) if form.n_components > 1 else None
    stated.pop("H", None)
    return any(stated == _heavy_atoms(mol) for mol in (form.mol, whole) if mol is not None)


def _heavy_atoms(mol: Chem.Mol) -> Counter[str]:
    return Counter(atom.GetSymbol() for atom in mol.GetAtoms() if atom.GetAtomicNum() != 1)
