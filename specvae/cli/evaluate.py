"""`specvae evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from specvae.cli.options import (
    INPUT,
    INPUT_FILE,
    INPUT_TABLE,
    Console,
    assumption_options,
    candidate_options,
    device_option,
    in_list_option,
    model_file,
    model_option,
    query_filter_options,
    require_calibrated,
    seed_option,
    settings_options,
    strict_option,
    verbosity,
)
from specvae.cli.outputs import require_outputs, skips_path, text_output, write_skips

_CURVE_MAX = 100
_NAMES_SHOWN = 5


@click.command()
@click.argument("queries", type=INPUT_FILE)
@candidate_options
@click.option(
    "--truth",
    type=INPUT_TABLE,
    required=True,
    help="CSV with query_id and inchikey14, inchikey or smiles.",
)
@model_option
@query_filter_options
@assumption_options
@click.option(
    "-o",
    "--output",
    type=INPUT,
    default=None,
    help="Where to write the figures.  [default: stdout]",
)
@click.option("--json", "json_path", type=INPUT, default=None, help="Write the figures as JSON.")
@click.option(
    "--plot", "plot_path", type=INPUT, default=None,
    help="Draw the share of queries with the truth in the top k (PNG).",
)  # fmt: skip
@click.option(
    "--reliability", "reliability_path", type=INPUT, default=None,
    help="Draw how often probabilities come true, and risk against coverage (PNG).",
)  # fmt: skip
@in_list_option
@seed_option
@strict_option
@device_option
@settings_options
@verbosity
def evaluate(
    queries: Path,
    candidates: Path,
    ppm: float,
    rank_by: str,
    jobs: int | None,
    truth: Path,
    model: Path,
    ion_mode: str | None,
    adducts: tuple[str, ...],
    assume_adduct: str | None,
    assume_ion_mode: str | None,
    output: Path | None,
    json_path: Path | None,
    plot_path: Path | None,
    reliability_path: Path | None,
    in_list: float | None,
    seed: int,
    strict: bool,
    device: str,
) -> None:
    """Rank candidates and compare with the truth.

    Prints hit@k (expected under random tie-breaking), intervals resampled by molecule, and two
    controls: random order, and the same model given an empty spectrum (blind). A query whose truth
    is not among its candidates counts as missed. With a calibrated model, also how far the
    probabilities of the best candidates come true.

    \b
    Example:
      specvae evaluate query.mgf --candidates cands.csv --truth truth.csv --json figures.json
    """
    path = model_file(model)
    require_outputs(
        {"QUERIES": queries, "--candidates": candidates, "--truth": truth, "--model": path},
        {
            "--output": output,
            "--json": json_path,
            "--plot": plot_path,
            "--reliability": reliability_path,
            "the list of skips beside --output": skips_path(output),
            "the list of skips beside --json": skips_path(json_path),
        },
    )

    from specvae.annotation.evaluation.evaluate import evaluate as compare
    from specvae.annotation.evaluation.hits import top_k_curve
    from specvae.annotation.library.compounds import read_truth
    from specvae.annotation.library.query import Assumptions
    from specvae.annotation.ranking.annotator import (
        Annotator,
        CandidateSource,
        QueryFilter,
        rank_queries,
    )
    from specvae.errors import InputError
    from specvae.files import json_ready, sha256_of
    from specvae.report import ReadReport
    from specvae.spectra.lines import sniff_format

    # A wrong file of queries is told before a long file of candidates is read.
    sniff_format(queries)
    console = Console()
    wanted = QueryFilter.of(ion_mode, adducts)
    assumed = Assumptions.parse(assume_adduct, assume_ion_mode)
    answers = read_truth(truth)
    annotator = Annotator.load(path, device, fingerprint_only=rank_by == "fingerprint")
    for option, value in (("--reliability", reliability_path), ("--in-list", in_list)):
        if value is not None:
            require_calibrated(path, annotator.probability, option)
    query_report, candidate_report = ReadReport(strict=strict), ReadReport(strict=strict)
    with CandidateSource(candidates, annotator.layout, ppm, candidate_report) as source:
        evaluation = compare(
            annotator,
            rank_queries(
                annotator,
                queries,
                source,
                wanted,
                query_report,
                assumed=assumed,
                n_jobs=jobs,
                progress=console,
            ),
            answers,
            in_list,
        )
    if not evaluation.ranks and not evaluation.unknown_queries:
        raise InputError(
            f"{queries}: no query is left to evaluate ({query_report.summary()}; --ion-mode and "
            "--adduct leave out the others)"
        )
    if not evaluation.ranks:
        raise InputError(
            f"{queries}: none of its queries is in {truth}; query_id in the truth must be the "
            "spectrum's (see docs/formats.md)"
        )
    _warn(console, evaluation, query_report, candidate_report)
    figures: dict[str, Any] = {
        **evaluation.figures(seed),
        "seed": seed,
        "ppm": ppm,
        "model": {
            "file": str(path),
            "weights_sha256": annotator.header["weights_sha256"],
            "kind": annotator.header["config"]["model"]["kind"],
            "fingerprint": annotator.layout.name,
            "ranked_by": "fingerprint" if annotator.evidence_pool is None else "everything",
        },
        "files": {
            name: {"name": file.name, "sha256": sha256_of(file)}
            for name, file in (("queries", queries), ("candidates", candidates), ("truth", truth))
        },
        "top_k": top_k_curve(evaluation.ranks, _CURVE_MAX),
    }
    if json_path is not None:
        with text_output(json_path) as stream:
            json.dump(json_ready(figures), stream, indent=2)
            stream.write("\n")
    if plot_path is not None:
        from specvae.annotation.evaluation.hits import random_curve
        from specvae.annotation.output.plots import plot_top_k

        plot_top_k(
            {
                figures["model"]["kind"]: figures["top_k"],
                "blind": top_k_curve(evaluation.blind, _CURVE_MAX),
                "random": random_curve(evaluation.ranks, _CURVE_MAX),
            },
            plot_path,
            k_max=_CURVE_MAX,
            title=queries.name,
            n_queries=len(evaluation.ranks),
        )
    if reliability_path is not None and evaluation.probabilities is not None:
        from specvae.annotation.evaluation.reliability import (
            expected_calibration_error,
            reliability,
            risk_curves,
        )
        from specvae.annotation.output.plots import plot_reliability

        best, right = evaluation.probabilities.best, evaluation.probabilities.right
        plot_reliability(
            [(b.probability, b.right) for b in reliability(best, right)],
            expected_calibration_error(best, right),
            risk_curves(best, right),
            reliability_path,
            title=queries.name,
        )
    for written in (output, json_path):
        write_skips(written, query_report, candidate_report)
    with text_output(output) as stream:
        stream.write(_table(figures) + "\n")


def _table(figures: dict[str, Any]) -> str:
    """Return the figures as aligned lines, shares in percent with their intervals."""
    lines = []
    for name, value in figures.items():
        if not isinstance(value, int | float) or name in ("seed", "ppm", "in_list_is_estimated"):
            continue
        if name.startswith(("hit_", "random_", "blind_")) or name == "in_list":
            text = f"{value:8.1%}"
        elif isinstance(value, float):
            text = f"{value:8.3f}"
        else:
            text = f"{value:8,}"
        interval = figures.get(f"{name}_ci95")
        if interval is not None:
            low, high = interval
            percent = name != "mrr"
            text += f"  [{low:.1%}, {high:.1%}]" if percent else f"  [{low:.3f}, {high:.3f}]"
        lines.append(f"{name:<24}{text}")
    return "\n".join(lines)


def _warn(console: Console, evaluation: Any, queries: Any, candidates: Any) -> None:  # noqa: ANN401
    console.log(f"queries: {queries.summary()}")
    if candidates.skips:
        console.log(f"candidates: {candidates.summary('candidates')}")
    for what, names in (
        ("queries have no row in the truth file and are not evaluated", evaluation.unknown_queries),
        ("rows of the truth file have no query and are not evaluated", evaluation.missing_queries),
    ):
        if names:
            console.log(f"note: {len(names):,} {what}: {_some(names)}")
    if evaluation.trained_on:
        named = [f"{query} ({block})" for query, block in evaluation.trained_on.items()]
        console.log(
            f"warning: the model has learned from the truth of {len(named):,} of "
            f"{len(evaluation.ranks):,} queries, so these figures flatter it: {_some(named)}; "
            "train with --exclude"
        )


def _some(names: Any) -> str:  # noqa: ANN401
    shown = ", ".join(list(names)[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else "")
