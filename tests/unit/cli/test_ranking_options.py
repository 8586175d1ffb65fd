"""What annotate, evaluate and predict assume, leave out and say, with an untrained model."""

from __future__ import annotations

import csv
import inspect
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from annotation_examples import CAFFEINE, tiny_annotator
from click.testing import CliRunner, Result

import specvae
from specvae.annotation.library.header import CalibrationFigures
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.probability import SCORE_FEATURES, ProbabilityModel
from specvae.annotation.ranking.run import RankingRun, RunInputs, Sources
from specvae.cli import ranking
from specvae.cli.annotate import annotate
from specvae.cli.evaluate import evaluate
from specvae.cli.predict import predict
from specvae.errors import CheckpointError, InputError
from specvae.vae.checkpoint import save_checkpoint

N = len(SCORE_FEATURES)
FLAT = ProbabilityModel((), (0.0,) * N, (1.0,) * N, (0.0,) * (N + 1), (0.0,) * (N + 1))
COMMANDS = {"annotate": annotate, "evaluate": evaluate, "predict": predict}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model of both ion modes, candidates and a truth."""
    folder = tmp_path_factory.mktemp("ranking")
    tiny = tiny_annotator(("positive", "negative"))
    header = replace(tiny.header, program="specvae", probability=FLAT.to_json())
    save_checkpoint(folder / "shipped.safetensors", tiny.model, header)
    own = replace(header, calibration=CalibrationFigures(1200, 400, 10.0, 0.5, 0.7))
    save_checkpoint(folder / "own.safetensors", tiny.model, own)
    (folder / "c.csv").write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    (folder / "t.csv").write_text(f"query_id,smiles\nq,{CAFFEINE}\n", encoding="utf-8")
    return folder


def mgf(path: Path, *fields: str) -> Path:
    """Write a record of each of these header lines, called q, q#2, ..."""
    path.write_text(
        "".join(f"BEGIN IONS\nTITLE=q\n{f}\n138.066 10\nEND IONS\n" for f in fields),
        encoding="utf-8",
    )
    return path


def run(
    command: str, folder: Path, queries: Path, *options: object, model: str = "shipped"
) -> Result:
    arguments: list[object] = [queries, "--model", folder / f"{model}.safetensors", *options]
    if command != "predict":
        arguments += ["--candidates", folder / "c.csv", "--jobs", 1]
    if command == "evaluate":
        arguments += ["--truth", folder / "t.csv"]
    return CliRunner().invoke(COMMANDS[command], [str(argument) for argument in arguments])


def statuses(text: str) -> list[str]:
    return [row["status"] for row in csv.DictReader(io.StringIO(text))]


def test_queries_that_state_no_ion_are_what_the_user_says(folder: Path, tmp_path: Path) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=217.0696", "PEPMASS=195.0877\nADDUCT=[M+H]+")
    silent = run("annotate", folder, queries)
    assert statuses(silent.stdout) == ["no adduct and no ion mode", "ok"]
    assert "1 of 2 queries ranked; not ranked: no adduct and no ion mode (1)" in silent.stderr
    assert "--assume-ion-mode positive or --assume-adduct" in silent.stderr
    done = run("annotate", folder, queries, "--assume-adduct", "M+Na")
    assert statuses(done.stdout) == ["ok; adduct taken as [M+Na]+", "ok"]
    assert "2 of 2 queries ranked" in done.stderr
    assert "adduct taken as [M+Na]+: 1 of the ranked" in done.stderr
    assert "--assume-ion-mode" not in done.stderr


def test_several_adducts_are_tried_for_queries_that_state_none(
    folder: Path, tmp_path: Path
) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=217.0696", "PEPMASS=195.0877\nADDUCT=[M+H]+")
    done = run("annotate", folder, queries, "--try-adducts", "[M+H]+,[M+Na]+")
    assert statuses(done.stdout) == ["ok; adduct not stated, tried [M+H]+, [M+Na]+", "ok"]
    adducts = [row["adduct"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert adducts == ["[M+Na]+", "[M+H]+"]
    both = run("annotate", folder, queries, "--try-adducts", "common", "--assume-adduct", "M+H")
    assert "exclude each other" in str(both.exception)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_reads_queries_takes_assumptions(
    folder: Path, tmp_path: Path, command: str
) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=193.0731")
    for word in ("negative", "neg", "N"):  # as files write it
        done = run(command, folder, queries, "--assume-ion-mode", word)
        assert done.exit_code == 0, done.output
        assert "adduct taken as [M-H]-: 1 of the" in done.stderr


def test_predictions_are_of_the_ion_that_is_assumed(folder: Path, tmp_path: Path) -> None:
    silent = mgf(tmp_path / "a.mgf", "PEPMASS=193.0731")
    stated = mgf(tmp_path / "b.mgf", "PEPMASS=193.0731\nIONMODE=negative\nADDUCT=[M-H]-")
    assumed = run("predict", folder, silent, "--assume-ion-mode", "negative").stdout
    assert assumed == run("predict", folder, stated).stdout
    assert assumed != run("predict", folder, silent).stdout


def test_assumptions_that_contradict_each_other_are_refused(folder: Path, tmp_path: Path) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=193.0731")
    done = run(
        "annotate", folder, queries, "--assume-adduct", "[M+H]+", "--assume-ion-mode", "negative"
    )
    assert "[M+H]+ is of positive ion mode" in str(done.exception)


@pytest.mark.parametrize("command", ["annotate", "evaluate"])
def test_not_one_ranked_query_is_an_error_after_all_is_written(
    folder: Path, tmp_path: Path, command: str
) -> None:
    queries, output = mgf(tmp_path / "q.mgf", "PEPMASS=999.9\nADDUCT=[M+H]+"), tmp_path / "o"
    done = run(command, folder, queries, "-o", output)
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == (
        f"{queries}: 0 of 1 query ranked; not ranked: no candidates within 10 ppm (1)"
    )
    assert output.stat().st_size > 0


def test_the_report_says_why_queries_are_not_ranked(folder: Path, tmp_path: Path) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=999.9\nADDUCT=[M+H]+", "PEPMASS=195\nIONMODE=N/A")
    run("annotate", folder, queries, "-o", tmp_path / "o.csv", "--report", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "0 of 2 queries ranked; not ranked: no candidates within 10 ppm (1), no adduct" in page


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("shipped", "by the calibration that comes with specvae, fitted to other models"),
        ("own", "by this model's own calibration, fitted to 1,200 spectra of 400 validation"),
    ],
)
@pytest.mark.parametrize("command", ["annotate", "evaluate"])
def test_whose_calibration_it_is_is_said(
    folder: Path, tmp_path: Path, command: str, model: str, words: str
) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=195.0877\nADDUCT=[M+H]+")
    options = ("--report", tmp_path / "r.html") if command == "annotate" else ()
    done = run(command, folder, queries, *options, model=model)
    assert f"probabilities: {words}" in done.stderr
    if options:
        page = unescape((tmp_path / "r.html").read_text(encoding="utf-8"))
        assert f"probabilities: {words}" in page


@pytest.mark.parametrize(
    ("command", "option", "suffix"),
    [("annotate", "-o", "csv"), ("evaluate", "-o", "txt"), ("evaluate", "--json", "json")],
)
def test_skipped_records_are_listed_beside_the_output_of_their_run(
    folder: Path, tmp_path: Path, command: str, option: str, suffix: str
) -> None:
    good = "PEPMASS=195.0877\nADDUCT=[M+H]+"
    broken = mgf(tmp_path / "broken.mgf", good, f"{good}\n138.066 x")
    clean = mgf(tmp_path / "clean.mgf", good)
    listed = tmp_path / ("o.skipped.csv" if suffix == "csv" else f"o.{suffix}.skipped.csv")
    run(command, folder, broken, option, tmp_path / f"o.{suffix}")
    assert "BAD_PEAK" in listed.read_text(encoding="utf-8")
    run(command, folder, clean, option, tmp_path / f"other.{suffix}")
    assert "BAD_PEAK" in listed.read_text(encoding="utf-8")
    run(command, folder, clean, option, tmp_path / f"o.{suffix}")
    assert not listed.exists()


@pytest.mark.parametrize(("long_bytes", "n_started"), [(10_000, 0), (5, 1)])
def test_processes_are_started_ahead_for_long_tables_alone(
    long_bytes: int, n_started: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ranking.LOADED_AHEAD:
        assert find_spec(name) is not None
    found: list[int | None] = []
    monkeypatch.setattr(ranking, "start_ahead", lambda n_jobs, _: found.append(n_jobs))
    monkeypatch.setattr(ranking, "LONG_BYTES", long_bytes)
    monkeypatch.setattr(ranking, "end_waiting", lambda: found.append(-1))
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=195.0877")
    for rank_by in ("everything", "fingerprint"):
        run("annotate", folder, queries, "--rank-by", rank_by)
    assert found == [1] * n_started
    found.clear()
    (folder / "bad.safetensors").write_text("no model", encoding="utf-8")
    assert isinstance(run("annotate", folder, queries, model="bad").exception, CheckpointError)
    assert found == [*[1] * n_started, -1]


def test_a_field_that_no_query_states_merges_nothing_and_says_so(
    folder: Path, tmp_path: Path
) -> None:
    queries = mgf(tmp_path / "q.mgf", *["PEPMASS=195.0877\nADDUCT=[M+H]+\nFEATURE_ID=7"] * 2)
    said = run("annotate", folder, queries, "--merge-by", "FEATURE").stderr
    assert "note: no query states 'FEATURE' (--merge-by), so that none are of one feature" in said
    assert "feature; they state FEATURE_ID\n" in said
    said = run("annotate", folder, queries, "--merge-by", "FEATURE_ID").stderr
    assert "features with several spectra (by FEATURE_ID): 1, of 2 spectra" in said


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--formula", "C8H10N4O2+"),
        ("--formula", "[C8 H10 N4 O2]2+"),
        ("--formula", "C8H10N4O2 2+"),
        ("--elements", "C,H, N;O"),
    ],
)
def test_spellings_of_formulas_and_elements(
    folder: Path, tmp_path: Path, option: str, value: str
) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=195.0877\nADDUCT=[M+H]+")
    assert run("annotate", folder, queries, option, value).exit_code == 0


@pytest.mark.parametrize("option", ["--rescore", "--known"])
def test_options_of_evidence_that_does_not_count_are_refused(
    folder: Path, tmp_path: Path, option: str
) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=195.0877")
    answer = run("annotate", folder, queries, option, "1", "--rank-by", "fingerprint")
    assert answer.exit_code == 2
    assert f"{option} is of evidence that --rank-by fingerprint leaves out" in answer.stderr


def test_truths_of_another_ion_mode_than_the_one_asked_for(folder: Path, tmp_path: Path) -> None:
    """The only truth is of a query that is left out: there was no name to show."""
    queries = mgf(
        tmp_path / "q.mgf", "PEPMASS=195.0877\nADDUCT=[M+H]+", "PEPMASS=193.07\nADDUCT=[M-H]-"
    )
    text = queries.read_text(encoding="utf-8").replace("TITLE=q", "TITLE=p", 1)
    queries.write_text(text.replace("TITLE=q", "TITLE=n").replace("TITLE=p", "TITLE=q"))
    answer = run("evaluate", folder, queries, "--ion-mode", "negative")
    assert isinstance(answer.exception, InputError)
    assert "no query is left to evaluate" in str(answer.exception)


def test_a_file_without_a_query_is_an_error_after_all_is_written(
    folder: Path, tmp_path: Path
) -> None:
    """As survey scans alone: an empty table looks like a run that found nothing."""
    queries = mgf(tmp_path / "q.mgf", "MSLEVEL=1\nPEPMASS=195.0877")
    answer = run("annotate", folder, queries, "-o", tmp_path / "r.csv")
    assert isinstance(answer.exception, InputError)
    assert str(answer.exception) == f"{queries}: 0 of 0 queries ranked"
    assert "1 skipped: not MS level 2 (1)" in answer.stderr
    assert (tmp_path / "r.csv").read_text(encoding="utf-8").count("\n") == 1
    # A part of a run may have none.
    assert run("annotate", folder, queries, "--shard", "1/2").exit_code == 0


def test_figures_as_json_have_stdout_for_themselves(folder: Path, tmp_path: Path) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=195.0877\nADDUCT=[M+H]+")
    assert json.loads(run("evaluate", folder, queries, "--json", "-").stdout)["n_queries"] == 1
    table = tmp_path / "t.txt"
    beside = run("evaluate", folder, queries, "--json", "-", "-o", table)
    assert json.loads(beside.stdout)["n_queries"] == 1
    assert table.read_text(encoding="utf-8").startswith("n_queries")
    named = run("evaluate", folder, queries, "-o", tmp_path / "figures.json")
    assert named.exit_code == 2
    assert "--json FILE writes JSON" in named.stderr
    both = run("evaluate", folder, queries, "--json", "-", "-o", "-")
    assert both.exit_code == 2
    assert "--json and --output both go to stdout" in both.stderr
    plot = run("evaluate", folder, queries, "--plot", "-")
    assert str(plot.exception) == "-: is stdout, which takes text; wanted the name of a file"


def test_lists_of_the_truth_alone_are_warned_of(folder: Path, tmp_path: Path) -> None:
    """Their hit rate is 100 %, whatever the model."""
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=195.0877\nADDUCT=[M+H]+")
    warning = "warning: the truth of 1 of 1 query is their only candidate"
    assert warning in run("evaluate", folder, queries).stderr
    table = folder / "c.csv"
    alone = table.read_text(encoding="utf-8")
    table.write_text(f"{alone}Cn1cnc2n(C)c(=O)n(C)c(=O)c12\nCCn1cnc2c1c(=O)[nH]c(=O)n2C\n", "utf-8")
    try:
        assert warning not in run("evaluate", folder, queries).stderr
    finally:
        table.write_text(alone, encoding="utf-8")


def test_truths_that_are_hardly_ever_listed_are_warned_of(folder: Path, tmp_path: Path) -> None:
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=195.0877\nADDUCT=[M+H]+")
    warning = "warning: the truth of 1 of 1 query is not among their candidates"
    assert warning not in run("evaluate", folder, queries).stderr
    truth = folder / "t.csv"
    right = truth.read_text(encoding="utf-8")
    truth.write_text("query_id,smiles\nq,CCO\n", encoding="utf-8")
    try:
        assert warning in run("evaluate", folder, queries).stderr
    finally:
        truth.write_text(right, encoding="utf-8")


@pytest.mark.parametrize("command", ["annotate", "evaluate"])
def test_a_file_that_grows_while_it_is_read_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The digest beside a result is of more than what was ranked."""
    queries = mgf(tmp_path / "q.mgf", "PEPMASS=195.0877\nADDUCT=[M+H]+")
    told = f"warning: {queries} was changed while it was read"
    assert told not in run(command, folder, queries).stderr
    opened = RankingRun.opened

    def growing(self: RankingRun, spectra: Sources) -> AbstractContextManager[RunInputs]:
        found = opened(self, spectra)
        with queries.open("a", encoding="utf-8") as stream:
            stream.write("\n")
        return found

    monkeypatch.setattr(RankingRun, "opened", growing)
    output = tmp_path / "o"
    done = run(command, folder, queries, "-o", output)
    assert told in done.stderr
    if command == "annotate":
        assert told in output.with_name("o.json").read_text(encoding="utf-8")


def test_queries_without_adduct_and_candidates_may_be_other_adducts(
    folder: Path, tmp_path: Path
) -> None:
    fields = (
        "PEPMASS=217.0696\nCHARGE=1+",
        "PEPMASS=217.0696\nADDUCT=[M+H]+",
        "PEPMASS=195.0877",
        "PEPMASS=217.0696\nCHARGE=2+",  # common adducts have one charge
    )
    queries = mgf(tmp_path / "q.mgf", *fields)
    said = run("annotate", folder, queries, "--assume-ion-mode", "positive").stderr
    assert "1 of these states no adduct: --try-adducts common ranks candidates of several" in said
    said = run("annotate", folder, mgf(tmp_path / "r.mgf", fields[1])).stderr
    assert "--try-adducts" not in said


OF_COMMANDS = {"ion_mode", "adducts", "shard", "formula", "elements", "exclude", "strict"}
"""Options that Python lacks: there one chooses among spectra and candidates."""


def test_options_of_a_run_are_those_of_commands() -> None:
    found: list[RunOptions] = []

    @click.command
    @ranking.ranking_options
    def command(ranking: ranking.Ranking) -> None:
        found.append(ranking.options)

    CliRunner().invoke(command, ["--candidates", "c.csv"], catch_exceptions=False)
    assert found == [RunOptions(candidates=Path("c.csv"))]
    named = {parameter.name for parameter in annotate.params}
    inverse = {f"use_{name}" for name in ("library", "retention_times", "nearness")}
    options = {field.name for field in fields(RunOptions)}
    assert options - named == inverse | {"n_jobs"}
    assert {"jobs", *(name.replace("use_", "no_") for name in inverse)} <= named


@pytest.mark.parametrize("function", [specvae.Model.annotate, specvae.annotate])
def test_options_of_a_run_are_those_of_python(function: Callable[..., object]) -> None:
    parameters = inspect.signature(function).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    options = {field.name: field.default for field in fields(RunOptions)}
    shared = defaults.keys() & options.keys() - {"candidates"}
    assert {name: defaults[name] for name in shared} == {name: options[name] for name in shared}
    if "options" not in parameters:  # which stands for those of the other function
        assert options.keys() - defaults.keys() == OF_COMMANDS
