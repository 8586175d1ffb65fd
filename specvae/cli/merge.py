"""`specvae merge`."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, INPUT_FILE
from specvae.cli.outputs import require_outputs, text_output
from specvae.cli.ranking import ranking_summary, require_ranked

_FORMATS = ("csv", "tsv", "jsonl", "mztab")


@click.command()
@click.argument("parts", type=INPUT_FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=INPUT, default=None, help="Where to write.  [default: stdout]")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(_FORMATS),
    default=None,
    help="[default: by the suffix of --output, else csv]",
)
@settings_options
@verbosity
def merge(parts: tuple[Path, ...], output: Path | None, output_format: str | None) -> None:
    """Join the parts of a run that 'annotate --shard' wrote.

    The shares that all queries tell together (of compounds that the library knows, of lists that
    hold their truth) are estimated from all parts, so that the result is that of one run.

    \b
    Example:
      specvae annotate query.mgf --candidates cands.csv --shard 1/2 -o part-1.jsonl
      specvae annotate query.mgf --candidates cands.csv --shard 2/2 -o part-2.jsonl
      specvae merge part-1.jsonl part-2.jsonl -o all.csv
    """
    require_outputs({"PARTS": parts}, {"--output": output})

    from specvae.annotation.output.parts import read_parts
    from specvae.annotation.output.tables import write_annotations
    from specvae.annotation.ranking.run import finish
    from specvae.annotation.ranking.tally import Tally

    suffix = output.suffix.removeprefix(".").lower() if output is not None else ""
    chosen = output_format or (suffix if suffix in _FORMATS else "csv")
    header, drafts = read_parts(parts)
    run, tally = header.run, Tally()
    found = finish(
        tally.counting(drafts),
        header.settlement,
        header.calibration_source,
        run["in_list"],
        run["known"],
        run["min_probability"],
    )
    with text_output(output) as stream:
        write_annotations(found.results, stream, chosen, provenance=header.provenance)
    console = Console()
    for line in (*ranking_summary(tally), *found.lines):
        console.log(line)
    require_ranked(parts[0], tally)
