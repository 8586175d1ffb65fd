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
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from specvae.molecules.functional_groups import FUNCTIONAL_GROUPS
from specvae.molecules.kept_code import WorthCompiling
from specvae.molecules.patterns import klekota_roth_patterns, laggner_patterns, pubchem_names
from specvae.molecules.topology import AtomKind, Topologies, atom_kinds

MORGAN_RADIUS = 2
MORGAN_BITS = 4096

# To compile the environments takes some two seconds, once for all, and to load them a tenth of one;
# they save a tenth of a millisecond a molecule, of which RDKit's object is then not needed.
_is_worth_numbering = WorthCompiling("molecules/morgan._set_all", 10_000, few_if_kept=500)


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

    def compute(self, molecules: Topologies) -> NDArray[np.bool_]:
        """Return the block's bits, (n_molecules, n_bits); those with a pattern are False."""
        return np.zeros((len(molecules), self.n_bits), dtype=bool)


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

    def compute(self, molecules: Topologies) -> NDArray[np.bool_]:
        """Count elements and rings."""
        n = len(molecules)
        taken = molecules.taken  # first: it may meet new kinds
        traits = atom_kinds()[taken.atoms]
        places = molecules.atom_owners * _N_NUMBERS
        elements = np.bincount(places + traits[:, _NUMBER], minlength=n * _N_NUMBERS)
        elements = elements.reshape(n, _N_NUMBERS)
        # Hydrogens that are not drawn.
        bound = traits[:, _TOTAL_DEGREE] - traits[:, _DEGREE]
        elements[:, 1] += np.bincount(molecules.atom_owners, bound, n).astype(np.int64)
        bits = np.zeros((n, self.n_bits), dtype=bool)
        bits[:, : self._N_ELEMENTS] = elements[:, self._elements] >= self._least
        rings = molecules.rings
        is_usual = rings.is_aromatic | rings.is_saturated
        saturations = {"saturated or aromatic": is_usual, "unsaturated non-aromatic": ~is_usual}
        contents = {
            "": np.ones(len(rings.size), np.bool_),
            "carbon-only": rings.has_carbon_only,
            "nitrogen-containing": rings.has_nitrogen,
            "heteroatom-containing": rings.has_other,
        }
        of_any_size = {
            "aromatic": rings.is_aromatic,
            "hetero-aromatic": rings.is_aromatic & rings.has_other,
        }
        for (size, kind, content), asked in self._rings.items():
            is_counted = of_any_size[kind] if size == 0 else rings.size == size
            if size and kind:
                is_counted = is_counted & saturations[kind] & contents[content]
            counts = np.bincount(rings.owner[is_counted], minlength=n)
            for least, bit in asked:
                bits[:, bit] = counts >= least
        return bits


_N_COMPONENTS = 3  # the column of `Taken.counts`
_N_NUMBERS = 119  # atomic numbers, with 0
_NUMBER, _DEGREE, _TOTAL_DEGREE = map(AtomKind._fields.index, ("number", "degree", "total_degree"))

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

    def compute(self, molecules: Topologies) -> NDArray[np.bool_]:
        """Return the keys that are no substructures: see `title`."""
        n, rings = len(molecules), molecules.rings
        bits = np.zeros((n, self.n_bits), dtype=bool)
        # RDKit sets no key for isotopes.
        bits[:, 124] = np.bincount(rings.owner[rings.is_aromatic], minlength=n) > 1
        bits[:, 165] = molecules.taken.counts[:, _N_COMPONENTS] > 1
        return bits


class MorganBlock(Block):
    """Folded Morgan environments."""

    name = "morgan"
    n_bits = MORGAN_BITS

    def __init__(self) -> None:
        self._generator = rdFingerprintGenerator.GetMorganGenerator(
            radius=MORGAN_RADIUS, fpSize=MORGAN_BITS
        )
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

    def compute(self, molecules: Topologies) -> NDArray[np.bool_]:
        """Return the folded environments."""
        is_numbered = _is_worth_numbering(len(molecules))
        bits = np.zeros((len(molecules), self.n_bits), dtype=bool)
        is_done = np.zeros(len(molecules), dtype=bool)
        if is_numbered and self._is_as_rdkit is not False:
            from specvae.molecules.morgan import environments

            bits = environments(molecules, MORGAN_RADIUS, MORGAN_BITS)
            is_done = molecules.taken.is_read
            if self._is_as_rdkit is None and (chosen := np.flatnonzero(is_done)).size:
                # Another version of RDKit may combine numbers in another way.
                first = int(chosen[0])
                self._is_as_rdkit = bool((bits[first] == self._by_rdkit(molecules, first)).all())
        for row in np.flatnonzero(~is_done).tolist() if self._is_as_rdkit else range(len(bits)):
            bits[row] = self._by_rdkit(molecules, row)
        return bits

    def _by_rdkit(self, molecules: Topologies, row: int) -> NDArray[np.bool_]:
        fingerprint = self._generator.GetFingerprint(molecules.mol(row))
        packed = np.frombuffer(DataStructs.BitVectToBinaryText(fingerprint), np.uint8)
        return np.unpackbits(packed, bitorder="little").view(np.bool_)


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
