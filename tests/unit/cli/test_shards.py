"""The parts of a run make what the run in one piece makes."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import CAFFEINE, spectrum_of
from click.testing import CliRunner, Result
from evidence_examples import weighted
from shard_examples import write_run

from specvae.annotation.evidence import mass_error, retention
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, defaults
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.list_features import list_features
from specvae.annotation.library.query import Query
from specvae.annotation.output.journal import RunJournal
from specvae.annotation.output.parts import outcome_from_json, outcome_to_json
from specvae.annotation.ranking.explain import Explainer
from specvae.annotation.ranking.present import Draft
from specvae.annotation.ranking.result import Annotation, Cause, ListScores, Refusal, Unranked
from specvae.cli.annotate import annotate
from specvae.cli.merge import merge
from specvae.counting import counted
from specvae.errors import InputError, Interrupted
from specvae.molecules.molecule import Molecule


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    def ranked(name: str, *options: object) -> Path:
        arguments = [
            folder / "q.mgf", "--candidates", folder / "c.csv", "--jobs", 1, "--model",
            folder / "m.safetensors", "-o", tmp_path / name, *options,
        ]  # fmt: skip
        done = CliRunner().invoke(annotate, [str(argument) for argument in arguments])
        assert done.exception is None, done.output
        return tmp_path / name

    return ranked


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "mztab"])
@pytest.mark.parametrize(
    "options",
    [(), ("--merge-by", "FEATURE_ID", "--top", "2"), ("--min-probability", "0.2"),
     ("--rank-by", "fingerprint"), ("--known", "0.3"), ("--rescore", "2"), ("--no-nearness",)],
)  # fmt: skip
def test_parts_make_the_bytes_of_one_run(
    run: Callable[..., Path],
    tmp_path: Path,
    suffix: str,
    options: tuple[str, ...],
) -> None:
    whole = run(f"whole.{suffix}", "--format", suffix, *options)
    parts = [run(f"part-{i}.jsonl", "--shard", f"{i}/3", *options) for i in (3, 1, 2)]
    output = tmp_path / f"all.{suffix}"
    done = CliRunner().invoke(merge, [*map(str, parts), "-o", str(output)])
    assert done.exception is None, done.output
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        (), ("--top", "1"), ("--merge-by", "FEATURE_ID"),
        ("--no-retention-times",), ("--no-mass-errors",),
    ],
)  # fmt: skip
def test_parts_have_the_retention_times_and_mass_errors_of_one_run(
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    monkeypatch.setattr(retention, "FEWEST_QUERIES", 3)
    monkeypatch.setattr(mass_error, "FEWEST_QUERIES", 3)
    whole = run("whole.csv", *options)
    parts = [str(run(f"part-{i}.jsonl", "--shard", f"{i}/3", *options)) for i in (1, 2, 3)]
    done = CliRunner().invoke(merge, [*parts, "-o", str(tmp_path / "all.csv"), "--verbose"])
    assert done.exception is None, done.output
    assert (tmp_path / "all.csv").read_bytes() == whole.read_bytes()
    with whole.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    said = {float(row["retention_nats"] or 0.0) for row in rows}
    assert (said == {0.0}) is ("--no-retention-times" in options)
    # Each list is of one formula.
    assert {float(row["mass_nats"] or 0.0) for row in rows} == {0.0}
    assert ("retention times: those of" in done.stderr) is ("--no-retention-times" not in options)
    assert ("precursor m/z: those of" in done.stderr) is ("--no-mass-errors" not in options)


def test_merging_says_what_one_run_says(run: Callable[..., Path], tmp_path: Path) -> None:
    parts = [str(run(f"part-{i}.jsonl", "--shard", f"{i}/2")) for i in (1, 2)]
    done = CliRunner().invoke(merge, [*parts, "-o", str(tmp_path / "all.csv")])
    assert (
        "9 of 12 queries ranked; not ranked: no candidates within 10 ppm (2), unreadable record (1)"
        in done.stderr
    )
    made = (tmp_path / "all.csv.json").read_text(encoding="utf-8")
    assert "lists that hold the right structure" in made
    assert f"more on the probabilities: --verbose, or in {tmp_path / 'all.csv.json'}" in done.stderr


def test_parts_that_are_not_one_run_are_refused(run: Callable[..., Path], tmp_path: Path) -> None:
    one, two = (run(f"part-{i}.jsonl", "--shard", f"{i}/2") for i in (1, 2))
    other = run("other.jsonl", "--shard", "2/2", "--top", "3")

    def said(*parts: Path) -> str:
        done = CliRunner().invoke(merge, [*map(str, parts), "-o", str(tmp_path / "all.csv")])
        assert isinstance(done.exception, InputError)
        return str(done.exception)

    assert "top is 3, but 10 in" in said(one, other)
    assert "found 1 part of 2, wanted each once (missing: 2)" in said(one)
    assert "(more than once: 2)" in said(one, two, two)
    assert "(missing: 2; more than once: 1)" in said(one, one)
    lines = two.read_text(encoding="utf-8").splitlines(keepends=True)
    two.write_text("".join(lines)[:-30], encoding="utf-8")
    assert "no whole part of a run" in said(one, two)
    two.write_text("".join(lines[:-1]), encoding="utf-8")
    assert "its end is missing" in said(one, two)
    two.write_text("query_id,rank\n", encoding="utf-8")
    assert said(one, two).endswith("'specvae annotate --shard' writes (a line is no JSON)")
    two.write_text(json.dumps({"kind": "else"}), encoding="utf-8")
    assert "no part of a run" in said(one, two)
    for version in (1, 99):
        other_format = {**json.loads(lines[0]), "format_version": version}
        two.write_text(json.dumps(other_format), encoding="utf-8")
        assert f"part format {version}, but this program merges format" in said(one, two)
    two.write_text(f"{lines[0]}[1]\n", encoding="utf-8")
    assert "no whole part of a run" in said(one, two)
    assert said(one, tmp_path).endswith("writes (Is a directory)")
    cut = two.with_suffix(".jsonl.gz")
    cut.write_bytes(gzip.compress("".join(lines).encode())[:-40])
    assert "no whole part of a run" in said(one, cut)
    rescored = run("rescored.jsonl", "--shard", "2/2", "--rescore", 1)
    assert "rescore is 1, but None in" in said(one, rescored)
    with one.open("a", encoding="utf-8") as stream:
        stream.write("\n")
    assert "an output never replaces an input" in str(
        CliRunner().invoke(merge, [str(one), "-o", str(one)]).exception
    )


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b"])
def test_a_shard_is_a_part_of_a_whole(folder: Path, shard: str) -> None:
    done = CliRunner().invoke(
        annotate, [str(folder / "q.mgf"), "--candidates", str(folder / "c.csv"), "--shard", shard]
    )
    assert done.exit_code == 2
    assert "is no part of a whole" in done.stderr


def test_outputs_that_cannot_be_are_refused_before_anything_is_read(
    folder: Path, tmp_path: Path
) -> None:
    def said(*options: object) -> str:
        arguments = [folder / "q.mgf", "--candidates", folder / "c.csv", *options]
        done = CliRunner().invoke(annotate, [str(argument) for argument in arguments])
        assert done.exception is not None
        return done.output + str(done.exception)

    model = ("--model", folder / "m.safetensors")
    assert "a part has none" in said(*model, "--shard", "1/2", "--report", tmp_path / "r.html")
    assert "--report is a page in a file" in said(*model, "--report", "-")
    assert "both go to stdout" in said(*model, "--summary", "-")
    assert "x.tsv.gz: is not written as .gz; wanted" in said(*model, "-o", tmp_path / "x.tsv.gz")


def test_what_made_a_result_names_options_and_no_file_of_a_stream(run: Callable[..., Path]) -> None:
    table = run("x.csv", "--rescore", 2, "--summary", "-")
    made_by = json.loads(table.with_name("x.csv.json").read_text(encoding="utf-8"))
    assert made_by["options"]["rescore"] == 2
    assert made_by["outputs"]["summary"] == {"path": "-"}
    assert made_by["outputs"]["table"]["sha256"]


class Killed(BaseException):
    """What ends a process, as a signal does."""


def ended_after(monkeypatch: pytest.MonkeyPatch, n: int, by: type[BaseException] = Killed) -> None:
    """End the next run when it has kept `n` queries."""
    add = RunJournal.add
    n_kept = 0

    def kept(self: RunJournal, file: int, feature: int, found: Sequence[Draft | Unranked]) -> None:
        nonlocal n_kept
        if n_kept == n:
            raise by
        n_kept += 1
        add(self, file, feature, found)

    monkeypatch.setattr(RunJournal, "add", kept)


def annotated(folder: Path, output: Path, *options: object) -> Result:
    arguments = [
        folder / "q.mgf", "--candidates", folder / "c.csv", "--jobs", 1, "--model",
        folder / "m.safetensors", "-o", output, *options,
    ]  # fmt: skip
    return CliRunner().invoke(annotate, [str(argument) for argument in arguments])


def without_date(page: Path) -> str:
    return re.sub(r"<dt>date</dt><dd>[^<]*</dd>", "", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("n_kept", [0, 1, 5, 11])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("r.csv", ("--merge-by", "FEATURE_ID")),
        ("r.mztab", ()),
        ("r.jsonl", ("--top", 1)),
        ("counted.csv", ("--counts", "counts.csv")),
    ],
)
def test_a_run_that_was_ended_goes_on_and_gives_the_bytes_of_a_whole_one(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_kept: int,
    name: str,
    options: tuple[object, ...],
) -> None:
    monkeypatch.chdir(folder)
    whole, report = tmp_path / "whole" / name, tmp_path / "r.html"
    assert annotated(folder, whole, "--report", report, *options).exception is None
    wanted = without_date(report)
    output, unfinished = tmp_path / name, tmp_path / f"{name}.unfinished"
    again = (*options, "--report", report, "--resume")
    with monkeypatch.context() as patch:
        ended_after(patch, n_kept)
        with suppress(Killed):
            annotated(folder, output, *again)
    was_ended = unfinished.exists()  # else the run has fewer features than that
    if was_ended:
        assert not output.exists()
        assert unfinished.read_bytes().count(b"\n") == 1 + n_kept
        with unfinished.open("ab") as stream:
            stream.write(b'{"place": [0, ')  # cut off in the middle of a line
    done = annotated(folder, output, *again)
    assert done.exception is None, done.output
    assert (f"{counted(n_kept, 'queries are', 'query is')} ranked already" in done.stderr) == (
        was_ended and n_kept > 0
    )
    assert output.read_bytes() == whole.read_bytes()
    assert without_date(report) == wanted
    assert not unfinished.exists()


def test_another_run_does_not_go_on_from_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "r.csv"
    with monkeypatch.context() as patch:
        ended_after(patch, 3)
        with suppress(Killed):
            annotated(folder, output, "--resume")
    done = annotated(folder, output, "--resume", "--ppm", 20)
    assert isinstance(done.exception, InputError)
    assert "ppm is 10.0, but it is 20.0 in this one" in str(done.exception)
    unfinished = tmp_path / "r.csv.unfinished"
    head, *rest = unfinished.read_text(encoding="utf-8").splitlines(keepends=True)
    for older in ({"format": 6}, {}):
        begun = {key: value for key, value in json.loads(head).items() if key != "format"} | older
        left = "".join([json.dumps(begun) + "\n", *rest])
        unfinished.write_text(left, encoding="utf-8")
        done = annotated(folder, output, "--resume")
        found = f"another version of this program (format {older.get('format', 0)} of unfinished"
        assert found in str(done.exception)
        assert "go on with that version, or remove the file to begin anew" in str(done.exception)
        assert unfinished.read_text(encoding="utf-8") == left
    unfinished.write_text("mine\n", encoding="utf-8")
    done = annotated(folder, output, "--resume")
    assert "is no unfinished run" in str(done.exception)
    assert CliRunner().invoke(
        annotate,
        [str(folder / "q.mgf"), "--candidates", str(folder / "c.csv"), "--resume"],
    ).exit_code == 2  # fmt: skip


def test_several_files_are_ranked_together(folder: Path, tmp_path: Path) -> None:
    records = (folder / "q.mgf").read_text().split("END IONS\n")
    below = tmp_path / "run" / "below"
    below.mkdir(parents=True)
    for path, part in ((tmp_path / "run" / "b.mgf", records[:6]), (below / "a.mgf", records[6:12])):
        path.write_text("END IONS\n".join([*part, ""]), encoding="utf-8")
    (tmp_path / "run" / "notes.csv").write_text("x\n", encoding="utf-8")
    output, summary, report = (tmp_path / name for name in ("r.csv", "s.tsv", "r.html"))
    arguments = [
        tmp_path / "run", "--candidates", folder / "c.csv", "--jobs", 1, "--model",
        folder / "m.safetensors", "-o", output, "--summary", summary, "--report", report,
    ]  # fmt: skip
    done = CliRunner().invoke(annotate, [str(argument) for argument in arguments])
    assert done.exception is None, done.output
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    files = list(dict.fromkeys(row["file"] for row in rows))
    assert files == [str(tmp_path / "run" / "b.mgf"), str(below / "a.mgf")]
    whole = tmp_path / "whole.csv"
    assert annotated(folder, whole).exception is None
    with whole.open(newline="") as stream:
        wanted = list(csv.DictReader(stream))
    assert "file" not in wanted[0]  # one file: the contract's columns
    # The shares are those of all files together.
    same = ("rank", "smiles", "score", "probability", "precursor_mz")
    assert [[row[key] for key in same] for row in rows] == [
        [row[key] for key in same] for row in wanted
    ]
    assert summary.read_text().splitlines()[0].endswith("\tfile")
    assert report.read_text().count(str(below / "a.mgf")) > 3
    inputs = json.loads((tmp_path / "r.csv.json").read_text())["inputs"]
    assert [file["path"] for file in inputs["queries"]] == files


def test_folders_without_spectra_and_files_named_twice_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for paths, said in (
        ([tmp_path / "empty"], "no file .msp, .mgf, .mzml, .mzxml in this folder"),
        ([folder / "q.mgf", folder], "is there twice"),
    ):
        arguments = [*paths, "--candidates", folder / "c.csv", "--model", folder / "m.safetensors"]
        done = CliRunner().invoke(annotate, [str(argument) for argument in arguments])
        assert said in str(done.exception)


@pytest.mark.parametrize(
    ("n_kept", "said"), [(0, None), (1, "1 answer is kept"), (5, "5 answers are kept")]
)
def test_ctrl_c_says_what_is_kept_and_how_the_run_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_kept: int, said: str | None
) -> None:
    output = tmp_path / "r.csv"
    with monkeypatch.context() as patch:
        ended_after(patch, n_kept, KeyboardInterrupt)
        apart = annotated(folder, output)
        done = annotated(folder, output, "--resume")
    assert apart.exception is None
    assert isinstance(done.exception, SystemExit if said is None else Interrupted)
    assert Path(f"{output}.unfinished").exists() == (n_kept > 0)
    if said is not None:
        assert str(done.exception) == (
            f"interrupted; {said} in {output}.unfinished: the same command goes on from there"
        )
        assert (
            "was left by an earlier run; --resume would go on" in annotated(folder, output).stderr
        )
        assert f"{n_kept} quer" in annotated(folder, output, "--resume").stderr


def test_nearness_to_the_library_counts_unless_it_is_left_out(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    def said(path: Path) -> list[float]:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["score"]]
        terms = [column for column in rows[0] if column.endswith("_nats")]
        for row in rows:
            sum_of_terms = sum(float(row[column]) for column in terms)
            assert float(row["score"]) == pytest.approx(sum_of_terms, abs=1e-4)
        return [float(row["nearness_nats"]) for row in rows]

    assert max(said(run("with.csv"))) > 0.1
    assert set(said(run("without.csv", "--no-nearness"))) == {0.0}
    provenance = (tmp_path / "without.csv.json").read_text(encoding="utf-8")
    assert json.loads(provenance)["options"]["use_nearness"] is False


def test_parts_keep_a_match_that_is_not_listed() -> None:
    """It stands below the compounds of the library that are shown."""
    raw = np.zeros((2, len(EVIDENCE_KINDS)))
    shown = [Analogue(f"{n}" * 14, "C", 0.9 - n / 100) for n in range(5)]
    absent = replace(shown[-1], cosine=0.4, is_unlisted=True)
    analogues = (*shown, absent, replace(absent, cosine=0.3))
    evidence = weighted(raw, defaults().weights, np.zeros(2, np.bool_), analogues=analogues)
    found = ListScores.of(evidence, 7)
    query = Query.assign_ion(spectrum_of(CAFFEINE, 110.0713))
    made = Draft(query, found, np.arange(0), (), 2, tuple(shown[:3]))
    again = outcome_from_json(json.loads(json.dumps(outcome_to_json(made))), defaults().weights)
    assert isinstance(again, Draft)
    assert again.analogues == made.analogues
    assert again.lists.evidence is not None
    assert list_features(again.lists.evidence, 7) == list_features(evidence, 7)
    assert list_features(evidence, 7)["unlisted_match"] == 0.4


def test_a_journal_whose_first_line_was_cut_off_is_begun_anew(tmp_path: Path) -> None:
    """As by a full disk: nothing is in it, and the same command works when there is room."""
    path = tmp_path / "x.part"
    with RunJournal(path, {"seed": 1, "model": "m" * 200}, None):
        whole = path.read_bytes()
    assert not path.exists()
    for n in (0, 1, 20, 40, 200, len(whole) - 1):
        path.write_bytes(whole[:n])
        with RunJournal(path, {"seed": 1, "model": "m" * 200}, None) as journal:
            assert journal.n_kept == 0
            assert path.read_bytes() == whole
    for other in (b'{"kind": "another"', b"mine", b'{"kind": "specvae unfinished run"}\n'):
        path.write_bytes(other)
        with pytest.raises(InputError):
            RunJournal(path, {"seed": 1}, None)
        assert path.read_bytes() == other


def test_what_explains_a_query_is_kept_by_the_journal(tmp_path: Path) -> None:
    molecules = [None, Molecule.parse(CAFFEINE)]
    rows = tuple(
        Annotation(0, CAFFEINE, "", "", 0.0, None, molecule=molecule) for molecule in molecules
    )
    logits = np.array([0.5, -1.25, 3.0], np.float32)
    packed = np.arange(6, dtype=np.uint8).reshape(2, 3)
    query = Query.assign_ion(spectrum_of(CAFFEINE, 110.0713))
    lists = ListScores(np.array([-1.0, -2.0]), 1)
    spectra = (query.spectrum, spectrum_of(CAFFEINE, 138.0662))
    explainer = Explainer(logits, packed, spectra)
    made = Draft(query, lists, np.arange(2), rows, 2, explainer=explainer)
    path = tmp_path / "x.part"
    with RunJournal(path, {"seed": 1}, None) as journal:
        journal.add(0, 4, [made])
        journal.add(1, 0, [Unranked("u", Refusal(Cause.NO_PRECURSOR))])
    with path.open("ab") as stream:
        stream.write(b'{"place": [1, 1], "outc')  # the process was killed
    whole = path.read_bytes()[: path.read_bytes().rindex(b"\n") + 1]
    with RunJournal(path, {"seed": 1}, None) as journal:
        assert list(journal.kept) == [(0, 4), (1, 0)]
        assert journal.n_kept == 2
        # What was kept outlives that this process is killed, too.
        assert path.read_bytes() == whole
        journal.add(1, 1, [Unranked("v", Refusal(Cause.NO_PRECURSOR))])
    assert path.read_bytes().startswith(whole)
    with RunJournal(path, {"seed": 1}, None) as journal:
        assert list(journal.kept) == [(0, 4), (1, 0), (1, 1)]
    (found,) = journal.kept[0, 4]
    assert isinstance(found, Draft)
    assert found.explainer is not None
    np.testing.assert_array_equal(found.explainer.logits, logits)
    np.testing.assert_array_equal(found.explainer.packed, packed)
    assert [s.mz.tolist() for s in found.explainer.spectra] == [s.mz.tolist() for s in spectra]
    kept = [row.molecule for row in found.annotations]
    assert kept[0] is None
    assert kept[1] is not None
    assert kept[1].smiles == Molecule.parse(CAFFEINE).smiles
    np.testing.assert_array_equal(found.lists.scores, lists.scores)
