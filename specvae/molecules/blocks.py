"""Blocks of fingerprint bits that layouts choose from.

| block | bits | definition |
|---|---|---|
| ``laggner`` | 307 | functional groups after C. Laggner (CDK "Substructure", OpenBabel FP4) |
| ``pubchem`` | 881 | PubChem substructure fingerprint (CACTVS keys) |
| ``klekota_roth`` | 4860 | Klekota and Roth 2008, doi:10.1093/bioinformatics/btn479 |
| ``functional_groups`` | see there | `specvae.molecules.functional_groups`, of FP3's kind |
| ``maccs`` | 166 | MACCS keys as RDKit has them, key 1 first |
| ``morgan`` | 4096 | Morgan environments up to radius 2, folded (ECFP4) |

SMARTS and names of the first three are taken from the installed scikit-fingerprints at run time.
PubChem's element and ring counts are computed here after the names of the bits, because
scikit-fingerprints 2.1.0 counts no explicit hydrogens, takes carbon for a heteroatom, and counts
an aromatic ring once per threshold.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from specvae.molecules.functional_groups import FUNCTIONAL_GROUPS
from specvae.molecules.kept_code import is_kept
from specvae.molecules.patterns import klekota_roth_patterns, laggner_patterns, pubchem_names
from specvae.molecules.topology import Topology

MORGAN_RADIUS = 2
MORGAN_BITS = 4096

# To compile the environments takes some two seconds, once for all, and to load them a tenth of one;
# they save a tenth of a millisecond a molecule, of which RDKit's object is then not needed.
_FEW_MOLECULES = 10_000
_FEW_IF_KEPT = 500


class Block:
    """A numbered list of bits, each with a meaning.

    A bit is either a substructure, given by `pattern`, or is computed by `compute` together with
    the block's other bits.
    """

    name: str
    n_bits: int

    def meaning(self, index: int) -> str:
        """Say in one line what a bit stands for."""
        raise NotImplementedError

    def title(self, index: int) -> str:
        """Return what a bit is called beside the atoms of a molecule that set it."""
        return self.meaning(index)

    def pattern(self, index: int) -> Chem.Mol | None:
        """Return the bit's substructure, or None if `compute` gives it."""
        return None

    def least(self, index: int) -> int:
        """Return how many matches of `pattern` set the bit."""
        return 1

    def places(self, index: int, mol: Chem.Mol) -> list[tuple[int, ...]]:
        """Return the atoms of each part of a molecule that sets a bit; none where it is a count."""
        pattern = self.pattern(index)
        return [] if pattern is None else list(mol.GetSubstructMatches(pattern))

    def compute(self, topology: Topology) -> NDArray[np.bool_]:
        """Return the block's bits, shape (n_bits,); those with a pattern are False."""
        return np.zeros(self.n_bits, dtype=bool)


class SmartsBlock(Block):
    """Bits that are named substructures."""

    def __init__(self, name: str, patterns: Sequence[tuple[str, str]]) -> None:
        self.name = name
        self.n_bits = len(patterns)
        self._patterns = patterns

    def meaning(self, index: int) -> str:
        """Return the name and the SMARTS, or the SMARTS where it has no other name."""
        name, smarts = self._patterns[index]
        if not smarts:
            return f"{name}: two or more components, a cation and an anion"
        return smarts if name == smarts else f"{name}: {smarts}"

    def title(self, index: int) -> str:
        """Return the name."""
        return self._patterns[index][0]

    def pattern(self, index: int) -> Chem.Mol | None:
        """Return the bit's substructure."""
        smarts = self._patterns[index][1]
        # One Laggner group is a salt, which is never seen here: one component is left of it.
        return Chem.MolFromSmarts(smarts) if smarts else None


class PubchemBlock(Block):
    """PubChem's keys: element counts, ring counts, then substructures."""

    name = "pubchem"
    n_bits = 881
    _N_ELEMENTS = 115
    _N_COUNTS = 263

    def __init__(self) -> None:
        self._names = pubchem_names()
        table = Chem.GetPeriodicTable()
        asked = [name.split(" >= ") for name in self._names[: self._N_ELEMENTS]]
        self._elements = np.array([table.GetAtomicNumber(symbol) for symbol, _ in asked])
        self._least = np.array([int(least) for _, least in asked])
        self._rings: dict[RingKind, list[tuple[int, int]]] = {}  # least number and bit
        for bit in range(self._N_ELEMENTS, self._N_COUNTS):
            kind, least = _parse_ring_name(self._names[bit])
            self._rings.setdefault(kind, []).append((least, bit))

    def meaning(self, index: int) -> str:
        """Return the count's wording or the SMARTS."""
        return self._names[index]

    def pattern(self, index: int) -> Chem.Mol | None:
        """Return the substructure of bits from 263 on."""
        return Chem.MolFromSmarts(self._names[index]) if index >= self._N_COUNTS else None

    def compute(self, topology: Topology) -> NDArray[np.bool_]:
        """Count elements and rings."""
        atoms = topology.atom_kinds
        numbers = np.array([atom.number for atom in atoms], np.intp)
        elements = np.bincount(numbers, minlength=_N_NUMBERS)
        elements[1] += sum(atom.total_degree - atom.degree for atom in atoms)
        bits = np.zeros(self.n_bits, dtype=bool)
        bits[: self._N_ELEMENTS] = elements[self._elements] >= self._least
        for kind, n in _count_rings(topology).items():
            for least, bit in self._rings.get(kind, ()):
                bits[bit] = n >= least
        return bits


_N_NUMBERS = 119  # atomic numbers, with 0
_SINGLE = int(Chem.BondType.SINGLE)

# Size (0 for any), saturation and content of a ring, as the names of PubChem's bits word them.
RingKind = tuple[int, str, str]
_RING_NAME = re.compile(
    r">= (?P<least>\d+) (?:(?P<saturation>saturated or aromatic|unsaturated non-aromatic) "
    r"(?P<content>carbon-only|nitrogen-containing|heteroatom-containing) )?"
    r"(?P<aromatic>aromatic |hetero-aromatic )?rings?(?: of)?(?: size (?P<size>\d+))?"
)


def _parse_ring_name(name: str) -> tuple[RingKind, int]:
    match = _RING_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"PubChem ring bit has an unexpected name: {name!r}")
    kind = match["saturation"] or (match["aromatic"] or "").strip()
    return (int(match["size"] or 0), kind, match["content"] or ""), int(match["least"])


def _count_rings(topology: Topology) -> Counter[RingKind]:
    """Count the rings of the symmetrised smallest set by size, saturation and content."""
    counts: Counter[RingKind] = Counter()
    atoms = topology.atom_kinds
    for ring, kinds in zip(topology.rings, topology.ring_bond_kinds, strict=True):
        elements = {atoms[i].number for i in ring}
        aromatic = all(kind.is_aromatic for kind in kinds)
        saturated = all(kind.type == _SINGLE for kind in kinds)
        saturation = (
            "saturated or aromatic" if aromatic or saturated else "unsaturated non-aromatic"
        )
        size = len(ring)
        hetero = bool(elements - {1, 6})
        counts[size, "", ""] += 1
        counts[size, saturation, "carbon-only"] += elements == {6}
        counts[size, saturation, "nitrogen-containing"] += 7 in elements
        counts[size, saturation, "heteroatom-containing"] += hetero
        counts[0, "aromatic", ""] += aromatic
        counts[0, "hetero-aromatic", ""] += aromatic and hetero
    return counts


class MaccsBlock(Block):
    """MACCS keys; bit 0 is key 1."""

    name = "maccs"
    n_bits = 166

    def meaning(self, index: int) -> str:
        """Return the key's number and its definition or SMARTS."""
        from rdkit.Chem import MACCSkeys

        smarts, more_than = MACCSkeys.smartsPatts.get(index + 1, ("?", 0))
        special = {0: "isotope", 124: "more than one aromatic ring", 165: "several components"}
        text = special.get(index, smarts)
        return f"MACCS key {index + 1}: {text}" + (f", more than {more_than}" if more_than else "")

    def title(self, index: int) -> str:
        """Return the number of a key that is a SMARTS, else what the key is."""
        return self.meaning(index) if self.pattern(index) is None else f"MACCS key {index + 1}"

    def pattern(self, index: int) -> Chem.Mol | None:
        """Return the key's SMARTS; RDKit computes three keys by rules of their own."""
        from rdkit.Chem import MACCSkeys

        smarts, _ = MACCSkeys.smartsPatts.get(index + 1, ("?", 0))
        return None if smarts == "?" else Chem.MolFromSmarts(smarts)

    def least(self, index: int) -> int:
        """Return how many matches set the key."""
        from rdkit.Chem import MACCSkeys

        _, more_than = MACCSkeys.smartsPatts.get(index + 1, ("?", 0))
        return int(more_than) + 1

    def compute(self, topology: Topology) -> NDArray[np.bool_]:
        """Return the keys that are no substructures: see `title`."""
        bits = np.zeros(self.n_bits, dtype=bool)
        # RDKit sets no key for isotopes.
        n_aromatic = sum(
            all(kind.is_aromatic for kind in kinds) for kinds in topology.ring_bond_kinds
        )
        bits[124] = n_aromatic > 1
        bits[165] = topology.n_components > 1
        return bits


class MorganBlock(Block):
    """Folded Morgan environments."""

    name = "morgan"
    n_bits = MORGAN_BITS

    def __init__(self) -> None:
        self._generator = rdFingerprintGenerator.GetMorganGenerator(
            radius=MORGAN_RADIUS, fpSize=MORGAN_BITS
        )
        self._n_computed = 0
        self._is_as_rdkit: bool | None = None  # what is compiled; None until it is compared

    def meaning(self, index: int) -> str:
        """Return the folded index and the environment that most often sets it."""
        example = _morgan_examples().get(index)
        text = f"Morgan environment up to radius {MORGAN_RADIUS}, folded index {index}"
        return f"{text}; most often {example}" if example else text

    def title(self, index: int) -> str:
        """Return the folded index; the environment is the molecule's own."""
        return f"Morgan environment {index}"

    def places(self, index: int, mol: Chem.Mol) -> list[tuple[int, ...]]:
        """Return the atoms of the environments that are folded to a bit in this molecule."""
        output = rdFingerprintGenerator.AdditionalOutput()
        output.AllocateBitInfoMap()
        self._generator.GetFingerprint(mol, additionalOutput=output)
        return [
            _environment(mol, centre, radius)
            for centre, radius in output.GetBitInfoMap().get(index, ())
        ]

    def compute(self, topology: Topology) -> NDArray[np.bool_]:
        """Return the folded environments."""
        self._n_computed += 1
        if (
            self._is_as_rdkit is not False
            and self._pays_to_compile()
            and (invariants := topology.invariants) is not None
        ):
            from specvae.molecules.morgan import environments

            found = environments(invariants, topology.typed_bonds, MORGAN_RADIUS, MORGAN_BITS)
            if self._is_as_rdkit is None:
                # Another version of RDKit may combine numbers in another way.
                self._is_as_rdkit = bool((found == self._by_rdkit(topology)).all())
            if self._is_as_rdkit:
                return found
        return self._by_rdkit(topology)

    def _by_rdkit(self, topology: Topology) -> NDArray[np.bool_]:
        packed = DataStructs.BitVectToBinaryText(self._generator.GetFingerprint(topology.mol))
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
        return bits.view(np.bool_)

    def _pays_to_compile(self) -> bool:
        few = _FEW_IF_KEPT if _is_morgan_kept() else _FEW_MOLECULES
        return self._n_computed > few


@cache
def _is_morgan_kept() -> bool:
    """Return whether environments were compiled before."""
    return is_kept("molecules/morgan._set_environments")


def _environment(mol: Chem.Mol, centre: int, radius: int) -> tuple[int, ...]:
    atoms = {centre}
    if radius:
        for number in Chem.FindAtomEnvironmentOfRadiusN(mol, radius, centre):
            bond = mol.GetBondWithIdx(number)
            atoms |= {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
    return tuple(sorted(atoms))


@cache
def _morgan_examples() -> dict[int, str]:
    source = resources.files("specvae.molecules") / "morgan4096.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    return {int(row["index"]): row["environment"] for row in csv.DictReader(lines)}


def _laggner() -> Block:
    return SmartsBlock("laggner", laggner_patterns())


def _klekota_roth() -> Block:
    return SmartsBlock("klekota_roth", [(smarts, smarts) for smarts in klekota_roth_patterns()])


def _functional_groups() -> Block:
    return SmartsBlock("functional_groups", FUNCTIONAL_GROUPS)


_BLOCKS = {
    "laggner": _laggner,
    "pubchem": PubchemBlock,
    "klekota_roth": _klekota_roth,
    "functional_groups": _functional_groups,
    "maccs": MaccsBlock,
    "morgan": MorganBlock,
}


@cache
def get_block(name: str) -> Block:
    """Return a block by name; it is built on first use."""
    return _BLOCKS[name]()
