"""A fit of fragment scores from a library: what is read, learned and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from specvae.annotation.evidence.defaults import defaults
from specvae.annotation.evidence.fragment_score import (
    FragmentScorer,
    block_digests,
    read_scorers,
    scorer_arrays,
)
from specvae.annotation.library.filter import SpectrumFilter
from specvae.cli.console import Console
from specvae.counting import counted
from specvae.errors import InputError
from specvae.spectra.binning import ION_MODES
from specvae.vae.checkpoint import write_tensors
from specvae_bench.fragments.beside import BesideFragments
from specvae_bench.fragments.examples import (
    Draws,
    Examples,
    draw_examples,
    opened,
    read_measurements,
)
from specvae_bench.fragments.fitting import FragmentFit, Pass, fit_together, judge, mean_scorer

_TOGETHER = "both"


@dataclass(frozen=True)
class Files:
    """What a fit reads and writes.

    Attributes
    ----------
    spectra
        The library.
    structures
        Tables or pools with structures of like mass; excluded compounds are none of them.
    output
        File of the weights.
    start
        Score that the fit begins from; None for new weights.
    average
        Scores whose weights are averaged with the new ones.
    beside_library
        Whether the score is learned beside what the library says of the structures.
    together
        Whether the scores of both ion modes are learned together; see `fit_together`.
    """

    spectra: Sequence[Path]
    structures: Sequence[Path]
    output: Path
    start: Path | None = None
    average: Sequence[Path] = ()
    beside_library: bool = False
    together: bool = False


def state_paths(output: Path) -> dict[str, Path]:
    """Return where a fit of each ion mode, or of both, keeps what it needs to go on."""
    kinds = (*ION_MODES, _TOGETHER)
    return {kind: output.with_name(f"{output.name}.{kind}.state") for kind in kinds}


def fit_scorers(
    files: Files,
    wanted: SpectrumFilter,
    draws: Draws,
    settings: FragmentFit,
    n_jobs: int | None,
    console: Console,
) -> dict[str, FragmentScorer]:
    """Fit the score of each ion mode in a library, and write it.

    Parameters
    ----------
    files
        What is read and written.
    wanted
        Which spectra are learned from.
    draws
        Which examples are drawn of them.
    settings
        How they are learned from.
    n_jobs
        Processes; None for one per core.
    console
        Where it is said how far it has come.

    Returns
    -------
    What was written: the fitted scores, and those of `files.start` that were left as they were.

    Raises
    ------
    InputError
        If a file cannot be used, or no spectrum is left.
    TrainingError
        If there is nothing to learn from, or a fit that was stopped was another one.
    """
    given = {} if files.start is None else read_scorers(files.start)
    averaged = {path: read_scorers(path) for path in files.average}
    measured = read_measurements(files.spectra, wanted, console)
    for path, found in [(files.start, given), *averaged.items()]:
        for mode in measured.ion_modes:
            if path is not None and mode not in found:
                raise InputError(f"{path}: no fragment score of {mode} ions, wanted one")
    scorers = dict(given)
    states = state_paths(files.output)
    beside = None
    if files.beside_library:
        beside = BesideFragments.read(files.spectra, wanted.excluded, n_jobs, console)
        settings = replace(settings, weight=defaults().weights["fragments"])
    modes = measured.ion_modes
    groups = [modes] if files.together else [(mode,) for mode in modes]
    with opened(files.structures, measured, draws.ppm, n_jobs) as sources:
        for group in groups:
            examples = {}
            for mode in group:
                examples[mode] = draw_examples(
                    measured, mode, sources, wanted.excluded, draws, n_jobs, console, beside
                )
                if not examples[mode].learned:
                    raise InputError(
                        f"{files.structures[0]}: no other structure of the mass of any {mode} "
                        "compound to learn from; wanted more --structures, or --ion-mode of others"
                    )
                _say(mode, examples[mode], console)
            fitted = fit_together(
                {mode: of_mode.learned for mode, of_mode in examples.items()},
                settings,
                seed=draws.seed,
                start={mode: given[mode] for mode in group if given},
                n_jobs=n_jobs,
                state=states[group[0] if len(group) == 1 else _TOGETHER],
                on_pass=partial(_say_pass, settings=settings, examples=examples, console=console),
            )
            # What modes share of their weights was fitted to the compounds of all.
            learned_from = [block_digests(of_mode.first_blocks) for of_mode in examples.values()]
            learned_from += [given[mode].learned_from for mode in group if given]
            scorers |= {m: one.having_learned_from(*learned_from) for m, one in fitted.items()}
    for mode in modes:
        others = [found[mode] for found in averaged.values()]
        scorers[mode] = mean_scorer([scorers[mode], *others])
    write_scorers(scorers, files.output)
    for path in states.values():
        path.unlink(missing_ok=True)
    return scorers


def _say(mode: str, examples: Examples, console: Console) -> None:
    n_spectra = sum(len(example.spectra) for example in examples.learned)
    n_structures = sum(len(example.molecules) for example in examples.learned)
    console.log(
        f"{mode}: fitting to {counted(len(examples.learned), 'compounds')}, "
        f"{counted(n_spectra, 'spectra')}, "
        f"{counted(n_structures, 'structures')}"
        + (f"; {counted(len(examples.judged), 'compounds')} to judge by" if examples.judged else "")
    )


def _say_pass(
    done: Pass, settings: FragmentFit, examples: Mapping[str, Examples], console: Console
) -> None:
    for mode, loss in done.losses.items():
        text = f"{mode}, pass {done.number} of {settings.n_passes}: {loss:.3f} nats in learning"
        if examples[mode].judged:
            hits, nats = judge(done.scorers[mode], examples[mode].judged, settings.weight)
            text += f"; compounds to judge by: hit@1 {100 * hits:.1f} %, {nats:.3f} nats"
        console.log(text)


def write_scorers(scorers: Mapping[str, FragmentScorer], path: Path) -> None:
    """Write the scores as models are trained with them."""
    arrays = scorer_arrays(scorers)
    write_tensors(path, {name: torch.from_numpy(array) for name, array in arrays.items()}, {})
