"""What a fragment score is fitted to: spectra of compounds, and structures of like mass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specvae.annotation.evidence.fragment_lists import FragmentList
from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.folds import fold_of
from specvae.annotation.library.pairs import read_pairs
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.candidates import CandidateSet, read_candidates
from specvae.molecules.graph import OrderedGraph
from specvae.molecules.graph_cache import GraphCache
from specvae.molecules.graphs_together import graphs_of
from specvae.molecules.mass_screen import MassScreen
from specvae.molecules.molecule import Molecule
from specvae.molecules.workers import LocalEngine
from specvae.report import ReadReport
from specvae.sources import is_pool
from specvae.spectra.spectrum import Spectrum
from specvae_bench.contamination import Contamination
from specvae_bench.fragments.beside import BesideFragments
from specvae_bench.fragments.fitting import Example

_BLOCK = 64  # molecules that a process is given at a time
_JUDGED_MOLECULES, _JUDGED_SPECTRA = 17, 2


@dataclass(frozen=True)
class Draws:
    """Which examples are drawn.

    Attributes
    ----------
    compounds
        Most compounds of an ion mode; None for all.
    decoys
        Most other structures that a compound is compared with.
    spectra
        Most spectra of a compound.
    ppm
        How close their masses are to the compound's.
    validation
        Share of the compounds that are not learned from.
    seed
        Of the draws and of fitting.
    contaminated
        Share of the spectra that are learned from with noise and another compound's peaks.
    """

    compounds: int | None = None
    decoys: int = 47
    spectra: int = 12
    ppm: float = 10.0
    validation: float = 0.0
    seed: int = 0
    contaminated: float = 0.0


@dataclass(frozen=True)
class Examples:
    """Examples of an ion mode.

    Attributes
    ----------
    learned
        What is learned from.
    judged
        Of other compounds: up to two spectra and 17 structures of each, which show how good a score
        is.
    first_blocks
        Of the compounds of `learned`.
    """

    learned: Sequence[Example]
    judged: Sequence[Example]
    first_blocks: Sequence[str]


@dataclass(frozen=True)
class Measurements:
    """Spectra by ion mode and first block, and the molecule of each first block."""

    spectra: dict[tuple[str, str], list[Spectrum]]
    molecules: dict[str, Molecule]

    @property
    def ion_modes(self) -> list[str]:
        """Those that there are."""
        return sorted({mode for mode, _ in self.spectra})


def read_measurements(
    spectra: Sequence[Path], wanted: SpectrumFilter, console: Console
) -> Measurements:
    """Read the spectra of a library that pass a filter, but for those of metals' adducts.

    Raises
    ------
    InputError
        If a file cannot be used, or no spectrum is left.
    """
    report = ReadReport()
    found: dict[tuple[str, str], list[Spectrum]] = {}
    molecules = {}
    for spectrum, molecule in read_pairs(spectra, wanted, report, console, "reading"):
        peaks = Peaks.of(spectrum)
        if peaks.n_metals:  # the score is of ions without a metal, and others follow from these
            continue
        found.setdefault((peaks.ion_mode, molecule.first_block), []).append(spectrum)
        molecules[molecule.first_block] = molecule
    if not found:
        raise InputError(f"{spectra[0]}: no spectrum to learn from ({report.summary()})")
    return Measurements(found, molecules)


@contextmanager
def opened(
    structures: Sequence[Path], measured: Measurements, ppm: float, n_jobs: int | None
) -> Iterator[list[CandidatePool | CandidateSet]]:
    """Give tables and pools of structures, open; of tables, what has a compound's mass is read."""
    masses = [molecule.exact_mass for molecule in measured.molecules.values()]
    with ExitStack() as stack:
        yield [
            stack.enter_context(CandidatePool.open(path))
            if is_pool(path)
            else read_candidates(path, ReadReport(), n_jobs, screen=MassScreen(masses, ppm))
            for path in structures
        ]


def draw_examples(
    measured: Measurements,
    mode: str,
    sources: Sequence[CandidatePool | CandidateSet],
    excluded: frozenset[str],
    draws: Draws,
    n_jobs: int | None,
    console: Console,
    beside: BesideFragments | None = None,
) -> Examples:
    """Return a compound's spectra and structure with others of its mass, for many.

    Parameters
    ----------
    measured
        The library.
    mode
        Ion mode.
    sources
        Structures of like mass.
    excluded
        First blocks of structures that are not to be seen.
    draws
        How many.
    n_jobs
        Processes; None for one per core.
    console
        Where progress is shown, and structures that cannot be broken are counted.
    beside
        What says how likely the structures are beside their fragments; None: all are alike.
    """
    rng = np.random.default_rng(draws.seed)
    blocks = sorted(block for of_mode, block in measured.spectra if of_mode == mode)
    wanted = min(draws.compounds or len(blocks), len(blocks))
    lists: dict[str, tuple[list[Spectrum], list[Molecule]]] = {}
    for position in rng.permutation(len(blocks)):
        block = blocks[position]
        molecule = measured.molecules[block]
        others = _others_alike(molecule, sources, draws.ppm, excluded)
        if not others:
            continue
        chosen = rng.permutation(len(others))[: draws.decoys]
        spectra = measured.spectra[mode, block]
        kept = rng.permutation(len(spectra))[: draws.spectra]
        lists[block] = [spectra[i] for i in kept], [molecule, *(others[i] for i in chosen)]
        console.progress(f"structures of like mass, {mode}", len(lists), wanted)
        if len(lists) == wanted:
            break
    graphs = _graphs([m for _, molecules in lists.values() for m in molecules], n_jobs, console)
    of_mode = {block: some for (one, block), some in measured.spectra.items() if one == mode}
    contamination, drawn = Contamination(of_mode), np.random.default_rng(draws.seed)
    learned: list[Example] = []
    judged: list[Example] = []
    first_blocks = []
    for number, (block, (spectra, molecules)) in enumerate(lists.items(), start=1):
        usable = [molecule for molecule in molecules if _text(molecule) in graphs]
        if _text(molecules[0]) not in graphs or len(usable) < 2:
            continue
        is_judged = fold_of(block, draws.validation, 0.0, f"fragments {draws.seed}") == "val"
        if is_judged:
            spectra, usable = spectra[:_JUDGED_SPECTRA], usable[:_JUDGED_MOLECULES]
        example = Example(
            [
                FragmentList.of(
                    spectrum
                    if is_judged
                    else contamination.of_share(spectrum, block, draws.contaminated, drawn),
                    usable,
                ).peaks
                for spectrum in spectra
            ],
            [graphs[_text(molecule)] for molecule in usable],
            None if beside is None else beside.of(spectra, usable),
        )
        (judged if is_judged else learned).append(example)
        if not is_judged:
            first_blocks.append(block)
        if beside is not None:
            console.progress(f"asking the library, {mode}", number, len(lists))
    return Examples(learned, judged, first_blocks)


def _others_alike(
    molecule: Molecule,
    sources: Sequence[CandidatePool | CandidateSet],
    ppm: float,
    excluded: frozenset[str],
) -> list[Molecule]:
    """Return the other structures of a molecule's mass, one for each first block."""
    found: dict[str, Molecule] = {}
    for source in sources:
        alike = source.within(molecule.exact_mass, ppm).deduplicate()
        for block, other in zip(alike.first_block, alike.molecules, strict=True):
            if block != molecule.first_block and block not in excluded:
                found.setdefault(block, other)
    return list(found.values())


def _text(molecule: Molecule) -> str:
    return molecule.written or molecule.smiles


def _graphs(
    molecules: Sequence[Molecule], n_jobs: int | None, console: Console
) -> dict[str, OrderedGraph]:
    """Return the graphs of molecules by their texts, without those that cannot be broken."""
    distinct = {_text(molecule): molecule for molecule in molecules}
    cache = GraphCache()
    known = dict(zip(distinct, cache.lookup(list(distinct)), strict=True))
    missing = [text for text, graph in known.items() if graph is None]
    blocks = [missing[first : first + _BLOCK] for first in range(0, len(missing), _BLOCK)]
    engine = LocalEngine(n_jobs, "take graphs of molecules")
    results = engine.in_order(graphs_of, ([distinct[text] for text in b] for b in blocks))
    for number, (texts, graphs) in enumerate(zip(blocks, results, strict=True), start=1):
        console.progress("graphs of structures", min(number * _BLOCK, len(missing)), len(missing))
        for text, graph in zip(texts, graphs, strict=True):
            if isinstance(graph, str):
                console.log(f"left out: {text}: {graph}")
            else:
                known[text] = graph
                cache.put(text, graph)
    cache.save()
    return {
        text: OrderedGraph.from_bytes(graph) for text, graph in known.items() if graph is not None
    }
