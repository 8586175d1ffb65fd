"""Masses that a structure may have, by its text alone, so that most of a long table is not parsed.

The atoms and hydrogens of a SMILES are counted as RDKit counts them: atoms of the organic subset
get the hydrogens that their lowest sufficient valence leaves, those in brackets have what is
written. Standardisation (`specvae.molecules.standard`) moves protons to balance charges and changes
no other atom: a structure with p positive and n negative charges has one of the masses with -p to
+n further hydrogens.

The formula of an InChI has all atoms. InChI has no notion of an unpaired electron, though, and
RDKit reads a carbene with two further hydrogens (10 of 134,685 InChI of PubChem): masses with two
and four of them are taken as possible too.

What is not understood, or might be read otherwise, has no mass here and must be parsed: several
components, isotopes, metals, wildcards, unusual valences, carbocations, charged boron, charged
InChI, atom classes, names behind the SMILES. A text that has masses here may still be one that
cannot be parsed, such as a ring of aromatic atoms that no double bonds fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from specvae.limits import limits
from specvae.molecules.compiling import compiled, inner

_H, _B, _C, _N, _O, _F, _SI, _P, _S, _CL, _SE, _BR, _I = map(
    Chem.GetPeriodicTable().GetAtomicNumber,
    ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "I"),
)
_MASSES = np.array([Chem.GetPeriodicTable().GetMostCommonIsotopeMass(n) for n in range(_I + 1)])
_UNDERSTOOD = (_H, _B, _C, _N, _O, _F, _SI, _P, _S, _CL, _SE, _BR, _I)

# By atomic number: lowest and highest valence, and whether it may be charged or aromatic.
_LEAST, _MOST, _MAY_BE_CHARGED, _MAY_BE_AROMATIC = range(4)
_TRAITS = np.zeros((_I + 1, 4), np.int64)
_TRAITS[list(_UNDERSTOOD), :2] = 1
_TRAITS[[_O, _S, _SE], :2] = 2
_TRAITS[[_B, _N, _P], :2] = 3
_TRAITS[[_C, _SI], :2] = 4
_TRAITS[[_P, _S, _SE], _MOST] = 5, 6, 6
_TRAITS[[_C, _N, _O, _P, _S], _MAY_BE_CHARGED] = True
_TRAITS[[_C, _N, _O, _S, _SE], _MAY_BE_AROMATIC] = True

_NO_BOND, _SINGLE, _DOUBLE = 0, 1, 2
_ORDERS = np.zeros(256, np.int64)  # by letter
for _letter, _order in (("-", 1), ("/", 1), ("\\", 1), ("=", 2), ("#", 3)):
    _ORDERS[ord(_letter)] = _order

_N_LETTERS = 128
_N_RINGS = 100


def _elements() -> NDArray[np.int64]:
    """Return atomic numbers by 128 x first letter + second letter, 0 for none."""
    found = np.zeros(_N_LETTERS * _N_LETTERS, np.int64)
    for number in _UNDERSTOOD:
        symbol = Chem.GetPeriodicTable().GetElementSymbol(number)
        found[_N_LETTERS * ord(symbol[0]) + (ord(symbol[1]) if len(symbol) > 1 else 0)] = number
    return found


_ELEMENTS = _elements()


class TextMasses(NamedTuple):
    """Masses that structures may have, each with some hydrogens more than the one before.

    Attributes
    ----------
    lightest
        In Da, float64 (n,); not-a-number for texts that are not understood.
    n_further
        How many masses there are beside it, int64 (n,).
    n_hydrogens
        From one of them to the next, int64 (n,).
    """

    lightest: NDArray[np.float64]
    n_further: NDArray[np.int64]
    n_hydrogens: NDArray[np.int64]

    def each(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return all masses one after the other, Da (n,), and the text that each is of (n,)."""
        n = self.n_further + 1
        rows = np.repeat(np.arange(len(n)), n)
        further = np.arange(len(rows)) - np.repeat(np.cumsum(n) - n, n)
        return self.lightest[rows] + further * self.n_hydrogens[rows] * _MASSES[_H], rows


def text_masses(texts: Sequence[str]) -> TextMasses:
    """Return the masses that structures may have after standardisation, by their SMILES or InChI.

    Those whose `lightest` mass is a number have one of the masses given, if they can be parsed.
    """
    most = limits()
    found = TextMasses(
        np.full(len(texts), np.nan), np.zeros(len(texts), np.int64), np.ones(len(texts), np.int64)
    )
    lines = "\n".join([*texts, ""]).encode("ascii", "replace")
    if lines.count(b"\n") == len(texts):
        data = np.frombuffer(lines, np.uint8)
        longest = min(most.structure_characters, most.structure_atoms)
        tables = _Tables(_ELEMENTS, _TRAITS, _ORDERS, _MASSES)
        _read_smiles(data, tables, longest, found)
        if b"InChI=" in lines:
            _read_inchi(data, tables, longest, found)
    return found


# What is kept of each atom of a SMILES while it is read.
_ELEMENT, _STATED, _IS_CHARGED, _IS_AROMATIC = range(4)
_BONDS, _RING_BONDS, _BOND_ORDERS, _MULTIPLE = range(4, 8)
_N_FIELDS = 8

# Letters as numbers: Numba takes seconds to compile `ord`.
_LINE_FEED, _PERCENT, _OPENING, _CLOSING, _PLUS, _MINUS, _SLASH = b"\n%()+-/"
_ZERO, _NINE, _AT, _BRACKET, _BRACKET_END = b"09@[]"
_UPPER_B, _UPPER_C, _UPPER_H, _UPPER_S = b"BCHS"
_LOWER_A, _LOWER_E, _LOWER_F, _LOWER_I, _LOWER_L = b"aefil"
_LOWER_P, _LOWER_Q, _LOWER_R, _LOWER_S, _LOWER_Z = b"pqrsz"
_TO_UPPER = 32
_INCHI = np.frombuffer(b"InChI=1", np.uint8)
_MOST_DIGITS = 5


class _Tables(NamedTuple):
    """What is known of elements and letters; arguments, as compiled code would hold copies.

    Parameters
    ----------
    elements
        Atomic numbers by two letters, see `_element`.
    traits
        By atomic number, see `_TRAITS`.
    orders
        Orders of bonds by their letter.
    masses
        By atomic number, Da.
    """

    elements: NDArray[np.int64]
    traits: NDArray[np.int64]
    orders: NDArray[np.int64]
    masses: NDArray[np.float64]


@inner
def _join(atoms: NDArray[np.int64], one: int, other: int, order: int) -> None:
    """Enter a bond in both of its atoms."""
    is_ring = order == _NO_BOND and atoms[one, _IS_AROMATIC] and atoms[other, _IS_AROMATIC]
    for atom in (one, other):
        atoms[atom, _BONDS] += 1
        if is_ring:
            atoms[atom, _RING_BONDS] += 1
        else:
            atoms[atom, _BOND_ORDERS] += max(order, _SINGLE)
            atoms[atom, _MULTIPLE] += order > _SINGLE


@inner
def _read_atom(  # noqa: C901 (what compiled functions call is compiled twice)
    data: NDArray[np.uint8],
    place: int,
    tables: _Tables,
    atom: NDArray[np.int64],
    charges: NDArray[np.int64],
) -> int:
    """Read an atom of a SMILES; return where it ends, a negative number if it is not clear."""
    elements, traits = tables.elements, tables.traits
    in_bracket = data[place] == _BRACKET
    place += in_bracket
    first, second = data[place], data[place + 1]
    is_aromatic = first >= _LOWER_A
    has_two = _LOWER_A <= second <= _LOWER_Z
    if is_aromatic:
        has_two = in_bracket and first == _LOWER_S and second == _LOWER_E
        first -= _TO_UPPER
    elif not in_bracket:
        has_two = (first == _UPPER_C and second == _LOWER_L) or (
            first == _UPPER_B and second == _LOWER_R
        )
    number = _element(elements, first, second if has_two else 0)
    place += 2 if has_two else 1
    if number == 0 or (is_aromatic and not traits[number, _MAY_BE_AROMATIC]):
        return -1
    atom[_ELEMENT] = number
    atom[_IS_AROMATIC] = is_aromatic
    atom[_STATED] = -1
    if not in_bracket:
        return place if number != _H else -1
    while data[place] == _AT:
        place += 1
    n_hydrogens = 0
    if data[place] == _UPPER_H and number != _H:
        place += 1
        n_hydrogens = 1
        if _ZERO <= data[place] <= _NINE:
            n_hydrogens = data[place] - _ZERO
            place += 1
    atom[_STATED] = n_hydrogens
    sign = data[place]
    # A carbocation may be given a hydride.
    is_positive = sign == _PLUS and number != _C
    if traits[number, _MAY_BE_CHARGED] and (is_positive or sign == _MINUS):
        charge = 1
        place += 1
        if _ZERO <= data[place] <= _NINE:
            charge = data[place] - _ZERO
            place += 1
        while data[place] == sign:
            charge += 1
            place += 1
        charges[1 if sign == _MINUS else 0] += charge
        atom[_IS_CHARGED] = charge
    return place + 1 if data[place] == _BRACKET_END else -1


@inner
def _element(elements: NDArray[np.int64], first: int, second: int) -> int:
    """Return the atomic number of one or two letters, 0 for none that is understood."""
    is_ascii = 0 <= first < _N_LETTERS and second < _N_LETTERS
    return elements[_N_LETTERS * first + second] if is_ascii else 0


@inner
def _hydrogens(atom: NDArray[np.int64], traits: NDArray[np.int64]) -> int:
    """Return how many hydrogens an atom of a SMILES has, a negative number if it is not clear."""
    number, n_stated = int(atom[_ELEMENT]), int(atom[_STATED])
    if atom[_IS_CHARGED] or (atom[_IS_AROMATIC] and n_stated >= 0):
        return n_stated
    if atom[_IS_AROMATIC]:
        if atom[_BONDS] == 2 and atom[_RING_BONDS] == 2:
            return int(number == _C)
        most_orders = _DOUBLE if number == _C else _SINGLE if number == _N else -1
        is_usual = atom[_BONDS] == 3 and atom[_RING_BONDS] >= 2
        return 0 if is_usual and atom[_BOND_ORDERS] <= most_orders else -1
    n_used = int(atom[_BOND_ORDERS]) + max(n_stated, 0)
    valence, most = int(traits[number, _LEAST]), int(traits[number, _MOST])
    # Two double bonds at phosphorus may be read as charges.
    if number == _P and atom[_MULTIPLE] > 1:
        return -1
    while valence < n_used and valence < most:
        valence += 2
    if n_used > valence:
        return -1
    return n_stated if n_stated >= 0 else valence - n_used


@inner
def _mass(n_atoms: int, atoms: NDArray[np.int64], tables: _Tables) -> float:
    """Return the mass of the atoms of a SMILES in Da, not a number if it is not clear."""
    traits, masses = tables.traits, tables.masses
    mass = 0.0
    for number in range(n_atoms):
        n_hydrogens = _hydrogens(atoms[number], traits)
        if n_hydrogens < 0:
            return np.nan
        mass += masses[atoms[number, _ELEMENT]] + n_hydrogens * masses[_H]
    return mass


@inner
def _ring_number(data: NDArray[np.uint8], place: int, end: int) -> int:
    """Return the number of a bond that closes a ring, 0 to 9 or of two digits behind ``%``.

    -1 if there is none.
    """
    if data[place] != _PERCENT:
        return int(data[place]) - _ZERO
    first = int(data[place + 1]) - _ZERO
    second = int(data[place + 2]) - _ZERO if place + 1 < end else -1
    return 10 * first + second if 0 <= first <= 9 and 0 <= second <= 9 else -1


@compiled
def _read_smiles(  # noqa: C901 (see `_read_atom`)
    data: NDArray[np.uint8], tables: _Tables, longest: int, found: TextMasses
) -> None:
    """Enter the masses of lines, each ended by a line feed, that are clear SMILES."""
    # A field of a named tuple takes longer than an array.
    bond_orders = tables.orders
    lightest, n_further, _ = found
    atoms = np.zeros((longest + 1, _N_FIELDS), np.int64)
    branches = np.zeros(longest + 1, np.int64)
    opened = np.zeros(_N_RINGS, np.int64)
    orders = np.zeros(_N_RINGS, np.int64)
    charges = np.zeros(2, np.int64)
    end = -1
    for row in range(len(lightest)):
        place = end + 1
        end = place
        while data[end] != _LINE_FEED:
            end += 1
        if end - place > longest:
            continue
        charges[0] = charges[1] = 0
        for number in range(_N_RINGS):
            opened[number] = -1
        n_atoms = n_branches = n_open = bond = letter = 0
        last = -1
        is_clear = False
        while place < end:
            before, letter = letter, data[place]
            place += 1
            if letter == _OPENING:
                if last < 0 or bond or before == _OPENING:
                    break
                branches[n_branches] = last
                n_branches += 1
            elif letter == _CLOSING:
                if n_branches == 0 or bond or before == _OPENING:
                    break
                n_branches -= 1
                last = branches[n_branches]
            elif bond_orders[letter]:
                if last < 0 or bond:
                    break
                bond = bond_orders[letter]
            elif _ZERO <= letter <= _NINE or letter == _PERCENT:
                number = _ring_number(data, place - 1, end)
                if number < 0:
                    break
                place += 2 if letter == _PERCENT else 0
                other = opened[number]
                if last < 0 or before == _OPENING or other == last:
                    break
                if other < 0:
                    opened[number] = last
                    orders[number] = bond
                    n_open += 1
                else:
                    if bond and orders[number] and bond != orders[number]:
                        break
                    _join(atoms, other, last, max(bond, orders[number]))
                    opened[number] = -1
                    n_open -= 1
                bond = _NO_BOND
            else:
                atom = atoms[n_atoms]
                for field in range(_N_FIELDS):
                    atom[field] = 0
                place = _read_atom(data, place - 1, tables, atom, charges)
                if place < 0:
                    break
                if last >= 0:
                    _join(atoms, last, n_atoms, bond)
                last, bond = n_atoms, _NO_BOND
                n_atoms += 1
        else:
            is_clear = n_atoms > 0 and n_branches == 0 and n_open == 0 and bond == _NO_BOND
        if not is_clear:
            continue
        # A positive charge may leave with a hydrogen, a negative one bring one.
        lightest[row] = _mass(n_atoms, atoms, tables) - charges[0] * tables.masses[_H]
        n_further[row] = charges[0] + charges[1]


@compiled
def _read_inchi(
    data: NDArray[np.uint8], tables: _Tables, most_atoms: int, found: TextMasses
) -> None:
    """Enter the masses of lines, each ended by a line feed, that are clear InChI."""
    elements, traits, _, weights = tables
    lightest, n_further, n_hydrogens = found
    end = -1
    for row in range(len(lightest)):
        place = end + 1
        end = place
        while data[end] != _LINE_FEED:
            end += 1
        if end - place < len(_INCHI) + 3:
            continue
        is_clear = True
        for number in range(len(_INCHI)):
            is_clear &= data[place + number] == _INCHI[number]
        place += len(_INCHI)
        place += data[place] == _UPPER_S
        is_clear &= data[place] == _SLASH
        place += 1
        mass = 0.0
        n_atoms = n_bonds = 0
        while is_clear and place < end and data[place] != _SLASH:
            first, second = data[place], data[place + 1]
            has_two = _LOWER_A <= second <= _LOWER_Z
            place += 2 if has_two else 1
            number = _element(elements, first, second if has_two else 0)
            n = n_digits = 0
            while _ZERO <= data[place] <= _NINE and n_digits < _MOST_DIGITS:
                n = 10 * n + data[place] - _ZERO
                n_digits += 1
                place += 1
            is_clear = number > 0 and number != _B and (n > 0 or n_digits == 0)
            n = max(n, 1)
            mass += n * weights[number]
            n_atoms += n if number != _H else 0
            n_bonds += n * traits[number, _LEAST]
        # An odd number of bonds leaves an electron unpaired.
        is_clear &= 0 < n_atoms <= most_atoms and n_bonds % 2 == 0
        while is_clear and place < end:
            layer = data[place + 1]
            # Isotopes, all hydrogens fixed, metals bonded, protons, charges.
            is_clear = layer not in (_LOWER_I, _LOWER_F, _LOWER_R, _LOWER_P, _LOWER_Q)
            place += 1
            while place < end and data[place] != _SLASH:
                place += 1
        if is_clear:
            lightest[row] = mass
            n_further[row] = n_hydrogens[row] = 2
