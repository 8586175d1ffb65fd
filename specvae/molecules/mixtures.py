"""Candidates that are listed as salts or mixtures: the components that standardisation leaves out.

Of a structure of several components the largest organic one is kept
(`specvae.molecules.standard`), which is the drug in most salts. In pyrantel pamoate, choline
tartrate and trifluoroacetates of small amines it is the counter-ion, and of two drugs in one
tablet it is one of them. Each component that may be the query's compound becomes a candidate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize

from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.standard import component_order
from specvae.molecules.structure_text import is_of_polymer, is_smiles, says_nothing
from specvae.molecules.text_tables import Cells
from specvae.report import ReadReport

ANOTHER_COMPONENT = "another organic component of a salt or mixture is a candidate, too"

_FEWEST_ATOMS = 4  # heavy atoms; smaller components are solvents and acids of no interest
_LONGEST = 1000  # characters; a longer list of components is a mixture, or worse
_ATOM = re.compile(r"\[\d*([A-Z][a-z]?|[a-z])[^]]*\]|(Cl|Br|[BCNOPSFIbcnops])")
# Complexes of other metals may be kept whole.
_USUAL_ATOMS = frozenset((
    "H", "B", "C", "N", "O", "F", "P", "S", "I", "Si", "Cl", "Br", "Se", "As", "Li", "Na", "K",
    "Mg", "Ca", "D",
))  # fmt: skip
_OF_SALT = re.compile(r"InChI=1S?/[^/]*C[^/]*\.[^/]*C")

# Without charges and stereochemistry: acids, bases, solvents.
_COUNTER_IONS = """
    CC(=O)O CCC(=O)O O=CO OC(=O)C(F)(F)F OC(=O)C(O)=O OC(=O)CC(O)=O OC(=O)CCC(O)=O OC(=O)CCCC(O)=O
    OC(=O)CCCCC(O)=O OC(=O)C=CC(O)=O OC(=O)CC(O)C(O)=O OC(=O)C(O)C(O)C(O)=O CC(O)C(O)=O OCC(O)=O
    OC(=O)CC(O)(CC(O)=O)C(O)=O OCC(O)C(O)C(O)C(O)C(O)=O OC(=O)C(O)C(O)C(O)C(O)C(O)=O
    OCC(O)C(O)C(O)C(O)C(O)C(O)=O OC(=O)C1OC(O)C(O)C(O)C1O OC(=O)c1ccccc1 OC(=O)c1ccccc1O
    OC(=O)C(O)c1ccccc1 OC(=O)C=Cc1ccccc1 Oc1ccc(O)c(c1)C(O)=O OC(=O)CNC(=O)c1ccccc1
    OC(=O)c1cc(=O)[nH]c(=O)[nH]1 OC(=O)C1CCC(=O)N1 OC(=O)c1cc2ccccc2cc1O OC(=O)c1ccc2ccccc2c1O
    OC(=O)c1cc2ccccc2c(Cc2c(O)c(cc3ccccc23)C(O)=O)c1O CCCCCCCCCCCC(O)=O CCCCCCCCCCCCCCCC(O)=O
    CCCCCCCCCCCCCCCCCC(O)=O CCCCCCCCC=CCCCCCCCC(O)=O OC(=O)CCCCCCCCC=C CCC(CC)C(O)=O
    CS(O)(=O)=O CCS(O)(=O)=O OCCS(O)(=O)=O OS(=O)(=O)CCS(O)(=O)=O OS(=O)(=O)C(F)(F)F
    OS(=O)(=O)c1ccccc1 Cc1ccc(cc1)S(O)(=O)=O Clc1ccc(cc1)S(O)(=O)=O OS(=O)(=O)c1ccc2ccccc2c1
    OS(=O)(=O)c1cccc2ccccc12 OS(=O)(=O)c1cccc2c1cccc2S(O)(=O)=O OC(=O)c1cc(ccc1O)S(O)(=O)=O
    CC1(C)C2CCC1(CS(O)(=O)=O)C(=O)C2 OS(=O)(=O)NC1CCCCC1 O=C1NS(=O)(=O)c2ccccc12
    CCCCCCCCCCCCOS(O)(=O)=O COS(O)(=O)=O CCOS(O)(=O)=O
    Oc1c(cc(cc1[N+]([O-])=O)[N+]([O-])=O)[N+]([O-])=O
    OCC1OC(OC(C(O)CO)C(O)C(O)C(O)=O)C(O)C(O)C1O CC(=O)NCC(O)=O CC(=O)CCC(O)=O
    NCCN CCNCC CCN(CC)CC CC(C)(C)N CC(C)NC(C)C CCN(C(C)C)C(C)C NC1CCCCC1 C1CCC(CC1)NC1CCCCC1
    NCCO OCCNCCO OCCN(CCO)CCO CN(C)CCO C[N+](C)(C)CCO NC(CO)(CO)CO CNCC(O)C(O)C(O)C(O)CO
    C1CNCCN1 C1COCCN1 C1CCNCC1 C1CCNC1 c1ccncc1 c1cnc[nH]1 CCCC[N+](CCCC)(CCCC)CCCC
    CC[N+](CC)(CC)CC C(CNCc1ccccc1)NCc1ccccc1 NCc1ccccc1 NCCCCC(N)C(O)=O NC(=N)NCCCC(N)C(O)=O
    CC(C)O CCCO CCCCO CC(C)CO CCC(C)O OCCO CC(O)CO OCC(O)CO CC(C)=O CCC(C)=O CCOC(C)=O CC(=O)OC(C)C
    CCOCC COC(C)(C)C C1CCOC1 C1COCCO1 CS(C)=O CN(C)C=O CC(=O)N(C)C CN1CCCC1=O ClC(Cl)Cl
    c1ccccc1 Cc1ccccc1 Cc1ccccc1C CCCCCC CCCCCCC C1CCCCC1 NC(N)=O
"""


def with_other_components(
    rows: Iterator[tuple[int, Cells]], report: ReadReport
) -> Iterator[tuple[int, Cells]]:
    """Yield rows, and behind each salt or mixture a row for each other organic component.

    Usual counter-ions and solvents get no row, unless the largest component, which is kept, is one
    too. A row that names its query gets further rows only if its largest component is a
    counter-ion, as the compound that is listed for a query is known.
    """
    for number, cells in rows:
        yield number, cells
        if "." not in cells.smiles and "." not in cells.inchi[:_LONGEST]:
            continue
        for part in _others(_written(cells), is_of_query=bool(cells.query_id)):
            report.note(ANOTHER_COMPONENT)
            yield number, cells._replace(smiles=part, inchi="", inchikey="")


def atoms_of_text(smiles: str) -> list[str]:
    """Return the symbols of the atoms of a SMILES as written, aromatic ones in lower case."""
    return [bracketed or plain for bracketed, plain in _ATOM.findall(smiles)]


def without_larger_counter_ion(smiles: str) -> str:
    """Return the compound of a salt with a larger counter-ion; any other SMILES as it is."""
    others = _others(smiles, is_of_query=True)
    return others[0] if len(others) == 1 else smiles


def _written(cells: Cells) -> str:
    """Return the SMILES of a row; for a salt with an InChI only, the SMILES of that; else ""."""
    smiles = cells.smiles.strip("\"' ")
    if not says_nothing(smiles):
        return smiles
    inchi = cells.inchi
    if len(inchi) > _LONGEST or _OF_SALT.match(inchi) is None or is_of_polymer(inchi):
        return ""
    with quiet_rdkit():
        mol = Chem.MolFromInchi(inchi)  # type: ignore[no-untyped-call]
        return "" if mol is None else Chem.MolToSmiles(mol)


def _others(smiles: str, *, is_of_query: bool) -> list[str]:
    """Return the components of a SMILES that are candidates beside the one that is kept."""
    if len(smiles) > _LONGEST or " " in smiles or "." not in smiles:
        return []
    sizes: dict[str, int] = {}
    parts = smiles.split(".")
    if sum(len(part) >= _FEWEST_ATOMS and part[1:3] != "Cl" for part in parts) < 2:
        return []  # most salts: hydrochlorides and the like
    for part in parts:
        atoms = atoms_of_text(part)
        if not {atom.capitalize() for atom in atoms} <= _USUAL_ATOMS or "*" in part:
            return []
        n_heavy = sum(atom not in ("H", "D") for atom in atoms)
        if n_heavy >= _FEWEST_ATOMS and {"C", "c"} & set(atoms):
            sizes[part] = n_heavy
    if len(sizes) < 2:
        return []
    kept = _kept([part for part, size in sizes.items() if size == max(sizes.values())])
    is_counter_ion = _is_counter_ion(kept)
    if is_of_query and not is_counter_ion:
        return []
    written = {_plain(part): part for part in reversed(sizes)}  # one compound in several ways
    others = [part for part in written.values() if _plain(part) != _plain(kept)][::-1]
    found = [part for part in others if not _is_counter_ion(part)]
    if is_counter_ion and not found:
        found = others
    return found if found and is_smiles(smiles) else []


def _kept(largest: Sequence[str]) -> str:
    """Return which of the components of most atoms standardisation keeps."""
    if len(largest) == 1:
        return largest[0]
    with quiet_rdkit():
        parsed = {part: Chem.MolFromSmiles(part) for part in largest}
    sound = {part: component_order(mol) for part, mol in parsed.items() if mol is not None}
    return max(sound, key=lambda part: sound[part], default=largest[0])


def _is_counter_ion(smiles: str) -> bool:
    return _plain(smiles) in _plain_counter_ions()


@lru_cache(maxsize=1)
def _plain_counter_ions() -> frozenset[str]:
    return frozenset(map(_plain, _COUNTER_IONS.split()))


@lru_cache(maxsize=4096)
def _plain(smiles: str) -> str:
    """Return canonical SMILES without charges and stereochemistry, "" if it cannot be parsed."""
    with quiet_rdkit():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            return ""
        neutral = rdMolStandardize.Uncharger(protonationOnly=True).uncharge(mol)
        return Chem.MolToSmiles(neutral, isomericSmiles=False)
