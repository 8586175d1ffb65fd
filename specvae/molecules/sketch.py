"""A molecule of which atoms and neighbours are known, but not where its double bonds are.

For compiled functions. Atoms count from 0; sets of atoms are int64 (`specvae.molecules.bit_sets`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_GROUPS = 16  # of mobile hydrogens
MOST_RINGS = 32
MOST_TRIES = 2000  # steps of a search

CARBON, NITROGEN, OXYGEN, PHOSPHORUS, SULFUR = 6, 7, 8, 15, 16
_ELEMENTS = {"C": 6, "N": 7, "O": 8, "F": 9, "P": 15, "S": 16, "Cl": 17, "Br": 35, "I": 53}
LETTERS = np.array([[*text.ljust(2, "\0").encode(), n] for text, n in _ELEMENTS.items()], np.int64)
"""Both letters, 0 for none, and the numbers of elements that need no brackets in a SMILES."""
VALENCES = np.zeros(54, np.int64)
"""Of elements by their numbers: those without bonds to oxygens that do not count."""
VALENCES[[6, 7, 8, 9, 15, 16, 17, 35, 53]] = 4, 3, 2, 1, 3, 2, 1, 1, 1


class Sketch(NamedTuple):
    """What is known of one molecule; all are int64, of atoms (64,).

    Parameters
    ----------
    number, hydrogens, degree, around
        Of each atom its element, hydrogens that are not mobile, neighbours, and their set.
    missing
        Orders of bonds that each atom needs beyond single ones.
    double, triple
        Sets of atoms that each one is bound to so.
    partner
        The atom that a double bond leads to, -1 for none.
    group, group_free
        Sets of atoms that share hydrogens; how many of them have no double bond (MOST_GROUPS,).
    rings
        Sets of atoms of rings (MOST_RINGS,).
    links
        Of each atom those that it may have a double bond to.
    numbers
        What else there is, see `N_ATOMS`.
    choices
        Room for the places of the hydrogens of each group.
    parity
        Of each stereocentre 1 or 2, else 0: InChI's ``-`` and ``+``, as they are in the structure.
    same_side, other_side
        Sets of atoms that each one has a double bond to with their highest neighbours on the same
        side of it, or on different ones.
    search
        Room of a search for double bonds (64, 3).
    place, open_bonds
        Of each atom its place in the SMILES; the bonds that close rings and are open while it is
        written.
    """

    number: NDArray[np.int64]
    hydrogens: NDArray[np.int64]
    degree: NDArray[np.int64]
    around: NDArray[np.int64]
    missing: NDArray[np.int64]
    double: NDArray[np.int64]
    triple: NDArray[np.int64]
    partner: NDArray[np.int64]
    group: NDArray[np.int64]
    group_free: NDArray[np.int64]
    rings: NDArray[np.int64]
    links: NDArray[np.int64]
    numbers: NDArray[np.int64]
    choices: NDArray[np.int64]
    parity: NDArray[np.int64]
    same_side: NDArray[np.int64]
    other_side: NDArray[np.int64]
    search: NDArray[np.int64]
    place: NDArray[np.int64]
    open_bonds: NDArray[np.int64]


# Places in `Sketch.numbers`: atoms, bonds, groups, rings; hydrogens of the formula; sets of atoms:
# nitrogens of nitro groups and their single-bonded oxygens.
(
    N_ATOMS,
    N_BONDS,
    N_GROUPS,
    N_RINGS,
    N_HYDROGENS,
    NITRO,
    NITRO_OXYGENS,
) = range(7)


def empty_sketch() -> Sketch:
    """Return room for molecules, one after the other."""

    def room(*size: int) -> NDArray[np.int64]:
        return np.zeros(size, np.int64)

    of_atoms = [room(64) for _ in range(len(Sketch._fields))]
    return Sketch(*of_atoms)._replace(
        group=room(MOST_GROUPS),
        group_free=room(MOST_GROUPS),
        rings=room(MOST_RINGS),
        search=room(64, 3),
    )
