"""What was predicted on a GPU, ranked on a machine with rdkit: figure 11's hit@k."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evaluation.hits import TruthRank, random_curve, summarise, top_k_curve
from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.library.compounds import read_truth
from specvae.annotation.ranking.queries import QueryFilter
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.files import atomic_text
from specvae.molecules.fingerprint import FingerprintCache, fingerprints, get_layout
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae_bench.files import made_by, write_result
from specvae_bench.folds.contest import prepare
from specvae_bench.folds.topk import K_MAX
from specvae_bench.markdown import table
from specvae_bench.retrieval.comparison import Problem, read_problems

_LOGITS = ".logits.npz"
_PPM = 10.0  # where candidates have no query_id


def finish(output: Path, folds: Sequence[Path], console: Console, ion_mode: str) -> str:
    """Rank each fold's candidates by the predicted logits in a folder; return a Markdown table.

    Writes ``hits-FOLD.json``. A query without candidates counts as missed.

    Raises
    ------
    InputError
        If nothing was predicted, or a fold's queries are not those of the prepared file.
    """
    predicted = {
        path.name.removesuffix(_LOGITS): _predicted(path)
        for path in sorted(output.glob(f"*{_LOGITS}"))
    }
    if not predicted:
        raise InputError(f"{output}: no *{_LOGITS} of 'bench gpu' lies in it")
    columns = (
        "fold", "model", "epochs", "queries", "hit@1", "hit@5", "hit@20", "MRR", "random@1",
        "blind@1",
    )  # fmt: skip
    rows = [row for fold in folds for row in _of_fold(output, fold, predicted, console, ion_mode)]
    text = table(columns, rows)
    with atomic_text(output / "hits.md") as stream:
        stream.write(text)
    return text


def _predicted(path: Path) -> dict[str, Any]:
    try:
        with np.load(path) as stored:
            return dict(stored)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged, or not of 'bench gpu' ({error})") from None


def _of_fold(
    output: Path, fold: Path, predicted: dict[str, Any], console: Console, ion_mode: str
) -> list[list[str]]:
    challenges = prepare(fold, output, console.log)
    wanted = QueryFilter.of(ion_mode, ())
    problems, _ = read_problems(challenges, read_truth(challenges.truth), wanted, _PPM, console)
    if not problems:
        raise InputError(f"{challenges.queries}: no {ion_mode} query that has a truth")
    spectra = read_spectra(challenges.queries, ReadReport())
    place = {spectrum.query_id: row for row, spectrum in enumerate(spectra)}
    places = [place[problem.spectrum.query_id] for problem in problems]
    rows, models, chance = [], {}, []
    for name, logits in predicted.items():
        run = json.loads((output / f"{name}.json").read_text(encoding="utf-8"))
        if fold.name not in logits or len(logits[fold.name]) != len(place):
            raise InputError(f"{output}: {name} has no prediction for the queries of {fold}")
        packed = _packed(problems, run["prepared"]["fingerprint"])
        ranks = _ranks(problems, packed, logits[fold.name][places])
        blind = _ranks(problems, packed, np.repeat(logits["blind"][:1], len(problems), axis=0))
        figures = summarise(ranks, blind, seed=0)
        models[name] = {
            **figures,
            "kind": run["kind"],
            "epochs": len(run["epochs"]),
            "best_epoch": run["best_epoch"],
            "top_k": top_k_curve(ranks, K_MAX),
        }
        chance = random_curve(ranks, K_MAX)
        rows.append([fold.name, name, str(len(run["epochs"])), *_cells(figures)])
    write_result(
        output / f"hits-{fold.name}.json",
        {
            **made_by("gpu --finish"),
            "ion_mode": ion_mode,
            "data": challenges.digests(),
            "models": models,
            "random_top_k": chance,
        },
    )
    return rows


def _packed(problems: Sequence[Problem], layout: str) -> list[NDArray[np.uint8]]:
    cache = FingerprintCache()
    return [fingerprints(each.molecules, get_layout(layout), cache, 1) for each in problems]


def _ranks(
    problems: Sequence[Problem],
    packed: Sequence[NDArray[np.uint8]],
    logits: NDArray[np.floating[Any]],
) -> list[TruthRank]:
    """Return where the truths stand by the logits of their queries (n_queries, n_bits)."""
    return [
        problem.rank(log_likelihoods(bits, row), "mass")
        for problem, bits, row in zip(problems, packed, logits.astype(np.float64), strict=True)
    ]


def _cells(figures: Mapping[str, Any]) -> list[str]:
    hits = [f"{100 * figures[f'hit_at_{k}']:.1f}" for k in (1, 5, 20)]
    rest = [f"{100 * figures[f'{control}_hit_at_1']:.1f}" for control in ("random", "blind")]
    return [str(figures["n_queries"]), *hits, f"{figures['mrr']:.3f}", *rest]
