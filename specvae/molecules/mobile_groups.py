"""Which atoms of a molecule share mobile hydrogens, and what a hydrogen costs at each.

1. *Sites* are neutral N, O, S and Se atoms that have room for a hydrogen or a double bond.
2. A site is mobile where it shares a carbon or nitrogen that is double-bonded to one of them
   (amide, amidine, guanidine, urea, triazene), lies in a conjugated ring of 5 or 6 atoms, is
   bound to such a ring one or three bonds from a nitrogen of it, or beside another site to one of
   7 carbons (tropolone). That follows InChI's mobile hydrogens (doi:10.1186/s13321-015-0068-4),
   without the rarer rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rdkit import Chem

from specvae.molecules.alternating_paths import without_aromatic_bonds
from specvae.molecules.binary_form import records_of

_SITES = {7: 3, 8: 2, 16: 2, 34: 2}  # atomic number -> valence
RING_SIZES = (5, 6)
"""Sizes of the conjugated rings that take part, but for those of tropolones."""
_TROPOLONE_RING = 7
_HIGHEST_ORDER = 3  # of bonds whose types, as RDKit numbers them, are their orders

# Costs of a hydrogen at a site, and of a double bond to it (imines).
_OXYGEN_HYDROGEN = 5.0
_SULFUR_HYDROGEN = 3.0
_SIX_RING_HYDROGEN = 1.0
_FIVE_RING_HYDROGEN = 0.3
_BESIDE_FUSION = -0.1
_BESIDE_CARBONYL = -0.1
_IMINE_ON_RING = 2.0
_SUBSTITUTED_IMINE = 0.3
_RING_IMINE = -0.2
_ACCEPTOR_IMINE = -0.5


@dataclass(frozen=True)
class MobileGroup:
    """Atoms that share mobile hydrogens.

    Attributes
    ----------
    bonds
        Partners of each atom, by bonds that may be single or double.
    sites
        Atoms that take a hydrogen or a double bond; all others need a double bond.
    free
        The sites that have no double bond as written.
    cost
        The cost of a hydrogen at each site, minus the cost of a double bond there.
    """

    bonds: dict[int, set[int]]
    sites: frozenset[int]
    free: set[int]
    cost: dict[int, float] = field(default_factory=dict)


class _Atom(NamedTuple):
    """The properties of an atom that are needed here."""

    number: int
    charge: int
    n_radicals: int
    valence: int

    @classmethod
    def of(cls, atom: Chem.Atom) -> _Atom:
        return cls(
            atom.GetAtomicNum(),
            atom.GetFormalCharge(),
            atom.GetNumRadicalElectrons(),
            atom.GetTotalValence(),
        )


class _KekuleGraph(NamedTuple):
    """A molecule without aromatic bonds, taken from RDKit.

    Parameters
    ----------
    atoms
        Its atoms.
    bonds
        Of each bond both atoms and the order.
    rings
        The atoms of each ring, in their order around it.
    """

    atoms: list[_Atom]
    bonds: list[tuple[int, int, float]]
    rings: Sequence[Sequence[int]]


_known_atoms: dict[bytes, _Atom] = {}
"""Atoms by their records in RDKit's binary form, as querying each atom of a molecule is slow."""


def _kekule_graph(mol: Chem.Mol) -> _KekuleGraph:
    records = records_of(mol.ToBinary())
    if records is None or any(bond[2] > _HIGHEST_ORDER for bond in records.bonds):
        return _KekuleGraph(
            [_Atom.of(atom) for atom in mol.GetAtoms()],
            [
                (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondTypeAsDouble())
                for bond in mol.GetBonds()
            ],
            mol.GetRingInfo().AtomRings(),
        )
    for index, atom in enumerate(records.atoms):
        if atom not in _known_atoms:
            _known_atoms[atom] = _Atom.of(mol.GetAtomWithIdx(index))
    return _KekuleGraph(
        [_known_atoms[atom] for atom in records.atoms],
        [(a, b, order) for a, b, order, _ in records.bonds],
        records.rings,
    )


class MobileGroups:
    """Finds the groups of a molecule without aromatic bonds."""

    def __init__(self, mol: Chem.Mol) -> None:
        self._atoms, bonds, self._rings = _kekule_graph(mol)
        self._partner: dict[int, int] = {}
        self._blocked: set[int] = set()
        self._around: list[list[int]] = [[] for _ in self._atoms]
        self._orders: list[list[float]] = [[] for _ in self._atoms]
        for a, b, order in bonds:
            self._around[a].append(b)
            self._around[b].append(a)
            self._orders[a].append(order)
            self._orders[b].append(order)
            if order == 2:
                for one, other in ((a, b), (b, a)):
                    if one in self._partner:
                        self._blocked.add(one)  # two double bonds: cumulated, or hypervalent
                    self._partner[one] = other
            elif order != 1:
                self._blocked |= {a, b}
        self._sites = {index for index in range(len(self._atoms)) if self._is_site(index)}
        self._bonds: dict[int, set[int]] = {}
        self._ring_atoms: set[int] = set()

    def _is_site(self, index: int) -> bool:
        atom = self._atoms[index]
        valence = _SITES.get(atom.number)
        return (
            valence is not None
            and index not in self._blocked
            and atom.charge == 0
            and atom.n_radicals == 0
            and len(self._around[index]) < valence
            and atom.valence == valence
        )

    def mobile(self) -> Iterator[MobileGroup]:
        """Yield the groups of which some sites have a double bond, and some have none."""
        self._add_rings()
        self._add_tropolones()
        self._add_centres()
        self._close()
        left = set(self._bonds)
        while left:
            waiting = [left.pop()]
            atoms = set(waiting)
            while waiting:
                fresh = self._bonds[waiting.pop()] - atoms
                atoms |= fresh
                waiting += fresh
            left -= atoms
            sites = frozenset(atoms & self._sites)
            free = {site for site in sites if site not in self._partner}
            if 0 < len(free) < len(sites):
                yield MobileGroup({atom: self._bonds[atom] for atom in atoms}, sites, free)

    def costs(self, group: MobileGroup) -> dict[int, float]:
        """Return what a hydrogen costs at each site of a group; see `MobileGroup`."""
        return {site: self._cost(site, group.sites) for site in group.sites}

    def may_be_larger(self, group: MobileGroup) -> bool:
        """Return whether a ring of a group has another atom, with a double bond out of the ring."""
        return any(
            len(group.bonds.keys() & set(ring)) > 1
            and any(
                atom in self._ring_atoms
                and atom not in group.bonds
                and self._partner.get(atom, atom) not in ring
                for atom in ring
            )
            for ring in self._rings
        )

    def _connect(self, a: int, b: int) -> None:
        self._bonds.setdefault(a, set()).add(b)
        self._bonds.setdefault(b, set()).add(a)

    def _add_rings(self) -> None:
        """Add conjugated rings with a nitrogen site, rings fused to them, and what is bound."""
        rings = [
            ring
            for ring in self._rings
            if len(ring) in RING_SIZES and all(map(self._is_conjugated, ring))
        ]
        systems: list[list[Sequence[int]]] = []
        for ring in rings:
            fused = [s for s in systems if any(len(set(ring) & set(other)) > 1 for other in s)]
            systems = [s for s in systems if s not in fused]
            systems.append([ring, *(other for system in fused for other in system)])
        for system in systems:
            atoms = {atom for ring in system for atom in ring}
            if not atoms & self._sites:
                continue
            self._ring_atoms |= atoms
            for ring in system:
                for place, atom in enumerate(ring):
                    self._connect(atom, ring[place - 1])
                    self._add_bound(atom, place, ring, atoms)

    def _add_tropolones(self) -> None:
        """Add conjugated rings of seven carbons with sites at neighbours, and rings fused to them.

        Of the fused rings the bonds may shift; sites that are bound to them take no part.
        """
        conjugated = [set(ring) for ring in self._rings if all(map(self._is_conjugated, ring))]
        for ring in self._rings:
            atoms = set(ring)
            if len(ring) != _TROPOLONE_RING or atoms not in conjugated or atoms & self._sites:
                continue
            bound = [[n for n in self._around[a] if n in self._sites] for a in ring]
            beside = [
                (atom, other)
                for place, atom in enumerate(ring)
                for other in bound[place]
                if bound[place - 1] or bound[(place + 1) % len(ring)]
            ]
            if not beside:
                continue
            system = [other for other in conjugated if len(other & atoms) > 1]
            members = atoms.union(*system)
            if members & self._sites:
                continue
            for atom in members:
                for other in members.intersection(self._around[atom]):
                    self._connect(atom, other)
            for atom, site in beside:
                self._connect(atom, site)

    def _is_conjugated(self, index: int) -> bool:
        if index in self._blocked:
            return False
        if index in self._partner or index in self._sites:
            return True
        # Its lone pair takes part, though the atom itself keeps its bonds.
        return self._atoms[index].number in _SITES and self._atoms[index].charge == 0

    def _add_bound(self, atom: int, place: int, ring: Sequence[int], system: set[int]) -> None:
        size = len(ring)
        distances = (1,) if size == 5 else (1, 3)
        beside = {ring[(place + step * sign) % size] for step in distances for sign in (1, -1)}
        if not beside & self._sites:
            return
        for neighbour in self._around[atom] if atom not in self._sites else ():
            if neighbour in self._sites and neighbour not in system:
                self._connect(atom, neighbour)

    def _add_centres(self) -> None:
        """Add carbons and nitrogens that are double-bonded to one site and bound to another."""
        for site in self._sites:
            centre = self._partner.get(site)
            if centre is None or centre in self._ring_atoms or centre in self._blocked:
                continue
            if self._atoms[centre].number not in (6, 7) or self._atoms[centre].charge:
                continue
            bound = [other for other in self._around[centre] if other in self._sites]
            if len(bound) > 1:
                for other in bound:
                    self._connect(centre, other)

    def _close(self) -> None:
        """Leave out atoms whose double bond leads outside, and what cannot take one."""
        while True:
            lost = [
                atom
                for atom, bound in self._bonds.items()
                if not bound
                or (
                    self._partner[atom] not in bound
                    if atom in self._partner
                    else atom not in self._sites
                )
            ]
            if not lost:
                return
            for atom in lost:
                for other in self._bonds.pop(atom):
                    if other in self._bonds:
                        self._bonds[other].discard(atom)

    def _cost(self, site: int, group: frozenset[int]) -> float:
        number = self._atoms[site].number
        if number != 7:
            return _OXYGEN_HYDROGEN if number == 8 else _SULFUR_HYDROGEN
        neighbours = self._around[site]
        beside_carbonyl = sum(
            any(n in group and self._atoms[n].number != 7 for n in self._around[neighbour])
            for neighbour in neighbours
        )
        if site in self._ring_atoms:
            cost = _BESIDE_CARBONYL * beside_carbonyl
            if 5 not in self._rings_of(site):
                return cost + _SIX_RING_HYDROGEN
            fused = any(len(self._rings_of(n)) > 1 for n in neighbours)
            return cost + _FIVE_RING_HYDROGEN + (_BESIDE_FUSION if fused else 0.0)
        # From here on costs are of the double bond, so they are negative for the hydrogen.
        cost = 0.0
        if any(n in self._ring_atoms for n in neighbours):
            cost += _IMINE_ON_RING
        if self._rings_of(site):
            cost += _RING_IMINE
        elif len(neighbours) > 1:
            cost += _SUBSTITUTED_IMINE
        if any(self._is_acceptor(n, site) for n in neighbours):
            cost += _ACCEPTOR_IMINE
        return -cost

    def _rings_of(self, index: int) -> list[int]:
        """Return the sizes of the rings that an atom is in."""
        return [len(ring) for ring in self._rings if index in ring]

    def _is_acceptor(self, index: int, site: int) -> bool:
        """Return whether an atom draws electrons: of a nitro, cyano or sulfonyl group."""
        if self._atoms[index].charge > 0:
            return True
        pairs = zip(self._around[index], self._orders[index], strict=True)
        orders = [order for other, order in pairs if other != site]
        return 3.0 in orders or orders.count(2.0) > 1


def are_groups(mol: Chem.Mol, sharing: Iterable[frozenset[int]]) -> bool:
    """Return whether atoms that share hydrogens do so by the rules of this module, too.

    Not where these might find other groups in another form of the molecule.

    Parameters
    ----------
    mol
        Sanitised, with the hydrogens in any place.
    sharing
        Sets of numbers of its atoms.
    """
    found = MobileGroups(without_aromatic_bonds(mol))
    sure = {group.sites for group in found.mobile() if not found.may_be_larger(group)}
    return sure.issuperset(sharing)
