"""`specvae bench fragments`: fit the weights of the fragment score."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, library_filter_options
from specvae.cli.outputs import require_writable

_SPECTRA_OF_ONE = 6


@click.command()
@click.option("--spectra", type=INPUT, multiple=True, required=True, help="Library (repeatable).")
@click.option(
    "--structures", type=INPUT, required=True, help="Table or pool with structures of like mass."
)
@library_filter_options
@click.option("--exclude", type=INPUT, multiple=True, help="Compounds left out (repeatable).")
@click.option(
    "--compounds",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Most compounds.",
)
@click.option(
    "--decoys", type=click.IntRange(min=1), default=6, show_default=True, help="Of each compound."
)
@click.option("--ppm", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "-o", "--output", type=INPUT, default=Path("fragment_score.safetensors"), show_default=True
)
@settings_options
@verbosity
def fragments(
    spectra: tuple[Path, ...],
    structures: Path,
    ion_mode: str | None,
    adducts: tuple[str, ...],
    instrument_types: tuple[str, ...],
    exclude: tuple[Path, ...],
    compounds: int,
    decoys: int,
    ppm: float,
    seed: int,
    output: Path,
) -> None:
    """Fit the weights by which candidates' fragments explain peaks, for each ion mode.

    Of every compound a few spectra are learned from: its structure is to win against others of its
    mass. The file that comes with the program was made by this command (docs/research.md): it is
    specvae/annotation/evidence/fragment_score.safetensors, and what models are trained with.

    \b
    Example:
      specvae bench fragments --spectra mona.msp --structures structures.tsv -o weights.safetensors
    """
    require_writable(output)

    from contextlib import ExitStack

    import numpy as np
    import torch

    from specvae.annotation.evidence.fragment_score import Example, FragmentScorer, scorer_arrays
    from specvae.annotation.evidence.fragments import Peaks
    from specvae.annotation.library.compounds import read_excluded
    from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
    from specvae.annotation.library.library import read_many, usable_pairs
    from specvae.errors import InputError
    from specvae.molecules.candidates import CandidatePool, read_candidates
    from specvae.molecules.fragments import FragmentTable
    from specvae.report import ReadReport
    from specvae.vae.checkpoint import write_tensors

    console = Console()
    report = ReadReport()
    excluded = read_excluded(exclude)
    wanted = SpectrumFilter(
        ion_mode=ion_mode,
        adducts=canonical_adducts(adducts),
        instrument_types=instrument_types,
        excluded=excluded,
    )
    rng = np.random.default_rng(seed)
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
    scorers = {}
    with ExitStack() as stack:
        source = (
            stack.enter_context(CandidatePool.open(structures))
            if structures.suffix == ".h5"
            else read_candidates(structures, ReadReport())
        )
        for mode in sorted({mode for mode, _ in peaks}):
            blocks = sorted(block for of_mode, block in peaks if of_mode == mode)
            examples = []
            for n_seen in rng.permutation(len(blocks)):
                block = blocks[n_seen]
                near = source.within(molecules[block].exact_mass, ppm).deduplicate()
                others = [
                    molecule
                    for molecule, other in zip(near.molecules, near.first_block, strict=True)
                    if other != block and other not in excluded
                ]
                if not others:
                    continue
                chosen = rng.permutation(len(others))[:decoys]
                spectra_of = peaks[mode, block]
                kept = rng.permutation(len(spectra_of))[:_SPECTRA_OF_ONE]
                compared = [molecules[block], *(others[i] for i in chosen)]
                examples.append(
                    Example([spectra_of[i] for i in kept], [FragmentTable.of(m) for m in compared])
                )
                console.progress(f"fragments, {mode}", len(examples), min(compounds, len(blocks)))
                if len(examples) == compounds:
                    break
            console.log(f"{mode}: fitting to {len(examples):,} compounds")
            scorers[mode] = FragmentScorer.fit(examples, seed=seed)
    tensors = {name: torch.from_numpy(array) for name, array in scorer_arrays(scorers).items()}
    write_tensors(output, tensors, {})
    console.log(f"{output}: {', '.join(scorers)}")
