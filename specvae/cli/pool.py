"""`specvae pool`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from specvae.cli.console import Console, echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Group
from specvae.cli.options import (
    INPUT,
    INPUT_TABLE,
    engine_of,
    jobs_option,
    scheduler_option,
    strict_option,
)
from specvae.cli.outputs import require_paths, skips_path, write_skips
from specvae.counting import counted
from specvae.errors import InputError
from specvae.interruption import telling
from specvae.sources import is_pool

_PURPOSE = "compute fingerprints"
_LAYOUT = "mixed2149"


@click.group(cls=Group)
def pool() -> None:
    """Build and inspect candidate pools: structures sorted by exact mass, with fingerprints.

    \b
    Example:
      specvae pool build structures.tsv -o pool.h5
      specvae annotate query.mgf --candidates pool.h5
    """


@pool.command(short_help="Build a pool from files of structures.")
@click.argument("structures", type=INPUT_TABLE, nargs=-1, required=True)
@click.option("-o", "--output", type=INPUT, default=Path("pool.h5"), show_default=True)
@click.option(
    "--fingerprint",
    "layout_names",
    metavar="LAYOUT",
    multiple=True,
    help="Layout of the model that will rank, see 'specvae info'; a pool can hold several "
    f"(repeatable).  [default: {_LAYOUT}; with --append those of the pool]",
)
@click.option("--append", is_flag=True, help="Add the structures to an existing pool.")
@scheduler_option
@jobs_option
@strict_option
@settings_options
@verbosity
def build(
    structures: tuple[Path, ...],
    output: Path,
    layout_names: tuple[str, ...],
    append: bool,
    scheduler: str | None,
    jobs: int | None,
    strict: bool,
) -> None:
    """Build a pool from .csv, .tsv, .smi or .sdf files of structures, also .gz, .bz2 or .xz.

    Columns may have the names that PubChem, COCONUT, HMDB and MetFrag use; PubChem's list
    CID-SMILES.gz is read as it is. Of structures that differ only in stereochemistry, the first is
    kept, with the identifiers of all.

    Results are kept in the folder POOL.building until the pool is written. An interrupted build
    continues where it stopped when the same command is run again.

    \b
    Example:
      specvae pool build structures.tsv -o pool.h5 --fingerprint mixed2149
      specvae pool build more.sdf -o pool.h5 --append
    """
    require_paths(
        {"STRUCTURES": structures},
        {"--output": output, "its list of skips": skips_path(output)},
    )
    if not is_pool(output):
        raise InputError(f"{output}: wanted a name that ends in .h5, by which pools are known")
    engine = engine_of(scheduler, _PURPOSE)

    from specvae.molecules.candidate_pool import CandidatePool
    from specvae.molecules.fingerprint import get_layout
    from specvae.molecules.pool_build import build_pool, kept_of
    from specvae.molecules.workers import LocalEngine
    from specvae.report import ReadReport

    console = Console()
    report = ReadReport(strict=strict)
    n_before = 0
    is_replaced = output.exists() and not append
    if append and output.exists():
        with CandidatePool.open(output) as present:
            n_before = present.info().get("n_duplicates", 0)
            layout_names = layout_names or present.layouts
    with telling(lambda: kept_of(output)):
        n = build_pool(
            structures,
            [get_layout(name) for name in dict.fromkeys(layout_names or (_LAYOUT,))],
            output,
            append=append,
            report=report,
            engine=engine or LocalEngine(jobs, _PURPOSE),
            progress=console,
        )
    write_skips(output, report)
    console.log(report.summary("structures"))
    with CandidatePool.open(output) as built:
        n_again = built.info().get("n_duplicates", 0) - n_before
    if n_again:
        console.log(
            f"rows that repeat an earlier row's compound, which has their identifiers: {n_again:,}"
        )
    if is_replaced:
        console.log(f"{output} was there already and is replaced; --append adds to a pool")
    click.echo(f"{counted(n, 'structures')} in {output}")


@pool.command()
@click.argument("path", metavar="POOL", type=INPUT)
@click.option("--check", is_flag=True, help="Compare the whole file with its checksums.")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@settings_options
@verbosity
def info(path: Path, check: bool, as_json: bool) -> None:
    """Show what a pool holds.

    \b
    Example:
      specvae pool info pool.h5 --check
    """
    from specvae.molecules.candidate_pool import CandidatePool

    with CandidatePool.open(path) as opened:
        described = opened.info()
        if as_json:
            click.echo(json.dumps(described, indent=2))
        else:
            for name, text in _lines(path, described):
                echo(f"{name:<15}{text}")
        if check:
            opened.check(Console())
            found = "every row agrees with its checksum" if opened.has_checksums else "no checksums"
            click.echo(found, err=as_json)


def _lines(path: Path, described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    low, high = described["mass_range"]
    yield "file", f"{path}, {described['n_bytes'] / 1e6:,.1f} MB"
    yield "format", str(described["format_version"])
    yield (
        "holds",
        f"{counted(described['n_structures'], 'structures')} from {low:.4f} to {high:.4f} Da",
    )
    for layout in described["layouts"]:
        yield (
            "fingerprint",
            f"{layout['name']} version {layout['version']}, {counted(layout['n_bits'], 'bits')}",
        )
    for source in described["sources"]:
        yield "file read", f"{source['file']}, sha256 {source['sha256'][:12]}..."
    yield "skipped", counted(described.get("n_skipped", 0), "rows")
    yield (
        "repeats",
        f"{counted(described.get('n_duplicates', 0), 'rows')} of a compound of an earlier row",
    )
