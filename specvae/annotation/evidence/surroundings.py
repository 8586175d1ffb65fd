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

from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.drawn import ATOM_CLASS, CHARGE, ELEMENT, HYDROGENS
from specvae.molecules.graph import ATOM_CLASSES, BOND_CLASS, BOND_CLASSES, Graph
from specvae.molecules.lanes import N_LANES, add, add_times, load, rectified, store, zeros

N_ROUNDS = 2
"""How often an atom takes in what its neighbours say: its surroundings are of this radius."""

PREFIX = "surroundings."
"""Of the names of what is learned."""

BLOCK = 4 * N_LANES
"""States and hidden units are filled up to a multiple: so many are added up at once."""

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
            if bonds[i, BOND_CLASS] >= _FIRST_RING_CLASS:
                features[bonds[i, side], _REST + 2] = 1
    for a in range(len(atoms)):
        features[a, atoms[a, ATOM_CLASS]] = 1
        features[a, _HYDROGENS + min(atoms[a, HYDROGENS], _MOST_HYDROGENS)] = 1
        features[a, _ELEMENT_AT + _ELEMENT[atoms[a, ELEMENT]]] = 1
        features[a, _NEIGHBOURS + min(neighbours[a], _MOST_NEIGHBOURS)] = 1
        features[a, _REST] = atoms[a, CHARGE] > 0
        features[a, _REST + 1] = atoms[a, CHARGE] < 0
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

    D, the number of states, is filled up with zeros to a multiple of `BLOCK`.

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
        """Take what is learned, by name.

        Outputs are put in some columns, int64 (n_outputs,), of the rows added to.
        """
        given = {name.removeprefix(PREFIX): array for name, array in arrays.items()}
        rounds = range(N_ROUNDS)
        n_states = given["output.weight"].shape[1]
        width = -(-n_states // BLOCK) * BLOCK
        n_outputs = -(-int(columns.max() + 1) // N_LANES) * N_LANES
        outputs = np.zeros((width, n_outputs), np.float32)
        outputs[:n_states, columns] = given["output.weight"].T

        def filled(*parts: NDArray[np.float32], rows: int = width) -> NDArray[np.float32]:
            """Put a matrix in the first rows and columns, and what is added in the last row."""
            array = np.zeros((rows + len(parts) - 1, width), np.float32)
            array[: len(parts[0]), :n_states] = parts[0]
            for bias in parts[1:]:
                array[rows, :n_states] = bias
            return array

        learned = cls(
            filled(given["atom.weight"].T, given["atom.bias"], rows=N_ATOM_FEATURES),
            np.stack([filled(given[f"own.{n}.weight"].T, given[f"own.{n}.bias"]) for n in rounds]),
            np.stack([filled(given[f"message.{n}.weight"].T) for n in rounds]),
            np.stack([filled(given[f"bond.{n}.weight"], rows=len(BOND_CLASSES)) for n in rounds]),
            filled(given["kept.weight"].T, given["kept.bias"]),
            filled(given["lost.weight"].T),
            filled(given["cut.weight"], rows=len(BOND_CLASSES)),
            outputs,
        )
        return cls(*map(np.ascontiguousarray, learned))


@inner
def _add_product(
    factors: NDArray[np.float32],
    row: int,
    matrix: NDArray[np.float32],
    out: NDArray[np.float32],
    out_row: int,
) -> None:
    """Add a row of factors times a matrix, whose further rows are not looked at, to a row."""
    width = matrix.shape[1]
    at = out_row * out.shape[1]
    n_whole = width // BLOCK * BLOCK
    for j in range(0, n_whole, BLOCK):
        v0 = load(out, at + j)
        v1 = load(out, at + j + N_LANES)
        v2 = load(out, at + j + 2 * N_LANES)
        v3 = load(out, at + j + 3 * N_LANES)
        for k in range(factors.shape[1]):
            factor = factors[row, k]
            if factor != 0:
                of_row = k * width + j
                v0 = add_times(v0, factor, load(matrix, of_row))
                v1 = add_times(v1, factor, load(matrix, of_row + N_LANES))
                v2 = add_times(v2, factor, load(matrix, of_row + 2 * N_LANES))
                v3 = add_times(v3, factor, load(matrix, of_row + 3 * N_LANES))
        store(out, at + j, v0)
        store(out, at + j + N_LANES, v1)
        store(out, at + j + 2 * N_LANES, v2)
        store(out, at + j + 3 * N_LANES, v3)
    for j in range(n_whole, width, N_LANES):
        v0 = load(out, at + j)
        for k in range(factors.shape[1]):
            v0 = add_times(v0, factors[row, k], load(matrix, k * width + j))
        store(out, at + j, v0)


@inner
def _add_rectified(
    values: NDArray[np.float32], row: int, out: NDArray[np.float32], out_row: int
) -> None:
    """Add a row of values, or 0 where they are negative, to a row of the same length."""
    width = values.shape[1]
    for j in range(0, width, N_LANES):
        at = out_row * width + j
        store(out, at, add(load(out, at), rectified(load(values, row * width + j))))


@inner
def _states(
    features: NDArray[np.float32], bonds: NDArray[np.int16], learned: Surroundings
) -> NDArray[np.float32]:
    """Return the atoms' states after the last round, (n_atoms, D)."""
    n_atoms = len(features)
    n_states = learned.cut.shape[1]
    states = np.zeros((n_atoms, n_states), np.float32)
    said = np.zeros((n_atoms, n_states), np.float32)
    taken = np.zeros((n_atoms, n_states), np.float32)
    row = np.zeros((1, n_states), np.float32)
    for a in range(n_atoms):
        for j in range(0, n_states, N_LANES):
            store(row, j, load(learned.atom, features.shape[1] * n_states + j))
        _add_product(features, a, learned.atom, row, ZERO)
        _add_rectified(row, ZERO, states, a)
    for n in range(len(learned.own)):
        _both(states, learned.own[n], learned.said[n], taken, said)
        for i in range(len(bonds)):
            at = (n * learned.bond.shape[1] + bonds[i, BOND_CLASS]) * n_states
            for side in range(2):
                kept = bonds[i, side] * n_states
                lost = bonds[i, 1 - side] * n_states
                for j in range(0, n_states, N_LANES):
                    message = rectified(add(load(said, lost + j), load(learned.bond, at + j)))
                    store(taken, kept + j, add(load(taken, kept + j), message))
        for a in range(n_atoms):
            _add_rectified(taken, a, states, a)
    return states


@inner
def _both(
    states: NDArray[np.float32],
    one: NDArray[np.float32],
    other: NDArray[np.float32],
    by_one: NDArray[np.float32],
    by_other: NDArray[np.float32],
) -> None:
    """Write the products of states with two matrices, the last row of the first added to its."""
    width = states.shape[1]
    for a in range(len(states)):
        for j in range(0, width, N_LANES):
            store(by_one, a * width + j, load(one, (len(one) - 1) * width + j))
            store(by_other, a * width + j, zeros())
        _add_product(states, a, one, by_one, a)
        _add_product(states, a, other, by_other, a)


def add_cut_rows(
    graph: Graph, learned: Surroundings, rows: NDArray[np.float32], first: int
) -> None:
    """Add what each cut adds to the rows from `first` on, in place.

    Row ``first + 2 i`` is of bond i where its first atom is kept, the next where its second is.

    Parameters
    ----------
    graph
        The molecule.
    learned
        The weights.
    rows
        float32 (n_rows, n_outputs).
    first
        Index of a row.
    """
    _add_rows(graph.atoms, graph.bonds, learned, rows, first)


@compiled
def _add_rows(
    atoms: NDArray[np.int16],
    bonds: NDArray[np.int16],
    learned: Surroundings,
    rows: NDArray[np.float32],
    first: int,
) -> None:
    """Do what `add_cut_rows` documents."""
    states = _states(_atom_features(atoms, bonds), bonds, learned)
    n_states = states.shape[1]
    kept = np.zeros(states.shape, np.float32)
    lost = np.zeros(states.shape, np.float32)
    _both(states, learned.kept, learned.lost, kept, lost)
    end = np.zeros((1, n_states), np.float32)
    for i in range(len(bonds)):
        of_class = bonds[i, BOND_CLASS] * n_states
        for side in range(2):
            one = bonds[i, side] * n_states
            other = bonds[i, 1 - side] * n_states
            for j in range(0, n_states, N_LANES):
                said = add(load(kept, one + j), load(lost, other + j))
                store(end, j, rectified(add(said, load(learned.cut, of_class + j))))
            _add_product(end, ZERO, learned.outputs, rows, first + 2 * i + side)
