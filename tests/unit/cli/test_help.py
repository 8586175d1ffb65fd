"""What --help shows, what is suggested for misspelt words, and the documentation on board."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from conftest import run_specvae

from specvae.cli import docs
from specvae.cli.help import GROUPS, Command, group_of
from specvae.cli.main import cli
from specvae.cli.options import NumberRange, WholeRange, model_file, number_as_written
from specvae.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SECTIONS = re.compile(r"^([A-Z][a-z]+):$", re.MULTILINE)


def commands(
    group: click.Group, prefix: str = "", *, without: str = "bench"
) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group, except the benchmarks."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            if name != without:
                yield from commands(command, f"{prefix}{name} ", without=without)
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands(cli))


def test_every_option_of_a_long_list_has_a_section() -> None:
    for name, command in COMMANDS.items():
        assert isinstance(command, Command), name
        text = run_specvae(*name.split(), "--help").stdout
        found = SECTIONS.findall(text)
        if found != ["Options"]:
            assert found == [group for group in GROUPS if group in found], name
            options = [p for p in command.params if isinstance(p, click.Option)]
            assert {"Options"}.isdisjoint(map(group_of, options)), name


def test_a_second_file_of_an_option_that_takes_one_is_refused_by_every_command() -> None:
    """Benchmarks took the last one and said nothing of the others."""
    n_options = 0
    for name, command in commands(cli, without=""):
        for option in command.params:
            if not isinstance(option, click.Option) or not isinstance(option.type, click.Path):
                continue
            if not option.multiple:
                n_options += 1
                twice = [option.opts[-1], "a", option.opts[-1], "b"]
                with pytest.raises(click.UsageError, match="is given 2 times, wanted once"):
                    command.make_context(name, twice)
    assert n_options > 40


def test_every_number_is_one_as_people_write_it() -> None:
    """A mistyped --ppm 1_0 was 10, as click's own types take what Python takes."""
    n_numbers = 0
    for name, command in commands(cli, without=""):
        for param in command.params:
            kind = param.type
            if getattr(param, "count", False):
                continue  # -vv
            if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
                n_numbers += 1
                assert isinstance(kind, WholeRange | NumberRange), f"{name}: {param.name}"
                with pytest.raises(click.BadParameter, match="'1_0' is not a valid"):
                    kind.convert("1_0", param, None)
    assert n_numbers > 30
    assert WholeRange(min=1).convert(" 10", None, None) == 10
    assert number_as_written(" 1e1") == 10.0


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("annotate", ["Input", "Ranking", "Output", "Machine", "General"]),
        ("evaluate", ["Input", "Ranking", "Output", "Machine", "General"]),
        ("train", ["Input", "Model", "Output", "Machine", "General"]),
        ("predict", ["Input", "Output", "Machine", "General"]),
        ("pool build", ["Input", "Model", "Output", "Machine", "General"]),
        ("check", ["Options"]),
    ],
)
def test_options_are_in_sections(command: str, wanted: list[str]) -> None:
    text = run_specvae(*command.split(), "--help").stdout
    assert SECTIONS.findall(text) == wanted
    place = {group: text.index(f"\n{group}:\n") for group in wanted}
    if command == "annotate":
        assert place["Input"] < text.index("  --candidates PATH") < place["Ranking"]
        assert place["Ranking"] < text.index("  --ppm ") < place["Output"]
        assert place["Output"] < text.index("  -o, --output ") < place["Machine"]
        assert place["Machine"] < text.index("  --jobs ") < place["General"]
        # Texts are aligned over all sections.
        columns = {m.start(2) - m.start() for m in re.finditer(r"^(  -\S.{2,24}?  +)(\S.*)$", text,
                                                              re.MULTILINE)}  # fmt: skip
        assert len(columns) == 1


@pytest.mark.parametrize("group", ["library", "pool"])
def test_a_list_of_commands_says_whole_phrases(group: str) -> None:
    shown = run_specvae(group, "--help").stdout.partition("Commands:")[2]
    assert "..." not in shown


def test_headings_stand_out_on_a_terminal_only() -> None:
    context = COMMANDS["annotate"].make_context("annotate", ["x"], resilient_parsing=True)
    assert "\x1b[1mRanking:\x1b[0m\n" in context.get_help()
    assert "\x1b" not in run_specvae("annotate", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("annotat", "x.mgf"), "'annotate'?"),
        (("bench", "mnist-spilt"), "'mnist-split'?"),
        (("pool", "biuld", "x.csv"), "'build'?"),
        (("library", "inof", "x.h5"), "'info'?"),
        (("train", "--spectra", "x.msp", "--model-kind", "svea"), "'svae'?"),
        (("annotate", "x.mgf", "--candidates", "c.csv", "--rank-by", "Fingerprints"),
         "'fingerprint'?"),
        (("annotate", "x.mgf", "--candidates", "c.csv", "--format", "mztabm"), "'mztab'?"),
        (("annotate", "x.mgf", "--candidats", "c.csv"), "--candidates"),
        (("annotate", "x.mgf", "--candidates", "c.csv", "--set", "pmm=5"), "'ppm'"),
        (("annotate", "x.mgf", "--candidates", "c.csv", "--limit", "record_peak=5"),
         "'record_peaks'"),
        (("download", "massbnk"), "'massbank'?"),
        (("bench", "supervision", "--device", "cdua"), "'cuda'?"),
        (("docs", "format"), "'formats'?"),
        (("train", "-spectra", "x.msp"), "'--spectra'?"),
        (("annotate", "x.mgf", "--candidates", "c.csv", "-output", "y.csv"), "'--output'?"),
    ],
)  # fmt: skip
def test_the_nearest_word_is_named(arguments: tuple[str, ...], hint: str) -> None:
    code = 1 if arguments[-1] in ("pmm=5", "record_peak=5") else 2
    assert hint in run_specvae(*arguments, code=code).stderr


def test_a_second_file_for_an_option_that_takes_one_is_refused() -> None:
    """The first was left out without a word. Of other options the last one still counts."""
    twice = ("--candidates", "a.csv", "--candidates", "b.csv")
    done = run_specvae("annotate", "x.mgf", *twice, code=2)
    assert "--candidates is given 2 times, wanted once" in done.stderr
    done = run_specvae("annotate", "x.mgf", *twice[:2], "--ppm", 5, "--ppm", 10, code=1)
    assert "specvae-model: no such file" in done.stderr


def test_a_model_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(InputError) as caught:
            model_file(tmp_path / name)
        return str(caught.value).removeprefix(f"{tmp_path}/")

    (tmp_path / "my-model").mkdir()
    assert refused("mymodel").startswith(
        f"mymodel: no such file; did you mean {tmp_path}/my-model?"
    )
    assert refused("my-model").startswith("my-model/model.safetensors: no such file")
    os.mkfifo(tmp_path / "pipe")
    assert refused("pipe") == "pipe: is no file, wanted a model's folder or model.safetensors"
    (tmp_path / "my-model/training-state.safetensors").touch()
    assert "has not finished" in refused("my-model")
    assert "--resume" in refused("my-model")
    (tmp_path / "my-model/model.safetensors").touch()
    assert model_file(tmp_path / "my-model") == tmp_path / "my-model/model.safetensors"


def test_a_word_like_no_other_has_no_suggestion() -> None:
    done = run_specvae("train", "--spectra", "x.msp", "--preset", "qqq", code=2)
    assert "'qqq' is not one of 'small', 'paper'.\n" in done.stderr


def test_pages_of_the_documentation() -> None:
    names = [path.stem for path in (ROOT / "docs").glob("*.md")]
    listed = run_specvae("docs").stdout
    assert [line.split()[0] for line in listed.splitlines()] == sorted(names)
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    for name in ("formats", "formats.md", "docs/formats.md"):
        assert run_specvae("docs", name).stdout == page


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("specvae anno", ["annotate"]),
        ("specvae train --model-kind svae-", ["svae-star"]),
        ("specvae annotate --cand", ["--candidates"]),
        ("specvae docs for", ["formats"]),
        ("specvae download mo", ["mona", "model"]),
        ("specvae pool b", ["build"]),
    ],
)
def test_the_tab_key_completes(words: str, wanted: list[str]) -> None:
    *given, last = words.split()[1:]
    complete = ShellComplete(cli, {}, "specvae", "_SPECVAE_COMPLETE")
    assert sorted(item.value for item in complete.get_completions(given, last)) == sorted(wanted)


def test_no_documentation_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "__file__", "/absent/specvae/cli/docs.py")
    monkeypatch.setattr(docs, "_installed", list)
    assert "not installed" in run_specvae("docs", code=1).stderr


def test_messages_name_pages_that_exist() -> None:
    """A page is named as the program shows it, since a wheel has no folder ``docs``."""
    known = {path.stem for path in (ROOT / "docs").glob("*.md")}
    named = set()
    for folder in ("specvae", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"specvae docs ([a-z]+)'", path.read_text(encoding="utf-8")))
    assert named
    assert named <= known
    for name in COMMANDS:
        assert "docs/" not in run_specvae(*name.split(), "--help").stdout, name
