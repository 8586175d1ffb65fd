"""Train on few pairs, with or without unpaired examples, and rank the same fold."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.evaluation.hits import TruthRank, reciprocal_ranks
from specvae.annotation.evidence.fingerprint import bit_logits, log_likelihoods
from specvae.annotation.library.library import Library, reject_compound
from specvae.annotation.library.tensors import sparse_rows
from specvae.annotation.training.networks import (
    bin_layout,
    model_config,
    objective_config,
    optim_config,
)
from specvae.annotation.training.settings import TrainConfig, preset_config
from specvae.annotation.training.streams import (
    ChosenPairs,
    choose_pairs,
    frequent_columns,
    training_data,
    training_means,
)
from specvae.annotation.training.validation import RetrievalValidation
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.molecules.fingerprint import FingerprintCache, fingerprints, get_layout
from specvae.molecules.molecule import Molecule
from specvae.molecules.structures import read_rows
from specvae.report import ReadReport, Reason
from specvae.settings import override
from specvae.spectra.binning import BinLayout
from specvae.vae.data import TrainingData
from specvae.vae.device import pick_device
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.training import fit
from specvae_bench.folds.fold import Fold
from specvae_bench.retrieval.comparison import Comparison
from specvae_bench.retrieval.learners import Learner, PlainNetwork, predict, predict_encoded, train
from specvae_bench.retrieval.methods import Options
from specvae_bench.supervision.plan import PLAIN, Run, n_checks


def learner_config(name: str, seed: int, *, amp: bool) -> TrainConfig:
    """Return the settings of a model kind with the paper's objective, or of ``ours``.

    All use the preset `small` and its weights of modalities and KL. The KL weight rises until the
    first validation. Only ``ours`` has the term for the path.
    """
    ours = name == "ours"
    values = {"seed": seed, "optim.amp": amp, "objective.beta_warmup_epochs": 1.0}
    if not ours:
        values["objective.path_weight"] = 0.0
    return override(preset_config("small", "svae" if ours else name), values)


@dataclass(frozen=True, eq=False)
class Material:
    """What all trainings share.

    Attributes
    ----------
    comparison
        Queries, candidates and their fingerprints, and the library's spectra with their peaks.
    library
        The same spectra, in the same order, encoded with all columns of the preset `small`.
    rows
        Rows of the library by fold: ``train`` and ``val``.
    packed
        Fingerprints of the library's compounds, uint8 (n_compounds, n_bytes).
    molecules
        Fingerprints of structures without spectra, uint8 (n, n_bytes).
    """

    comparison: Comparison
    library: Library
    rows: Mapping[str, NDArray[np.int64]]
    packed: NDArray[np.uint8]
    molecules: NDArray[np.uint8]

    def validation(self, bins: BinLayout, seed: int) -> RetrievalValidation:
        """Return the retrieval that picks the best weights, of spectra in the columns `bins`."""
        return RetrievalValidation(self.narrowed(bins), self.rows["val"], self.packed, bins, seed)

    def narrowed(self, bins: BinLayout) -> Library:
        """Return the library in the columns `bins`."""
        return replace(self.library, spectra=bins.narrow(self.library.spectra))


def gather(
    fold: Fold,
    molecules: Sequence[Path],
    n_molecules: int,
    comparison: Comparison,
    seed: int,
    jobs: int | None,
) -> Material:
    """Encode the library, split it, and draw the structures without spectra.

    They are no compounds of the fold or of the validation fold, and none that are excluded.

    Raises
    ------
    InputError
        If no library compound falls into the validation fold, or a file has no structure to use.
    """
    config = TrainConfig(seed=seed)
    library = Library.from_spectra(
        fold.known.records, bin_layout(config), ReadReport(), fold.wanted
    )
    # One row number stands for the same spectrum in both.
    assert np.array_equal(library.compound, fold.known.compound)
    folds = library.folds(config.split.validation, 0.0, seed)
    rows = library.split(folds)
    if not len(rows["val"]) or not len(rows["train"]):
        raise InputError(
            f"the library has {len(library.molecules)} compounds, of which none is left to "
            f"{'validate with' if len(rows['train']) else 'train on'}; wanted a larger one"
        )
    held_out = frozenset(block for block, name in folds.items() if name == "val")
    left_out = (fold.wanted.excluded, held_out)
    drawn = draw_molecules(molecules, n_molecules, left_out, seed, comparison.console)
    layout = get_layout(config.fingerprint)
    return Material(
        comparison,
        library,
        rows,
        comparison.known_packed(layout.name),
        fingerprints(drawn, layout, FingerprintCache(), jobs),
    )


def draw_molecules(
    paths: Sequence[Path],
    n: int,
    left_out: tuple[frozenset[str], frozenset[str]],
    seed: int,
    console: Console,
) -> list[Molecule]:
    """Return at most `n` structures from files, drawn at random.

    None is in `left_out` (first blocks that are excluded, and held out), neither by the key in its
    row nor by its structure. Rows that cannot be read are skipped and counted on stderr.

    Raises
    ------
    InputError
        If a file cannot be used, or no structure is left.
    """
    report = ReadReport()
    rows = [(path, row) for path in paths for row in read_rows(path, report)]
    drawn: list[Molecule] = []
    for i in np.random.default_rng(seed).permutation(len(rows)):
        if len(drawn) == n:
            break
        path, row = rows[i]
        # Computing a key takes the most time, so keys are computed for drawn structures only.
        blocks = [row.molecule.first_block, row.molecule.with_key("").first_block]
        if not all(blocks):
            name = row.id or row.name or row.smiles[:40]
            cause = "no InChIKey can be computed for it"
            report.skip(str(path), row.line, name, Reason.BAD_STRUCTURE, cause)
        elif reject_compound(blocks, *left_out) is None:
            drawn.append(row.molecule)
    if paths:
        console.log(f"unpaired molecules: {report.summary('structures')}; {len(drawn):,} drawn")
        if not drawn:
            raise InputError(f"{paths[0]}: no structure to learn from is left in it")
    return drawn


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes
    ----------
    ranks
        Where the truth of each query stands.
    described
        Sizes of the training data, the validation figure, and the seconds for training, validation
        and prediction.
    """

    ranks: list[TruthRank]
    described: dict[str, Any]


def carry_out(run: Run, material: Material, options: Options, *, amp: bool) -> Outcome:
    """Train and rank; see `Run` for what each learns from."""
    rows = material.rows["train"]
    split = choose_pairs(rows, run.level, "rest", options.seed)
    start = time.perf_counter()
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        train_one = _train_plain if run.learner == PLAIN else partial(_train_vae, amp=amp)
        logits, reached, n_unpaired = train_one(run, material, split, options)
    seconds = time.perf_counter() - start
    table = material.comparison.packed(TrainConfig().fingerprint)
    ranks = [
        problem.rank(log_likelihoods(packed, of_query), "mass")
        for problem, packed, of_query in zip(
            material.comparison.problems, table, logits, strict=True
        )
    ]
    described = {
        "n_pairs": len(split.paired),
        "n_paired_compounds": len(np.unique(material.library.compound[split.paired])),
        **n_unpaired,
        "validation_mrr": reached,
        "seconds": round(seconds, 2),
    }
    return Outcome(ranks, described)


_Trained = tuple[NDArray[np.float64], float, dict[str, int]]


def _train_vae(
    run: Run, material: Material, split: ChosenPairs, options: Options, *, amp: bool
) -> _Trained:
    config = learner_config(run.learner, options.seed, amp=amp)
    device = pick_device(options.device)
    layout = get_layout(config.fingerprint)
    rest = split.pool if run.has_spectra else split.pool[:0]
    bins = frequent_columns(
        bin_layout(config),
        material.library,
        np.union1d(split.paired, rest),
        config.inputs.min_column_count,
    )
    library = material.narrowed(bins)
    model = MultimodalVAE(model_config(config, bins, layout)).to(device)
    if config.model.start_at_means:
        model.start_at(training_means(library, split.paired, material.packed, bins, layout))
    # VAEVAE's objective trains the single posteriors on unpaired examples only. As in the authors'
    # code, the pairs are streamed as such too.
    needs_singles = MODEL_KINDS[config.model.kind].loss == "vaevae"
    own = split.paired if needs_singles else split.paired[:0]
    molecules = material.molecules if run.has_molecules else material.molecules[:0]
    data = training_data(
        library,
        split.paired,
        material.packed,
        layout,
        spectra=np.concatenate([own, rest]),
        structures=own,
        unpaired_packed=molecules,
        compound_balance=config.optim.compound_balance,
    )
    validation = material.validation(bins, config.seed)
    reached = _fit(model, data, config, options, validation, device, material.comparison)
    queries = sparse_rows(bins.encode_many(material.comparison.queries))
    counts = {"n_unpaired_spectra": len(rest), "n_unpaired_molecules": len(molecules)}
    return bit_logits(model, queries, device), reached, counts


def _fit(
    model: MultimodalVAE,
    data: TrainingData,
    config: TrainConfig,
    options: Options,
    validation: RetrievalValidation,
    device: torch.device,
    comparison: Comparison,
) -> float:
    """Train, and return the validation figure of the weights that were kept."""
    progress = comparison.console.progress
    n_epochs = n_checks(options.steps)
    optim = replace(
        optim_config(replace(config, optim=replace(config.optim, epochs=n_epochs))),
        epoch_size=options.steps // n_epochs * config.optim.batch_size,
    )
    history = fit(
        model,
        data,
        optim,
        objective_config(config),
        validate=lambda trained: validation.mean_reciprocal_rank(trained, device),
        on_step=lambda epoch, step, n_steps: progress(f"epoch {epoch}, step", step, n_steps),
        device=device,
    )
    assert history.best.validation is not None
    return history.best.validation


def _train_plain(run: Run, material: Material, split: ChosenPairs, options: Options) -> _Trained:
    known = material.comparison.known
    library = Library.from_pairs(
        ((known.records[row], known.molecules[known.compound[row]]) for row in split.paired),
        keep_records=True,
    )
    # In order of first appearance, as `library` numbers its compounds.
    compounds = list(dict.fromkeys(known.compound[split.paired].tolist()))
    learner = PlainNetwork(library, material.packed[compounds]).to(pick_device(options.device))
    validation = material.validation(learner.bins, options.seed)

    def measure(learner: Learner) -> float:
        logits = predict_encoded(learner, validation.spectra).double().cpu().numpy()
        return float(reciprocal_ranks(validation.ranks_of(logits)).mean())

    reached = train(
        learner,
        library,
        options,
        material.comparison,
        validate=measure,
        n_checks=n_checks(options.steps),
    )
    logits = predict(learner, material.comparison.queries).double().cpu().numpy()
    return logits, reached, {"n_unpaired_spectra": 0, "n_unpaired_molecules": 0}
