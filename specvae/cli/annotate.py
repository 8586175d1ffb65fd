"""`specvae annotate`."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.options import (
    INPUT,
    INPUT_FILE,
    Console,
    NumberRange,
    assumption_options,
    candidate_options,
    device_option,
    in_list_option,
    model_file,
    model_option,
    query_filter_options,
    require_calibrated,
    settings_options,
    strict_option,
    verbosity,
)
from specvae.cli.outputs import require_outputs, skips_path, text_output, write_skips


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

    QUERIES is an .msp, .mgf, .mzML or .mzXML file, also .gz. Candidates without a query_id column
    are matched by mass. Every record of QUERIES has at least one row in the output; where nothing
    could be ranked, the column status says why. Scores are in nats: differences within a query mean
    something, values across queries do not.

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
    from specvae.annotation.ranking.annotator import (
        Annotator,
        CandidateSource,
        QueryFilter,
        rank_queries,
        to_result,
    )
    from specvae.annotation.ranking.in_list import keep_probable, settle_share, summary_lines
    from specvae.report import ReadReport
    from specvae.spectra.lines import sniff_format

    # A wrong file of queries is told before a long file of candidates is read.
    sniff_format(queries)
    console = Console()
    wanted = QueryFilter.of(ion_mode, adducts)
    assumed = Assumptions.parse(assume_adduct, assume_ion_mode)
    query_report, candidate_report = ReadReport(strict=strict), ReadReport(strict=strict)
    annotator = Annotator.load(path, device, fingerprint_only=rank_by == "fingerprint")
    calibration = annotator.probability
    for option, value in (("--min-probability", min_probability), ("--in-list", in_list)):
        if value is not None:
            require_calibrated(path, calibration, option)
    with CandidateSource(candidates, annotator.layout, ppm, candidate_report) as source:
        ranked = rank_queries(
            annotator,
            queries,
            source,
            wanted,
            query_report,
            assumed=assumed,
            n_jobs=jobs,
            progress=console,
        )
        results = [
            to_result(annotator, query, None if top == "all" else int(top)) for query in ranked
        ]
    n_ranked = sum(result.annotations[0].rank is not None for result in results)
    summary: list[str] = []
    if calibration is not None and n_ranked:
        results, share = settle_share(calibration, results, in_list)
        summary = summary_lines(results, share, in_list is None, min_probability)
    if min_probability is not None:
        results = [keep_probable(result, min_probability) for result in results]
    provenance = {
        "queries": str(queries),
        "candidates": str(candidates),
        "model": str(path),
        "model digest": annotator.header["weights_sha256"],
        "program": annotator.header["program"],
    }
    with text_output(output) as stream:
        write_annotations(results, stream, output_format, provenance=provenance)
    if report is not None:
        from specvae.annotation.output.html import write_report

        write_report(results, report, title=f"Annotations of {queries.name}", provenance=provenance)
    write_skips(output, query_report, candidate_report)
    console.log(f"queries: {query_report.summary()}")
    if candidate_report.skips:
        console.log(f"candidates: {candidate_report.summary('candidates')}")
    console.log(f"{n_ranked:,} of {len(results):,} queries ranked")
    for line in summary:
        console.log(line)
