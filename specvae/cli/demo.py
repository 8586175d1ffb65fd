"""`specvae demo`."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specvae.annotation.training.run_files import MODEL_FILE
from specvae.cli.console import Console, echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, device_option
from specvae.cli.outputs import provenance_path, require_paths, text_output
from specvae.counting import counted
from specvae.errors import InputError
from specvae.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from specvae.annotation.ranking.result import Answer, QueryResult

_FILES = ("queries.mgf", "candidates.csv", "truth.csv")
FILES = (*_FILES, f"model/{MODEL_FILE}", "ranked.csv", "ranked.csv.json", "report.html")
"""All files that are written into the folder."""


@click.command(cls=Command)
@click.option(
    "-o",
    "--output",
    type=INPUT,
    default=Path("specvae-demo"),
    show_default=True,
    help="Folder for what is written.",
)
@device_option
@settings_options
@verbosity
def demo(output: Path, device: str) -> None:
    """Annotate example spectra with a small model; both come with the program.

    Writes the ranked table and the report into a folder, together with the queries, candidates and
    model, and says what to look at. The spectra are simulated: figures on them say nothing about
    real spectra.

    \b
    Example:
      specvae demo -o first-look
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file, wanted a folder to write into")
    require_paths({}, {"--output": [output / name for name in FILES]})
    model = output / "model" / MODEL_FILE
    shipped = resources.files("specvae") / "demo"
    contents = {output / name: (shipped / name).read_bytes() for name in _FILES}
    contents[model] = gzip.decompress((shipped / f"{MODEL_FILE}.gz").read_bytes())
    for path, content in contents.items():
        if path.exists() and path.read_bytes() != content:
            raise InputError(
                f"{path}: is there already and not the demo's; -o names another folder"
            )
    for path, content in contents.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)

    from specvae.annotation.evidence import compile_ahead

    console = Console()
    compile_ahead.start(console.log)
    from specvae.annotation.library.compounds import read_truth
    from specvae.annotation.output.html import write_report
    from specvae.annotation.output.provenance import described, write_provenance
    from specvae.annotation.output.provenance import provenance as made_by
    from specvae.annotation.output.tables import write_annotations
    from specvae.annotation.ranking.annotator import Annotator
    from specvae.annotation.ranking.options import RunOptions
    from specvae.annotation.ranking.run import RankingRun

    queries, candidates = output / "queries.mgf", output / "candidates.csv"
    annotator = Annotator.load(model, device)
    run = RankingRun(annotator, RunOptions(candidates=candidates, n_jobs=1), console)
    found = run.results(queries, explained=True)
    made = made_by(run.options, annotator.header, queries=queries, model=model, top=10)
    provenance = {
        "queries": str(queries),
        "candidates": str(candidates),
        "model": str(model),
        "model digest": annotator.header.weights_sha256,
        "program": annotator.header.program or "unknown",
    }
    table, report = output / "ranked.csv", output / "report.html"
    told = run.told(found)
    with text_output(table) as stream:
        write_annotations(found.results, stream, "csv", provenance=provenance)
    write_report(
        found.results,
        report,
        title="Annotations of simulated spectra (specvae demo)",
        provenance=described(made),
        told=told,
    )
    beside = provenance_path(table)
    if beside is not None:
        write_provenance(beside, made, {"table": table, "report": report}, told.lines)
    for line in _told(output, found.results, read_truth(output / "truth.csv")):
        echo(line)


def _told(output: Path, results: Sequence[QueryResult], truth: Mapping[str, str]) -> Iterator[str]:
    """Yield lines on the result, and on what to look at."""
    from specvae.annotation.ranking.result import Answer

    answers = [result for result in results if isinstance(result, Answer)]
    right = [answer for answer in answers if _is_right(answer, truth)]
    by_chance = sum(1.0 / answer.n_candidates for answer in answers)
    yield (
        f"{len(right)} of {counted(len(results), 'queries')} have the right structure first (by "
        f"chance: {by_chance:.0f}). The spectra are simulated: this says nothing about real ones."
    )
    yield ""
    yield f"{output / 'report.html'}   open it in a browser"
    yield f"{output / 'ranked.csv'}    the same as a table, one row per candidate"
    yield ""
    yield "Look at"
    for answer, text in _worth_a_look(answers, right):
        best = answer.annotations[0]
        probability = f", {best.probability:.0%}" if best.probability is not None else ""
        yield f"  {answer.query_id:<10} {best.name or best.smiles}{probability}: {text}"
    yield ""
    yield "Then change something:"
    yield (
        f"  specvae annotate {output / 'queries.mgf'} --candidates {output / 'candidates.csv'} "
        f"--model {output / 'model'} --top 3"
    )
    yield "and train on your own library: specvae train --spectra LIBRARY"


def _worth_a_look(
    answers: Sequence[Answer], right: Sequence[Answer]
) -> Iterator[tuple[Answer, str]]:
    """Yield one query for each kind of outcome, with an explanation."""
    recognised = [a for a in right if a.annotations[0].leading == "library"]
    reasoned = [a for a in right if a.annotations[0].match is None and a.n_candidates > 1]
    wrong = [a for a in answers if a not in right]
    if recognised:
        best = max(recognised, key=_probability)
        yield best, "recognised by its own library spectrum (columns library_match, level)"
    if reasoned:
        best = max(reasoned, key=_probability)
        yield best, "not in the library; right by its fragments and by similar compounds"
    if wrong:
        yield max(wrong, key=_probability), "wrong; see what spoke for it"


def _probability(answer: Answer) -> float:
    return answer.annotations[0].probability or 0.0


def _is_right(answer: Answer, truth: Mapping[str, str]) -> bool:
    return answer.annotations[0].first_block == truth.get(answer.query_id)
