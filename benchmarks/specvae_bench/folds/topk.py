"""Figure 11 D of Kutuzova et al.: the share of challenges with the truth in the top k."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specvae.annotation.evaluation.evaluate import Evaluation, evaluate
from specvae.annotation.evaluation.hits import intervals_of, random_curve, top_k_curve
from specvae.annotation.library.compounds import read_truth
from specvae.annotation.output.plots import plot_top_k
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.queries import QueryFilter, read_queries
from specvae.annotation.ranking.rank import rank_spectra
from specvae.annotation.training.run import train
from specvae.annotation.training.run_files import MODEL_FILE, TrainFiles
from specvae.annotation.training.settings import TrainConfig, preset_config
from specvae.cli.console import Console
from specvae.errors import InputError, TrainingError
from specvae.report import ReadReport
from specvae.settings import override
from specvae_bench.folds.contest import Challenges
from specvae_bench.markdown import percent, table
from specvae_bench.retrieval.comparison import say_skipped, without_query

K_MAX = 100
KINDS = ("svae", "vaevae")
"""The model kinds of the figure."""
_PPM = 10.0
_FORCE = re.compile("--force (trains anew|replaces it, and -o names another folder)")


@dataclass(frozen=True)
class Trainings:
    """What the models of the figure are trained on and how; None: as the preset says."""

    spectra: tuple[Path, ...]
    exclude: tuple[Path, ...] = ()
    preset: str = "small"
    fingerprint: str | None = None
    epochs: int | None = None

    def config(self, kind: str, ion_mode: str, seed: int) -> TrainConfig:
        """Return the settings of a model kind's training."""
        values = {
            "fingerprint": self.fingerprint,
            "optim.epochs": self.epochs,
            "seed": seed,
            "filter.ion_mode": ion_mode,
            "filter.adducts": ["[M+H]+" if ion_mode == "positive" else "[M-H]-"],
        }
        given = {key: value for key, value in values.items() if value is not None}
        return override(preset_config(self.preset, kind), given)


@dataclass(frozen=True)
class Compute:
    """Where and with what seed it is computed, and whether by the predicted fingerprint alone."""

    device: str = "auto"
    n_jobs: int | None = None
    seed: int = 0
    fingerprint_only: bool = False


def train_models(
    trainings: Trainings,
    challenges: Challenges,
    ion_mode: str,
    output: Path,
    compute: Compute,
    console: Console,
) -> dict[str, Path]:
    """Train the figure's models, resuming what was broken off; return their checkpoints by kind.

    No compound of the contest is learned from.
    """
    paths = {}
    for kind in KINDS:
        console.log(f"training {kind}")
        files = TrainFiles(
            trainings.spectra, output / kind, exclude=(challenges.truth, *trainings.exclude)
        )
        try:
            train(
                trainings.config(kind, ion_mode, compute.seed),
                files,
                device=compute.device,
                resume=True,
                n_jobs=compute.n_jobs,
                progress=console,
            )
        except (InputError, TrainingError) as error:
            # What 'specvae train' says of its own options.
            text = _FORCE.sub("-o names another folder", str(error))
            raise type(error)(text) from None
        paths[kind] = output / kind / MODEL_FILE
    return paths


def compare(
    paths: Mapping[str, Path],
    challenges: Challenges,
    ion_mode: str,
    compute: Compute,
    console: Console,
) -> dict[str, Any]:
    """Rank the candidates of all challenges by each model.

    Parameters
    ----------
    paths
        Name -> checkpoint.

    Returns
    -------
    ``data``: digests of the files; ``models``: by name, with figures and ``top_k``, the share of
    challenges with the truth among the first k for k of 1 to `K_MAX`; ``random_top_k``; ``n``, the
    challenges that were ranked.

    Raises
    ------
    InputError
        If no challenge of the ion mode has a truth.
    """
    truth = read_truth(challenges.truth)
    models = {}
    chance: list[float] = []
    n_ranked = 0
    for name, path in paths.items():
        start = time.perf_counter()
        annotator = Annotator.load(path, compute.device, fingerprint_only=compute.fingerprint_only)
        evaluation = _evaluate(annotator, challenges, ion_mode, truth, compute.n_jobs, console)
        if evaluation.trained_on:
            console.log(
                f"warning: {name} has learned from the truth of {len(evaluation.trained_on)} "
                "queries; its figures flatter it"
            )
        if evaluation.in_fragment_score:
            console.log(
                f"note: the fragment score of {name} was fitted to the truth of "
                f"{len(evaluation.in_fragment_score)} queries, which flatters its figures"
            )
        header = annotator.header
        models[name] = {
            "kind": header.config.model.kind,
            "preset": header.config.preset,
            "fingerprint": annotator.layout.name,
            "weights_sha256": header.weights_sha256,
            "best_epoch": header.best_epoch,
            "n_training_spectra": header.provenance.n_spectra_by_fold["train"],
            "seconds": {**header.seconds, "evaluation": round(time.perf_counter() - start, 1)},
            **evaluation.figures(compute.seed),
            "top_k": top_k_curve(evaluation.ranks, K_MAX),
        }
        # The queries and their candidates, and so the ranks by chance, are those of every model.
        chance, n_ranked = random_curve(evaluation.ranks, K_MAX), len(evaluation.ranks)
    return {
        "data": challenges.digests(),
        "models": models,
        "random_top_k": chance,
        "n": n_ranked,
    }


def _evaluate(
    annotator: Annotator,
    challenges: Challenges,
    ion_mode: str,
    truth: Mapping[str, str],
    n_jobs: int | None,
    console: Console,
) -> Evaluation:
    report, of_candidates = ReadReport(), ReadReport()
    with CandidateSource(challenges.candidates, annotator.layout, _PPM, of_candidates) as source:
        queries = read_queries(challenges.queries, report, annotator.assign_ion)
        ranked = rank_spectra(
            annotator, queries, source, QueryFilter(ion_mode), n_jobs=n_jobs, progress=console
        )
        evaluation = evaluate(annotator, ranked, truth)
    console.log(f"queries: {report.summary()}")
    say_skipped(of_candidates, console)
    if evaluation.missing_queries:
        console.log(without_query(len(evaluation.missing_queries)))
    if not evaluation.ranks:
        raise InputError(f"{challenges.queries}: no {ion_mode} challenge that has a truth")
    return evaluation


def draw(found: Mapping[str, Any], path: Path, title: str, n_queries: int) -> None:
    """Draw what `compare` found: the share of challenges with the truth in the top k.

    The figure ends at the longest list, where the results say how long it is.
    """
    models = found["models"]
    longest = max(model.get("candidates_max", K_MAX) for model in models.values())
    curves = {name: model["top_k"] for name, model in models.items()}
    plot_top_k(
        {**curves, "random": found["random_top_k"]},
        path,
        k_max=max(1, min(K_MAX, longest)),
        title=title,
        n_queries=n_queries,
        intervals={name: intervals_of(model) for name, model in models.items()},
    )


def markdown_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of several models as a Markdown table, in percent."""
    columns = (
        "model", "queries", "hit@1 [95 %]", "hit@5 [95 %]", "hit@20 [95 %]", "random@1", "blind@1",
    )  # fmt: skip
    rows = []
    for name, figures in models.items():
        hits = [percent(figures, f"hit_at_{k}") for k in (1, 5, 20)]
        controls = [f"{100 * figures[f'{c}_hit_at_1']:.1f}" for c in ("random", "blind")]
        rows.append((name, str(figures["n_queries"]), *hits, *controls))
    return table(columns, rows)
