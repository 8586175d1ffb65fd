"""What the surroundings of a cut bond say of the ions on either side of it.

Classes of atoms and bonds tell little of where in a molecule a bond is. Here each atom has a state,
which begins with what the atom is and takes in, twice, what its neighbours say: a small
message-passing network. The states of both ends of a bond, and its class, give what is added to the
outputs of the fragment score's layers where that bond is cut (`Layers`): one row for the fragment
that keeps the first end, one for that which keeps the second. They are computed once per molecule,
so that a fragment costs no more than without them.

With the states ``h`` of D numbers, of atom a with neighbours b, and ``r`` for rectified:

    h_a = r(A x_a + c),
    h_a <- h_a + r(S h_a + s + sum over b of r(M h_b + e[class of bond])), twice,
    row = L r(I h_kept + i + O h_lost + k[class of bond]).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.graph import ATOM_CLASSES, BOND_CLASSES, Graph, compiled

N_ROUNDS = 2
"""How often an atom takes in what its neighbours say: its surroundings are of this radius."""

PREFIX = "surroundings."
"""Of the names of what is learned."""

_MOST_HYDROGENS = 3
_MOST_NEIGHBOURS = 4
_ELEMENTS = (6, 7, 8, 15, 16, 9, 17, 35, 53, 14, 5, 34)
_ELEMENT = np.full(119, len(_ELEMENTS))
_ELEMENT[list(_ELEMENTS)] = range(len(_ELEMENTS))
_FIRST_RING_CLASS = BOND_CLASSES.index("ring")  # and all after it

_HYDROGENS = len(ATOM_CLASSES)
_ELEMENT_AT = _HYDROGENS + _MOST_HYDROGENS + 1
_NEIGHBOURS = _ELEMENT_AT + len(_ELEMENTS) + 1
_REST = _NEIGHBOURS + _MOST_NEIGHBOURS + 1
N_ATOM_FEATURES = _REST + 3


def atom_features(graph: Graph) -> NDArray[np.float32]:
    """Describe the atoms of a molecule, float32 (n_atoms, N_ATOM_FEATURES), by zeros and ones.

    In this order: its class; 0 to 3 and more hydrogens; its element; 0 to 4 and more neighbours;
    whether it has a positive and a negative charge; whether it is in a ring.
    """
    return _atom_features(graph.atoms, graph.bonds)


@compiled
def _atom_features(atoms: NDArray[np.int16], bonds: NDArray[np.int16]) -> NDArray[np.float32]:
    features = np.zeros((len(atoms), N_ATOM_FEATURES), np.float32)
    neighbours = np.zeros(len(atoms), np.int64)
    for i in range(len(bonds)):
        for side in range(2):
            neighbours[bonds[i, side]] += 1
            if bonds[i, 2] >= _FIRST_RING_CLASS:
                features[bonds[i, side], _REST + 2] = 1
    for a in range(len(atoms)):
        features[a, atoms[a, 2]] = 1
        features[a, _HYDROGENS + min(atoms[a, 1], _MOST_HYDROGENS)] = 1
        features[a, _ELEMENT_AT + _ELEMENT[atoms[a, 0]]] = 1
        features[a, _NEIGHBOURS + min(neighbours[a], _MOST_NEIGHBOURS)] = 1
        features[a, _REST] = atoms[a, 3] > 0
        features[a, _REST + 1] = atoms[a, 3] < 0
    return features


def surroundings_shapes(n_states: int, n_outputs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all that is learned, by name.

    In the formulas of this module: ``atom`` is A and c; ``own`` S and s, ``message`` M and ``bond``
    e of each round; ``kept`` I and i, ``lost`` O, ``cut`` k, ``output`` L.
    """
    square = (n_states, n_states)
    shapes: dict[str, tuple[int, ...]] = {
        "atom.weight": (n_states, N_ATOM_FEATURES),
        "atom.bias": (n_states,),
        "kept.weight": square,
        "kept.bias": (n_states,),
        "lost.weight": square,
        "cut.weight": (len(BOND_CLASSES), n_states),
        "output.weight": (n_outputs, n_states),
    }
    for n in range(N_ROUNDS):
        shapes[f"own.{n}.weight"] = square
        shapes[f"own.{n}.bias"] = (n_states,)
        shapes[f"message.{n}.weight"] = square
        shapes[f"bond.{n}.weight"] = (len(BOND_CLASSES), n_states)
    return {PREFIX + name: shape for name, shape in shapes.items()}


class Surroundings(NamedTuple):
    """What is learned, with the inputs of each layer in rows, float32; R is `N_ROUNDS`.

    Parameters
    ----------
    atom
        A and, in the last row, c: (N_ATOM_FEATURES + 1, D).
    own, said
        S and, in the last row, s: (R, D + 1, D); M: (R, D, D).
    bond
        e: (R, n_classes, D).
    kept, lost
        I and, in the last row, i: (D + 1, D); O: (D, D).
    cut
        k: (n_classes, D).
    outputs
        L: (D, n_outputs).
    """

    atom: NDArray[np.float32]
    own: NDArray[np.float32]
    said: NDArray[np.float32]
    bond: NDArray[np.float32]
    kept: NDArray[np.float32]
    lost: NDArray[np.float32]
    cut: NDArray[np.float32]
    outputs: NDArray[np.float32]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.float32]], columns: NDArray[np.int64]) -> Self:
        """Take what is learned, by name; outputs are put in some columns of the rows added to."""
        given = {name.removeprefix(PREFIX): array for name, array in arrays.items()}
        rounds = range(N_ROUNDS)
        outputs = np.zeros((given["output.weight"].shape[1], int(columns.max()) + 1), np.float32)
        outputs[:, columns] = given["output.weight"].T
        learned = cls(
            np.vstack([given["atom.weight"].T, given["atom.bias"]]),
            np.stack(
                [np.vstack([given[f"own.{n}.weight"].T, given[f"own.{n}.bias"]]) for n in rounds]
            ),
            np.stack([given[f"message.{n}.weight"].T for n in rounds]),
            np.stack([given[f"bond.{n}.weight"] for n in rounds]),
            np.vstack([given["kept.weight"].T, given["kept.bias"]]),
            given["lost.weight"].T,
            given["cut.weight"],
            outputs,
        )
        return cls(*map(np.ascontiguousarray, learned))


@compiled
def _add_product(
    factors: NDArray[np.float32], row: int, matrix: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Add a row of factors times a matrix, whose further rows are not looked at, to a row."""
    for k in range(factors.shape[1]):
        factor = factors[row, k]
        if factor != 0:
            for j in range(len(out)):
                out[j] += factor * matrix[k, j]


@compiled
def _add_rectified(values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for j in range(len(out)):
        out[j] += max(values[j], np.float32(0.0))


@compiled
def _states(
    features: NDArray[np.float32], bonds: NDArray[np.int16], learned: Surroundings
) -> NDArray[np.float32]:
    """Return the atoms' states after the last round, (n_atoms, D)."""
    n_atoms = len(features)
    n_states = learned.cut.shape[1]
    states = np.zeros((n_atoms, n_states), np.float32)
    said = np.zeros((n_atoms, n_states), np.float32)
    taken = np.zeros((n_atoms, n_states), np.float32)
    row = np.zeros(n_states, np.float32)
    for a in range(n_atoms):
        for j in range(n_states):
            row[j] = learned.atom[features.shape[1], j]
        _add_product(features, a, learned.atom, row)
        _add_rectified(row, states[a])
    for n in range(len(learned.own)):
        _both(states, learned.own[n], learned.said[n], taken, said)
        for i in range(len(bonds)):
            for side in range(2):
                lost = bonds[i, 1 - side]
                for j in range(n_states):
                    row[j] = said[lost, j] + learned.bond[n, bonds[i, 2], j]
                _add_rectified(row, taken[bonds[i, side]])
        for a in range(n_atoms):
            _add_rectified(taken[a], states[a])
    return states


@compiled
def _both(
    states: NDArray[np.float32],
    one: NDArray[np.float32],
    other: NDArray[np.float32],
    by_one: NDArray[np.float32],
    by_other: NDArray[np.float32],
) -> None:
    """Write the products of states with two matrices, the last row of the first added to its."""
    for a in range(len(states)):
        for j in range(states.shape[1]):
            by_one[a, j] = one[len(one) - 1, j]
            by_other[a, j] = 0
        _add_product(states, a, one, by_one[a])
        _add_product(states, a, other, by_other[a])


@compiled
def add_cut_rows(
    features: NDArray[np.float32],
    bonds: NDArray[np.int16],
    learned: Surroundings,
    rows: NDArray[np.float32],
) -> None:
    """Add what each cut adds to the rows, (2 n_bonds, n_outputs at least), in place.

    Row ``2 i`` is of bond i where its first atom is kept, row ``2 i + 1`` where its second is.

    Parameters
    ----------
    features
        `atom_features` of the molecule.
    bonds
        Its bonds, as in `Graph`.
    learned
        The weights.
    """
    states = _states(features, bonds, learned)
    n_states = states.shape[1]
    kept = np.empty_like(states)
    lost = np.empty_like(states)
    _both(states, learned.kept, learned.lost, kept, lost)
    row = np.zeros(n_states, np.float32)
    end = np.zeros((1, n_states), np.float32)
    for i in range(len(bonds)):
        for side in range(2):
            for j in range(n_states):
                row[j] = kept[bonds[i, side], j] + lost[bonds[i, 1 - side], j]
                row[j] += learned.cut[bonds[i, 2], j]
                end[0, j] = 0
            _add_rectified(row, end[0])
            _add_product(end, 0, learned.outputs, rows[2 * i + side, : learned.outputs.shape[1]])
