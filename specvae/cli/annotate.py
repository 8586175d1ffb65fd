"""`specvae annotate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import (
    INPUT,
    INPUT_FILE,
    NumberRange,
    assumption_options,
    candidate_options,
    device_option,
    in_list_option,
    model_file,
    model_option,
    query_filter_options,
    require_calibrated,
    strict_option,
)
from specvae.cli.outputs import require_outputs, skips_path, text_output, write_skips
from specvae.cli.ranking import ranking_summary, require_ranked, tell_reading

if TYPE_CHECKING:
    from specvae.annotation.ranking.annotator import Annotator
    from specvae.annotation.ranking.result import QueryResult


class TopType(click.ParamType[int | str]):
    """A positive number, or ``all``."""

    name = "N|all"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Return the number, or ``all``."""
        text = str(value).strip().lower()
        if text == "all":
            return "all"
        if not text.isdigit() or int(text) < 1:
            self.fail(f"{value!r} is neither a number of 1 or more nor 'all'.", param, ctx)
        return int(text)


@click.command()
@click.argument("queries", type=INPUT_FILE)
@candidate_options
@model_option
@query_filter_options
@assumption_options
@click.option(
    "--top", type=TopType(), default="10", show_default=True, help="Candidates shown per query."
)
@click.option(
    "--min-probability",
    type=NumberRange(min=0.0, max=1.0),
    default=None,
    metavar="P",
    help="Leave out candidates that are less probable; a query of which none is left says so.",
)
@in_list_option
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["csv", "tsv", "jsonl", "mztab"]),
    default="csv",
    show_default=True,
)
@click.option("-o", "--output", type=INPUT, default=None, help="Where to write.  [default: stdout]")
@click.option("--report", type=INPUT, default=None, help="Also write a report as one HTML page.")
@strict_option
@device_option
@settings_options
@verbosity
def annotate(
    queries: Path,
    candidates: Path,
    ppm: float,
    rank_by: str,
    jobs: int | None,
    model: Path,
    ion_mode: str | None,
    adducts: tuple[str, ...],
    assume_adduct: str | None,
    assume_ion_mode: str | None,
    top: int | str,
    min_probability: float | None,
    in_list: float | None,
    output_format: str,
    output: Path | None,
    report: Path | None,
    strict: bool,
    device: str,
) -> None:
    """Rank candidate structures for each query spectrum.

    QUERIES is an .msp, .mgf, .mzML, .mzXML or MassBank file, also .gz; - is stdin. Candidates
    without a query_id column are matched by mass. Every record of QUERIES but those of MS level 1
    has at least one row in the output; where nothing could be ranked, the column status says why.
    Scores are in nats: differences within a query mean something, values across queries do not.

    The column probability is the chance that a candidate is the right one; it takes into account
    that the right one may not be listed. It stays empty if the model is not calibrated.

    \b
    Example:
      specvae annotate query.mgf --candidates cands.csv --top 5 -o ranked.csv --report report.html
    """
    path = model_file(model)
    require_outputs(
        {"QUERIES": queries, "--candidates": candidates, "--model": path},
        {"--output": output, "--report": report, "its list of skips": skips_path(output)},
    )

    from specvae.annotation.library.query import Assumptions
    from specvae.annotation.output.tables import write_annotations
    from specvae.annotation.ranking.annotator import Annotator
    from specvae.annotation.ranking.candidates import CandidateSource
    from specvae.annotation.ranking.present import present
    from specvae.annotation.ranking.queries import QueryFilter
    from specvae.annotation.ranking.rank import rank_queries
    from specvae.annotation.ranking.tally import Tally
    from specvae.report import ReadReport
    from specvae.spectra.lines import sniff_format

    # A wrong file of queries is refused before a long file of candidates is read.
    sniff_format(queries)
    console, tally = Console(), Tally()
    wanted = QueryFilter.of(ion_mode, adducts)
    assumed = Assumptions.parse(assume_adduct, assume_ion_mode)
    query_report, candidate_report = ReadReport(strict=strict), ReadReport(strict=strict)
    annotator = Annotator.load(path, device, fingerprint_only=rank_by == "fingerprint")
    for option, value in (("--min-probability", min_probability), ("--in-list", in_list)):
        if value is not None:
            require_calibrated(path, annotator.probability, option)
    with CandidateSource(candidates, annotator.layout, ppm, candidate_report) as source:
        outcomes = rank_queries(
            annotator,
            queries,
            source,
            wanted,
            query_report,
            assumed=assumed,
            n_jobs=jobs,
            progress=console,
        )
        shown = None if top == "all" else int(top)
        results = [present(annotator, outcome, shown) for outcome in tally.counting(outcomes)]
    summary = ranking_summary(tally)
    results, expected = _settled(annotator, results, in_list, min_probability)
    provenance = {
        "queries": str(queries),
        "candidates": str(candidates),
        "model": str(path),
        "model digest": annotator.header.weights_sha256,
        "program": annotator.header.program or "unknown",
    }
    with text_output(output) as stream:
        write_annotations(results, stream, output_format, provenance=provenance)
    if report is not None:
        from specvae.annotation.output.html import write_report

        title = f"Annotations of {queries.name}"
        lines = [*summary, *expected]
        write_report(results, report, title=title, provenance=provenance, summary=lines)
    write_skips(output, query_report, candidate_report)
    tell_reading(console, query_report, candidate_report)
    for line in (*summary, *expected):
        console.log(line)
    require_ranked(queries, tally)


def _settled(
    annotator: Annotator,
    results: Sequence[QueryResult],
    in_list: float | None,
    min_probability: float | None,
) -> tuple[list[QueryResult], list[str]]:
    """Return results with final probabilities, without improbable rows, and what is expected."""
    from specvae.annotation.ranking.in_list import keep_probable, settle_share, summary_lines
    from specvae.annotation.ranking.result import Answer

    settled, lines = list(results), []
    if annotator.probability is not None and any(isinstance(r, Answer) for r in results):
        settled, share = settle_share(annotator.probability, results, in_list)
        lines = [
            f"probabilities: {annotator.calibration_source}",
            *summary_lines(settled, share, in_list is None, min_probability),
        ]
    if min_probability is not None:
        settled = [keep_probable(result, min_probability) for result in settled]
    return settled, lines
