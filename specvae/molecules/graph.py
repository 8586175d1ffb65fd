"""Atoms and bonds of a molecule as arrays, with what matters to how it breaks."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from specvae.errors import StructureError
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.drawn import (
    ATOM_CLASS,
    CHARGE,
    ELEMENT,
    HIGHEST,
    HYDROGENS,
    IS_AROMATIC,
    IS_CONJUGATED,
    ISOTOPE,
    KEKULE_BITS,
    KEKULE_SHIFT,
    SATURATED,
    TWICE,
    TWICE_AROMATIC,
    VALENCE,
    Drawn,
)

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

BOND_CLASS, ORDER, ENTHALPY = 2, 3, 4
"""Columns of the bonds of `Graph`, behind those of both atoms."""

(
    _AROMATIC_C, _CARBONYL_C, _UNSATURATED_C, _C_BESIDE_HETEROATOM, _C_BESIDE_UNSATURATED,
    _SATURATED_C, _AROMATIC_N, _ACYLATED_N, _AMINE_N, _OTHER_N, _DOUBLE_BONDED_O, _ACYLATED_O,
    _ARYL_O, _OTHER_O, _S, _P, _HALOGEN, _OTHER,
) = range(len(ATOM_CLASSES))  # fmt: skip
_SINGLE, _DOUBLE, _TRIPLE, _CONJUGATED, _RING, _RING_UNSATURATED, _AROMATIC = range(
    len(BOND_CLASSES)
)

_OTHER_ENERGY = 300
_CONTACT_ENERGY = 200  # of a ligand and its metal, a typical value

# Mean bond enthalpies in kJ/mol: CRC Handbook of Chemistry and Physics, rounded.
_ENERGY = {
    (6, 6, 1.0): 346,
    (6, 6, 1.5): 518,
    (6, 6, 2.0): 602,
    (6, 6, 3.0): 835,
    (6, 7, 1.0): 305,
    (6, 7, 1.5): 460,
    (6, 7, 2.0): 615,
    (6, 7, 3.0): 887,
    (6, 8, 1.0): 358,
    (6, 8, 1.5): 450,
    (6, 8, 2.0): 745,
    (6, 16, 1.0): 272,
    (6, 16, 2.0): 573,
    (6, 9, 1.0): 485,
    (6, 17, 1.0): 327,
    (6, 35, 1.0): 285,
    (6, 53, 1.0): 213,
    (6, 15, 1.0): 264,
    (7, 7, 1.0): 167,
    (7, 7, 2.0): 418,
    (7, 8, 1.0): 201,
    (7, 8, 2.0): 607,
    (8, 8, 1.0): 142,
    (8, 15, 1.0): 335,
    (8, 15, 2.0): 544,
    (8, 16, 1.0): 265,
    (8, 16, 2.0): 522,
    (16, 16, 1.0): 226,
}
_ENERGY_BY_ORDER = {1.0: 300, 1.5: 450, 2.0: 550, 2.5: _OTHER_ENERGY, 3.0: 800}

# The elements with enthalpies of their own are 1 and on, all others 0.
_BOND_COLUMNS = np.zeros(119, np.int16)
_BOND_COLUMNS[[6, 7, 8, 16, 15, 9, 17, 35, 53]] = range(1, 10)

# Of atoms that are not C, N or O.
_CLASSES = np.full(119, _OTHER, np.int16)
_CLASSES[[16, 15]] = _S, _P
_CLASSES[[9, 17, 35, 53]] = _HALOGEN

_ISOTOPES = Chem.GetPeriodicTable()
_MASSES = np.array([_ISOTOPES.GetMostCommonIsotopeMass(number) for number in range(119)])

GRAPH_VERSION = 1
"""Rises when `OrderedGraph` would be another one of the same molecule, or its bytes others."""


def _energies() -> NDArray[np.int16]:
    """Return the enthalpy of a bond by `_BOND_COLUMNS` of both elements and 2 (order - 1)."""
    n_elements = int(_BOND_COLUMNS.max()) + 1
    found = np.empty((n_elements, n_elements, 5), np.int16)
    for order, energy in _ENERGY_BY_ORDER.items():
        found[:, :, int(2 * order) - 2] = energy
    for (one, other, order), energy in _ENERGY.items():
        found[_BOND_COLUMNS[one], _BOND_COLUMNS[other], int(2 * order) - 2] = energy
        found[_BOND_COLUMNS[other], _BOND_COLUMNS[one], int(2 * order) - 2] = energy
    return found


_ENERGIES = _energies()


def canonical_ranks(mol: Chem.Mol) -> list[int]:
    """Return the place of each atom in an order that does not depend on how they are numbered."""
    ranks = Chem.CanonicalRankAtoms(mol, includeChirality=False)
    return list(map(ranks.__getitem__, range(len(ranks))))  # a list of it takes twice as long


class Graph(NamedTuple):
    """Atoms and bonds of a molecule.

    Parameters
    ----------
    atoms
        int16 (n_atoms, 4): atomic number, hydrogens, index into `ATOM_CLASSES`, formal charge.
    masses
        float64 (n_atoms,): mass in Da without hydrogens, of its isotope if labelled.
    bonds
        int16 (n_bonds, 5): both atoms, index into `BOND_CLASSES`, order in one Kekule structure,
        mean enthalpy in kJ/mol; by ascending atoms.
    """

    atoms: NDArray[np.int16]
    masses: NDArray[np.float64]
    bonds: NDArray[np.int16]

    @classmethod
    def take(cls, mol: Chem.Mol, places: NDArray[np.int16], binary: bytes) -> Graph:
        """Return the graph of RDKit's molecule, which stays as it is.

        Parameters
        ----------
        mol
            The molecule.
        places
            int16 (n_atoms,): the place of each atom in the graph. Which of several Kekule
            structures it has depends on them.
        binary
            The molecule in binary form.
        """
        n_bonds = mol.GetNumBonds()
        drawn, is_joined = Drawn.read(binary, n_bonds, places)
        contacts: list[tuple[int, int]] = []
        if drawn is None or not is_joined:
            mol = Chem.RenumberAtoms(mol, np.argsort(places).tolist())
            contacts = _contacts(mol)
        if drawn is None:
            Chem.Kekulize(mol, clearAromaticFlags=False)
            drawn, _ = Drawn.read(mol.ToBinary(), n_bonds, np.arange(len(places), dtype=np.int16))
        if drawn is None:
            drawn = Drawn.asked(mol)
            n_bonds = int(np.count_nonzero(np.triu(drawn.between)))
        atoms, marks, _ = drawn
        bonds = np.zeros((n_bonds, 5), np.int16)
        classify(*drawn, bonds)
        masses = _MASSES[atoms[:, ELEMENT]]
        for a in marks[:, ISOTOPE].nonzero()[0].tolist():
            isotope = int(marks[a, ISOTOPE])
            masses[a] = _ISOTOPES.GetMassForIsotope(int(atoms[a, ELEMENT]), isotope)
        if contacts:
            rows = [[min(pair), max(pair), 0, 0, _CONTACT_ENERGY] for pair in contacts]
            bonds = np.array(sorted([*bonds.tolist(), *rows]), np.int16)
        return cls(atoms, masses, bonds)


class OrderedGraph(NamedTuple):
    """A molecule's graph with its atoms in one order, in whatever order the molecule has them.

    Taking it from RDKit takes as long as breaking a molecule into fragments: so it can be kept.

    Parameters
    ----------
    order
        int16 (n_atoms,): the index in the molecule of each atom.
    graph
        Atoms in this order.
    """

    order: NDArray[np.int16]
    graph: Graph

    @classmethod
    def of(cls, mol: Chem.Mol, binary: bytes = b"") -> Self:
        """Return the graph of RDKit's molecule, which stays as it is; no array can be changed.

        Parameters
        ----------
        mol
            The molecule.
        binary
            The molecule in binary form, if that is known.

        Raises
        ------
        StructureError
            If the molecule cannot be broken.
        """
        try:
            # Ranks are distinct: each is the place of its atom.
            ranks = np.array(canonical_ranks(mol), np.int16)
            order = np.empty(len(ranks), np.int16)
            order[ranks] = np.arange(len(ranks))
            return cls._fixed(order, Graph.take(mol, ranks, binary or mol.ToBinary()))
        except (ValueError, RuntimeError, OverflowError) as error:
            # What RDKit raises where it finds no Kekule structure, and the like.
            cause = str(error).strip().partition("\n")[0]
            raise StructureError(f"it cannot be broken into fragments: {cause}") from None

    @classmethod
    def _fixed(cls, order: NDArray[np.int16], graph: Graph) -> Self:
        for array in (order, *graph):
            array.setflags(write=False)
        return cls(order, graph)

    def to_bytes(self) -> bytes:
        """Return it as `from_bytes` reads it, in some 400 bytes.

        `write_graph` writes the same where no atom is labelled.
        """
        atoms, masses, bonds = self.graph
        is_labelled = not np.array_equal(masses, _MASSES[atoms[:, ELEMENT]])
        parts = (
            np.array([len(atoms), len(bonds), is_labelled, 0], "<u2"),
            masses.astype("<f8") if is_labelled else masses[:0],
            self.order.astype("<i2"),
            bonds.astype("<i2"),
            atoms.astype(np.int8),
        )
        return b"".join(part.tobytes() for part in parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return what `to_bytes` gave."""
        n_atoms, n_bonds, is_labelled, _ = np.frombuffer(data, "<u2", 4).tolist()
        at = 8 + 8 * n_atoms * is_labelled
        numbers = np.frombuffer(data, "<i2", n_atoms + 5 * n_bonds, at)
        bonds = numbers[n_atoms:].reshape(n_bonds, 5)
        small = np.frombuffer(data, np.int8, 4 * n_atoms, at + 2 * len(numbers))
        atoms = small.astype(np.int16).reshape(n_atoms, 4)
        masses = np.frombuffer(data, "<f8", n_atoms, 8) if is_labelled else _MASSES[small[::4]]
        atoms.setflags(write=False)
        masses.setflags(write=False)
        return cls(numbers[:n_atoms], Graph(atoms, masses, bonds))


def _contacts(mol: Chem.Mol) -> list[tuple[int, int]]:
    """Return the pairs of atoms that hold the components of a metal complex together.

    Databases write a complex without bonds to its metal. Each other component touches the metal by
    its negative atoms, else by a nitrogen, sulfur, phosphorus or oxygen, else by its first atom.
    """
    found = Chem.GetMolFrags(mol)
    if len(found) < 2:
        return []
    components = [sorted(component) for component in found]
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


@inner
def _is_acyl(a: int, atoms: NDArray[np.int16], between: NDArray[np.int16]) -> bool:
    """Return whether an atom is C, P or S with a double bond to O or S."""
    if atoms[a, ELEMENT] != 6 and atoms[a, ELEMENT] != 15 and atoms[a, ELEMENT] != 16:
        return False
    for b in range(len(atoms)):
        if between[a, b] & TWICE == 4 and (atoms[b, ELEMENT] == 8 or atoms[b, ELEMENT] == 16):
            return True
    return False


@inner
def _atom_class(
    a: int, atoms: NDArray[np.int16], marks: NDArray[np.int32], between: NDArray[np.int16]
) -> int:
    """Return the index of an atom into `ATOM_CLASSES`."""
    number = atoms[a, ELEMENT]
    if number != 6 and number != 7 and number != 8:
        return int(_CLASSES[number])
    if marks[a, IS_AROMATIC]:
        return _AROMATIC_C if number == 6 else _AROMATIC_N if number == 7 else _ARYL_O
    if number == 6 and not marks[a, SATURATED]:
        return _CARBONYL_C if _is_acyl(a, atoms, between) else _UNSATURATED_C
    if number != 6 and marks[a, HIGHEST] > 2:
        return _DOUBLE_BONDED_O if number == 8 else _OTHER_N
    beside_other = False
    beside_unsaturated = False
    beside_acyl = False
    beside_aromatic = False
    for b in range(len(atoms)):
        if between[a, b]:
            beside_other = beside_other or (
                atoms[b, ELEMENT] != 6 and (atoms[b, ELEMENT] != 1 or number != 6)
            )
            beside_unsaturated = beside_unsaturated or not marks[b, SATURATED]
            beside_acyl = beside_acyl or _is_acyl(b, atoms, between)
            beside_aromatic = beside_aromatic or marks[b, IS_AROMATIC] != 0
    if number == 6:
        beside_carbons = _C_BESIDE_UNSATURATED if beside_unsaturated else _SATURATED_C
        return _C_BESIDE_HETEROATOM if beside_other else beside_carbons
    if beside_acyl:
        return _ACYLATED_N if number == 7 else _ACYLATED_O
    if number == 8:
        return _ARYL_O if beside_aromatic else _OTHER_O
    return _OTHER_N if beside_other else _AMINE_N


@inner
def _neighbours(
    n_atoms: int, bonds: NDArray[np.int16]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``first`` and ``adjacent``; atom a has ``adjacent[first[a]:first[a + 1]]``."""
    first = np.zeros(n_atoms + 1, np.int64)
    for i in range(len(bonds)):
        first[bonds[i, 0] + 1] += 1
        first[bonds[i, 1] + 1] += 1
    for a in range(n_atoms):
        first[a + 1] += first[a]
    fill = np.zeros(n_atoms, np.int64)
    for a in range(n_atoms):
        fill[a] = first[a]
    adjacent = np.zeros(2 * len(bonds), np.int64)
    for i in range(len(bonds)):
        for side in range(2):
            a = bonds[i, side]
            adjacent[fill[a]] = bonds[i, 1 - side]
            fill[a] += 1
    return first, adjacent


@inner
def _joined_otherwise(
    bond: int,
    bonds: NDArray[np.int16],
    first: NDArray[np.int64],
    adjacent: NDArray[np.int64],
    seen: NDArray[np.int64],
    waiting: NDArray[np.int64],
) -> bool:
    """Return whether the ends of a bond are joined without it too: whether it is in a ring.

    Atoms that are met get the mark ``bond + 1`` in `seen`; `waiting` is room for all of them.
    """
    mark = bond + 1
    start = bonds[bond, 0]
    end = bonds[bond, 1]
    seen[start] = mark
    waiting[0] = start
    n = 1
    k = 0
    while k < n and seen[end] != mark:
        a = waiting[k]
        k += 1
        for i in range(first[a], first[a + 1]):
            b = adjacent[i]
            if seen[b] != mark and not (a == start and b == end):
                seen[b] = mark
                waiting[n] = b
                n += 1
    return bool(seen[end] == mark)


@inner
def _fill_bonds(between: NDArray[np.int16], bonds: NDArray[np.int16]) -> None:
    """Fill in the atoms of bonds and their orders; in place of the class whether conjugated."""
    i = ZERO
    for a in range(len(between)):
        for b in range(a + 1, len(between)):
            if between[a, b]:
                bonds[i, 0], bonds[i, 1] = a, b
                bonds[i, BOND_CLASS] = between[a, b] & IS_CONJUGATED
                bonds[i, ORDER] = (between[a, b] >> KEKULE_SHIFT) & KEKULE_BITS
                i += 1


@inner
def _fill_marks(
    atoms: NDArray[np.int16], marks: NDArray[np.int32], between: NDArray[np.int16]
) -> None:
    """Fill in what follows from the orders of an atom's bonds; see `ISOTOPE`."""
    for a in range(len(atoms)):
        for b in range(len(atoms)):
            twice = between[a, b] & TWICE
            if twice > marks[a, HIGHEST]:
                marks[a, HIGHEST] = twice
            if twice == TWICE_AROMATIC:
                marks[a, IS_AROMATIC] = 1
        if atoms[a, ELEMENT] != 6 or marks[a, VALENCE] + 2 * atoms[a, HYDROGENS] == 8:
            marks[a, SATURATED] = marks[a, HIGHEST] <= 2 and atoms[a, ELEMENT] != 1


@compiled
def classify(
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
    bonds: NDArray[np.int16],
) -> None:
    """Fill in the classes of a graph's atoms, and its bonds; see `Drawn`."""
    n = len(atoms)
    _fill_marks(atoms, marks, between)
    _fill_bonds(between, bonds)
    for a in range(n):
        atoms[a, ATOM_CLASS] = _atom_class(a, atoms, marks, between)
    first, adjacent = _neighbours(n, bonds)
    seen = np.zeros(n, np.int64)
    waiting = np.zeros(n, np.int64)
    for i in range(len(bonds)):
        a = bonds[i, 0]
        b = bonds[i, 1]
        twice = between[a, b] & TWICE
        is_beside_multiple = marks[a, HIGHEST] > 2 or marks[b, HIGHEST] > 2
        if twice == TWICE_AROMATIC:
            bonds[i, BOND_CLASS] = _AROMATIC
        elif _joined_otherwise(i, bonds, first, adjacent, seen, waiting):
            bonds[i, BOND_CLASS] = _RING if twice == 2 else _RING_UNSATURATED
        elif twice == 2 and bonds[i, BOND_CLASS] and is_beside_multiple:
            # Electrons are delocalised over it only if there is a multiple bond beside it.
            bonds[i, BOND_CLASS] = _CONJUGATED
        else:
            bonds[i, BOND_CLASS] = _TRIPLE if twice > 5 else _DOUBLE if twice > 3 else _SINGLE
        bonds[i, ENTHALPY] = _OTHER_ENERGY
        if 2 <= twice < _ENERGIES.shape[2] + 2:
            row, column = _BOND_COLUMNS[atoms[a, ELEMENT]], _BOND_COLUMNS[atoms[b, ELEMENT]]
            bonds[i, ENTHALPY] = _ENERGIES[row, column, twice - 2]


@inner
def write_graph(
    atoms: NDArray[np.int16],
    bonds: NDArray[np.int16],
    places: NDArray[np.int16],
    out: NDArray[np.int16],
    at: int,
) -> int:
    """Write a graph without labels as `OrderedGraph.to_bytes` does; return where it ends.

    Parameters
    ----------
    atoms, bonds
        As in `Graph`.
    places
        int16 (n_atoms,): the place in the graph of each atom of the molecule.
    out
        int16: from `at` on there is room for 4 numbers, 3 for each atom and 5 for each bond.
    at
        Where it begins.
    """
    out[at], out[at + 1], out[at + 2], out[at + 3] = len(atoms), len(bonds), 0, 0
    at += 4
    for a in range(len(atoms)):
        out[at + places[a]] = a
    at += len(atoms)
    for i in range(len(bonds)):
        for k in range(5):
            out[at + k] = bonds[i, k]
        at += 5
    for a in range(len(atoms)):
        # Two numbers of a byte each.
        out[at] = (atoms[a, ELEMENT] & 0xFF) | atoms[a, HYDROGENS] << 8
        out[at + 1] = (atoms[a, ATOM_CLASS] & 0xFF) | atoms[a, CHARGE] << 8
        at += 2
    return at
