"""`specvae merge`."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Choice, Command
from specvae.cli.options import INPUT, INPUT_FILE
from specvae.cli.outputs import (
    TABLE_FORMATS,
    format_of,
    provenance_path,
    require_paths,
    text_output,
)
from specvae.cli.ranking import require_ranked, tell


@click.command(cls=Command)
@click.argument("parts", type=INPUT_FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=INPUT, default=None, help="Where to write.  [default: stdout]")
@click.option(
    "--format",
    "output_format",
    type=Choice(TABLE_FORMATS),
    default=None,
    help="[default: by the suffix of --output, else csv]",
)
@settings_options
@verbosity
def merge(parts: tuple[Path, ...], output: Path | None, output_format: str | None) -> None:
    """Join the parts of a run that 'annotate --shard' wrote.

    The shares of compounds that the library knows, and of lists that contain the truth, are
    estimated from all parts, so the result is the same as that of a single run.

    \b
    Example:
      specvae annotate query.mgf --candidates cands.csv --shard 1/2 -o part-1.jsonl
      specvae annotate query.mgf --candidates cands.csv --shard 2/2 -o part-2.jsonl
      specvae merge part-1.jsonl part-2.jsonl -o all.csv
    """
    require_paths({"PARTS": parts}, {"--output": output, "its provenance": provenance_path(output)})
    chosen = format_of(output, output_format)

    from specvae.annotation.output.parts import read_parts
    from specvae.annotation.output.provenance import provenance_of_parts, write_provenance
    from specvae.annotation.output.tables import write_annotations
    from specvae.annotation.ranking.advice import told_of
    from specvae.annotation.ranking.run import finish
    from specvae.annotation.ranking.tally import Tally

    header, drafts = read_parts(parts)
    run, tally = header.run, Tally(ppm=header.run["ppm"], states_adduct=True)
    found = finish(
        tally.counting(drafts),
        header.scoring,
        header.calibration_source,
        run["in_list"],
        run["known"],
        run["min_probability"],
    )
    with text_output(output) as stream:
        write_annotations(found.results, stream, chosen, provenance=header.provenance)
    told = told_of(tally) + found.told
    if (beside := provenance_path(output)) is not None:
        write_provenance(beside, provenance_of_parts(parts, run), {"table": output}, told.lines)
    tell(Console(), told, beside)
    require_ranked(parts[0], tally)
