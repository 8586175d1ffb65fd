"""What commands write replaces nothing that a user owns, and lies beside its list of skips."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from specvae.cli.annotate import annotate
from specvae.cli.embed import embed
from specvae.cli.evaluate import evaluate
from specvae.cli.fingerprint import fingerprint
from specvae.cli.outputs import (
    format_of,
    provenance_path,
    require_outputs,
    skips_path,
    write_skips,
)
from specvae.cli.pool import build
from specvae.cli.predict import predict
from specvae.errors import InputError
from specvae.report import ReadReport, Reason

# Command -> its inputs and its outputs, an argument as "".
PATHS: dict[str, tuple[click.Command, list[str], list[str]]] = {
    "annotate": (
        annotate,
        ["", "--candidates", "--model", "--config"],
        ["--output", "--report", "--summary"],
    ),
    "evaluate": (
        evaluate,
        ["", "--candidates", "--truth", "--model", "--config"],
        ["--output", "--json", "--plot", "--reliability"],
    ),
    "predict": (predict, ["", "--model", "--config"], ["--output"]),
    "embed": (embed, ["", "--model", "--config"], ["--output"]),
    "embed molecules": (embed, ["--molecules", "--model", "--config"], ["--output"]),
    "fingerprint": (fingerprint, ["", "--config"], ["--output"]),
    "pool build": (build, ["", "--config"], ["--output"]),
}  # fmt: skip
PAIRS = [
    (command, output, other)
    for command, (_, inputs, outputs) in PATHS.items()
    for output, other in [
        *((o, i) for o in outputs for i in inputs),
        *combinations(outputs, 2),
    ]
]


def run(command: str, folder: Path, output: str, other: str, path: Path) -> str:
    """Run a command whose inputs exist, `output` and `other` being `path`; return the refusal."""
    function, inputs, outputs = PATHS[command]
    files = {name: folder / f"input{number}" for number, name in enumerate(inputs)}
    for file in files.values():
        file.write_text("", encoding="utf-8")
    files |= {name: folder / f"output{number}" for number, name in enumerate(outputs)}
    files |= {output: path} if other in inputs else {output: path, other: path}
    if other in inputs and not path.exists():
        os.link(files[other], path)
    arguments = [text for name, file in files.items() for text in filter(None, (name, str(file)))]
    before = {file: file.read_bytes() for file in folder.iterdir()}
    done = CliRunner().invoke(function, arguments)
    assert isinstance(done.exception, InputError), done.output
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    return str(done.exception)


@pytest.mark.parametrize(("command", "output", "other"), PAIRS)
def test_no_output_is_an_input_or_another_output(
    command: str, output: str, other: str, tmp_path: Path
) -> None:
    inputs = PATHS[command][1]
    path = tmp_path / (f"input{inputs.index(other)}" if other in inputs else "shared")
    refusal = run(command, tmp_path, output, other, path)
    assert refusal.startswith(f"{path}: ")
    assert output in refusal
    assert other in refusal
    assert "\n" not in refusal


def test_a_hard_link_to_an_input_is_the_input(tmp_path: Path) -> None:
    refusal = run("annotate", tmp_path, "--report", "--candidates", tmp_path / "link")
    assert "never replaces an input" in refusal


def test_a_symbolic_link_to_an_input_is_the_input(tmp_path: Path) -> None:
    (tmp_path / "q.mgf").write_text("", encoding="utf-8")
    (tmp_path / "link").symlink_to("q.mgf")
    with pytest.raises(InputError, match="is what -o writes and what QUERIES reads"):
        require_outputs({"QUERIES": tmp_path / "q.mgf"}, {"-o": tmp_path / "link"})
    with pytest.raises(InputError, match="never replaces an input"):
        require_outputs({"QUERIES": tmp_path / "link"}, {"-o": tmp_path / "." / "q.mgf"})


def test_outputs_that_do_not_exist_yet_are_compared_by_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="both -o and --report write"):
        require_outputs({}, {"-o": tmp_path / "a" / "x", "--report": tmp_path / "b" / "x"})


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
    require_outputs({"QUERIES": Path("-"), "--many": [tmp_path / "a", tmp_path / "b"]}, both)


def test_the_list_of_skips_must_not_replace_an_input_either(tmp_path: Path) -> None:
    table = tmp_path / "x.skipped.csv"
    table.write_text("smiles\nC\n", encoding="utf-8")
    done = CliRunner().invoke(fingerprint, [str(table), "-o", str(tmp_path / "x.csv")])
    assert "x.skipped.csv: is what its list of skips writes" in str(done.exception)


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


def test_the_list_of_an_earlier_run_does_not_stay(tmp_path: Path) -> None:
    output, other = tmp_path / "a.csv", tmp_path / "b.csv"
    broken, clean = ReadReport(), ReadReport()
    broken.skip("q.mgf", 3, "x", Reason.BAD_PEAK)
    write_skips(output, broken, clean)
    write_skips(other, broken)
    assert "BAD_PEAK" in (tmp_path / "a.skipped.csv").read_text(encoding="utf-8")
    write_skips(output, clean, clean)
    assert not (tmp_path / "a.skipped.csv").exists()
    assert (tmp_path / "b.skipped.csv").exists()


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


def test_provenance_lies_beside_files_only(tmp_path: Path) -> None:
    assert provenance_path(tmp_path / "a.csv") == tmp_path / "a.csv.json"
    assert provenance_path(tmp_path / "a.tsv") == tmp_path / "a.tsv.json"
    assert provenance_path(None) is None
    assert provenance_path(Path("-")) is None
    assert provenance_path(Path(os.devnull)) is None
