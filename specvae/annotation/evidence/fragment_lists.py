"""Fragment scores of the candidates of many queries: each molecule is broken once, in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from safetensors.numpy import load, save

from specvae.annotation.evidence import compile_ahead
from specvae.annotation.evidence.fragment_peaks import MAX_PEAKS, Composition, Peaks, composition
from specvae.annotation.evidence.fragment_score import (
    FragmentExplanation,
    FragmentScorer,
    QueryScorer,
)
from specvae.errors import StructureError
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph import OrderedGraph
from specvae.molecules.graph_cache import GraphCache
from specvae.molecules.graphs_together import graphs_of
from specvae.molecules.molecule import Molecule
from specvae.molecules.workers import begun, n_waiting, usable_cores
from specvae.spectra.spectrum import Spectrum

_MOST_PEAKS = 5 * MAX_PEAKS  # the highest, of which some may be ions of a candidate
BATCH = 64  # molecules that a process is given at a time
_QUERIES_KEPT = 1024
# Loading the compiled code takes a process as long as breaking so many molecules.
WORTH_PROCESSES = 2000


class FragmentList(NamedTuple):
    """A query, and the candidates whose fragments are compared with its peaks."""

    peaks: Peaks
    molecules: Sequence[Molecule]

    @classmethod
    def of(
        cls,
        spectrum: Spectrum,
        molecules: Sequence[Molecule],
        listed: Sequence[Molecule] | None = None,
    ) -> Self:
        """Take the highest of the peaks that may be ions of some candidate, by its formula.

        Raw spectra have many others: noise, and ions of compounds of the same mass. They would make
        the spectrum look more broken than it is.

        Parameters
        ----------
        spectrum
            The query.
        molecules
            The candidates whose fragments are compared.
        listed
            Those whose formulas count, but for what cannot be broken; None: `molecules`.
        """
        (one,) = cls.of_ions([spectrum], [molecules], [molecules if listed is None else listed])
        return one

    @classmethod
    def of_ions(
        cls,
        spectra: Sequence[Spectrum],
        molecules: Sequence[Sequence[Molecule]],
        listed: Sequence[Sequence[Molecule]],
    ) -> list[Self]:
        """Return a list for each ion species that a query may be of.

        The peaks are the same for all, so that scores can be compared: those that may be ions of
        some candidate.

        Parameters
        ----------
        spectra
            The query as each species.
        molecules, listed
            Of each species, as in `of`.
        """
        each = [Peaks.of(spectrum, _MOST_PEAKS) for spectrum in spectra]
        is_part = np.zeros(len(each[0].mz), np.bool_)
        for peaks, of_ion in zip(each, listed, strict=True):
            is_part |= peaks.are_of_formulas(_compositions(of_ion))
        return [
            cls(peaks.relative(is_part).only_highest(MAX_PEAKS), chosen)
            for peaks, chosen in zip(each, molecules, strict=True)
        ]


def _compositions(molecules: Sequence[Molecule]) -> list[Composition]:
    """Return the atoms of each formula, once for isomers."""
    formulas: dict[float, Composition | None] = {}
    for each in molecules:
        mass = round(each.exact_mass, 6)  # isomers are of one mass, to the last digits
        if formulas.get(mass) is None:
            formulas[mass] = _composition(each.binary)
    return [formula for formula in formulas.values() if formula is not None]


@lru_cache(maxsize=4096)
def _composition(binary: bytes) -> Composition | None:
    """Return the atoms of a molecule; None if it cannot be broken into fragments."""
    mol = Chem.Mol(binary)  # type: ignore[call-overload]
    try:
        return composition(OrderedGraph.of(mol, binary).graph)
    except StructureError:
        return None


class _ListedMolecule(NamedTuple):
    """A molecule, its graph if that is kept, and the queries that it is a candidate of."""

    molecule: Molecule
    graph: bytes | None
    queries: list[int]


class _Block(NamedTuple):
    """Some molecules, and for each the queries that it is a candidate of.

    The peaks of a query come with its ion mode, by which `scorers` has the arrays of its scorer. A
    molecule whose graph is kept is given by its graph alone.
    """

    scorers: Mapping[str, bytes]
    queries: Sequence[Peaks]
    molecules: Sequence[tuple[Molecule | bytes, Sequence[int]]]


class _BlockScores(NamedTuple):
    """Scores of the molecules of a block, and the graphs that were made.

    The scores of a molecule are those for its queries, one after the other. A graph is made for
    each molecule that was given without one.
    """

    scores: NDArray[np.float64]
    graphs: Sequence[bytes]


@contextmanager
def scoring(
    scorers: Mapping[str, FragmentScorer],
    lists: Sequence[FragmentList],
    n_jobs: int | None = 1,
    progress: Callable[[int, int], None] | None = None,
    cache: GraphCache | None = None,
) -> Iterator[Callable[[], list[NDArray[np.float64]]]]:
    """Start scoring; give a function that returns each query's fragment scores, (n_candidates,).

    The scores are those of `FragmentScorer.scores`, in nats, and 0 in an ion mode without a scorer.
    Processes start at once, so that this one can do other work before it calls the function.

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
    cache
        Where graphs of molecules are looked up and kept; None for no cache.

    Raises
    ------
    StructureError
        If a molecule cannot be broken into fragments.
    SpecvaeError
        If the system ends one of the processes.
    """
    compile_ahead.wait()
    # Queries of one mass have the same candidates.
    chosen: dict[str | bytes, tuple[Molecule, list[int]]] = {}
    for number, one in enumerate(lists):
        for molecule in one.molecules if one.peaks.ion_mode in scorers else ():
            chosen.setdefault(_identity(molecule), (molecule, []))[1].append(number)
    graphs = [None] * len(chosen) if cache is None else cache.lookup(list(chosen))
    molecules = {
        identity: _ListedMolecule(molecule, graph, numbers)
        for (identity, (molecule, numbers)), graph in zip(chosen.items(), graphs, strict=True)
    }
    worth = len(molecules) // (1 if n_waiting() else WORTH_PROCESSES // 2)
    n_processes = min(n_jobs or usable_cores(), worth)
    blocks = _blocks(scorers, lists, list(molecules.values()))
    with ExitStack() as working:
        results: Iterator[_BlockScores | str] = map(_score_block, blocks)
        if n_processes > 1:
            begin = begun(_score_block, blocks, n_processes, "break molecules")
            results = working.enter_context(begin)
        yield lambda: _collected(results, scorers, lists, molecules, progress, cache)


def _identity(molecule: Molecule) -> str | bytes:
    return molecule.written or molecule.identity


def _collected(
    results: Iterator[_BlockScores | str],
    scorers: Mapping[str, FragmentScorer],
    lists: Sequence[FragmentList],
    molecules: Mapping[str | bytes, _ListedMolecule],
    progress: Callable[[int, int], None] | None,
    cache: GraphCache | None,
) -> list[NDArray[np.float64]]:
    """Return the scores of each query, given those of the blocks; keep new graphs."""
    scores: dict[tuple[str | bytes, int], float] = {}
    waiting = iter(molecules.items())
    n_done = 0
    for found in results:
        if isinstance(found, str):
            raise StructureError(found)
        block = list(islice(waiting, BATCH))
        pairs = [(identity, number) for identity, one in block for number in one.queries]
        scores |= dict(zip(pairs, found.scores.tolist(), strict=True))
        if cache is not None:
            fresh = [identity for identity, one in block if one.graph is None]
            for identity, graph in zip(fresh, found.graphs, strict=True):
                cache.put(identity, graph)
        n_done += len(block)
        if progress is not None:
            progress(n_done, len(molecules))
    if cache is not None:
        cache.save()
    return [
        np.array([scores[_identity(each), number] for each in one.molecules], np.float64)
        if one.peaks.ion_mode in scorers
        else np.zeros(len(one.molecules))
        for number, one in enumerate(lists)
    ]


def _blocks(
    scorers: Mapping[str, FragmentScorer],
    lists: Sequence[FragmentList],
    molecules: Sequence[_ListedMolecule],
) -> Iterator[_Block]:
    arrays = {mode: save(scorer.to_arrays()) for mode, scorer in scorers.items()}
    for start in range(0, len(molecules), BATCH):
        chosen = molecules[start : start + BATCH]
        used = sorted({number for one in chosen for number in one.queries})
        place = {number: place for place, number in enumerate(used)}
        yield _Block(
            arrays,
            [lists[number].peaks for number in used],
            [
                (one.graph or one.molecule, [place[number] for number in one.queries])
                for one in chosen
            ],
        )


def _score_block(block: _Block) -> _BlockScores | str:
    """Return the scores of the molecules of a block, or why one cannot be broken."""
    scorers = {mode: _scorer(arrays) for mode, arrays in block.scorers.items()}
    queries = [
        _query(
            scorers[peaks.ion_mode],
            peaks.mz.tobytes(),
            peaks.intensity.tobytes(),
            *peaks[2:],
        )
        for peaks in block.queries
    ]
    modes = [peaks.ion_mode for peaks in block.queries]
    fresh: list[bytes] = []
    for graph in graphs_of([one for one, _ in block.molecules if isinstance(one, Molecule)]):
        if isinstance(graph, str):
            return graph
        fresh.append(graph)
    taken = iter(fresh)
    explained: list[list[FragmentExplanation]] = [[] for _ in queries]
    for molecule, numbers in block.molecules:
        graph = next(taken) if isinstance(molecule, Molecule) else molecule
        table = FragmentTable.of_graph(OrderedGraph.from_bytes(graph))
        for mode, scorer in scorers.items():
            of_mode = [number for number in numbers if modes[number] == mode]
            if of_mode:
                in_turn = scorer.explain(table, [queries[number] for number in of_mode])
                for number, one in zip(of_mode, in_turn, strict=True):
                    explained[number].append(one)
    # The scores of each query are in the order of the molecules, as they were given.
    scores = [
        iter(query.scores(found).tolist()) for query, found in zip(queries, explained, strict=True)
    ]
    of_molecules = [next(scores[number]) for _, numbers in block.molecules for number in numbers]
    return _BlockScores(np.array(of_molecules, np.float64), fresh)


@lru_cache(maxsize=4)
def _scorer(arrays: bytes) -> FragmentScorer:
    return FragmentScorer.from_arrays(load(arrays))


# Neighbouring blocks mostly have the same queries.
@lru_cache(maxsize=_QUERIES_KEPT)
def _query(
    scorer: FragmentScorer,
    mz: bytes,
    intensity: bytes,
    precursor_mz: float,
    sign: int,
    metal: str,
    n_metals: int,
) -> QueryScorer:
    arrays = np.frombuffer(mz), np.frombuffer(intensity)
    return scorer.of_query(Peaks(*arrays, precursor_mz, sign, metal, n_metals))
