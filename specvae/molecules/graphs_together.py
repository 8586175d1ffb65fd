"""Graphs of many molecules, taken from RDKit's binary form in one call of compiled code.

One by one (`OrderedGraph.of`), most of the time goes to calls and small arrays. What is not known
of that form, labelled atoms and molecules of several components are left to that, and a test
compares the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase

from specvae.errors import StructureError
from specvae.molecules.binary_form import FIRST_ATOM, MOST_ATOMS, N_BONDS
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.drawn import ISOTOPE, read_binary, set_kekule
from specvae.molecules.graph import OrderedGraph, canonical_ranks, classify, write_graph
from specvae.molecules.kekule import FIRST_VERSION
from specvae.molecules.kept_code import WorthCompiling
from specvae.molecules.molecule import Molecule

# To compile it takes some five seconds, once for all; it saves a fiftieth of a millisecond a
# molecule.
_is_worth_compiling = WorthCompiling("molecules/graphs_together._write_all", 20_000, 100)
_BOND_BYTES = 3  # of a bond in binary form, at least


def graphs_of(molecules: Sequence[Molecule]) -> list[bytes | str]:
    """Return graphs as `OrderedGraph.to_bytes` writes them, or why a molecule cannot be broken."""
    return [
        graph or _taken_alone(molecule)
        for molecule, graph in zip(molecules, _taken_together(molecules), strict=True)
    ]


def _taken_alone(molecule: Molecule) -> bytes | str:
    try:
        return OrderedGraph.of(molecule.mol, molecule.binary).to_bytes()
    except StructureError as error:
        return str(error)


def _taken_together(molecules: Sequence[Molecule]) -> list[bytes]:
    """Return graphs, b"" where one must be taken alone."""
    is_known = rdBase.rdkitVersion >= FIRST_VERSION
    if not molecules or not is_known or not _is_worth_compiling(len(molecules)):
        return [b""] * len(molecules)
    ranks: list[int] = []
    first_atoms = [0]
    for molecule in molecules:
        ranks += canonical_ranks(molecule.mol)
        first_atoms.append(len(ranks))
    binaries = [molecule.binary for molecule in molecules]
    data = np.frombuffer(b"".join(binaries), np.uint8)
    most_bonds = len(data) // _BOND_BYTES
    out = np.empty(4 * len(molecules) + 3 * len(ranks) + 5 * most_bonds, np.int16)
    ends = np.zeros(len(molecules) + 1, np.int64)
    begins = np.cumsum([0, *map(len, binaries)])
    _write_all(data, begins, np.array(ranks, np.int16), np.array(first_atoms), out, ends)
    written = out[: ends[-1]].astype("<i2").tobytes()
    return [written[begin:end] for begin, end in pairwise((2 * ends).tolist())]


@inner
def _write(
    data: NDArray[np.uint8], places: NDArray[np.int16], out: NDArray[np.int16], at: int
) -> int:
    """Write a molecule's graph from a place on; return where it ends, that place if not known."""
    n = len(places)
    if len(data) < FIRST_ATOM or not 0 < n <= MOST_ATOMS:
        return at
    n_bonds = ZERO + data[N_BONDS] + (ZERO + data[N_BONDS + 1] << 8)
    atoms = np.zeros((n, 4), np.int16)
    marks = np.zeros((n, 6), np.int32)
    between = np.zeros((n, n), np.int16)
    end, n_open, is_joined = read_binary(data, n_bonds, places, atoms, marks, between)
    if end <= 0 or not is_joined:
        return at
    if n_open != 0 and not set_kekule(data, end, places, atoms, marks, between):
        return at
    for a in range(n):
        if marks[a, ISOTOPE] != 0:
            return at
    bonds = np.zeros((n_bonds, 5), np.int16)
    classify(atoms, marks, between, bonds)
    return write_graph(atoms, bonds, places, out, at)


@compiled
def _write_all(
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ranks: NDArray[np.int16],
    first_atoms: NDArray[np.int64],
    out: NDArray[np.int16],
    ends: NDArray[np.int64],
) -> None:
    """Write graphs one behind the other; those that are not known have no length."""
    at = ZERO
    for k in range(len(begins) - 1):
        places = ranks[first_atoms[k] : first_atoms[k + 1]]
        at = _write(data[begins[k] : begins[k + 1]], places, out, at)
        ends[k + 1] = at
