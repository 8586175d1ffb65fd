"""Scores of candidates by the pieces that they break into, bond by bond."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.library.library import Library
from specvae.counting import counted
from specvae.masses import ppm_width
from specvae.molecules.fragments import FragmentTable
from specvae_bench.fragments.fitting import Example, FragmentFit, fit_scorer
from specvae_bench.metfrag import metfrag_scores
from specvae_bench.retrieval.comparison import Comparison
from specvae_bench.retrieval.methods import Options

# Structures farther apart in mass than this need no fragments to be distinguished.
SAME_MASS_PPM = 10.0
N_RIVALS = 8
# Spectra of one compound, whose candidates are the same, mostly follow one another.
_TABLES_KEPT = 4000

Score = Callable[[Peaks, Sequence[FragmentTable]], NDArray[np.float64]]


def add_fragments(comparison: Comparison, options: Options) -> None:
    """Add MetFrag's score of the peaks that a candidate's fragments explain."""
    comparison.add("fragments, MetFrag", _scores(comparison, metfrag_scores))


def add_learned_fragments(comparison: Comparison, options: Options) -> None:
    """Add the fragments' score whose weights are fitted to the library."""
    with comparison.timed("training learned fragments"):
        settings = FragmentFit(n_passes=3)
        examples = isobars(comparison.known, options.steps * settings.batch_size)
        scorer = fit_scorer(examples, settings, seed=options.seed)
    comparison.console.log(
        f"learned fragments: {counted(len(examples), 'compounds')} in "
        f"{comparison.steps['training learned fragments']:.0f} s"
    )
    comparison.add("fragments, learned", _scores(comparison, scorer.scores))


def isobars(known: Library, n_most: int) -> list[Example]:
    """Return the compounds that share their mass with others of the library, with these.

    Parameters
    ----------
    known
        The library.
    n_most
        At most so many compounds, the lightest first.
    """
    mass = np.array([molecule.exact_mass for molecule in known.molecules])
    order = np.argsort(mass, kind="stable")
    width = ppm_width(mass, SAME_MASS_PPM)
    first = np.searchsorted(mass[order], mass - width)
    end = np.searchsorted(mass[order], mass + width, side="right")
    spectra: dict[int, list[Peaks]] = {}
    for spectrum, compound in zip(known.records, known.compound.tolist(), strict=True):
        spectra.setdefault(compound, []).append(Peaks.of(spectrum))
    table_of = lru_cache(_TABLES_KEPT)(FragmentTable.of)
    examples: list[Example] = []
    for own in order.tolist():
        rivals = order[first[own] : end[own]]
        rivals = rivals[rivals != own]
        if len(rivals) and len(examples) < n_most:
            nearest = rivals[np.argsort(np.abs(mass[rivals] - mass[own]), kind="stable")]
            compounds = [own, *nearest[:N_RIVALS].tolist()]
            tables = [table_of(known.molecules[compound]) for compound in compounds]
            examples.append(Example(spectra[own], [table.ordered for table in tables]))
    return examples


def _scores(comparison: Comparison, score: Score) -> Iterator[NDArray[np.float64]]:
    table_of = lru_cache(_TABLES_KEPT)(FragmentTable.of)
    for problem in comparison.problems:
        yield score(
            Peaks.of(problem.spectrum), [table_of(molecule) for molecule in problem.molecules]
        )
