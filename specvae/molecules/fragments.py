"""Substructures that a molecule can break into, by cutting one or two bonds at a time.

The combinatorial fragmenter of MetFrag (doi:10.1186/1471-2105-11-148,
doi:10.1186/s13321-016-0115-9), in steps: a step takes a connected piece, cuts one bond that holds
it together or two bonds that do so jointly (a ring is opened), and leaves two connected pieces,
each of which may be broken again. The bonds that are cut to reach a piece are exactly those between
its atoms and all others. So a fragment is defined by its set of atoms and the number of steps, of
which the smallest is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from specvae.masses import HYDROGEN_MASS
from specvae.molecules.breaking_small import break_into_fragments
from specvae.molecules.drawn import ATOM_CLASS, CHARGE, ELEMENT, HYDROGENS
from specvae.molecules.graph import (
    ATOM_CLASSES,
    BOND_CLASS,
    BOND_CLASSES,
    ENTHALPY,
    ORDER,
    Graph,
    OrderedGraph,
)
from specvae.molecules.molecule import Molecule

_Number = TypeVar("_Number", bound=np.generic)

N_STEPS = 3
N_FRAGMENTS = 2000

N_DESCRIPTORS = 4 * len(ATOM_CLASSES) + len(BOND_CLASSES) + 14
"""Number of columns of `FragmentTable.descriptors`."""


@dataclass(frozen=True, eq=False)
class FragmentTable:
    """The fragments of one molecule, in the order in which they were found, the molecule first.

    Attributes
    ----------
    masks
        Sets of atoms, uint64 (n_fragments, n_words): bit ``a % 64`` of word ``a // 64``.
    steps
        Fewest steps that lead to it, uint8 (n_fragments,).
    atom_order
        int16 (n_molecule_atoms,): the index in the given molecule of the atom of each bit.
    graph
        The molecule's atoms, in the order of the bits, and bonds.
    """

    masks: NDArray[np.uint64]
    steps: NDArray[np.uint8]
    atom_order: NDArray[np.int16]
    graph: Graph

    def __len__(self) -> int:
        return len(self.masks)

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
            The search ends at so many fragments, including the molecule.

        Raises
        ------
        StructureError
            If the SMILES cannot be parsed, or the molecule cannot be broken.
        """
        if isinstance(molecule, str):
            molecule = Molecule.parse(molecule)
        ordered = (
            OrderedGraph.of(molecule.mol, molecule.binary)
            if isinstance(molecule, Molecule)
            else OrderedGraph.of(molecule)
        )
        return cls.of_graph(ordered, n_steps=n_steps, max_fragments=max_fragments)

    @classmethod
    def of_graph(
        cls, ordered: OrderedGraph, *, n_steps: int = N_STEPS, max_fragments: int = N_FRAGMENTS
    ) -> FragmentTable:
        """Break the molecule of a graph; see `of`."""
        masks, steps = break_into_fragments(ordered.graph, n_steps, max(1, max_fragments))
        masks.setflags(write=False)
        steps.setflags(write=False)
        return cls(masks, steps, ordered.order, ordered.graph)

    @property
    def ordered(self) -> OrderedGraph:
        """The graph with the order of its atoms."""
        return OrderedGraph(self.atom_order, self.graph)

    @cached_property
    def masses(self) -> NDArray[np.float64]:
        """Masses in Da with the atoms' hydrogens in the molecule, float64 (n_fragments,)."""
        atoms, masses, _ = self.graph
        found = self._member.astype(np.float64) @ (masses + atoms[:, HYDROGENS] * HYDROGEN_MASS)
        # Rounded, so that the order of summation cannot tell equal compositions apart.
        return _fixed(np.round(found, 7))

    @cached_property
    def energies(self) -> NDArray[np.float32]:
        """Sums of the mean enthalpies of the bonds cut, kJ/mol, float32 (n_fragments,)."""
        enthalpies = self.graph.bonds[:, ENTHALPY].astype(np.float64)
        return _fixed((self._cut @ enthalpies).astype(np.float32))

    @cached_property
    def n_hydrogens(self) -> NDArray[np.int16]:
        """Hydrogens, int16 (n_fragments,)."""
        return _fixed((self._member @ self.graph.atoms[:, HYDROGENS]).astype(np.int16))

    @cached_property
    def valences(self) -> NDArray[np.uint8]:
        """Sums of the orders of the bonds cut, uint8 (n_fragments,).

        Aromatic bonds count as in one Kekule structure. Hydrogens beyond this number find no place.
        """
        return _fixed((self._cut @ self.graph.bonds[:, ORDER]).astype(np.uint8))

    def descriptors(self) -> NDArray[np.float32]:
        """Describe the fragments by numbers, float32 (n_fragments, N_DESCRIPTORS).

        In this order: atoms of each class at the cuts, inside and outside, and cut bonds of each
        class; log(1 + n) of the atoms of each class that the fragment has and that it lacks, then
        of the hydrogens; its share of the heavy atoms; its rings; whether it takes one, two or more
        steps; its open valences, and whether their number is odd; its charge; whether it lacks one,
        two or three heavy atoms; log of the heavy atoms of the molecule.

        `specvae.annotation.evidence.fragment_rows` computes learned sums of these numbers without
        this table.
        """
        atoms, bonds = self.graph.atoms, self.graph.bonds
        member, cut, hydrogens = self._member, self._cut, self.n_hydrogens
        of_class = np.eye(len(ATOM_CLASSES))[atoms[:, ATOM_CLASS]]
        ends = [(bonds[:, k], of_class[bonds[:, 1 - k]]) for k in range(2)]
        n_atoms = len(atoms)
        kept = member @ of_class
        n_kept = member.sum(axis=1)
        inner = (member[:, bonds[:, 0]] & member[:, bonds[:, 1]]).sum(axis=1)
        lost = n_atoms - n_kept
        columns = [
            sum((cut & ~member[:, end]) @ other for end, other in ends),
            sum((cut & member[:, end]) @ other for end, other in ends),
            cut @ np.eye(len(BOND_CLASSES))[bonds[:, BOND_CLASS]],
            np.log1p(kept),
            np.log1p(of_class.sum(axis=0) - kept),
            np.log1p(hydrogens),
            np.log1p(atoms[:, HYDROGENS].sum() - hydrogens),
            n_kept / n_atoms,
            inner - n_kept + 1,
            *(self.steps == step for step in (1, 2)),
            self.steps >= 3,
            self.valences,
            self.valences % 2,
            member @ atoms[:, CHARGE],
            *(lost == n for n in (1, 2, 3)),
            np.full(len(self), np.log(n_atoms)),
        ]
        return np.column_stack(columns).astype(np.float32)

    def atom_indices(self, fragment: int) -> tuple[int, ...]:
        """Return the atoms of one fragment as ascending indices into the molecule given."""
        return tuple(sorted(self.atom_order[self._member[fragment]].tolist()))

    def composition(self, fragment: int) -> dict[str, int]:
        """Return the number of atoms of each element in one fragment, with its own hydrogens."""
        table = Chem.GetPeriodicTable()
        counts: dict[str, int] = {}
        for number in self.graph.atoms[self._member[fragment], ELEMENT].tolist():
            symbol = table.GetElementSymbol(number)
            counts[symbol] = counts.get(symbol, 0) + 1
        counts["H"] = counts.get("H", 0) + int(self.n_hydrogens[fragment])
        return counts

    @cached_property
    def _member(self) -> NDArray[np.bool_]:
        """Whether each atom is in each fragment, (n_fragments, n_molecule_atoms)."""
        bits = np.unpackbits(self.masks.view(np.uint8), axis=1, bitorder="little")
        return bits[:, : len(self.atom_order)].astype(bool)

    @cached_property
    def _cut(self) -> NDArray[np.bool_]:
        """Whether each bond is cut, (n_fragments, n_bonds)."""
        bonds = self.graph.bonds
        return np.asarray(self._member[:, bonds[:, 0]] != self._member[:, bonds[:, 1]])


def _fixed(column: NDArray[_Number]) -> NDArray[_Number]:
    """Return a column that cannot be changed, as many share it."""
    column.setflags(write=False)
    return column
