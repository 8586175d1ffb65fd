"""Substructures that a molecule can break into, by cutting one or two bonds at a time.

The combinatorial fragmenter of MetFrag (doi:10.1186/1471-2105-11-148,
doi:10.1186/s13321-016-0115-9), in steps: a step takes a connected piece, cuts one bond that holds
it together or two bonds that do so jointly (a ring is opened), and leaves two connected pieces,
each of which may be broken again. What is cut in reaching a piece are exactly the bonds between its
atoms and all others, so that a set of atoms says everything about a fragment but the number of
steps; the smallest number is kept.

One depth-first walk finds all cuts of a piece. Every bond that closes a ring gets a bit of its own,
and a bond of the walk's tree the exclusive or of the bits of the ring closures that span it: a tree
bond with no bit is a bridge, and two bonds with equal bits divide the piece when both are cut
(Pritchard and Thurimella, doi:10.1145/2000807.2000814).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ParamSpec, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rdkit import Chem

from specvae.errors import StructureError
from specvae.masses import HYDROGEN_MASS
from specvae.molecules.molecule import Molecule

_P = ParamSpec("_P")
_R = TypeVar("_R")

N_STEPS = 3
N_FRAGMENTS = 2000

ATOM_CLASSES = (
    "aromatic C",
    "carbonyl C",
    "unsaturated C",
    "C beside heteroatom",
    "C beside unsaturated C",
    "saturated C",
    "aromatic N",
    "acylated N",
    "amine N",
    "other N",
    "=O",
    "acylated O",
    "aromatic or aryl O",
    "other O",
    "S",
    "P",
    "halogen",
    "other",
)
"""What an atom can be at a cut, by its surroundings in the whole molecule."""

BOND_CLASSES = ("single", "double", "triple", "conjugated", "ring", "ring, unsaturated", "aromatic")
"""What a cut bond can be; single, double and triple are bonds outside rings."""

N_DESCRIPTORS = 4 * len(ATOM_CLASSES) + len(BOND_CLASSES) + 14
"""Number of columns of `FragmentTable.descriptors`."""

_ELEMENTS = {6: 0, 7: 1, 8: 2, 16: 3, 15: 4, 9: 5, 17: 6, 35: 6, 53: 6}
_N_ELEMENTS = 8  # C, N, O, S, P, F, heavy halogens, all others

# Mean bond enthalpies in kJ/mol: CRC Handbook of Chemistry and Physics, rounded.
_ENERGY = {
    (6, 6, 1.0): 346.0,
    (6, 6, 1.5): 518.0,
    (6, 6, 2.0): 602.0,
    (6, 6, 3.0): 835.0,
    (6, 7, 1.0): 305.0,
    (6, 7, 1.5): 460.0,
    (6, 7, 2.0): 615.0,
    (6, 7, 3.0): 887.0,
    (6, 8, 1.0): 358.0,
    (6, 8, 1.5): 450.0,
    (6, 8, 2.0): 745.0,
    (6, 16, 1.0): 272.0,
    (6, 16, 2.0): 573.0,
    (6, 9, 1.0): 485.0,
    (6, 17, 1.0): 327.0,
    (6, 35, 1.0): 285.0,
    (6, 53, 1.0): 213.0,
    (6, 15, 1.0): 264.0,
    (7, 7, 1.0): 167.0,
    (7, 7, 2.0): 418.0,
    (7, 8, 1.0): 201.0,
    (7, 8, 2.0): 607.0,
    (8, 8, 1.0): 142.0,
    (8, 15, 1.0): 335.0,
    (8, 15, 2.0): 544.0,
    (8, 16, 1.0): 265.0,
    (8, 16, 2.0): 522.0,
    (16, 16, 1.0): 226.0,
}
_CONTACT_ENERGY = 200.0  # of a ligand and its metal, a typical value
_ENERGY_BY_ORDER = {1.0: 300.0, 1.5: 450.0, 2.0: 550.0, 3.0: 800.0}

_LOG = np.log1p(np.arange(512)).astype(np.float32)

_MAX_CLOSURES = 63  # ring closures that have a bit of their own in a word


@dataclass(frozen=True, slots=True, eq=False)
class FragmentTable:
    """The fragments of one molecule, by ascending mass.

    Attributes
    ----------
    smiles
        The molecule whose atoms are meant.
    masks
        Sets of atoms, uint64 (n_fragments, n_words): bit ``a % 64`` of word ``a // 64``.
    masses
        Mass in Da with the hydrogens that its atoms have in the molecule, float64 (n_fragments,).
    steps, cuts
        Fewest steps that lead to it and number of bonds cut, uint8 (n_fragments,).
    energies
        Sum of the mean bond enthalpies of the bonds cut, kJ/mol, float32 (n_fragments,).
    n_atoms, n_hydrogens
        Heavy atoms and hydrogens, int16 (n_fragments,).
    valences
        Sum of the orders of the bonds cut, aromatic ones as in one Kekule structure, uint8
        (n_fragments,): hydrogens beyond this number find no place.
    atom_order
        int16 (n_molecule_atoms,): the index in `smiles` of the atom that each bit stands for.
    atom_masses
        float64 (n_molecule_atoms,): mass in Da without hydrogens, of its isotope if labelled.
    atoms
        int16 (n_molecule_atoms, 5): atomic number, hydrogens, index into `ATOM_CLASSES`, element
        class, formal charge.
    bonds
        int16 (n_bonds, 4): both atoms, index into `BOND_CLASSES`, order.
    """

    smiles: str
    masks: NDArray[np.uint64]
    masses: NDArray[np.float64]
    steps: NDArray[np.uint8]
    cuts: NDArray[np.uint8]
    energies: NDArray[np.float32]
    n_atoms: NDArray[np.int16]
    n_hydrogens: NDArray[np.int16]
    valences: NDArray[np.uint8]
    atom_order: NDArray[np.int16]
    atom_masses: NDArray[np.float64]
    atoms: NDArray[np.int16]
    bonds: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.masses)

    @classmethod
    def of(
        cls,
        molecule: str | Molecule | Chem.Mol,
        *,
        n_steps: int = N_STEPS,
        max_fragments: int = N_FRAGMENTS,
    ) -> FragmentTable:
        """Break a molecule.

        Two descriptions of one molecule have the same fragments, whatever the order of their atoms.

        Parameters
        ----------
        molecule
            A molecule; a SMILES, which is parsed; or RDKit's molecule of one component, or of a
            metal complex.
        n_steps
            Number of steps. Pieces that one step yields are broken before those of two steps, and
            those whose cut bonds are weakest first.
        max_fragments
            Number of fragments, the molecule among them, at which it ends.

        Raises
        ------
        StructureError
            If the SMILES cannot be parsed, or the molecule cannot be broken.
        """
        if isinstance(molecule, str):
            molecule = Molecule.parse(molecule)
        mol = molecule.mol if isinstance(molecule, Molecule) else molecule
        try:
            return cls._of_mol(mol, n_steps, max(1, max_fragments))
        except (ValueError, RuntimeError, OverflowError) as error:
            # What RDKit raises where it finds no Kekule structure, and the like.
            cause = str(error).strip().partition("\n")[0]
            raise StructureError(f"it cannot be broken into fragments: {cause}") from None

    @classmethod
    def _of_mol(cls, mol: Chem.Mol, n_steps: int, max_fragments: int) -> FragmentTable:
        order = np.argsort(
            Chem.CanonicalRankAtoms(mol, includeChirality=False), kind="stable"
        ).astype(np.int16)
        ordered = Chem.RenumberAtoms(mol, order.tolist())
        atoms, atom_masses = _atoms(ordered)
        bonds, energies = _bonds(ordered)
        masks, steps = _enumerate(len(atoms), bonds[:, :2], energies, n_steps, max_fragments)
        masses, cuts, costs, sizes, hydrogens, valences = _describe(
            masks, atoms, atom_masses + atoms[:, 1] * HYDROGEN_MASS, bonds, energies
        )
        # Rounded, so that the order of summation cannot tell equal compositions apart.
        masses = np.round(masses, 7)
        by_mass = np.lexsort((*masks.T, masses))
        table = cls(
            smiles=Chem.MolToSmiles(mol, canonical=False),
            masks=masks[by_mass],
            masses=masses[by_mass],
            steps=steps[by_mass],
            cuts=cuts[by_mass],
            energies=costs[by_mass],
            n_atoms=sizes[by_mass],
            n_hydrogens=hydrogens[by_mass],
            valences=valences[by_mass],
            atom_order=order,
            atom_masses=atom_masses,
            atoms=atoms,
            bonds=bonds,
        )
        for value in (getattr(table, field.name) for field in fields(table)):
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
        return table

    def descriptors(self) -> NDArray[np.float32]:
        """Describe the fragments by numbers, float32 (n_fragments, N_DESCRIPTORS).

        In this order: atoms of each class at the cuts, inside and outside, and cut bonds of each
        class; log(1 + n) of the atoms of each class that the fragment has and that it lacks, then
        of the hydrogens; its share of the heavy atoms; its rings; whether it takes one, two or more
        steps; its open valences, and whether their number is odd; its charge; whether it lacks one,
        two or three heavy atoms; log of the heavy atoms of the molecule.
        """
        return np.asarray(
            _descriptors(self.masks, self.atoms, self.bonds, self.steps, self.valences), np.float32
        )

    def atom_indices(self, fragment: int) -> tuple[int, ...]:
        """Return the atoms of one fragment as ascending indices into the molecule given."""
        return tuple(sorted(int(self.atom_order[bit]) for bit in self._bits(fragment)))

    def composition(self, fragment: int) -> dict[str, int]:
        """Return the number of atoms of each element in one fragment, with its own hydrogens."""
        table = Chem.GetPeriodicTable()
        counts: dict[str, int] = {}
        for bit in self._bits(fragment):
            symbol = table.GetElementSymbol(int(self.atoms[bit, 0]))
            counts[symbol] = counts.get(symbol, 0) + 1
        counts["H"] = counts.get("H", 0) + int(self.n_hydrogens[fragment])
        return counts

    def _bits(self, fragment: int) -> list[int]:
        mask = self.masks[fragment]
        return [a for a in range(len(self.atoms)) if int(mask[a // 64]) >> (a % 64) & 1]


def _atoms(mol: Chem.Mol) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Return the columns of `FragmentTable.atoms` and the masses of the atoms without hydrogens."""
    table = Chem.GetPeriodicTable()
    rows = []
    masses = []
    for atom in mol.GetAtoms():
        number = atom.GetAtomicNum()
        hydrogens = atom.GetTotalNumHs()
        isotope = atom.GetIsotope()
        own = (
            table.GetMassForIsotope(number, isotope)
            if isotope
            else table.GetMostCommonIsotopeMass(number)
        )
        masses.append(own)
        element = _ELEMENTS.get(number, _N_ELEMENTS - 1)
        rows.append((number, hydrogens, _atom_class(atom), element, atom.GetFormalCharge()))
    return np.array(rows, np.int16).reshape(-1, 5), np.array(masses)


def _atom_class(atom: Chem.Atom) -> int:
    number = atom.GetAtomicNum()
    if number == 6:
        return ATOM_CLASSES.index(_carbon(atom))
    if number in (7, 8):
        return ATOM_CLASSES.index(_nitrogen_or_oxygen(atom))
    return {16: 14, 15: 15, 9: 16, 17: 16, 35: 16, 53: 16}.get(number, 17)


def _carbon(atom: Chem.Atom) -> str:
    if atom.GetIsAromatic():
        return "aromatic C"
    saturated = atom.GetHybridization() == Chem.HybridizationType.SP3
    if not saturated:
        return "carbonyl C" if _is_acyl(atom) else "unsaturated C"
    neighbours = atom.GetNeighbors()
    if any(n.GetAtomicNum() not in (1, 6) for n in neighbours):
        return "C beside heteroatom"
    if any(n.GetHybridization() != Chem.HybridizationType.SP3 for n in neighbours):
        return "C beside unsaturated C"
    return "saturated C"


def _nitrogen_or_oxygen(atom: Chem.Atom) -> str:
    letter = atom.GetSymbol()
    if atom.GetIsAromatic():
        return "aromatic N" if letter == "N" else "aromatic or aryl O"
    bonds = atom.GetBonds()
    if any(bond.GetBondTypeAsDouble() > 1 for bond in bonds):
        return "=O" if letter == "O" else "other N"
    neighbours = atom.GetNeighbors()
    if any(_is_acyl(n) for n in neighbours):
        return f"acylated {letter}"
    if letter == "O":
        return "aromatic or aryl O" if any(n.GetIsAromatic() for n in neighbours) else "other O"
    return "amine N" if all(n.GetAtomicNum() == 6 for n in neighbours) else "other N"


def _is_acyl(atom: Chem.Atom) -> bool:
    return atom.GetAtomicNum() in (6, 15, 16) and any(
        bond.GetBondType() == Chem.BondType.DOUBLE
        and bond.GetOtherAtom(atom).GetAtomicNum() in (8, 16)
        for bond in atom.GetBonds()
    )


def _bonds(mol: Chem.Mol) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Return the columns of `FragmentTable.bonds`, in canonical order, and the enthalpies.

    Atoms are in canonical order: which of several Kekule structures RDKit takes depends on it.
    """
    kekule = Chem.Mol(mol)
    Chem.Kekulize(kekule, clearAromaticFlags=False)
    rows = []
    for bond, plain in zip(mol.GetBonds(), kekule.GetBonds(), strict=True):
        a, b = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        kind = bond.GetBondTypeAsDouble()
        numbers = sorted((bond.GetBeginAtom().GetAtomicNum(), bond.GetEndAtom().GetAtomicNum()))
        default = _ENERGY_BY_ORDER.get(kind, 300.0)
        energy = _ENERGY.get((numbers[0], numbers[1], kind), default)
        double = int(plain.GetBondTypeAsDouble())
        rows.append((a, b, _bond_class(bond, kind), double, energy))
    rows += [(min(pair), max(pair), 0, 0, _CONTACT_ENERGY) for pair in _contacts(mol)]
    rows.sort()
    table = np.array(rows, np.float64).reshape(-1, 5)
    return table[:, :4].astype(np.int16), np.ascontiguousarray(table[:, 4])


def _contacts(mol: Chem.Mol) -> list[tuple[int, int]]:
    """Return the pairs of atoms that hold the components of a metal complex together.

    Databases write a complex without bonds to its metal. Each other component touches the metal by
    its negative atoms, else by a nitrogen, sulfur, phosphorus or oxygen, else by its first atom.
    """
    components = [sorted(component) for component in Chem.GetMolFrags(mol)]
    if len(components) < 2:
        return []
    metal = max(range(mol.GetNumAtoms()), key=lambda a: _metal_order(mol.GetAtomWithIdx(a)))
    pairs = []
    for component in components:
        if metal in component:
            continue
        atoms = [mol.GetAtomWithIdx(a) for a in component]
        touching = [atom for atom in atoms if atom.GetFormalCharge() < 0]
        touching = touching or [a for a in atoms if a.GetAtomicNum() in (7, 8, 15, 16)][:1]
        pairs += [(metal, atom.GetIdx()) for atom in touching or atoms[:1]]
    return pairs


def _metal_order(atom: Chem.Atom) -> tuple[bool, int, int]:
    return atom.GetAtomicNum() > 20, atom.GetFormalCharge(), -atom.GetIdx()


def _bond_class(bond: Chem.Bond, kind: float) -> int:
    if bond.GetIsAromatic():
        return 6
    if bond.IsInRing():
        return 4 if kind == 1 else 5
    if kind == 1 and bond.GetIsConjugated():
        return 3
    return min(int(kind), 3) - 1 if kind >= 1 else 0


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a function over arrays, once for all processes to come.

    Loops over single numbers compile in a tenth of the time of sums, copies and sorts of arrays,
    for which a new user waits.
    """
    return cast("Callable[_P, _R]", njit(cache=True)(function))


@compiled
def _has(mask: NDArray[np.uint64], atom: int) -> bool:
    return bool((mask[atom // 64] >> np.uint64(atom % 64)) & np.uint64(1))


@compiled
def _set(mask: NDArray[np.uint64], atom: int) -> None:
    mask[atom // 64] |= np.uint64(1) << np.uint64(atom % 64)


@compiled
def _neighbours(
    n_atoms: int, bonds: NDArray[np.int16]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return ``first`` and ``adjacent``; atom a has ``adjacent[first[a]:first[a + 1]]``."""
    first = np.zeros(n_atoms + 1, np.int32)
    for i in range(len(bonds)):
        first[bonds[i, 0] + 1] += 1
        first[bonds[i, 1] + 1] += 1
    for a in range(n_atoms):
        first[a + 1] += first[a]
    fill = np.empty(n_atoms, np.int32)
    for a in range(n_atoms):
        fill[a] = first[a]
    adjacent = np.empty(2 * len(bonds), np.int32)
    for i in range(len(bonds)):
        for side in range(2):
            a = bonds[i, side]
            adjacent[fill[a]] = bonds[i, 1 - side]
            fill[a] += 1
    return first, adjacent


@compiled
def _walk(
    whole: NDArray[np.uint64],
    first: NDArray[np.int32],
    adjacent: NDArray[np.int32],
    preorder: NDArray[np.int32],
    label: NDArray[np.uint64],
    below: NDArray[np.uint64],
) -> int:
    """Walk through a piece depth first; return its number of atoms, 0 with too many rings.

    Fills, in place, the atoms as they are met (`preorder`), and for each but the first the ring
    closures that span the bond to its parent (`label`, a bit each) and the atoms that hang on that
    bond (`below`).
    """
    zero = np.uint64(0)
    one = np.uint64(1)
    n_atoms = len(label)
    number = np.empty(n_atoms, np.int32)
    parent = np.empty(n_atoms, np.int32)
    stack = np.empty(n_atoms, np.int32)
    following = np.empty(n_atoms, np.int32)
    for a in range(n_atoms):
        number[a] = -1
        parent[a] = -1
        following[a] = first[a]
    root = 0
    while not _has(whole, root):
        root += 1
    label[root] = zero
    number[root] = 0
    preorder[0] = root
    stack[0] = root
    n_seen = 1
    n_closures = 0
    depth = 0
    while depth >= 0:
        a = stack[depth]
        if following[a] == first[a + 1]:
            depth -= 1
            continue
        b = adjacent[following[a]]
        following[a] += 1
        if not _has(whole, b):
            continue
        if number[b] < 0:
            number[b] = n_seen
            preorder[n_seen] = b
            n_seen += 1
            parent[b] = a
            label[b] = zero
            depth += 1
            stack[depth] = b
        elif b != parent[a] and number[b] < number[a]:
            bit = one << np.uint64(n_closures % 64)
            label[a] ^= bit
            label[b] ^= bit
            n_closures += 1
    _add_up(n_seen, preorder, parent, label, below)
    return n_seen if n_closures <= _MAX_CLOSURES else 0


@compiled
def _add_up(
    n_seen: int,
    preorder: NDArray[np.int32],
    parent: NDArray[np.int32],
    label: NDArray[np.uint64],
    below: NDArray[np.uint64],
) -> None:
    """Add the labels of the atoms below each atom to its own, and collect those atoms."""
    n_words = below.shape[1]
    for k in range(n_seen):
        for w in range(n_words):
            below[preorder[k], w] = np.uint64(0)
        _set(below[preorder[k]], preorder[k])
    for k in range(n_seen - 1, 0, -1):
        a = preorder[k]
        label[parent[a]] ^= label[a]
        for w in range(n_words):
            below[parent[a], w] |= below[a, w]


@compiled
def _slot(piece: NDArray[np.uint64], masks: NDArray[np.uint64], slots: NDArray[np.int32]) -> int:
    """Return the place of a set in the hash table: its own, or else the empty one for it."""
    h = np.uint64(1469598103934665603)
    for w in range(len(piece)):
        h = (h ^ piece[w]) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
    slot = np.int64(h & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        same = True
        for w in range(len(piece)):
            same = same and masks[slots[slot], w] == piece[w]
        if same:
            break
        slot = (slot + 1) & (len(slots) - 1)
    return int(slot)


@compiled
def _cost(
    piece: NDArray[np.uint64], bonds: NDArray[np.int16], energies: NDArray[np.float64]
) -> float:
    cost = 0.0
    for i in range(len(bonds)):
        if _has(piece, bonds[i, 0]) != _has(piece, bonds[i, 1]):
            cost += energies[i]
    return cost


def _enumerate(
    n_atoms: int,
    bonds: NDArray[np.int16],
    energies: NDArray[np.float64],
    n_steps: int,
    max_fragments: int,
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Return masks, uint64 (n, n_words), and steps, uint8 (n,), the whole molecule first."""
    masks = np.zeros((max_fragments, (n_atoms + 63) // 64), np.uint64)
    steps = np.zeros(max_fragments, np.uint8)
    costs = np.zeros(max_fragments, np.float64)
    size = 64
    while size < 4 * max_fragments:
        size *= 2
    slots = np.full(size, -1, np.int32)
    for a in range(n_atoms):
        _set(masks[0], a)
    slots[_slot(masks[0], masks, slots)] = 0
    start = 0
    end = 1
    for step in range(1, n_steps + 1):
        queue = start + np.argsort(costs[start:end], kind="stable")
        start, end = end, _break(n_atoms, queue, bonds, energies, masks, costs, slots, end)
        steps[start:end] = step
    return masks[:end].copy(), steps[:end].copy()


@compiled
def _break(
    n_atoms: int,
    queue: NDArray[np.int64],
    bonds: NDArray[np.int16],
    energies: NDArray[np.float64],
    masks: NDArray[np.uint64],
    costs: NDArray[np.float64],
    slots: NDArray[np.int32],
    count: int,
) -> int:
    """Break the pieces of a queue by one step; return the number of all pieces then.

    What is new goes behind the first `count` rows of `masks` and `costs`, and into the hash table
    `slots`, until the rows are full.
    """
    n_words = masks.shape[1]
    first, adjacent = _neighbours(n_atoms, bonds)
    preorder = np.empty(n_atoms, np.int32)
    label = np.empty(n_atoms, np.uint64)
    below = np.empty((n_atoms, n_words), np.uint64)
    side = np.empty(n_words, np.uint64)
    for i in range(len(queue)):
        whole = masks[queue[i]]
        n_seen = _walk(whole, first, adjacent, preorder, label, below)
        pieces, n_pieces = _cut_off(n_seen, preorder, label, below)
        for k in range(n_pieces):
            for part in range(2):
                for w in range(n_words):
                    side[w] = whole[w] & (~pieces[k, w] if part else pieces[k, w])
                slot = _slot(side, masks, slots)
                if slots[slot] >= 0:
                    continue
                if count == len(masks):
                    return count
                slots[slot] = count
                for w in range(n_words):
                    masks[count, w] = side[w]
                costs[count] = _cost(side, bonds, energies)
                count += 1
    return count


@compiled
def _cut_off(
    n_seen: int,
    preorder: NDArray[np.int32],
    label: NDArray[np.uint64],
    below: NDArray[np.uint64],
) -> tuple[NDArray[np.uint64], int]:
    """Return what each cut takes off a piece that `_walk` has been through, and their number.

    They are the first rows of an array (at least n_cuts, n_words).
    """
    zero = np.uint64(0)
    one = np.uint64(1)
    n_words = below.shape[1]
    pieces = np.empty((n_seen * (n_seen + 1) // 2, n_words), np.uint64)
    n = 0
    for k in range(1, n_seen):
        a = preorder[k]
        # A bridge, or a bond and the only ring closure that spans it.
        if label[a] & (label[a] - one) == zero:
            for w in range(n_words):
                pieces[n, w] = below[a, w]
            n += 1
        if label[a] == zero:
            continue
        for m in range(k + 1, n_seen):
            b = preorder[m]
            if label[a] == label[b]:
                for w in range(n_words):
                    pieces[n, w] = below[a, w] & ~below[b, w]
                n += 1
    return pieces, n


@compiled
def _describe(
    masks: NDArray[np.uint64],
    atoms: NDArray[np.int16],
    atom_masses: NDArray[np.float64],
    bonds: NDArray[np.int16],
    energies: NDArray[np.float64],
) -> tuple[
    NDArray[np.float64],
    NDArray[np.uint8],
    NDArray[np.float32],
    NDArray[np.int16],
    NDArray[np.int16],
    NDArray[np.uint8],
]:
    """Return masses, cuts, energies, heavy atoms, hydrogens and open valences of the fragments."""
    n = len(masks)
    masses = np.zeros(n)
    cuts = np.zeros(n, np.uint8)
    costs = np.zeros(n, np.float32)
    sizes = np.zeros(n, np.int16)
    hydrogens = np.zeros(n, np.int16)
    valences = np.zeros(n, np.uint8)
    for f in range(n):
        for a in range(len(atoms)):
            if _has(masks[f], a):
                masses[f] += atom_masses[a]
                sizes[f] += 1
                hydrogens[f] += atoms[a, 1]
        for i in range(len(bonds)):
            if _has(masks[f], bonds[i, 0]) != _has(masks[f], bonds[i, 1]):
                cuts[f] += 1
                valences[f] += bonds[i, 3]
        costs[f] = _cost(masks[f], bonds, energies)
    return masses, cuts, costs, sizes, hydrogens, valences


@compiled
def _count_bonds(
    member: NDArray[np.bool_],
    atoms: NDArray[np.int16],
    bonds: NDArray[np.int16],
    row: NDArray[np.float32],
) -> int:
    """Count the cut bonds and the atoms at them into a row; return the number of bonds kept."""
    n_classes = len(ATOM_CLASSES)
    n_kept = 0
    for i in range(len(bonds)):
        p = bonds[i, 0]
        q = bonds[i, 1]
        if member[p] and member[q]:
            n_kept += 1
        elif member[p] != member[q]:
            if member[q]:
                p, q = q, p
            row[atoms[p, 2]] += 1
            row[n_classes + atoms[q, 2]] += 1
            row[2 * n_classes + bonds[i, 2]] += 1
    return n_kept


@compiled
def _descriptors(
    masks: NDArray[np.uint64],
    atoms: NDArray[np.int16],
    bonds: NDArray[np.int16],
    steps: NDArray[np.uint8],
    valences: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """Return what `FragmentTable.descriptors` documents."""
    n_classes = len(ATOM_CLASSES)
    has = 2 * n_classes + len(BOND_CLASSES)
    rest = has + 2 * n_classes
    n_atoms = len(atoms)
    out = np.zeros((len(masks), N_DESCRIPTORS), np.float32)
    member = np.empty(n_atoms, np.bool_)
    for f in range(len(masks)):
        row = out[f]
        size = 0
        for a in range(n_atoms):
            member[a] = _has(masks[f], a)
            side = 0 if member[a] else 1
            size += 1 - side
            row[has + side * n_classes + atoms[a, 2]] += 1
            row[rest + side] += atoms[a, 1]
            if member[a]:
                row[rest + 9] += atoms[a, 4]
        n_kept = _count_bonds(member, atoms, bonds, row)
        for i in range(has, rest + 2):
            row[i] = _LOG[min(int(row[i]), len(_LOG) - 1)]
        row[rest + 2] = size / n_atoms
        row[rest + 3] = n_kept - size + 1
        if steps[f] > 0:
            row[rest + 3 + min(steps[f], 3)] = 1
        row[rest + 7] = valences[f]
        row[rest + 8] = valences[f] % 2
        if 1 <= n_atoms - size <= 3:
            row[rest + 9 + n_atoms - size] = 1
        row[rest + 13] = np.log(n_atoms)
    return out
