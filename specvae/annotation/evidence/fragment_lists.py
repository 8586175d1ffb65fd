"""Fragment scores of the candidates of many queries: each molecule is broken once, in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from specvae.annotation.evidence import compile_ahead
from specvae.annotation.evidence.fragment_score import Explained, FragmentScorer, QueryScorer
from specvae.annotation.evidence.fragments import Peaks
from specvae.errors import StructureError
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.molecule import Molecule
from specvae.molecules.workers import in_order, n_waiting, usable_cores

_BLOCK = 32  # molecules that a process is given at a time
_QUERIES_KEPT = 1024
# Loading the compiled code takes a process as long as breaking so many molecules.
_WORTH_PROCESSES = 2000


class FragmentList(NamedTuple):
    """A query, and the candidates whose fragments are compared with its peaks."""

    peaks: Peaks
    molecules: Sequence[Molecule]


class _Block(NamedTuple):
    """Some molecules, and for which of some queries each is a candidate.

    Peaks are beside the scorer of their ion mode, of which `scorers` has the arrays.
    """

    scorers: Mapping[str, bytes]
    queries: Sequence[Peaks]
    molecules: Sequence[tuple[Molecule, Sequence[int]]]


def score_lists(
    scorers: Mapping[str, FragmentScorer],
    lists: Sequence[FragmentList],
    n_jobs: int | None = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float64]]:
    """Return the fragment scores of each query's candidates, (n_candidates,), nats.

    They are those of `FragmentScorer.scores`, and 0 in an ion mode without a scorer.

    Parameters
    ----------
    scorers
        By ion mode.
    lists
        The queries.
    n_jobs
        Processes that break many molecules; None for one per core.
    progress
        Called with the number of distinct molecules that are done and their total.

    Raises
    ------
    StructureError
        If a molecule cannot be broken into fragments.
    SpecvaeError
        If the system ends one of the processes.
    """
    compile_ahead.wait()
    queries = [
        scorers[one.peaks.ion_mode].of_query(one.peaks) if one.peaks.ion_mode in scorers else None
        for one in lists
    ]
    # By their texts: candidates of one mass are those of all queries of that mass.
    molecules: dict[str, tuple[Molecule, list[int]]] = {}
    for number, one in enumerate(lists):
        for molecule in one.molecules if queries[number] is not None else ():
            text = molecule.written or molecule.smiles
            molecules.setdefault(text, (molecule, []))[1].append(number)
    explained: dict[str, dict[int, Explained]] = {}
    n_done = 0
    texts = list(molecules)
    for found in _explained(scorers, lists, list(molecules.values()), n_jobs):
        explained |= dict(zip(texts[n_done : n_done + len(found)], found, strict=True))
        n_done += len(found)
        if progress is not None:
            progress(n_done, len(texts))
    scores = []
    for number, (one, query) in enumerate(zip(lists, queries, strict=True)):
        if query is None:
            scores.append(np.zeros(len(one.molecules)))
            continue
        named = [molecule.written or molecule.smiles for molecule in one.molecules]
        scores.append(query.scores([explained[text][number] for text in named]))
    return scores


def _explained(
    scorers: Mapping[str, FragmentScorer],
    lists: Sequence[FragmentList],
    molecules: Sequence[tuple[Molecule, list[int]]],
    n_jobs: int | None,
) -> Iterator[list[dict[int, Explained]]]:
    """Yield what molecules explain of each of their queries, some molecules at a time."""
    n_processes = n_jobs or usable_cores()
    worth = len(molecules) // (1 if n_waiting() else _WORTH_PROCESSES // 2)
    n_processes = min(n_processes, worth)
    arrays = {mode: save(scorer.to_arrays()) for mode, scorer in scorers.items()}

    def blocks() -> Iterator[_Block]:
        for start in range(0, len(molecules), _BLOCK):
            chosen = molecules[start : start + _BLOCK]
            used = sorted({number for _, numbers in chosen for number in numbers})
            place = {number: place for place, number in enumerate(used)}
            yield _Block(
                arrays,
                [lists[number].peaks for number in used],
                [(one, [place[number] for number in numbers]) for one, numbers in chosen],
            )

    results: Iterator[list[list[Explained]] | str]
    if n_processes > 1:
        results = in_order(_explain_block, blocks(), n_processes, "break molecules")
    else:
        results = map(_explain_block, blocks())
    for start, result in zip(range(0, len(molecules), _BLOCK), results, strict=True):
        chosen = molecules[start : start + _BLOCK]
        if isinstance(result, str):
            raise StructureError(result)
        yield [
            dict(zip(numbers, of_one, strict=True))
            for (_, numbers), of_one in zip(chosen, result, strict=True)
        ]


def _explain_block(block: _Block) -> list[list[Explained]] | str:
    """Return what each molecule explains of each of its queries, or why one cannot be broken."""
    scorers = {mode: _scorer(arrays) for mode, arrays in block.scorers.items()}
    queries = [
        _query(
            scorers[peaks.ion_mode],
            peaks.mz.tobytes(),
            peaks.intensity.tobytes(),
            peaks.precursor_mz,
            peaks.sign,
        )
        for peaks in block.queries
    ]
    modes = [peaks.ion_mode for peaks in block.queries]
    found = []
    for molecule, numbers in block.molecules:
        try:
            table = FragmentTable.of(molecule)
        except StructureError as error:
            return str(error)
        explained: dict[int, Explained] = {}
        for mode, scorer in scorers.items():
            of_mode = [number for number in numbers if modes[number] == mode]
            if of_mode:
                in_turn = scorer.explain(table, [queries[number] for number in of_mode])
                explained |= dict(zip(of_mode, in_turn, strict=True))
        found.append([explained[number] for number in numbers])
    return found


@lru_cache(maxsize=4)
def _scorer(arrays: bytes) -> FragmentScorer:
    return FragmentScorer.from_arrays(load(arrays))


# The molecules of a block are candidates of queries that those of the blocks before were too.
@lru_cache(maxsize=_QUERIES_KEPT)
def _query(
    scorer: FragmentScorer, mz: bytes, intensity: bytes, precursor_mz: float, sign: int
) -> QueryScorer:
    return scorer.of_query(Peaks(np.frombuffer(mz), np.frombuffer(intensity), precursor_mz, sign))
