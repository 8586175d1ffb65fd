"""`specvae bench retention`: fit the index by which retention times become evidence."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import jobs_option
from specvae_bench.options import (
    exclude_option,
    library_option,
    output_option,
    require_results_folder,
)

FILES = ("retention_index.safetensors", "retention.json", "retention.png")


@click.command(cls=Command)
@library_option
@exclude_option
@jobs_option
@output_option("retention", "Folder for the index and its figures.")
@settings_options
@verbosity
def retention(
    spectra: tuple[Path, ...], exclude: tuple[Path, ...], jobs: int | None, output: Path
) -> None:
    """Fit the index of retention to the times of many laboratories.

    A compound's time in a laboratory is the median of its spectra. An index of structures is fitted
    to all laboratories of thirty compounds and more, each with a line of its own, and tried on each
    with an index that knows neither the laboratory nor its compounds. Those where that index says
    little (Spearman's correlation below 0.4: no reversed phase, or no column at all) are left out.
    The laboratory is the middle part of a MassBank accession.

    Writes retention_index.safetensors, retention.json and retention.png. The file that comes with
    the program, specvae/annotation/evidence/retention_index.safetensors, was made by this command
    ('specvae docs research'). Files that were read are kept in the cache.

    \b
    Example:
      specvae bench retention --spectra massbank.msp --exclude fold/truth.csv -o retention
    """
    require_results_folder(output, FILES)

    from specvae_bench.files import write_result
    from specvae_bench.laboratories.retention_report import compute, draw, table_of, write_index

    index, result = compute(spectra, exclude, jobs, Console())
    write_index(index, output / "retention_index.safetensors")
    write_result(output / "retention.json", result)
    draw(result, output / "retention.png")
    click.echo(table_of(result), nl=False)
