"""Weights of the fragment score, fitted so that compounds win against others of their mass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from specvae.annotation.evidence.fragment_score import FragmentScorer, scorer_arrays
from specvae.annotation.evidence.fragments import Peaks
from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.library import read_many, usable_pairs
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.molecules.candidates import CandidatePool, CandidateSet, read_candidates
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.molecule import Molecule
from specvae.report import ReadReport
from specvae.vae.checkpoint import write_tensors
from specvae_bench.fragments.network import Example, fit_scorer

_SPECTRA_OF_ONE = 6


@dataclass(frozen=True)
class Draws:
    """How many examples are drawn.

    Attributes
    ----------
    compounds
        Most compounds of an ion mode.
    decoys
        Most other structures that a compound is compared with.
    ppm
        How close their masses are to the compound's.
    seed
        Of the draws and of fitting.
    """

    compounds: int = 2000
    decoys: int = 16
    ppm: float = 10.0
    seed: int = 0


@dataclass(frozen=True)
class _Measurements:
    """Peaks by ion mode and first block, and the molecule of each first block."""

    peaks: dict[tuple[str, str], list[Peaks]]
    molecules: dict[str, Molecule]


def fit_scorers(
    spectra: Sequence[Path],
    structures: Sequence[Path],
    wanted: SpectrumFilter,
    draws: Draws,
    console: Console,
) -> dict[str, FragmentScorer]:
    """Return the fitted score of each ion mode in the library.

    Parameters
    ----------
    spectra
        The library.
    structures
        Tables or pools with structures of like mass; excluded compounds are none of them.
    wanted
        Which spectra are learned from.

    Raises
    ------
    InputError
        If a file cannot be used, or no spectrum is left.
    """
    measured = _read(spectra, wanted, console)
    rng = np.random.default_rng(draws.seed)
    scorers = {}
    with ExitStack() as opened:
        sources = [opened.enter_context(_opened(path)) for path in structures]
        for mode in sorted({mode for mode, _ in measured.peaks}):
            examples = _examples(measured, mode, sources, wanted.excluded, draws, rng, console)
            console.log(f"{mode}: fitting to {len(examples):,} compounds")
            scorers[mode] = fit_scorer(examples, seed=draws.seed)
    return scorers


def write_scorers(scorers: Mapping[str, FragmentScorer], path: Path) -> None:
    """Write the scores as models are trained with them."""
    arrays = scorer_arrays(scorers)
    write_tensors(path, {name: torch.from_numpy(array) for name, array in arrays.items()}, {})


def _read(spectra: Sequence[Path], wanted: SpectrumFilter, console: Console) -> _Measurements:
    report = ReadReport()
    peaks: dict[tuple[str, str], list[Peaks]] = {}
    molecules = {}
    for spectrum, molecule in usable_pairs(
        read_many(spectra, report), wanted, report, lambda n: console.progress("reading", n)
    ):
        found = Peaks.of(spectrum)
        peaks.setdefault((found.ion_mode, molecule.first_block), []).append(found)
        molecules[molecule.first_block] = molecule
    if not peaks:
        raise InputError(f"{spectra[0]}: no spectrum to learn from ({report.summary()})")
    return _Measurements(peaks, molecules)


@contextmanager
def _opened(structures: Path) -> Iterator[CandidatePool | CandidateSet]:
    if structures.suffix == ".h5":
        with CandidatePool.open(structures) as pool:
            yield pool
    else:
        yield read_candidates(structures, ReadReport())


def _examples(
    measured: _Measurements,
    mode: str,
    sources: Sequence[CandidatePool | CandidateSet],
    excluded: frozenset[str],
    draws: Draws,
    rng: np.random.Generator,
    console: Console,
) -> list[Example]:
    """Return a compound's spectra with its fragments and those of others of its mass, for many."""
    blocks = sorted(block for of_mode, block in measured.peaks if of_mode == mode)
    wanted = min(draws.compounds, len(blocks))
    examples: list[Example] = []
    for position in rng.permutation(len(blocks)):
        block = blocks[position]
        molecule = measured.molecules[block]
        others = _others_alike(molecule, sources, draws.ppm, excluded)
        if not others:
            continue
        chosen = rng.permutation(len(others))[: draws.decoys]
        peaks = measured.peaks[mode, block]
        kept = rng.permutation(len(peaks))[:_SPECTRA_OF_ONE]
        compared = [molecule, *(others[i] for i in chosen)]
        examples.append(
            Example([peaks[i] for i in kept], [FragmentTable.of(other) for other in compared])
        )
        console.progress(f"fragments, {mode}", len(examples), wanted)
        if len(examples) == draws.compounds:
            break
    return examples


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
