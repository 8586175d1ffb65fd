"""What commands write replaces nothing that a user owns, and lies beside its list of skips."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner
from conftest import run_specvae
from specvae_bench.files import write_result
from specvae_bench.folds import casmi, holdout
from specvae_bench.fragments.comparison_command import fragment_scores
from specvae_bench.gpu.command import gpu
from specvae_bench.laboratories import command as laboratories
from specvae_bench.laboratories import retention_command as retention
from specvae_bench.options import require_own_head, require_results_folder
from specvae_bench.retrieval import command as retrieval
from specvae_bench.supervision import command as supervision

from specvae.annotation.training import run_files
from specvae.cli import demo
from specvae.cli.fingerprint import fingerprint
from specvae.cli.main import cli
from specvae.cli.outputs import (
    format_of,
    provenance_path,
    require_paths,
    skips_path,
    unfinished_path,
    write_skips,
)
from specvae.cli.pool import pool
from specvae.cli.predict import predict
from specvae.errors import InputError
from specvae.molecules.candidate_pool import CandidatePool
from specvae.report import ReadReport, Reason


@dataclass(frozen=True)
class Paths:
    """The paths of a command, by option; an argument is "".

    Attributes
    ----------
    files
        What it writes into the folder that its output names; empty if the output is a file.
    needed
        Other arguments.
    inside
        What it reads from a folder among its inputs: option -> names.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("--output",)
    files: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    inside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_FOLD = ("--data", "--spectra", "--exclude")
PATHS: dict[str, Paths] = {
    "annotate": Paths(
        ("", "--candidates", "--exclude", "--counts", "--model", "--library", "--config"),
        ("--output", "--report", "--summary"),
    ),
    "evaluate": Paths(
        ("", "--candidates", "--exclude", "--counts", "--truth", "--model", "--library",
         "--config"),
        ("--output", "--json", "--plot", "--reliability"),
    ),
    "predict": Paths(("", "--model", "--library", "--config")),
    "embed": Paths(("", "--model", "--config")),
    "embed molecules": Paths(("--molecules", "--model", "--config")),
    "fingerprint": Paths(("", "--config")),
    "merge": Paths(("", "--config")),
    "package-model": Paths(("", "--config")),
    "demo": Paths(("--config",), files=demo.FILES),
    "library build": Paths(("", "--config")),
    "library structures": Paths(("", "--config")),
    "pool build": Paths(("", "--config")),
    "train": Paths(
        ("--spectra", "--unpaired-spectra", "--unpaired-molecules", "--structures", "--exclude",
         "--fragment-score", "--config"),
        files=run_files.FILES,
        needed=("--force",),
    ),
    "bench casmi2017": Paths((*_FOLD, "--model", "--config"), files=casmi.FILES),
    "bench fragments": Paths(
        ("--spectra", "--structures", "--exclude", "--start", "--average", "--config")
    ),
    "bench fragment-scores": Paths(("--data", "--score", "--config")),
    "bench holdout": Paths(
        ("--spectra", "--structures", "--exclude", "--config"), files=holdout.FILES
    ),
    "bench laboratories": Paths(
        ("--spectra", "--structures", "--exclude", "--model", "--fragment-score", "--config"),
        files=laboratories.FILES,
        inside=dict.fromkeys(("--lists", "--fit-short-lists"), laboratories.LIST_FILES),
    ),
    "bench laboratories fit": Paths(
        ("--spectra", "--structures", "--exclude", "--model", "--fragment-score", "--config"),
        files=laboratories.FIT_FILES,
        needed=("--fit",),
    ),
    "bench laboratories short": Paths(
        ("--spectra", "--structures", "--exclude", "--fragment-score", "--config"),
        files=laboratories.FIT_FILES[1:],
        needed=("--fit-short-lists", "."),
    ),
    "bench retention": Paths(("--spectra", "--exclude", "--config"), files=retention.FILES),
    "bench retrieval": Paths((*_FOLD, "--model", "--config"), files=retrieval.FILES),
    "bench supervision": Paths(
        (*_FOLD, "--unpaired-molecules", "--config"), files=supervision.FILES
    ),
    "bench speed": Paths(
        ("--spectra", "--candidates", "--structures", "--mnist", "--keep-pool", "--config")
    ),
    "bench gpu": Paths(("--prepared", "--data", "--config"), files=("speed.json",)),
    "bench gpu prepare": Paths(
        ("--spectra", "--exclude", "--config"), needed=("--prepare",)
    ),
    "bench gpu finish": Paths(
        ("--fold", "--config"), files=("hits.md",), needed=("--finish",)
    ),
}  # fmt: skip
# Commands that read folders alone, whose files have other names than what is written.
FOLDERS_ONLY = {
    "download", "bench mnist-split", "bench mnist-split-3", "bench mnist-svhn",
    "bench cub-captions", "bench mnist-colour", "bench mnist-captions",
}  # fmt: skip
PAIRS = [
    (command, output, other, name)
    for command, paths in PATHS.items()
    for output in paths.outputs
    for other in paths.inputs
    for name in paths.files or ("",)
] + [
    (command, output, other, "")
    for command, paths in PATHS.items()
    for output, other in combinations(paths.outputs, 2)
]


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command within a group, by its words."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands(cli))


def command_of(case: str) -> click.Command:
    """Return the command of a case, whose name may have a word more."""
    return COMMANDS[case] if case in COMMANDS else COMMANDS[case.rsplit(" ", 1)[0]]


def refusal_of(case: str, folder: Path, given: Mapping[str, Path]) -> str:
    """Run a command with some of its paths given, the others sound; return its refusal."""
    paths = PATHS[case]
    files = {name: folder / f"input{number}" for number, name in enumerate(paths.inputs)}
    files |= {name: folder / f"output{number}" for number, name in enumerate(paths.outputs)}
    files |= given
    for name in (*paths.inputs, *paths.inside):
        if name in files and not files[name].exists():
            files[name].parent.mkdir(parents=True, exist_ok=True)
            files[name].write_text("", encoding="utf-8")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    arguments = [text for name, file in files.items() for text in filter(None, (name, str(file)))]
    done = CliRunner().invoke(command_of(case), [*arguments, *paths.needed])
    assert isinstance(done.exception, InputError), (done.output, done.exception)
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert after == before
    return str(done.exception)


def test_every_command_that_writes_is_here() -> None:
    writing = {
        name
        for name, command in COMMANDS.items()
        if any(param.name == "output" for param in command.params)
    }
    known = {name for case in PATHS for name in (case, case.rsplit(" ", 1)[0]) if name in COMMANDS}
    assert writing - known - FOLDERS_ONLY == set()
    tried: dict[click.Command, set[str]] = {}
    for case, paths in PATHS.items():
        of_case = {*paths.inputs, *paths.outputs, *paths.inside} - {""}
        tried.setdefault(command_of(case), set()).update(of_case)
    for case in PATHS:
        command = command_of(case)
        # Each option that names a file is tried in one of the cases of its command.
        assert tried[command] == {
            next(option for option in param.opts if option.startswith("--"))
            for param in command.params
            if isinstance(param, click.Option) and isinstance(param.type, click.Path)
        }


@pytest.mark.parametrize(("case", "output", "other", "name"), PAIRS)
def test_no_output_is_an_input_or_another_output(
    case: str, output: str, other: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "shared.zip"
    refusal = refusal_of(case, tmp_path, {output: path, other: path / name if name else path})
    assert refusal.startswith(f"{path / name if name else path}: ")
    assert output in refusal
    assert (other or "what") in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize("name", ["truth.csv"])
def test_no_output_replaces_a_file_of_a_folder_that_is_read(name: str, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / name).write_text("", encoding="utf-8")
    refusal = refusal_of("bench laboratories", tmp_path, {"--lists": lists, "--output": lists})
    assert refusal.startswith(f"{lists / name}: is what --output writes and what the command reads")


def own_folder_cases() -> Iterator[tuple[str, str]]:
    """Yield the benchmarks that write a folder, with each of its files that is no result."""
    for case, paths in PATHS.items():
        if case.startswith("bench "):
            yield from ((case, name) for name in paths.files)


@pytest.mark.parametrize(("case", "name"), list(own_folder_cases()))
def test_a_benchmark_replaces_no_file_of_others(case: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text("{}", encoding="utf-8")
    refusal = refusal_of(case, tmp_path, {"--output": folder})
    assert refusal.startswith(f"{folder / name}: ")
    assert "would be replaced" in refusal
    assert "another folder (-o)" in refusal


def test_a_fit_replaces_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "evidence.json").write_text('{\n  "weights": {}\n}\n', encoding="utf-8")
    require_own_head(tmp_path / "evidence.json", r'\A\{\s*"weights"')


def test_a_benchmark_replaces_what_an_earlier_run_has_written(tmp_path: Path) -> None:
    for name, text in (("truth.csv", "query_id\n"), ("other.json", "[]"), ("empty.png", "")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    names = ("holdout.json", "truth.csv", "empty.png")
    with click.Context(holdout.holdout):
        with pytest.raises(InputError, match=r"truth\.csv: would be replaced, and no result"):
            require_results_folder(tmp_path, names)
        write_result(tmp_path / "holdout.json", {"n_queries": 1})
        require_results_folder(tmp_path, names)
        with pytest.raises(InputError, match=r"other\.json: is no result of an earlier run"):
            require_results_folder(tmp_path, (*names, "other.json"))


@pytest.mark.parametrize(
    ("command", "options"),
    [(fragment_scores, ("--score", "score.safetensors", "--data")), (gpu, ("--prepare", "--fold"))],
)
def test_a_result_replaces_no_file_of_a_folder_that_is_read(
    command: click.Command, options: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "truth.csv").write_text("query_id,inchikey14\n", encoding="utf-8")
    further = ("--spectra", "library.msp") if command is gpu else ()
    given = [*options, str(tmp_path), *further, "-o", str(tmp_path / "truth.csv")]
    with pytest.raises(InputError, match=r"truth\.csv: is what --output writes and what --"):
        command.main(given, standalone_mode=False)
    assert (tmp_path / "truth.csv").read_text(encoding="utf-8") == "query_id,inchikey14\n"


def test_a_hard_link_to_an_input_is_the_input(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("", encoding="utf-8")
    os.link(tmp_path / "table", tmp_path / "link")
    given = {"--report": tmp_path / "link", "--candidates": tmp_path / "table"}
    refusal = refusal_of("annotate", tmp_path, given)
    assert "never replaces an input" in refusal


def test_a_symbolic_link_to_an_input_is_the_input(tmp_path: Path) -> None:
    (tmp_path / "q.mgf").write_text("", encoding="utf-8")
    (tmp_path / "link").symlink_to("q.mgf")
    with pytest.raises(InputError, match="is what -o writes and what QUERIES reads"):
        require_paths({"QUERIES": tmp_path / "q.mgf"}, {"-o": tmp_path / "link"})
    with pytest.raises(InputError, match="never replaces an input"):
        require_paths({"QUERIES": tmp_path / "link"}, {"-o": tmp_path / "." / "q.mgf"})


def test_an_input_that_is_missing_is_told_before_an_output_is_looked_at(tmp_path: Path) -> None:
    inputs = {"QUERIES": tmp_path / "none.mgf", "--model": None}
    with pytest.raises(InputError, match=r"none\.mgf: no such file"):
        require_paths(inputs, {"-o": tmp_path})  # a folder, which cannot be written
    with pytest.raises(InputError, match="is a directory"):
        require_paths({}, {"-o": tmp_path})


def test_outputs_that_do_not_exist_yet_are_compared_by_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="both -o and --report write"):
        require_paths({}, {"-o": tmp_path / "a" / "x", "--report": tmp_path / "b" / "x"})


def test_names_that_differ_in_capitals_are_one_file_on_some_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {"-o": tmp_path / "\u00e9.csv", "--summary": tmp_path / "E\u0301.CSV"}
    require_paths({}, outputs)
    monkeypatch.setattr("specvae.cli.outputs._IGNORING_CASE", (sys.platform,))
    with pytest.raises(InputError, match="both -o and --summary write"):
        require_paths({}, outputs)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no names of open files here")
def test_a_table_is_added_to_the_file_that_stdout_leads_to(tmp_path: Path) -> None:
    """``specvae ... -o /dev/stdout >> all.csv`` replaced what the file held."""
    structures, table = tmp_path / "x.smi", tmp_path / "all.csv"
    structures.write_text("CCO a\n", encoding="utf-8")
    table.write_text("before\n", encoding="utf-8")
    for name in ("/dev/stdout", "/dev/fd/1"):
        with table.open("a") as stream:
            subprocess.run(
                [sys.executable, "-m", "specvae", "fingerprint", structures, "-o", name],
                stdout=stream,
                stderr=subprocess.DEVNULL,
                check=True,
            )
    lines = table.read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in lines] == ["before", "id", "a", "id", "a"]
    assert {path.name for path in tmp_path.iterdir()} == {"x.smi", "all.csv"}
    with table.open("a") as stream, pytest.raises(InputError, match="open already; wanted its"):
        require_paths({}, {"-o": Path(f"/dev/fd/{stream.fileno()}")})


def test_the_model_is_no_place_for_a_result(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    model = tmp_path / "m" / "model.safetensors"
    model.write_bytes(b"")
    (tmp_path / "q.mgf").write_text("", encoding="utf-8")
    arguments = [tmp_path / "q.mgf", "--model", tmp_path / "m", "-o", model]
    done = CliRunner().invoke(predict, [str(argument) for argument in arguments])
    assert "--output writes and what --model reads" in str(done.exception)


def test_streams_and_devices_replace_nothing(tmp_path: Path) -> None:
    both = {"-o": Path("-"), "--report": Path("/dev/null"), "--json": Path("/dev/null"), "-x": None}
    (tmp_path / "a").write_text("", encoding="utf-8")
    require_paths({"QUERIES": Path("-"), "--many": [tmp_path, tmp_path / "a"]}, both)


def test_the_list_of_skips_must_not_replace_an_input_either(tmp_path: Path) -> None:
    table = tmp_path / "x.skipped.csv"
    table.write_text("smiles\nC\n", encoding="utf-8")
    done = CliRunner().invoke(fingerprint, [str(table), "-o", str(tmp_path / "x.csv")])
    assert "x.skipped.csv: is what its list of skips writes" in str(done.exception)


@pytest.mark.parametrize("beside", [skips_path, provenance_path])
@pytest.mark.parametrize("text", ["what I left out\n", '{"mine": 1}\n', "path,lines\n"])
def test_a_file_that_nobody_named_replaces_none_of_others(
    beside: Callable[[Path], Path | None], text: str, tmp_path: Path
) -> None:
    path = cast("Path", beside(tmp_path / "a.csv"))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"{path.name}: is no file that an earlier run"):
        require_paths({}, {"--output": tmp_path / "a.csv", "its list": path})
    assert path.read_text(encoding="utf-8") == text
    require_paths({}, {"--output": path})  # whoever names it wants it replaced


@pytest.mark.parametrize(
    "text", ["", "path,line,record,reason,detail\r\n", '{\n "program": "specvae 0.0.1",\n']
)
def test_what_an_earlier_run_left_beside_an_output_is_replaced(text: str, tmp_path: Path) -> None:
    (tmp_path / "left").write_text(text, encoding="utf-8", newline="")
    require_paths({}, {"its list of skips": tmp_path / "left"})


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("out/a.csv", "out/a.skipped.csv"),
        ("out/a.tsv", "out/a.tsv.skipped.csv"),
        ("latent.h5", "latent.h5.skipped.csv"),
        ("a", "a.skipped.csv"),
        ("-", None),
        (None, None),
        ("/dev/null", None),
    ],
)
def test_each_output_has_a_list_of_its_own(output: str | None, wanted: str | None) -> None:
    found = skips_path(None if output is None else Path(output))
    assert found == (None if wanted is None else Path(wanted))


def test_the_list_of_an_earlier_run_does_not_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output, other = tmp_path / "a.csv", tmp_path / "b.csv"
    broken, clean = ReadReport(), ReadReport()
    broken.skip("q.mgf", 3, "x", Reason.BAD_PEAK)
    write_skips(output, broken, clean)
    write_skips(other, broken)
    said = [f"what was skipped: {tmp_path / name}.skipped.csv" for name in "ab"]
    assert caplog.messages == said
    assert "BAD_PEAK" in (tmp_path / "a.skipped.csv").read_text(encoding="utf-8")
    write_skips(output, clean, clean)
    assert not (tmp_path / "a.skipped.csv").exists()
    assert (tmp_path / "b.skipped.csv").exists()
    assert caplog.messages == said


@pytest.mark.parametrize(
    ("path", "chosen", "wanted"),
    [
        (None, None, "csv"),
        ("a.tsv", None, "tsv"),
        ("a.b.JSONL", None, "jsonl"),
        ("a.mztab", None, "mztab"),
        ("a.txt", None, "csv"),
        ("-", None, "csv"),
        ("a.tsv", "mztab", "mztab"),
        (None, "tsv", "tsv"),
    ],
)
def test_the_suffix_tells_the_format_unless_one_is_chosen(
    path: str | None, chosen: str | None, wanted: str
) -> None:
    assert format_of(None if path is None else Path(path), chosen) == wanted


@pytest.mark.parametrize(
    ("case", "option", "name", "wanted"),
    [
        ("annotate", "--output", "x.xlsx", ".csv or .tsv or .jsonl or .mztab"),
        ("annotate", "--output", "x.csv.gz", ".csv or .tsv or .jsonl or .mztab"),
        ("annotate", "--summary", "x.parquet", ".csv or .tsv or .jsonl or .mztab"),
        ("annotate", "--report", "x.PDF", ".html or .htm"),
        ("evaluate", "--json", "x.csv", ".json"),
        ("evaluate", "--output", "x.csv", ".txt"),
        ("evaluate", "--plot", "x.jpg", ".png or .pdf or .svg"),
        ("evaluate", "--reliability", "x.tif", ".png or .pdf or .svg"),
        ("predict", "--output", "x.tsv", ".csv"),
        ("embed", "--output", "x.csv", ".h5 or .hdf5 or .parquet"),
        ("fingerprint", "--output", "x.npz", ".csv or .h5 or .hdf5"),
    ],
)
def test_no_format_is_written_under_the_name_of_another(
    case: str, option: str, name: str, wanted: str, tmp_path: Path
) -> None:
    refusal = refusal_of(case, tmp_path, {option: tmp_path / name})
    suffix = name.rpartition(".")[2].lower()
    assert refusal == (
        f"{tmp_path / name}: is not written as .{suffix}; wanted a name that ends in {wanted}"
    )


def test_provenance_lies_beside_files_only(tmp_path: Path) -> None:
    assert provenance_path(tmp_path / "a.csv") == tmp_path / "a.csv.json"
    assert provenance_path(tmp_path / "a.tsv") == tmp_path / "a.tsv.json"
    assert provenance_path(None) is None
    assert provenance_path(Path("-")) is None
    assert provenance_path(Path(os.devnull)) is None


def test_a_command_that_is_refused_leaves_no_empty_folder(tmp_path: Path) -> None:
    library, structures = tmp_path / "library.msp", tmp_path / "structures.csv"
    library.write_text("Name: x\nNum Peaks: 0\n\n")
    structures.write_text("colour\nred\n")
    model = tmp_path / "models" / "new"
    command = ("train", "--spectra", library, "--structures", structures, "-o", model)
    assert "structures.csv" in run_specvae(*command, code=1).stderr
    assert not (tmp_path / "models").exists()
    # What was there stays, empty or not.
    model.mkdir(parents=True)
    run_specvae(*command, code=1)
    assert model.is_dir()


def test_a_pool_has_a_name_by_which_it_is_known(tmp_path: Path) -> None:
    structures = tmp_path / "s.smi"
    structures.write_text("CCO a\nCCN b\nOCC c\n", encoding="utf-8")
    for name in ("pool.csv", "pool", "pool.db"):
        answer = CliRunner().invoke(pool, ["build", str(structures), "-o", str(tmp_path / name)])
        assert isinstance(answer.exception, InputError)
        assert "wanted a name that ends in .h5" in str(answer.exception)
    answer = CliRunner().invoke(pool, ["build", str(structures), "-o", str(tmp_path / "p.h5")])
    assert answer.stdout == f"2 structures in {tmp_path / 'p.h5'}\n"
    said = "rows that repeat an earlier row's compound, which has their identifiers: 1"
    assert said in answer.stderr
    # What is appended has its own count.
    structures.write_text("CCCO d\n", encoding="utf-8")
    append = ["build", str(structures), "-o", str(tmp_path / "p.h5"), "--append"]
    assert "rows that repeat" not in CliRunner().invoke(pool, append).stderr
    assert f"{said}\n" in CliRunner().invoke(pool, append).stderr


@pytest.mark.usefixtures("as_on_windows")
def test_what_is_added_to_a_pool_has_the_fingerprints_of_the_pool(tmp_path: Path) -> None:
    """Without --fingerprint it was refused, as others were the default."""
    (tmp_path / "s.smi").write_text("CCO a\n", encoding="utf-8")
    (tmp_path / "t.smi").write_text("CCN b\n", encoding="utf-8")
    output = str(tmp_path / "p.h5")
    layouts = ["--fingerprint", "svae2149", "--fingerprint", "morgan4096"]
    run = partial(CliRunner().invoke, pool, catch_exceptions=False)
    run(["build", str(tmp_path / "s.smi"), "-o", output, *layouts])
    added = run(["build", str(tmp_path / "t.smi"), "-o", output, "--append"])
    assert added.stdout == f"2 structures in {output}\n"
    with CandidatePool.open(Path(output)) as built:
        assert built.layouts == ("svae2149", "morgan4096")


@pytest.mark.parametrize("beside", [provenance_path, skips_path, unfinished_path])
@pytest.mark.parametrize("output", [".", "/", "./"])
def test_a_folder_without_a_name_is_no_output(
    output: str, beside: Callable[[Path], Path | None]
) -> None:
    with pytest.raises(InputError, match="is a directory, wanted the path of a file to write"):
        beside(Path(output))


def test_a_run_into_the_folder_itself_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("smiles\nCCO\n", encoding="utf-8")
    ran = run_specvae("fingerprint", "x.csv", "-o", ".", cwd=tmp_path, code=1)
    assert ran.stderr == "specvae: .: is a directory, wanted the path of a file to write\n"


def test_no_option_takes_a_number_that_json_has_not() -> None:
    types: list[click.ParamType[Any]] = [
        param.type
        for command in COMMANDS.values()
        for param in command.params
        if isinstance(param.type, click.types.FloatParamType)
    ]
    assert len(types) > 10
    for kind in types:
        for text in ("inf", "nan"):
            with pytest.raises(click.BadParameter):
                kind.convert(text, None, None)
