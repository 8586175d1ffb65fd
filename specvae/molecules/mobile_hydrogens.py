"""One form of mobile hydrogens, however a structure is written.

An amide may be written as imidic acid (InChI gives it back so), 2-pyridone as 2-hydroxypyridine,
and the hydrogen of an imidazole on either nitrogen. The InChIKey's first block is the same, but
fingerprints and fragments are not. `place_hydrogens` moves such hydrogens, and the double bonds
between, to one place:

1. *Sites* are neutral N, O, S and Se atoms that have room for a hydrogen or a double bond.
2. A site is mobile where it shares a carbon or nitrogen that is double-bonded to one of them
   (amide, amidine, guanidine, urea, triazene), lies in a conjugated ring of 5 or 6 atoms, is
   bound to such a ring one or three bonds from a nitrogen of it, or beside another site to one of
   7 carbons (tropolone). That follows InChI's mobile hydrogens (doi:10.1186/s13321-015-0068-4),
   without the rarer rules; a form that InChI calls another compound is not taken.
3. Of all places for a group's hydrogens that leave each other atom its double bond, the one with
   the lowest cost is taken: C=O before C=S before C=N, lactam before lactim, amine before imine on
   a ring, aromatic rings intact. Canonical ranks of the atoms without hydrogens decide ties.

Keto and enol forms, whose hydrogens move to carbon, stay as they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from math import comb
from typing import NamedTuple

from rdkit import Chem

from specvae.molecules.alternating_paths import without_aromatic_bonds
from specvae.molecules.binary_form import records_of

_SITES = {7: 3, 8: 2, 16: 2, 34: 2}  # atomic number -> valence
_RING_SIZES = (5, 6)
_TROPOLONE_RING = 7
_HIGHEST_ORDER = 3  # of bonds whose types, as RDKit numbers them, are their orders
_FIRST_BLOCK = 14  # letters of an InChIKey
_MOST_PLACES = 5000  # of the hydrogens of a group; beyond, it stays as written
_MOST_STEPS = 20_000  # of a search for double bonds
_MOST_FORMS = 6  # of a group that are compared with the InChI as written

# Each pattern below holds one of these atoms, which many natural products lack.
_NEEDED = Chem.MolFromSmarts("[#7,#16,#34]")

# Atoms outside these patterns have their hydrogens in the right place.
_SUSPECT = Chem.MolFromSmarts(
    "[$([OX2H1,SX2H1,SeX2H1]-[#6,#7]=[#7,S,Se]),"
    "$([#7X3;!H0;+0]-[#6,#7]=[#7X2;+0]),"
    "$([OX2H1,SX2H1,SeX2H1]-c:[n;H1,X2]),"
    "$([OX2H1,SX2H1,SeX2H1]-c:a:a:[n;H1,X2]),"
    "$([#7X2;+0]=c)]"
)
# InChI removes metals and moves charges, so that its form of a group cannot be predicted.
_UNUSUAL = Chem.MolFromSmarts("[!+0,!#1!#6!#7!#8!#9!#14!#15!#16!#17!#34!#35!#53]")
_RING_HYDROGEN = Chem.MolFromSmarts("[nH]")
_RING_PLACE = Chem.MolFromSmarts("[nX2;+0]")
_TROPOLONE = Chem.MolFromSmarts("[OX2H1,SX2H1,#7X3!H0;+0]-[#6;r7]~[#6;r7]=[OX1,SX1,#7X2;+0]")


class Costs(NamedTuple):
    """The costs of a hydrogen at a site, a double bond to it, and hydrogens at two neighbours."""

    oxygen_hydrogen: float = 5.0
    sulfur_hydrogen: float = 3.0
    six_ring_hydrogen: float = 1.0
    five_ring_hydrogen: float = 0.3
    beside_fusion: float = -0.1
    beside_carbonyl: float = -0.1
    two_neighbours: float = 2.0  # at two nitrogens of a ring that are bound to each other
    imine_on_ring: float = 2.0
    substituted_imine: float = 0.3
    ring_imine: float = -0.2
    acceptor_imine: float = -0.5


COSTS = Costs()


def place_hydrogens(mol: Chem.Mol, inchi: str = "") -> Chem.Mol:
    """Return the molecule with its mobile hydrogens in their places; itself if they are there.

    Parameters
    ----------
    mol
        Sanitised, of one component; it is not changed.
    inchi
        The InChI that the molecule was read from, if any: fewer InChI are computed then.
    """
    if not may_be_elsewhere(mol):
        return mol
    kekule = without_aromatic_bonds(mol)
    found = _Groups(kekule)
    groups = [replace(group, cost=found.costs(group)) for group in found.mobile()]
    if not groups:
        return mol
    ranks = _ranks(mol, groups)
    best = [next(_forms(group, ranks), None) for group in groups]
    if not any(best):
        return mol
    placed = _with_forms(kekule, zip(groups, best, strict=True))
    moved = [group for group, form in zip(groups, best, strict=True) if form]
    if all(_is_certain(group, mol) for group in moved) and not mol.HasSubstructMatch(_UNUSUAL):
        return placed
    block = first_block(placed)
    if inchi and block == Chem.InchiToInchiKey(inchi)[:_FIRST_BLOCK]:  # type: ignore[no-untyped-call]
        return placed
    wanted = first_block(mol)
    if block == wanted:
        return placed
    # At least one of the groups is not mobile by InChI's rules, or not in that form.
    chosen: list[tuple[_Group, _Form | None]] = []
    for group in groups:
        for form in islice(_forms(group, ranks), _MOST_FORMS):
            if first_block(_with_forms(kekule, [*chosen, (group, form)])) == wanted:
                chosen.append((group, form))
                break
    return _with_forms(kekule, chosen) if chosen else mol


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
    found = _Groups(without_aromatic_bonds(mol))
    sure = {group.sites for group in found.mobile() if not found.may_be_larger(group)}
    return sure.issuperset(sharing)


def may_be_elsewhere(mol: Chem.Mol) -> bool:
    """Return whether a molecule may have mobile hydrogens, by a test of some microseconds."""
    return mol.HasSubstructMatch(_TROPOLONE) or (
        mol.HasSubstructMatch(_NEEDED)
        and (
            mol.HasSubstructMatch(_SUSPECT)
            or (mol.HasSubstructMatch(_RING_HYDROGEN) and mol.HasSubstructMatch(_RING_PLACE))
        )
    )


def _is_certain(group: _Group, mol: Chem.Mol) -> bool:
    """Return whether a group's hydrogens are mobile by InChI's rules too, in any surroundings.

    They are in two cases: where the group is one atom with sites around it (not with two oxygens,
    as in carbamic acid, from which no hydrogen moves to another element), and in the rings of
    `_is_ring`.
    """
    n_oxygen = sum(mol.GetAtomWithIdx(site).GetAtomicNum() == 8 for site in group.sites)
    has_one_centre = len(group.bonds) - len(group.sites) == 1
    has_acid = 1 < n_oxygen < len(group.sites)
    if has_one_centre and not has_acid and all(len(group.bonds[s]) == 1 for s in group.sites):
        return True
    return len(group.free) == 1 and _is_ring(group, mol)


def _is_ring(group: _Group, mol: Chem.Mol) -> bool:
    """Return whether a group is an azole, or such a ring fused to one of six, or a lactam of six.

    With nitrogens, and the oxygen of the lactam, as its only sites. InChI agreed for
    each of 4,202 such molecules, of 533,553 that were looked at.
    """
    atoms = group.bonds.keys()
    rings = [
        ring
        for ring in mol.GetRingInfo().AtomRings()
        if len(ring) in _RING_SIZES and atoms >= set(ring)
    ]
    outside = [mol.GetAtomWithIdx(a).GetAtomicNum() for a in atoms - set().union(*rings)]
    elements = {mol.GetAtomWithIdx(site).GetAtomicNum() for site in group.sites}
    sizes = sorted(map(len, rings))
    if sizes in ([5], [5, 6]):
        return not outside and elements == {7}
    return sizes == [6] and outside == [8] and elements == {7, 8}


def _with_forms(kekule: Chem.RWMol, forms: Iterable[tuple[_Group, _Form | None]]) -> Chem.Mol:
    """Return a sanitised molecule with some groups in other forms."""
    changed = Chem.RWMol(kekule)
    for group, form in forms:
        if form is not None:
            _apply(changed, group, form)
    placed = changed.GetMol()
    Chem.SanitizeMol(placed)
    Chem.AssignStereochemistry(placed, cleanIt=True, force=True)
    return placed


def first_block(mol: Chem.Mol) -> str:
    """Return the first block of a molecule's InChIKey."""
    # Without stereochemistry, which is no part of it.
    key: str = Chem.MolToInchiKey(mol, options="/SNon")  # type: ignore[no-untyped-call]
    return key[:_FIRST_BLOCK]


# The partner in a double bond of each atom that has one.
_Form = dict[int, int]


@dataclass(frozen=True)
class _Group:
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


class _Groups:
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

    def mobile(self) -> Iterator[_Group]:
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
                yield _Group({atom: self._bonds[atom] for atom in atoms}, sites, free)

    def costs(self, group: _Group) -> dict[int, float]:
        """Return what a hydrogen costs at each site of a group; see `_Group`."""
        return {site: self._cost(site, group.sites) for site in group.sites}

    def may_be_larger(self, group: _Group) -> bool:
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
            if len(ring) in _RING_SIZES and all(map(self._is_conjugated, ring))
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
            return COSTS.oxygen_hydrogen if number == 8 else COSTS.sulfur_hydrogen
        neighbours = self._around[site]
        beside_carbonyl = sum(
            any(n in group and self._atoms[n].number != 7 for n in self._around[neighbour])
            for neighbour in neighbours
        )
        if site in self._ring_atoms:
            cost = COSTS.beside_carbonyl * beside_carbonyl
            if 5 not in self._rings_of(site):
                return cost + COSTS.six_ring_hydrogen
            fused = any(len(self._rings_of(n)) > 1 for n in neighbours)
            return cost + COSTS.five_ring_hydrogen + (COSTS.beside_fusion if fused else 0.0)
        # From here on costs are of the double bond, so they are negative for the hydrogen.
        cost = 0.0
        if any(n in self._ring_atoms for n in neighbours):
            cost += COSTS.imine_on_ring
        if self._rings_of(site):
            cost += COSTS.ring_imine
        elif len(neighbours) > 1:
            cost += COSTS.substituted_imine
        if any(self._is_acceptor(n, site) for n in neighbours):
            cost += COSTS.acceptor_imine
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


def _ranks(mol: Chem.Mol, groups: list[_Group]) -> list[int]:
    """Return canonical ranks of the atoms that no place of a mobile hydrogen changes."""
    bare = Chem.RWMol(mol)
    for group in groups:
        for atom, bound in group.bonds.items():
            bare_atom = bare.GetAtomWithIdx(atom)
            bare_atom.SetIsAromatic(False)
            bare_atom.SetNoImplicit(True)
            bare_atom.SetNumExplicitHs(0)
            for other in bound:
                bond = bare.GetBondBetweenAtoms(atom, other)
                bond.SetIsAromatic(False)
                bond.SetBondType(Chem.BondType.SINGLE)
                bond.SetStereo(Chem.BondStereo.STEREONONE)
    return ranks_of(bare)


def ranks_of(bare: Chem.RWMol) -> list[int]:
    """Return canonical ranks of the atoms of a molecule without double bonds, which is updated.

    Labels and stereochemistry count only for atoms that nothing else tells apart, so that they
    change the form of no molecule.
    """
    bare.UpdatePropertyCache(strict=False)
    alike = list(
        Chem.CanonicalRankAtoms(
            bare, breakTies=False, includeChirality=False, includeIsotopes=False
        )
    )
    apart = list(Chem.CanonicalRankAtoms(bare))
    ranks = [0] * len(apart)
    for rank, atom in enumerate(sorted(range(len(apart)), key=lambda a: (alike[a], apart[a]))):
        ranks[atom] = rank
    return ranks


def _forms(group: _Group, ranks: list[int]) -> Iterator[_Form]:
    """Yield the forms that are better than the one as written, the best first."""
    n = len(group.free)
    if comb(len(group.sites), n) > _MOST_PLACES:
        return
    sites = sorted(group.sites, key=lambda site: ranks[site])

    def cost(free: tuple[int, ...]) -> float:
        pairs = sum(b in group.bonds[a] for a, b in combinations(free, 2))
        return round(sum(group.cost[site] for site in free) + COSTS.two_neighbours * pairs, 6)

    for free in sorted(
        combinations(sites, n), key=lambda free: (cost(free), [ranks[site] for site in free])
    ):
        if set(free) == group.free:
            return
        form = _paired(group.bonds, set(group.bonds) - set(free), ranks)
        if form is not None:
            yield form


def _paired(bonds: dict[int, set[int]], atoms: set[int], ranks: list[int]) -> _Form | None:
    """Return a partner for each of the atoms, None if some must stay alone."""
    steps = 0

    def search(left: frozenset[int]) -> _Form | None:
        nonlocal steps
        steps += 1
        if not left:
            return {}
        if steps > _MOST_STEPS:
            return None
        # The atom with the fewest choices: mostly there is one, or none.
        one = min(left, key=lambda atom: (len(bonds[atom] & left), ranks[atom]))
        for other in sorted(bonds[one] & left, key=lambda atom: ranks[atom]):
            rest = search(left - {one, other})
            if rest is not None:
                return rest | {one: other, other: one}
        return None

    return search(frozenset(atoms))


def _apply(mol: Chem.RWMol, group: _Group, partner: _Form) -> None:
    for atom, bound in group.bonds.items():
        if atom in group.sites:
            bare_atom = mol.GetAtomWithIdx(atom)
            bare_atom.SetNoImplicit(False)
            bare_atom.SetNumExplicitHs(0)
        for other in bound:
            bond = mol.GetBondBetweenAtoms(atom, other)
            double = partner.get(atom) == other
            wanted = Chem.BondType.DOUBLE if double else Chem.BondType.SINGLE
            if bond.GetBondType() != wanted:
                bond.SetBondType(wanted)
                bond.SetStereo(Chem.BondStereo.STEREONONE)
