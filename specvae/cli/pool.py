"""`specvae pool`."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, INPUT_TABLE, jobs_option, strict_option
from specvae.cli.outputs import require_outputs, skips_path, write_skips


@click.group()
def pool() -> None:
    """Build and inspect candidate pools: structures sorted by exact mass, with fingerprints.

    \b
    Example:
      specvae pool build structures.tsv -o pool.h5
      specvae annotate query.mgf --candidates pool.h5
    """


@pool.command()
@click.argument("structures", type=INPUT_TABLE, nargs=-1, required=True)
@click.option("-o", "--output", type=INPUT, default=Path("pool.h5"), show_default=True)
@click.option(
    "--fingerprint",
    "layout_name",
    metavar="LAYOUT",
    default="mixed2149",
    show_default=True,
    help="The layout of the model that will rank: see 'specvae info'.",
)
@jobs_option
@strict_option
@settings_options
@verbosity
def build(
    structures: tuple[Path, ...], output: Path, layout_name: str, jobs: int | None, strict: bool
) -> None:
    """Build a pool from .csv, .tsv or .smi files of structures, also .gz.

    \b
    Example:
      specvae pool build structures.tsv -o pool.h5 --fingerprint mixed2149
    """
    require_outputs(
        {"STRUCTURES": structures},
        {"--output": output, "its list of skips": skips_path(output)},
    )

    from specvae.molecules.candidates import CandidatePool
    from specvae.molecules.fingerprint import FingerprintCache, get_layout
    from specvae.report import ReadReport

    console = Console()
    report = ReadReport(strict=strict)
    n = CandidatePool.build(
        structures,
        get_layout(layout_name),
        output,
        report=report,
        cache=FingerprintCache(),
        n_jobs=jobs,
        progress=lambda done, total: console.progress("computing fingerprints", done, total),
    )
    write_skips(output, report)
    console.log(report.summary("structures"))
    click.echo(f"{n:,} structures in {output}")


@pool.command()
@click.argument("path", metavar="POOL", type=INPUT)
@settings_options
@verbosity
def info(path: Path) -> None:
    """Show what a pool holds.

    \b
    Example:
      specvae pool info pool.h5
    """
    from specvae.molecules.candidates import CandidatePool

    with CandidatePool.open(path) as opened:
        for name, value in opened.info().items():
            echo(f"{name:<18}{value}")
