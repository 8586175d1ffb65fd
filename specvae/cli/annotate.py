"""`specvae annotate`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.annotation.ranking.told import Told
from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Choice, Command
from specvae.cli.options import INPUT, INPUT_FILE, NumberRange, engine_of, scheduler_option
from specvae.cli.outputs import (
    TABLE_FORMATS,
    format_of,
    is_stdout,
    provenance_path,
    require_paths,
    skips_path,
    suffix_format,
    text_output,
    unfinished_path,
    write_skips,
)
from specvae.cli.ranking import (
    Ranking,
    ranking_options,
    require_ranked,
    tell,
)
from specvae.counting import counted
from specvae.interruption import telling
from specvae.sources import Stamps, name_of_source
from specvae.spectra.folders import spectra_files

if TYPE_CHECKING:
    from specvae.annotation.output.journal import RunJournal
    from specvae.annotation.ranking.options import RunOptions
    from specvae.annotation.ranking.result import QueryResult
    from specvae.annotation.ranking.run import Placed, RankingRun
    from specvae.molecules.workers import Engine


_LONGEST_COUNT = 18  # digits
_PART_FORMAT = "jsonl"  # of the parts that --shard writes


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
        if not text.isdecimal() or len(text) > _LONGEST_COUNT or int(text) < 1:
            self.fail(f"{value!r} is neither a number of 1 or more nor 'all'.", param, ctx)
        return int(text)


class ShardType(click.ParamType[tuple[int, int]]):
    """A part and the number of all parts: ``3/10``."""

    name = "I/N"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return both numbers."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(value).strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(
                f"{value!r} is no part of a whole, such as 1/10, 2/10, ... 10/10.", param, ctx
            )
        return int(found[1]), int(found[2])


@click.command(cls=Command)
@click.argument("queries", type=INPUT_FILE, nargs=-1, required=True)
@ranking_options
@click.option(
    "--top", type=TopType(), default="10", show_default=True, help="Candidates shown per query."
)
@click.option(
    "--min-probability",
    type=NumberRange(min=0.0, max=1.0),
    default=None,
    metavar="P",
    help="Leave out less probable candidates; a query with none left says so in its status.",
)
@click.option(
    "--shard",
    type=ShardType(),
    default=None,
    help="Rank only the I-th of N parts of QUERIES (I from 1); 'specvae merge' joins the parts.",
)
@scheduler_option
@click.option(
    "--format",
    "output_format",
    type=Choice(TABLE_FORMATS),
    default=None,
    help="[default: by the suffix of --output, else csv]",
)
@click.option("-o", "--output", type=INPUT, default=None, help="Where to write.  [default: stdout]")
@click.option(
    "--summary",
    type=INPUT,
    default=None,
    metavar="FILE",
    help="Also write one row for each query: .csv, .tsv or .jsonl.",
)
@click.option("--report", type=INPUT, default=None, help="Also write a report as one HTML page.")
@click.option(
    "--resume",
    is_flag=True,
    help="Keep what is ranked in OUTPUT.unfinished as the run goes, and continue from there if an "
    "earlier run was ended.",
)
@settings_options
@verbosity
def annotate(
    queries: tuple[Path, ...],
    ranking: Ranking,
    top: int | str,
    min_probability: float | None,
    scheduler: str | None,
    output_format: str | None,
    output: Path | None,
    summary: Path | None,
    report: Path | None,
    resume: bool,
) -> None:
    """Rank candidate structures for each query spectrum.

    QUERIES is an .msp, .mgf, .mzML, .mzXML or MassBank file, also .gz, .bz2 or .xz; - is stdin. A
    folder stands for all .msp, .mgf, .mzML and .mzXML files in it and below, and for those of
    MS-FINDER (.mat) and MassBank (.txt). Several files are ranked together, and the column file
    names the file of each query. Candidates without a query_id column are matched by mass. Every
    record of QUERIES has at least one row in the output, except what is no fragment spectrum, such
    as MS level 1; if a query cannot be ranked, the column status says why. Scores are in nats:
    compare them within a query, not between queries.

    The column probability is the chance that a candidate is the right one. It takes into account
    that the right structure may not be listed, and is empty if the model is not calibrated.

    FILE.json beside the file of --output records how it was made: digests of everything that was
    read, options, versions and date.

    \b
    Example:
      specvae annotate query.mgf --candidates cands.csv --top 5 -o ranked.csv --report report.html
    """
    console = Console()
    files = spectra_files(queries, console.log)
    journal_path = unfinished_path(output) if resume else None
    is_part = ranking.options.shard is not None
    _require_one_process(is_part, scheduler, files, resume, journal_path)
    _require_files(files, ranking, output, summary, report, journal_path)
    _require_sense(is_part, output, output_format, summary, report)
    engine = engine_of(scheduler, "rank queries")

    from specvae.annotation.output.provenance import provenance as made_by
    from specvae.annotation.output.provenance import write_provenance
    from specvae.annotation.output.tables import write_annotations, write_summary

    stamps = Stamps((*files, *ranking.files))
    left = unfinished_path(output)
    if not resume and left is not None and left.exists():
        console.log(f"note: {left} was left by an earlier run; --resume would go on from there")
    run = ranking.open(console, is_ranked_here=scheduler is None, min_probability=min_probability)
    shown = None if top == "all" else int(top)
    if is_part:
        drafts = _drafts(files, ranking, run, shown, False, engine, console)
        _write_part(files[0], ranking, run, drafts, shown, min_probability, output)
        _tell_part(console, run, output)
        return
    with _journal(console, journal_path, files, ranking, run, shown, report) as journal:
        drafts = _drafts(files, ranking, run, shown, report is not None, engine, console, journal)
        found = run.finish(drafts, min_probability)
    names = [name_of_source(file) for file in files]
    of_file = [names[n] for n in found.file_numbers] if _are_several(queries) else None
    told = run.told(found) + Told.of_notes(stamps.changes())
    beside = provenance_path(output)
    made: dict[str, Any] = {}
    if beside is not None or report is not None:  # digests of long files take their time
        asked = {"top": shown, "min_probability": min_probability, "rank_by": ranking.rank_by}
        read = files if _are_several(queries) else files[0]
        made = made_by(
            run.options, run.annotator.header, queries=read, model=ranking.model_file, **asked
        )
    with text_output(output) as stream:
        chosen = format_of(output, output_format)
        provenance = _provenance(files, ranking, run)
        write_annotations(found.results, stream, chosen, provenance=provenance, files=of_file)
    if summary is not None:
        with text_output(summary) as stream:
            write_summary(found.results, stream, format_of(summary), of_file)
    if report is not None:
        _write_report(report, found.results, names, of_file, made, told)
    write_skips(output, *run.reports)
    if beside is not None:
        outputs = {"table": output, "summary": summary, "report": report}
        write_provenance(beside, made, outputs, told.lines)
    if journal_path is not None:
        journal_path.unlink(missing_ok=True)
    tell(console, told, beside)
    require_ranked(files, run.tally)


def _require_one_process(
    is_part: bool,
    scheduler: str | None,
    files: Sequence[Path],
    resume: bool,
    journal_path: Path | None,
) -> None:
    """Refuse parts and schedulers for a run with a journal, or for several files of queries."""
    if resume and journal_path is None:
        raise click.UsageError("--resume keeps what is ranked beside --output, which is no file")
    if (len(files) > 1 or resume) and (is_part or scheduler is not None):
        option = "--shard" if is_part else "--scheduler"
        raise click.UsageError(f"{option} takes one file of queries, and no --resume")


def _require_files(
    files: Sequence[Path],
    ranking: Ranking,
    output: Path | None,
    summary: Path | None,
    report: Path | None,
    journal_path: Path | None,
) -> None:
    """Refuse inputs that are missing, and outputs that overwrite each other or an input."""
    inputs = {"QUERIES": files, **ranking.inputs}
    require_paths(
        inputs,
        {
            "--output": output,
            "--summary": summary,
            "--report": report,
            "its list of skips": skips_path(output),
            "its provenance": provenance_path(output),
            "--resume": journal_path,
        },
    )


def _are_several(queries: tuple[Path, ...]) -> bool:
    """Return whether the table has a column for the file: several files or a folder were given."""
    return len(queries) > 1 or queries[0].is_dir()


@contextmanager
def _journal(
    console: Console,
    path: Path | None,
    files: Sequence[Path],
    ranking: Ranking,
    run: RankingRun,
    top: int | None,
    report: Path | None,
) -> Iterator[RunJournal | None]:
    """Open what an earlier run left, if the user asks for that; None if not."""
    if path is None:
        yield None
        return
    from specvae.annotation.output.journal import RunJournal
    from specvae.files import sha256_of

    asked = {
        **_asked(ranking, run, top),
        "queries": [sha256_of(file) for file in files],
        "report": report is not None,
    }
    with RunJournal(path, asked, run.annotator.run_scoring.weights) as journal:
        if journal.kept:
            n = counted(len(journal.kept), "queries are", "query is")
            console.log(f"{path}: {n} ranked already; going on")
        with telling(lambda: _kept(path, journal.n_kept)):
            yield journal


def _kept(path: Path, n: int) -> str:
    """Return the message on `n` answers that are kept in a file, "" if there are none."""
    answers = counted(n, "answers are", "answer is")
    return f"{answers} kept in {path}: the same command goes on from there" if n else ""


def _asked(ranking: Ranking, run: RankingRun, top: int | None) -> dict[str, Any]:
    """Return everything but the queries that a part of a run depends on, as JSON values."""
    from specvae.files import sha256_of

    options = run.options
    return {
        "candidates": sha256_of(options.candidates),
        "model": run.annotator.header.weights_sha256,
        "library": [sha256_of(path) for path in options.library],
        "exclude": [sha256_of(path) for path in options.exclude],
        "counts": None if options.counts is None else sha256_of(options.counts),
        "rank_by": ranking.rank_by,
        "top": top,
        **options.asked(),
        "adducts": list(options.adducts),
    }


def _require_sense(
    is_part: bool,
    output: Path | None,
    output_format: str | None,
    summary: Path | None,
    report: Path | None,
) -> None:
    """Refuse outputs that cannot be written, before anything is read."""
    if is_part:
        if output_format not in (None, _PART_FORMAT):
            raise click.UsageError("--format is of a whole run; a part is JSON lines")
        suffix_format(output, (_PART_FORMAT,))
    format_of(output, output_format)
    if report is not None and is_stdout(report):
        raise click.UsageError("--report is a page in a file; stdout is for the table")
    suffix_format(report, ("html", "htm"))
    if summary is not None and format_of(summary) == "mztab":
        raise click.UsageError("--summary is .csv, .tsv or .jsonl; --output may be .mztab")
    if is_part and (report is not None or summary is not None):
        raise click.UsageError("--report and --summary are of a whole run; a part has none")
    if summary is not None and is_stdout(summary) and is_stdout(output):
        raise click.UsageError("--summary and --output both go to stdout; one needs a file")


def _drafts(
    queries: Sequence[Path],
    ranking: Ranking,
    run: RankingRun,
    top: int | None,
    explained: bool,
    engine: Engine | None,
    console: Console,
    journal: RunJournal | None = None,
) -> Iterator[Placed]:
    """Return the drafts of the queries' answers, ranked here or by an engine's processes."""
    if engine is None:
        return run.drafts(queries, top=top, explained=explained, journal=journal)
    from specvae.annotation.ranking.pieces import Job, drafts_in_pieces

    job = Job(
        options=run.options,
        model=ranking.model_file,
        fingerprint_only=ranking.rank_by == "fingerprint",
        device=ranking.device,
        queries=queries[0],
        top=top,
        explained=explained,
        folder=Path.cwd(),
    )
    return drafts_in_pieces(run, job, engine, console)


def _write_report(
    path: Path,
    results: Sequence[QueryResult],
    names: Sequence[str],
    of_file: Sequence[str] | None,
    made: Mapping[str, Any],
    told: Told,
) -> None:
    from specvae.annotation.output.html import write_report
    from specvae.annotation.output.provenance import described

    named = Path(names[0]).name if len(names) == 1 else counted(len(names), "files")
    write_report(
        results,
        path,
        title=f"Annotations of {named}",
        provenance=described(made),
        told=told,
        files=of_file,
    )


def _write_part(
    queries: Path,
    ranking: Ranking,
    run: RankingRun,
    drafts: Iterator[Placed],
    top: int | None,
    least: float | None,
    output: Path | None,
) -> None:
    """Write the drafts of this part of the queries, with a header on the whole run."""
    from specvae.annotation.output.parts import PartHeader, write_part
    from specvae.files import sha256_of

    options, annotator = run.options, run.annotator
    assert options.shard is not None
    asked = {
        "queries": sha256_of(queries),
        **_asked(ranking, run, top),
        "min_probability": least,
    }
    header = PartHeader(
        *options.shard,
        asked,
        _provenance([queries], ranking, run),
        annotator.run_scoring,
        annotator.calibration_source,
    )
    with text_output(output) as stream:
        write_part(drafts, stream, header)


def _tell_part(console: Console, run: RankingRun, output: Path | None) -> None:
    write_skips(output, *run.reports)
    tell(console, run.told())
    console.log("one part of a run: specvae merge joins all of them")


def _counts(options: RunOptions) -> str:
    columns = " + ".join(options.counts_columns)
    weight = f"weight {options.counts_weight:g}"
    return f"{options.counts} ({', '.join(filter(None, (columns, weight)))})"


def _provenance(queries: Sequence[Path], ranking: Ranking, run: RankingRun) -> dict[str, str]:
    header, options = run.annotator.header, run.options
    return {
        "queries": ", ".join(map(name_of_source, queries)),
        "candidates": name_of_source(options.candidates),
        "model": str(ranking.model_file),
        "model digest": header.weights_sha256,
        "program": header.program or "unknown",
        **({"library": ", ".join(map(str, options.library))} if options.library else {}),
        **({"library of the model": "not used"} if not options.use_library else {}),
        **({"retention times": "not used"} if not options.use_retention_times else {}),
        **({"errors of precursor m/z": "not used"} if not options.has_mass_errors else {}),
        **({"nearness to the library": "not used"} if not options.use_nearness else {}),
        **({"counts of references": _counts(options)} if options.counts is not None else {}),
    }
