"""`specvae evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.annotation.ranking.told import Told
from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, INPUT_FILE, INPUT_TABLE, seed_option
from specvae.cli.outputs import (
    FIGURE_FORMATS,
    Paths,
    is_stdout,
    require_paths,
    skips_path,
    suffix_format,
    text_output,
    write_skips,
)
from specvae.cli.ranking import (
    Ranking,
    ranking_options,
    require_ranked,
    tell,
)
from specvae.counting import counted
from specvae.files import sha256_of
from specvae.molecules.query_ids import changed_by_spreadsheet
from specvae.sources import Stamps

if TYPE_CHECKING:
    from specvae.annotation.evaluation.evaluate import Evaluation, Probabilities
    from specvae.annotation.ranking.annotator import Annotator
    from specvae.report import ReadReport

_CURVE_MAX = 100
_NAMES_SHOWN = 5


@click.command(cls=Command)
@click.argument("queries", type=INPUT_FILE)
@ranking_options
@click.option(
    "--truth",
    type=INPUT_TABLE,
    required=True,
    help="CSV with query_id and inchikey14, inchikey or smiles; or spectra that state theirs.",
)
@click.option(
    "-o",
    "--output",
    type=INPUT,
    default=None,
    help="Where to write the figures as text.  [default: stdout]",
)
@click.option(
    "--json",
    "json_path",
    type=INPUT,
    default=None,
    help="Write the figures as JSON; - is stdout, in the place of the table.",
)
@click.option(
    "--plot", "plot_path", type=INPUT, default=None,
    help="Plot the share of queries with the truth in the top k, with intervals (PNG, PDF or SVG).",
)  # fmt: skip
@click.option(
    "--reliability", "reliability_path", type=INPUT, default=None,
    help="Plot how often probabilities come true, and risk against coverage (PNG, PDF or SVG).",
)  # fmt: skip
@seed_option
@settings_options
@verbosity
def evaluate(
    queries: Path,
    ranking: Ranking,
    truth: Path,
    output: Path | None,
    json_path: Path | None,
    plot_path: Path | None,
    reliability_path: Path | None,
    seed: int,
) -> None:
    """Rank candidates and compare with the truth.

    Prints hit@k (expected under random tie-breaking), intervals resampled by molecule, and two
    controls: random order, and the same model given an empty spectrum (blind). A query whose truth
    is not among its candidates counts as a miss. With a calibrated model, it also prints how often
    the probabilities of the best candidates come true.

    \b
    Example:
      specvae evaluate query.mgf --candidates cands.csv --truth truth.csv --json figures.json
    """
    inputs: Paths = {"QUERIES": queries, "--truth": truth, **ranking.inputs}
    require_paths(
        inputs,
        {
            "--output": output,
            "--json": json_path,
            "--plot": plot_path,
            "--reliability": reliability_path,
            "the list of skips beside --output": skips_path(output),
            "the list of skips beside --json": skips_path(json_path),
        },
    )

    if output is not None and output.suffix.lower() == ".json":
        raise click.UsageError("--output is a table for people; --json FILE writes JSON")
    suffix_format(output, ("txt",))
    suffix_format(json_path, ("json",))
    if json_path is not None and output is not None and is_stdout(json_path) and is_stdout(output):
        raise click.UsageError("--json and --output both go to stdout; one needs a file")
    for path in (plot_path, reliability_path):
        suffix_format(path, FIGURE_FORMATS)

    from specvae.annotation.evaluation.evaluate import evaluate as compare
    from specvae.annotation.library.compounds import read_truth
    from specvae.report import ReadReport

    console = Console()
    stamps = Stamps((queries, truth, *ranking.files))
    of_truth = ReadReport()
    answers = read_truth(truth, of_truth)
    run = ranking.open(console, reliability=reliability_path)
    options = run.options
    evaluation = compare(
        run.annotator, run.outcomes(queries), answers, options.in_list, options.known
    )
    _require_evaluated(evaluation, queries, truth, run.queries)
    told = run.told() + _told(run.annotator, evaluation, of_truth)
    tell(console, told + Told.of_notes(stamps.changes()))
    figures = {
        **evaluation.figures(seed),
        "seed": seed,
        "ppm": options.ppm,
        **({} if options.merge_by is None else {"merge_by": options.merge_by}),
        "model": _described(ranking.model_file, run.annotator),
        "files": _digests(queries=queries, candidates=options.candidates, truth=truth),
        "library": _listed(options.library),
        "exclude": _listed(options.exclude),
        "counts": _listed(options.inputs["--counts"]),
        "options": options.asked(),
    }
    _write_figures(figures, evaluation, queries.name, json_path, plot_path, reliability_path)
    for written in (output, json_path):
        write_skips(written, *run.reports)
    if output is not None or not (json_path is not None and is_stdout(json_path)):
        with text_output(output) as stream:
            stream.write(_table(figures) + "\n")
    require_ranked(queries, run.tally)


def _digests(**files: Path) -> dict[str, dict[str, str]]:
    return dict(zip(files, _listed([*files.values()]), strict=True))


def _listed(files: Sequence[Path]) -> list[dict[str, str]]:
    return [{"name": file.name, "sha256": sha256_of(file)} for file in files]


def _require_evaluated(
    evaluation: Evaluation, queries: Path, truth: Path, report: ReadReport
) -> None:
    """Fail if there is no query to compare with a truth."""
    from specvae.errors import InputError

    if evaluation.ranks:
        return
    if evaluation.unknown_queries and evaluation.missing_queries:
        raise InputError(
            f"{queries}: none of its queries is in {truth}; query_id in the truth must be the "
            f"spectrum's: queries are called {evaluation.unknown_queries[0]!r}, there "
            f"{evaluation.missing_queries[0]!r} (see 'specvae docs formats')"
            f"{changed_by_spreadsheet(evaluation.missing_queries)}"
        )
    raise InputError(
        f"{queries}: no query is left to evaluate ({report.summary()}; --ion-mode and --adduct "
        "leave out the others)"
    )


def _described(path: Path, annotator: Annotator) -> dict[str, Any]:
    return {
        "file": str(path),
        "weights_sha256": annotator.header.weights_sha256,
        "kind": annotator.header.config.model.kind,
        "fingerprint": annotator.layout.name,
        "ranked_by": "fingerprint" if annotator.evidence_pool is None else "everything",
    }


def _write_figures(
    figures: dict[str, Any],
    evaluation: Evaluation,
    title: str,
    json_path: Path | None,
    plot_path: Path | None,
    reliability_path: Path | None,
) -> None:
    """Write the requested files; the share of truths in the top k is added to `figures`."""
    from specvae.annotation.evaluation.hits import (
        longest_list,
        random_curve,
        top_k_curve,
        top_k_intervals,
    )
    from specvae.files import json_ready

    ranks, seed = evaluation.ranks, figures["seed"]
    figures["top_k"] = top_k_curve(ranks, _CURVE_MAX)
    figures["top_k_ci95"] = [*top_k_intervals(ranks, _CURVE_MAX, seed=seed).values()]
    if json_path is not None:
        with text_output(json_path) as stream:
            json.dump(json_ready(figures), stream, indent=2)
            stream.write("\n")
    if plot_path is not None:
        from specvae.annotation.output.plots import plot_top_k

        k_max, kind = min(_CURVE_MAX, longest_list(ranks)), figures["model"]["kind"]
        plot_top_k(
            {
                kind: figures["top_k"],
                "blind": top_k_curve(evaluation.blind, k_max),
                "random": random_curve(ranks, k_max),
            },
            plot_path,
            k_max=k_max,
            title=title,
            n_queries=len(ranks),
            intervals={
                kind: dict(enumerate(figures["top_k_ci95"], start=1)),
                "blind": top_k_intervals(evaluation.blind, k_max, seed=seed),
            },
        )
    if reliability_path is not None and evaluation.probabilities is not None:
        _plot_reliability(figures, evaluation.probabilities, reliability_path, title)


def _plot_reliability(
    figures: dict[str, Any], probabilities: Probabilities, path: Path, title: str
) -> None:
    from specvae.annotation.evaluation.reliability import risk_curves
    from specvae.annotation.output.plots import plot_reliability

    best = probabilities.best
    curves = risk_curves(best, probabilities.right)
    plot_reliability(figures, curves, path, title=title, probabilities=best)


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
        lines.append(f"{name:<25}{text}")
    return "\n".join(lines)


def _told(annotator: Annotator, evaluation: Evaluation, of_truth: ReadReport) -> Told:
    """Return what a reader of the figures needs."""
    source = () if evaluation.probabilities is None else (annotator.calibration_source,)
    return Told(
        tuple(f"truth: {note} ({n:,})" for note, n in of_truth.notes.most_common()),
        tuple(f"probabilities: {text}" for text in source),
        details=evaluation.run_lines,
    ) + Told.of_notes(_notes(evaluation))


def _notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield notes and warnings on the figures."""
    for one, several, names in (
        ("query has no row in the truth file", "queries have no row in the truth file",
         evaluation.unknown_queries),
        ("row of the truth file has no query", "rows of the truth file have no query",
         evaluation.missing_queries),
    ):  # fmt: skip
        if names:
            are = f"{one} and is" if len(names) == 1 else f"{several} and are"
            hint = changed_by_spreadsheet(names) if names is evaluation.missing_queries else ""
            yield f"note: {len(names):,} {are} not evaluated: {_some(names)}{hint}"
    if evaluation.contradicted:
        yield (
            "warning: spectra of one feature have different truths, of which the first counts: "
            f"{_some(evaluation.contradicted)}"
        )
    absent = [
        name
        for name, rank in zip(evaluation.query_ids, evaluation.ranks, strict=True)
        if rank.n_candidates and not rank.is_found
    ]
    if 2 * len(absent) > len(evaluation.ranks):
        yield (
            f"warning: the truth of {len(absent):,} of {counted(len(evaluation.ranks), 'queries')} "
            "is not among their candidates, which counts as missed: rows of the truth file may be "
            f"of other queries, or the candidates those of other compounds: {_some(absent)}"
        )
    n_alone = sum(rank.n_candidates == 1 and rank.is_found for rank in evaluation.ranks)
    if 2 * n_alone > len(evaluation.ranks):
        yield (
            f"warning: the truth of {n_alone:,} of {counted(len(evaluation.ranks), 'queries')} is "
            "their only candidate and comes first by chance, too: lists with more structures of "
            "the queries' masses would say more"
        )
    if evaluation.in_library:
        named = [f"{query} ({block})" for query, block in evaluation.in_library.items()]
        yield (
            f"note: the library has spectra of the truth of {len(named):,} of "
            f"{counted(len(evaluation.ranks), 'queries')}: these are known compounds, which are "
            f"recognised more often: {_some(named)}"
        )
    if evaluation.trained_on:
        named = [f"{query} ({block})" for query, block in evaluation.trained_on.items()]
        yield (
            f"warning: the model has learned from the truth of {len(named):,} of "
            f"{counted(len(evaluation.ranks), 'queries')}, so these figures flatter it: "
            f"{_some(named)}; train with --exclude"
        )
    yield from _notes_of_fragment_score(evaluation)


def _notes_of_fragment_score(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.n_untraced:
        yield (
            "note: the model does not keep which compounds its fragment score was fitted to, so "
            f"it is not known whether the truth of {evaluation.n_untraced:,} of "
            f"{counted(len(evaluation.ranks), 'queries')} is among them"
        )
    if evaluation.in_fragment_score:
        yield (
            "note: the weights of the fragment score were fitted to the truth of "
            f"{len(evaluation.in_fragment_score):,} of "
            f"{counted(len(evaluation.ranks), 'queries')}, so these "
            "figures are some points better than those of new compounds (specvae docs evaluation)"
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else "")
