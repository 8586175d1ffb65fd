"""What was predicted on a GPU, ranked on a machine with rdkit: figure 11's hit@k."""

from __future__ import annotations

import json
import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from specvae.annotation.evaluation.hits import random_curve, summarise, top_k_curve
from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.library.compounds import read_truth
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.queries import QueryFilter
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.files import atomic_text
from specvae.molecules.fingerprint import get_layout
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae_bench.files import write_result
from specvae_bench.folds.contest import prepare
from specvae_bench.folds.topk import K_MAX
from specvae_bench.markdown import table
from specvae_bench.retrieval.comparison import read_problems

_LOGITS = ".logits.npz"


def finish(
    output: Path, folds: Sequence[Path], console: Console, ion_mode: str = "positive"
) -> str:
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
    truth = read_truth(challenges.truth)
    position = {
        spectrum.query_id: row
        for row, spectrum in enumerate(read_spectra(challenges.queries, ReadReport()))
    }
    rows: list[list[str]] = []
    results: dict[str, Any] = {}
    chance: list[float] = []
    sources: dict[str, Any] = {}
    for name, logits in predicted.items():
        run = json.loads((output / f"{name}.json").read_text(encoding="utf-8"))
        layout = get_layout(run["prepared"]["fingerprint"])
        if fold.name not in logits or len(logits[fold.name]) != len(position):
            raise InputError(f"{output}: {name} has no prediction for the queries of {fold}")
        if layout.name not in sources:
            with CandidateSource(challenges.candidates, layout, 10.0, ReadReport()) as source:
                problems, _ = read_problems(
                    challenges.queries, truth, source, QueryFilter.of(ion_mode, ()), console
                )
                lists = [each.candidates for each in problems if each.candidates is not None]
                (packed,) = source.packed(lists, [layout], 1, console)
            if not problems:
                raise InputError(f"{challenges.queries}: no {ion_mode} query that has a truth")
            sources[layout.name] = problems, packed
        problems, packed = sources[layout.name]
        ranks, blind = [], []
        found = iter(packed)
        for problem in problems:
            if problem.candidates is None:  # which counts as missed
                ranks.append(problem.rank(np.empty(0), "mass"))
                blind.append(ranks[-1])
                continue
            bits = next(found)
            row = logits[fold.name][position[problem.spectrum.query_id]].astype(np.float64)
            ranks.append(problem.rank(log_likelihoods(bits, row), "mass"))
            empty = logits["blind"][0].astype(np.float64)
            blind.append(problem.rank(log_likelihoods(bits, empty), "mass"))
        figures = summarise(ranks, blind, seed=0)
        results[name] = {
            **figures,
            "kind": run["kind"],
            "epochs": len(run["epochs"]),
            "best_epoch": run["best_epoch"],
            "top_k": top_k_curve(ranks, K_MAX),
        }
        chance = random_curve(ranks, K_MAX)
        hits = [f"{100 * float(figures[f'hit_at_{k}']):.1f}" for k in (1, 5, 20)]  # type: ignore[arg-type]
        rest = [f"{100 * float(figures[f'{c}_hit_at_1']):.1f}" for c in ("random", "blind")]  # type: ignore[arg-type]
        mrr = f"{figures['mrr']:.3f}"
        cells = [fold.name, name, str(len(run["epochs"])), str(figures["n_queries"])]
        rows.append([*cells, *hits, mrr, *rest])
    write_result(
        output / f"hits-{fold.name}.json",
        {
            "command": "specvae bench gpu --finish",
            "date": time.strftime("%Y-%m-%d"),
            "ion_mode": ion_mode,
            "data": challenges.digests(),
            "models": results,
            "random_top_k": chance,
        },
    )
    return rows
