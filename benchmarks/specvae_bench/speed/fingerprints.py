"""What fingerprints take, beside scikit-fingerprints, and whether the bits are the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError
from specvae.molecules.fingerprint import (
    LAYOUT_NAMES,
    FingerprintLayout,
    get_layout,
    unpack,
)
from specvae.molecules.molecule import Molecule
from specvae.molecules.structure_files import read_cells
from specvae.molecules.structures import parse_rows
from specvae.report import ReadReport

_N_DRAWN, _N_MADE_UP = 3000, 1500  # enough for the search in compiled code
_Task = Callable[[Sequence[Molecule]], NDArray[np.uint8]]

_TURN = 100  # molecules for which all take turns
_FIRST_SMARTS = 263  # of PubChem's bits; those before are counts, which are ours on purpose

# What chains of pieces begin with, go on by, and end with.
_STARTS = (
    "C", "CC(C)", "CO", "CN(C)", "CS", "CS(=O)(=O)", "C#C", "C=C", "N#C", "O=[N+]([O-])", "OC(=O)",
    "NC(=O)", "NC(=N)", "OP(O)(=O)O", "F", "Cl", "Br", "FC(F)(F)", "C1CC1", "C1CCOCC1", "c1ccccc1",
    "c1ccncc1", "c1ccoc1", "c1cscc1", "OCC1OC(O)C(O)C(O)C1", "C[Si](C)(C)O", "OB(O)", "CC(C)(C)",
)  # fmt: skip
_MIDDLES = (
    "C", "CC", "C(C)C", "C(O)C", "CC(N)C", "C=C", "C(=O)", "C(=O)N", "NC(=O)", "OC(=O)", "NC(=O)N",
    "S(=O)(=O)N", "OCC", "SC", "N(C)C", "C=NO", "c1ccc(cc1)", "c1cc(Cl)cc(c1)", "c1cc(O)c(O)cc1",
    "c1nc(cs1)", "c1c[nH]c2ccc(cc12)", "c1ccc2c(c1)OCC(O2)", "N1CCN(CC1)", "C1CCC(CC1)",
    "C1CCC2(CC1)OCC(O2)", "n1cnc2c1c(=O)n(C)c(=O)n2", "c1nnc(o1)", "C1OC(C(O)C(O)C1O)",
    "C12CCC(CC1)C2", "C1=CC(=O)C(=CC1=O)", "P(=O)(O)O", "N=N",
)  # fmt: skip
_ENDS = (
    "C", "CC(C)C", "OC", "N(C)C", "SC", "S(C)(=O)=O", "C#C", "C#N", "[N+](=O)[O-]", "C(=O)O",
    "C(N)=O", "C=O", "OP(=O)(O)O", "F", "Cl", "Br", "I", "C(F)(F)F", "C1CC1", "N1CCOCC1",
    "c1ccccc1", "c1ccncc1", "c1ccco1", "c1ccc2ccccc2c1", "OC1OC(CO)C(O)C(O)C1O", "[Si](C)(C)C",
    "B(O)O", "C(C)(C)C", "[N+](C)(C)C",
)  # fmt: skip


def made_up(n: int = _N_MADE_UP) -> list[Molecule]:
    """Return different molecules of many kinds, where no table is given."""
    rng = np.random.default_rng(0)
    found: dict[str, Molecule] = {}
    while len(found) < n:
        pieces = [
            rng.choice(_STARTS),
            *rng.choice(_MIDDLES, rng.integers(1, 5)),
            rng.choice(_ENDS),
        ]
        molecule = Molecule.parse("".join(pieces))
        found.setdefault(molecule.smiles, molecule)
    return list(found.values())


def drawn(table: Path, n: int = _N_DRAWN, seed: int = 0) -> tuple[list[Molecule], int]:
    """Return molecules of random rows of a table, and how many rows have none that can be parsed.

    Raises
    ------
    InputError
        If the table cannot be read, or none of the rows has a structure.
    """
    rows = [cells for _, cells in read_cells(table, ReadReport())]
    rng = np.random.default_rng(seed)
    places = np.sort(rng.choice(len(rows), min(n, len(rows)), replace=False)).tolist()
    parsed = parse_rows([rows[place] for place in places])
    molecules = [molecule for molecule in parsed if isinstance(molecule, Molecule)]
    if not molecules:
        raise InputError(f"{table}: no row has a structure that can be parsed")
    return molecules, len(places) - len(molecules)


def layout_speed(molecules: Sequence[Molecule], repeats: int) -> dict[str, Any]:
    """Return what each layout takes, and scikit-fingerprints for the blocks of ``svae2149``.

    All get parsed molecules, and take turns after a hundred. Times are of the processor, medians
    of some rounds. Before these the layouts are computed once: patterns are prepared, what the
    kinds of atoms fit is learnt, and what is compiled from a thousand molecules on is compiled.

    ``bits`` counts by block the cells of ``svae2149`` that the peer has too, and how many of them
    differ. PubChem's counts differ on purpose: see docs/fingerprints.md.
    """
    # Takes seconds to import.
    from skfp.fingerprints import (
        KlekotaRothFingerprint,
        LaggnerFingerprint,
        MACCSFingerprint,
        PubChemFingerprint,
    )

    peers = {
        "laggner": LaggnerFingerprint(),
        "pubchem": PubChemFingerprint(),
        "klekota_roth": KlekotaRothFingerprint(),
        "maccs": MACCSFingerprint(),
    }
    layouts = {name: get_layout(name) for name in LAYOUT_NAMES}
    tasks: dict[str, _Task] = {name: layout.compute for name, layout in layouts.items()}
    tasks |= {name: _task_of(peer) for name, peer in peers.items()}
    for layout in layouts.values():
        layout.compute(molecules)
    rounds: list[dict[str, float]] = []
    found: dict[str, list[NDArray[np.uint8]]] = {}
    for _ in range(repeats):
        seconds = dict.fromkeys(tasks, 0.0)
        found = {name: [] for name in tasks}
        for start in range(0, len(molecules), _TURN):
            chunk = molecules[start : start + _TURN]
            for name, task in tasks.items():
                begin = time.process_time()
                bits = task(chunk)
                seconds[name] += time.process_time() - begin
                found[name].append(bits)
        rounds.append(seconds)
    of_peer = [sum(seconds[name] for name in peers) for seconds in rounds]
    milliseconds = {
        name: 1e3 * median(seconds[name] for seconds in rounds) / len(molecules) for name in tasks
    }
    peer_ms = 1e3 * median(of_peer) / len(molecules)
    layout = get_layout("svae2149")
    theirs = {name: np.concatenate(found[name]) for name in peers}
    return {
        "n_structures": len(molecules),
        "rounds": len(rounds),
        **{f"{name}_ms": milliseconds[name] for name in layouts},
        **{f"{name}_per_second": 1e3 / milliseconds[name] for name in layouts},
        "scikit_fingerprints": {
            **{f"{name}_ms": milliseconds[name] for name in peers},
            "together_ms": peer_ms,
            "per_second": 1e3 / peer_ms,
        },
        "scikit_fingerprints_over_svae2149": median(
            peer / seconds[layout.name] for peer, seconds in zip(of_peer, rounds, strict=True)
        ),
        "bits": _compared(layout, np.concatenate(found[layout.name]), theirs),
    }


def _task_of(peer: Any) -> _Task:  # noqa: ANN401 (a class without types)
    """Return what computes the fingerprints of scikit-fingerprints' class."""
    return lambda molecules: np.asarray(peer.transform([molecule.mol for molecule in molecules]))


def _compared(
    layout: FingerprintLayout,
    packed: NDArray[np.uint8],
    theirs: dict[str, NDArray[np.uint8]],
) -> dict[str, dict[str, int]]:
    """Return by block how many cells both have, and how many differ."""
    ours = unpack(packed, layout.n_bits)
    compared = {}
    for name, start, stop in layout.blocks:
        if name not in theirs:
            continue
        indices = np.array([index for _, index in layout.columns[start:stop]])
        differs = ours[:, start:stop] != theirs[name][:, indices]
        parts = {name: np.ones(len(indices), bool)}
        if name == "pubchem":
            parts = {name: indices >= _FIRST_SMARTS, f"{name}_counts": indices < _FIRST_SMARTS}
        for part, chosen in parts.items():
            compared[part] = {
                "cells": int(chosen.sum()) * len(ours),
                "differ": int(differs[:, chosen].sum()),
            }
    return compared
