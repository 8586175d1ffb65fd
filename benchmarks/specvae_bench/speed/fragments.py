"""What the fragment evidence of a candidate takes, beside the network that it is learned by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.evidence.fragment_score import standard_scorers
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph import OrderedGraph
from specvae.molecules.molecule import Molecule
from specvae.molecules.structure_files import read_cells
from specvae.report import ReadReport
from specvae_bench.fragments.network import FragmentNetwork
from specvae_bench.fragments.rows import Batch

_N_MOLECULES = 200
_N_PEAKS = 40


def drug_sized() -> list[Molecule]:
    """Return different molecules, where no list of candidates is given."""
    return [
        Molecule.parse(
            f"C{'C' * n}C(=O)Nc1ccc(cc1)S(=O)(=O)N{'C' * m}c2ccncc2",
        )
        for n in range(8)
        for m in range(8)
    ]


def some_molecules(table: Path) -> list[Molecule]:
    """Return molecules from all over a table.

    Raises
    ------
    StructureError
        If one of their rows has no structure that can be parsed.
    """
    rows = [cells for _, cells in read_cells(table, ReadReport())]
    places = np.linspace(0, len(rows) - 1, min(_N_MOLECULES, len(rows))).astype(int)
    return [Molecule.parse(rows[place].smiles, rows[place].inchi) for place in places]


def fragment_speed(molecules: Sequence[Molecule], repeats: int) -> dict[str, Any]:
    """Return milliseconds of a core a candidate of each step, the least of some rounds.

    What other work on the machine adds is left out thereby, as far as it can be.

    ``breaking`` is from the parsed molecule to its fragments, ``breaking_again`` the same from the
    graph that the cache keeps, ``scoring`` from the fragments to the score; ``network`` is the
    score by the network that is fitted, on the same fragments. The spectrum is of
    ions of the first molecule.
    """
    torch.set_num_threads(1)
    scorer = standard_scorers()["positive"]
    network = FragmentNetwork.of_scorer(scorer)
    first = FragmentTable.of(molecules[0])
    chosen = np.unique(np.round(first.masses[: 4 * _N_PEAKS], 4))[-_N_PEAKS:]
    peaks = Peaks.highest(chosen, np.linspace(1.0, 0.1, len(chosen)), float(first.masses[0]) + 1.0)
    tables = [FragmentTable.of(molecule) for molecule in molecules]
    scores = scorer.scores(peaks, tables)
    graphs = [table.ordered.to_bytes() for table in tables]
    by_network = np.zeros(len(tables))

    def break_all() -> None:
        for molecule in molecules:
            FragmentTable.of(molecule)

    def break_again() -> None:
        for graph in graphs:
            FragmentTable.of_graph(OrderedGraph.from_bytes(graph))

    def run_network() -> None:
        with torch.inference_mode():
            for n, table in enumerate(tables):
                by_network[n] = network(Batch.of([([peaks], [table])]))[0].item()

    tasks: dict[str, Callable[[], object]] = {
        "breaking": break_all,
        "breaking_again": break_again,
        "scoring": lambda: scorer.scores(peaks, tables),
        "network": run_network,
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            seconds[name].append(time.process_time() - start)
    figures = {f"{name}_ms": 1e3 * min(s) / len(tables) for name, s in seconds.items()}
    return {
        "n_candidates": len(tables),
        "fragments_mean": float(np.mean([len(table) for table in tables])),
        **figures,
        "candidate_ms": figures["breaking_ms"] + figures["scoring_ms"],
        "candidate_again_ms": figures["breaking_again_ms"] + figures["scoring_ms"],
        "network_over_scoring": figures["network_ms"] / figures["scoring_ms"],
        "largest_difference": float(np.abs(scores - by_network).max()),
    }
