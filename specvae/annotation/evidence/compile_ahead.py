"""Compiles what fragments need beside other work, in a first run.

A new user waits for the compiler: some 20 s of one core, for code that is kept (`compiled` of
`specvae.molecules.compiling`). `start` gives it to processes of its own, a part each, while this
one imports the libraries and reads its files; `wait` is called before the code is used. Where
nothing was started, or a process fails, the code is compiled where it is called, as ever.

    python -m specvae.annotation.evidence.compile_ahead breaking
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from specvae.molecules.kept_code import is_kept, places_of
from specvae.molecules.workers import usable_cores

PARTS = {
    "breaking": "molecules/breaking_small._break_small",
    "surroundings": "annotation/evidence/surroundings._add_rows",
    "scoring": "annotation/evidence/ion_weights._weigh",
}
"""What is compiled by a process of its own, and the module and function that show whether it was,
which are those that are compiled last."""

_running: list[subprocess.Popen[bytes]] = []


def missing() -> list[str]:
    """Return the parts that were not compiled before, which a run must wait for."""
    return [part for part, function in PARTS.items() if not is_kept(function)]


def start(log: Callable[[str], None]) -> None:
    """Start compiling what was not compiled before, if there is a core for it, and say so."""
    if _running:
        return
    parts = missing()
    if parts:
        log("functions are compiled now, for some twenty seconds; later runs are quicker")
    if usable_cores() < 2:
        return
    for part in parts:
        # What cannot be kept is compiled where it is called, so that here it would be done twice.
        if any(map(_is_writable, places_of(PARTS[part]))):
            command = [sys.executable, "-m", __name__, part]
            nowhere = subprocess.DEVNULL
            _running.append(
                subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)
            )


def wait() -> None:
    """Wait until that is done."""
    while _running:
        _running.pop().wait()


@atexit.register
def _end() -> None:
    """End what this process no longer waits for."""
    for process in _running:
        process.kill()


def _is_writable(place: Path) -> bool:
    """Return whether a folder is there, or could be made, and files could be written into it."""
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    return os.access(there, os.W_OK)


def compile_part(part: str) -> None:
    """Compile a part by using it."""
    import numpy as np

    from specvae.annotation.evidence.fragment_peaks import Peaks
    from specvae.annotation.evidence.fragment_score import FragmentScorer, standard_scorers
    from specvae.annotation.evidence.surroundings import PREFIX, Surroundings, add_cut_rows
    from specvae.molecules.fragments import FragmentTable
    from specvae.molecules.graph import Graph

    if part == "breaking":
        FragmentTable.of("CCO")
        return
    # Ethanol whole and without its hydroxyl group, as it would be broken.
    graph = Graph(
        np.array([[6, 3, 5, 0], [8, 1, 13, 0], [6, 2, 3, 0]], np.int16),
        np.array([12.0, 15.99491462, 12.0]),
        np.array([[0, 2, 0, 1, 346], [1, 2, 0, 1, 358]], np.int16),
    )
    masks = np.array([[7], [5]], np.uint64)
    steps, order = np.array([0, 1], np.uint8), np.arange(3, dtype=np.int16)
    # Arrays that cannot be written to are of a type of their own.
    for array in (masks, steps, order, *graph):
        array.setflags(write=False)
    arrays = standard_scorers()["positive"].to_arrays()
    learned = {name: arrays.pop(name) for name in list(arrays) if name.startswith(PREFIX)}
    if part == "surroundings":
        n_outputs = len(learned[f"{PREFIX}output.weight"])
        layers = Surroundings.of(learned, np.arange(n_outputs))
        rows = np.zeros((2 * len(graph.bonds), layers.outputs.shape[1]), np.float32)
        add_cut_rows(graph, layers, rows, 0)
        return
    peaks = Peaks(np.array([29.039, 47.049]), np.array([0.5, 1.0]), 47.049)
    table = FragmentTable(masks, steps, order, graph)
    FragmentScorer.from_arrays(arrays).scores(peaks, [table])


if __name__ == "__main__":
    if sys.argv[1] != "scoring" and hasattr(os, "nice"):
        os.nice(5)  # the longest part goes first
    compile_part(sys.argv[1])
