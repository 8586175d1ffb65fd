"""`specvae bench fragment-scores`: fragment scores alone on held-out compounds."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, jobs_option, model_file, query_filter_options
from specvae_bench.options import (
    output_option,
    ppm_option,
    require_own_names,
    require_results,
    seed_option,
)


@click.command(name="fragment-scores", cls=Command)
@click.option(
    "--data",
    type=INPUT,
    multiple=True,
    required=True,
    help="Folder with queries, truth and candidates (repeatable).",
)
@click.option(
    "--score",
    type=INPUT,
    multiple=True,
    required=True,
    help="File of weights, or a model; the others are compared with the first (repeatable).",
)
@query_filter_options
@ppm_option
@seed_option("Seed of intervals.")
@jobs_option
@output_option("fragment-scores.json", "File of the figures.")
@settings_options
@verbosity
def fragment_scores(
    data: tuple[Path, ...],
    score: tuple[Path, ...],
    ion_mode: str | None,
    adducts: tuple[str, ...],
    ppm: float,
    seed: int,
    jobs: int | None,
    output: Path,
) -> None:
    """Compare fragment scores, each alone, on queries of compounds that they have not seen.

    A score that was fitted to some of them is warned of. The figures are hit@1/5/20, and -log of
    the truth's probability among its candidates (nats), with intervals of 95 % of what each score
    gains on the first; compounds are resampled. Queries whose truth is not among their candidates
    are counted, and left out.

    \b
    Example:
      specvae bench fragment-scores --data fold --score old.safetensors --score new.safetensors
    """
    require_results(output)
    require_own_names(data, "--data folders")
    paths = [model_file(path) if path.is_dir() else path for path in score]

    from specvae.annotation.ranking.queries import QueryFilter
    from specvae_bench.files import made_by, write_result
    from specvae_bench.fragments.comparison import compare_scores, table_of

    wanted = QueryFilter.of(ion_mode, adducts)
    result = {
        **made_by("fragment-scores"),
        **compare_scores(data, paths, wanted, ppm, seed, jobs, Console()),
    }
    write_result(output, result)
    click.echo(table_of(result), nl=False)
