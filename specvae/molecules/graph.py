"""Atoms and bonds of a molecule as arrays, with what matters to how it breaks."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.kekule import FIRST_VERSION, N_ROWS, pair_atoms
from specvae.molecules.kekule import MOST_ATOMS as SET_SIZE
from specvae.molecules.kept_code import WorthCompiling
from specvae.molecules.records import (
    AROMATIC,
    BEFORE_BONDS,
    CONJUGATED,
    DIRECTION,
    FIRST_ATOM,
    HEAD,
    MOST_ATOMS,
    N_ATOMS,
    N_BONDS,
    RINGS,
    SINGLE,
    STEREO,
    TYPE,
    USUAL_BOND,
    USUAL_FLAGS,
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
_CLASSES = np.full(119, ATOM_CLASSES.index("other"), np.int16)
_CLASSES[[16, 15]] = ATOM_CLASSES.index("S"), ATOM_CLASSES.index("P")
_CLASSES[[9, 17, 35, 53]] = ATOM_CLASSES.index("halogen")

_ISOTOPES = Chem.GetPeriodicTable()
_MASSES = np.array([_ISOTOPES.GetMostCommonIsotopeMass(number) for number in range(119)])
_HIGHEST_ORDER = 3  # of usual bonds, whose types are their orders
_HEAD = np.frombuffer(HEAD, np.uint8)
_LONGEST = 17  # bytes of an atom; more than this follow on the last bond
_SP3 = int(Chem.HybridizationType.SP3)
_AROMATIC_TYPE = int(Chem.BondType.AROMATIC)

GRAPH_VERSION = 1
"""Rises when `OrderedGraph` would be another one of the same molecule, or its bytes others."""

# To compile what sets double bonds takes a second, once for all; it saves some hundredths of a
# millisecond a molecule.
_worth_setting = WorthCompiling("molecules/graph._set_double", 5_000)

_AROMATIC = 3  # twice the order
_CONJUGATED = BOND_CLASSES.index("conjugated")


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
        n_atoms, n_bonds = mol.GetNumAtoms(), mol.GetNumBonds()
        drawn = _Drawn.empty(n_atoms)
        # RDKit needs a third of a microsecond for each question about an atom or a bond; its binary
        # form is one for all.
        data = np.frombuffer(binary, np.uint8)
        end, n_open, is_joined = _read_binary(data, n_bonds, places, *drawn)
        is_read = end > 0
        if is_read and n_open:
            is_read = _is_worth_compiling() and _set_double(data, end, places, *drawn)
        contacts: list[tuple[int, int]] = []
        if not (is_read and is_joined):
            mol = Chem.RenumberAtoms(mol, np.argsort(places).tolist())
            contacts = _contacts(mol)
        if not is_read:
            Chem.Kekulize(mol, clearAromaticFlags=False)
            drawn = _Drawn.empty(n_atoms)
            data, places = np.frombuffer(mol.ToBinary(), np.uint8), np.arange(n_atoms, dtype="i2")
            if _read_binary(data, n_bonds, places, *drawn)[0] < 0:
                drawn = _asked(mol)
                n_bonds = int(np.count_nonzero(np.triu(drawn.between)))
        atoms, marks, _ = drawn
        bonds = np.zeros((n_bonds, 5), np.int16)
        _classify(*drawn, bonds)
        masses = _MASSES[atoms[:, 0]]
        for a in marks[:, _ISOTOPE].nonzero()[0].tolist():
            isotope = int(marks[a, _ISOTOPE])
            masses[a] = _ISOTOPES.GetMassForIsotope(int(atoms[a, 0]), isotope)
        if contacts:
            rows = [[min(pair), max(pair), 0, 0, _CONTACT_ENERGY] for pair in contacts]
            bonds = np.array(sorted([*bonds.tolist(), *rows]), np.int16)
        return cls(atoms, masses, bonds)


# Columns of `_Drawn.marks`: mass number of labelled atoms, else 0; twice the sum of the orders
# of bonds in a Kekule structure; whether RDKit takes it for sp3, which becomes whether it is
# saturated; twice the highest order of its bonds; whether one of them is aromatic; electrons that
# are unpaired.
_ISOTOPE, _VALENCE, _SATURATED, _HIGHEST, _IS_AROMATIC, _RADICAL = range(6)
# What `_Drawn.between` holds of a bond.
_TWICE, _KEKULE_SHIFT, _KEKULE_BITS, _IS_CONJUGATED = 0x0F, 4, 0x0F, 0x100


class _Drawn(NamedTuple):
    """What RDKit says of a molecule with a Kekule structure, and room for what follows from it.

    Parameters
    ----------
    atoms
        As in `Graph`, without classes.
    marks
        More of the atoms, int32 (n_atoms, 6): see `_ISOTOPE`.
    between
        Bonds between atoms, int16 (n_atoms, n_atoms): twice the order, 3 if aromatic and 1 if there
        is none; from the fifth bit on that of the Kekule structure; `_IS_CONJUGATED`.
    """

    atoms: NDArray[np.int16]
    marks: NDArray[np.int32]
    between: NDArray[np.int16]

    @classmethod
    def empty(cls, n: int) -> Self:
        """Return room for `n` atoms."""
        return cls(
            np.zeros((n, 4), np.int16), np.zeros((n, 6), np.int32), np.zeros((n, n), np.int16)
        )


def _asked(mol: Chem.Mol) -> _Drawn:
    """Ask RDKit for each atom and bond of a molecule."""
    found = _Drawn.empty(mol.GetNumAtoms())
    orders = Chem.GetAdjacencyMatrix(mol, useBO=True, force=True)
    for a, atom in enumerate(mol.GetAtoms()):
        found.atoms[a] = atom.GetAtomicNum(), atom.GetTotalNumHs(), 0, atom.GetFormalCharge()
        is_sp3 = atom.GetHybridization() == Chem.HybridizationType.SP3
        found.marks[a, :3] = atom.GetIsotope(), 2 * orders[a].sum(), is_sp3
    # Dative bonds stand there once.
    for one, other in np.argwhere(Chem.GetAdjacencyMatrix(mol, force=True)).tolist():
        bond, order = mol.GetBondBetweenAtoms(one, other), orders[one, other]
        twice = _AROMATIC if bond.GetIsAromatic() else max(1, int(2 * order))
        is_conjugated = _IS_CONJUGATED * bond.GetIsConjugated()
        found.between[one, other] = twice + (int(order) << _KEKULE_SHIFT) + is_conjugated
    return found


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

        `binary` is the molecule in binary form, if that is known.
        """
        # Ranks are distinct: each is the place of its atom.
        ranks = np.array(list(Chem.CanonicalRankAtoms(mol, includeChirality=False)), np.int16)
        order = np.empty(len(ranks), np.int16)
        order[ranks] = np.arange(len(ranks))
        return cls._fixed(order, Graph.take(mol, ranks, binary or mol.ToBinary()))

    @classmethod
    def _fixed(cls, order: NDArray[np.int16], graph: Graph) -> Self:
        for array in (order, *graph):
            array.setflags(write=False)
        return cls(order, graph)

    def to_bytes(self) -> bytes:
        """Return it as `from_bytes` reads it, in some 400 bytes."""
        atoms, masses, bonds = self.graph
        is_labelled = not np.array_equal(masses, _MASSES[atoms[:, 0]])
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
    if atoms[a, 0] != 6 and atoms[a, 0] != 15 and atoms[a, 0] != 16:
        return False
    for b in range(len(atoms)):
        if between[a, b] & _TWICE == 4 and (atoms[b, 0] == 8 or atoms[b, 0] == 16):
            return True
    return False


@inner
def _atom_class(
    a: int, atoms: NDArray[np.int16], marks: NDArray[np.int32], between: NDArray[np.int16]
) -> int:
    """Return the index of an atom into `ATOM_CLASSES`."""
    number = atoms[a, 0]
    if number != 6 and number != 7 and number != 8:
        return int(_CLASSES[number])
    if marks[a, _IS_AROMATIC]:
        return 0 if number == 6 else 6 if number == 7 else 12
    if number == 6 and not marks[a, _SATURATED]:
        return 1 if _is_acyl(a, atoms, between) else 2
    if number != 6 and marks[a, _HIGHEST] > 2:
        return 10 if number == 8 else 9
    beside_other = False
    beside_unsaturated = False
    beside_acyl = False
    beside_aromatic = False
    for b in range(len(atoms)):
        if between[a, b]:
            beside_other = beside_other or (atoms[b, 0] != 6 and (atoms[b, 0] != 1 or number != 6))
            beside_unsaturated = beside_unsaturated or not marks[b, _SATURATED]
            beside_acyl = beside_acyl or _is_acyl(b, atoms, between)
            beside_aromatic = beside_aromatic or marks[b, _IS_AROMATIC] != 0
    if number == 6:
        return 3 if beside_other else 4 if beside_unsaturated else 5
    if beside_acyl:
        return 7 if number == 7 else 11
    if number == 8:
        return 12 if beside_aromatic else 13
    return 9 if beside_other else 8


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
                bonds[i, 2] = between[a, b] & _IS_CONJUGATED
                bonds[i, 3] = (between[a, b] >> _KEKULE_SHIFT) & _KEKULE_BITS
                i += 1


@inner
def _fill_marks(
    atoms: NDArray[np.int16], marks: NDArray[np.int32], between: NDArray[np.int16]
) -> None:
    """Fill in what follows from the orders of an atom's bonds; see `_ISOTOPE`."""
    for a in range(len(atoms)):
        for b in range(len(atoms)):
            twice = between[a, b] & _TWICE
            if twice > marks[a, _HIGHEST]:
                marks[a, _HIGHEST] = twice
            if twice == _AROMATIC:
                marks[a, _IS_AROMATIC] = 1
        if atoms[a, 0] != 6 or marks[a, _VALENCE] + 2 * atoms[a, 1] == 8:
            marks[a, _SATURATED] = marks[a, _HIGHEST] <= 2 and atoms[a, 0] != 1


@compiled
def _classify(
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
    bonds: NDArray[np.int16],
) -> None:
    """Fill in the classes of a graph's atoms, and its bonds; see `_Drawn`."""
    n = len(atoms)
    _fill_marks(atoms, marks, between)
    _fill_bonds(between, bonds)
    for a in range(n):
        atoms[a, 2] = _atom_class(a, atoms, marks, between)
    first, adjacent = _neighbours(n, bonds)
    seen = np.zeros(n, np.int64)
    waiting = np.zeros(n, np.int64)
    for i in range(len(bonds)):
        a = bonds[i, 0]
        b = bonds[i, 1]
        twice = between[a, b] & _TWICE
        is_beside_multiple = marks[a, _HIGHEST] > 2 or marks[b, _HIGHEST] > 2
        if twice == _AROMATIC:
            bonds[i, 2] = 6
        elif _joined_otherwise(i, bonds, first, adjacent, seen, waiting):
            bonds[i, 2] = 4 if twice == 2 else 5
        elif twice == 2 and bonds[i, 2] and is_beside_multiple:
            # Electrons are delocalised over it only if there is a multiple bond beside it.
            bonds[i, 2] = _CONJUGATED
        else:
            bonds[i, 2] = 2 if twice > 5 else 1 if twice > 3 else 0
        bonds[i, 4] = _OTHER_ENERGY
        if 2 <= twice < _ENERGIES.shape[2] + 2:
            row, column = _BOND_COLUMNS[atoms[a, 0]], _BOND_COLUMNS[atoms[b, 0]]
            bonds[i, 4] = _ENERGIES[row, column, twice - 2]


@inner
def _begins_as_known(data: NDArray[np.uint8], n_atoms: int, n_bonds: int) -> bool:
    """Return whether the binary form of a molecule begins as it is known to."""
    if len(data) < FIRST_ATOM or n_atoms > MOST_ATOMS:
        return False
    for k in range(len(_HEAD)):
        if data[k] != _HEAD[k]:
            return False
    is_whole = data[N_BONDS] == n_bonds & 255 and data[N_BONDS + 1] == n_bonds >> 8
    return bool(is_whole and data[N_ATOMS] == n_atoms)


@inner
def end_of_atom(data: NDArray[np.uint8], at: int) -> int:
    """Return where an atom's bytes end, -1 where they are not as they are known to be."""
    low, high = data[at + 2], data[at + 3]
    is_odd = data[at + 1] & ~USUAL_FLAGS or low & 1 or high > 1
    if is_odd or data[at + 4] or data[at + 5]:
        return -1
    at += 6
    for bit in range(1, 8):
        at += low >> bit & 1
    return int(at + 4 * high)


@inner
def bond_at(data: NDArray[np.uint8], at: int) -> tuple[int, int, int]:
    """Return a bond's type and flags, and where its bytes end, -1 where they are not known."""
    flags = ZERO + data[at + 2]
    bond_type = ZERO + SINGLE
    at += 3
    if flags & TYPE:
        bond_type = ZERO + data[at]
        at += 1
    if flags & DIRECTION:
        at += 1
    if flags & STEREO:
        at += 2 + data[at + 1]
    return bond_type, flags, at if flags & ~USUAL_BOND == 0 else ZERO - 1


@inner
def _read_atoms(  # noqa: C901 (one byte after the other)
    data: NDArray[np.uint8],
    places: NDArray[np.int16],
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
) -> int:
    """Fill in numbers, hydrogens, charges and the like; return where atoms end, -1 if unknown."""
    at = ZERO + FIRST_ATOM
    for k in range(len(atoms)):
        if at + _LONGEST > len(data):
            return -1
        if end_of_atom(data, at) < 0:
            return -1
        a = places[k]
        low = data[at + 2]
        high = data[at + 3]
        atoms[a, 0] = data[at]
        at += 6
        if low & 2:
            atoms[a, 3] = data[at] - 256 if data[at] > 127 else data[at]
            at += 1
        if low & 4:  # chirality
            at += 1
        marks[a, _SATURATED] = 1
        if low & 8:
            marks[a, _SATURATED] = data[at] == _SP3
            at += 1
        if low & 16:
            atoms[a, 1] += data[at]
            at += 1
        if low & 32:  # valence
            at += 1
        if low & 64:
            atoms[a, 1] += data[at]
            at += 1
        if low & 128:
            marks[a, _RADICAL] = data[at]
            at += 1
        if high:
            for byte in range(4):
                marks[a, _ISOTOPE] += np.int64(data[at + byte]) << 8 * byte
            at += 4
    return at


@inner
def _read_bonds(
    data: NDArray[np.uint8],
    at: int,
    n_bonds: int,
    places: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
) -> tuple[int, int]:
    """Fill in bonds, which begin at a place; return where they end, -1 if one is not known.

    And how many are aromatic, and neither single nor double: these count as single.
    """
    n_open = ZERO
    for _ in range(n_bonds):
        if at + _LONGEST > len(data):
            return ZERO - 1, n_open
        one = places[data[at]]
        other = places[data[at + 1]]
        order, flags, at = bond_at(data, at)
        if order == _AROMATIC_TYPE and flags & AROMATIC:
            order = ZERO + 1
            n_open += 1
        if at < 0 or order < 1 or order > _HIGHEST_ORDER:
            return ZERO - 1, n_open
        code = (order << _KEKULE_SHIFT) + (_AROMATIC if flags & AROMATIC else 2 * order)
        if flags & CONJUGATED:
            code += _IS_CONJUGATED
        between[one, other] = between[other, one] = code
        marks[one, _VALENCE] += 2 * order
        marks[other, _VALENCE] += 2 * order
    return at, n_open


@inner
def _is_joined(between: NDArray[np.int16]) -> bool:
    """Return whether all atoms are of one component."""
    n = len(between)
    found = np.zeros(n + 1, np.int64)
    is_found = np.zeros(n + 1, np.bool_)
    is_found[0] = True
    n_found = 1
    k = 0
    while k < n_found:
        a = found[k]
        k += 1
        for b in range(n):
            if between[a, b] and not is_found[b]:
                is_found[b] = True
                found[n_found] = b
                n_found += 1
    return n_found >= n


@inner
def _lacks_double(a: int, atoms: NDArray[np.int16], marks: NDArray[np.int32], n_bound: int) -> int:
    """Return 1 if an aromatic atom lacks a double bond, 0 if not, -1 where that is not sure.

    Its aromatic bonds count as single so far.
    """
    element, charge = atoms[a, 0], atoms[a, 3]
    n_used = marks[a, _VALENCE] // 2 + atoms[a, 1]
    if marks[a, _RADICAL] != 0:
        return ZERO - 1
    if element == 6 and charge == 0:
        return int(n_used == 3) if n_used > 2 else ZERO - 1
    if element == 7 and charge == 0 and n_used < 4:
        return int(n_used == 2)
    if element == 7 and charge == 1:
        return int(n_used == 3) if n_used > 2 else ZERO - 1
    if (element == 8 or element == 16 or element == 34) and n_bound == 2 and atoms[a, 1] == 0:
        if charge == 0 and n_used == 2:
            return ZERO
        if charge == 1 and n_used == 2:
            return ZERO + 1
    return ZERO - 1


@inner
def _read_systems(
    data: NDArray[np.uint8], at: int, places: NDArray[np.int16], systems: NDArray[np.int64]
) -> int:
    """Fill in sets of the atoms of rings that share bonds; return their number, -1 if too many."""
    n_rings = ZERO
    for k in range(4):
        n_rings += (ZERO + data[at + k]) << 8 * k
    at += 4
    n = ZERO
    for _ in range(n_rings):
        ring = ZERO
        for k in range(1, data[at] + 1):
            ring |= 1 << (ZERO + places[data[at + k]])
        at += data[at] + 1
        # It joins those of which it has two atoms.
        kept = ZERO
        for k in range(n):
            shared = systems[k] & ring
            if shared & (shared - 1):
                ring |= systems[k]
            else:
                systems[kept] = systems[k]
                kept += 1
        if kept == len(systems):
            return ZERO - 1
        systems[kept] = ring
        n = kept + 1
    return n


@inner
def _fill_sets(
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
    around: NDArray[np.int64],
    aromatic: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill in sets of neighbours; return aromatic atoms, and which lack a double bond or -1."""
    lacking = all_aromatic = ZERO
    for a in range(len(atoms)):
        n_bound = ZERO
        for b in range(len(atoms)):
            if between[a, b]:
                n_bound += 1
                around[a] |= 1 << b
                if between[a, b] & _TWICE == _AROMATIC:
                    aromatic[a] |= 1 << b
        if aromatic[a]:
            all_aromatic |= 1 << a
            lacks = _lacks_double(a, atoms, marks, n_bound)
            if lacks < 0:
                return all_aromatic, lacks
            lacking |= lacks << a
    return all_aromatic, lacking


@compiled
def _set_double(
    data: NDArray[np.uint8],
    at: int,
    places: NDArray[np.int16],
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
) -> bool:
    """Set double bonds of aromatic rings, whose mark is at a place; return whether it was sure."""
    has_rings = data[at] == RINGS[0] or data[at] == RINGS[1] or data[at] == RINGS[2]
    if len(atoms) > SET_SIZE or not has_rings:
        return False
    room = np.zeros((N_ROWS + 3, 64), np.int64)
    around, aromatic, systems = room[N_ROWS], room[N_ROWS + 1], room[N_ROWS + 2]
    all_aromatic, lacking = _fill_sets(atoms, marks, between, around, aromatic)
    n_systems = _read_systems(data, at + 1, places, systems)
    if lacking < 0 or n_systems < 0:
        return False
    for k in range(n_systems):
        system = systems[k] & all_aromatic
        if not pair_atoms(system, lacking & system, around, aromatic, room):
            return False
        all_aromatic &= ~system
        for a in range(len(atoms)):
            b = room[0, a]
            if system >> a & 1 and b >= 0:
                between[a, b] += 1 << _KEKULE_SHIFT
                marks[a, _VALENCE] += 2
    return bool(all_aromatic == 0)


@compiled
def _read_binary(
    data: NDArray[np.uint8],
    n_bonds: int,
    places: NDArray[np.int16],
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
) -> tuple[int, int, bool]:
    """Fill in what the binary form of RDKit's molecule says; see `_Drawn`.

    `places` are those of the atoms in the arrays. Returns where its bonds end, -1 where not all of
    it is known (`specvae.molecules.records` says what stands where); how many of them are aromatic
    ones, which count as single (`_set_double`); and whether there is one component.
    """
    at = n_open = ZERO - 1
    if _begins_as_known(data, len(atoms), n_bonds):
        at = _read_atoms(data, places, atoms, marks)
    if at > 0 and data[at] == BEFORE_BONDS:
        at, n_open = _read_bonds(data, at + 1, n_bonds, places, marks, between)
    else:
        at = ZERO - 1
    return at, n_open, _is_joined(between)


def _is_worth_compiling() -> bool:
    """Return whether double bonds of one molecule more are set in compiled code.

    Earlier versions of RDKit set others: a graph must not depend on how many there are.
    """
    return rdBase.rdkitVersion >= FIRST_VERSION and _worth_setting(1)
