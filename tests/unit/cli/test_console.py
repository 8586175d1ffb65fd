from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from specvae.cli import console
from specvae.cli.console import LINE_EVERY, Console, echo, escaped, escaped_line
from specvae.cli.outputs import text_output
from specvae.progress import pace

HOSTILE = "caf\u00e9\x1b[2J\x07\u202etxt\r\x9b1m\ttab"
HARMLESS = "caf\u00e9\\x1b[2J\\x07\\u202etxt\\r\\x9b1m\ttab"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_control_characters_are_escaped() -> None:
    assert escaped(HOSTILE) == HARMLESS
    assert escaped("two\nlines") == "two\nlines"
    assert escaped_line("two\nlines") == "two\\nlines"


def test_names_reach_a_terminal_escaped_and_a_pipe_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream, wanted in ((Terminal(), HARMLESS), (io.StringIO(), HOSTILE)):
        monkeypatch.setattr(sys, "stdout", stream)
        with text_output(None) as out:
            out.write(f"{HOSTILE}\n")
        assert stream.getvalue() == f"{wanted}\n"


def test_progress_and_log_lines_are_escaped() -> None:
    import click
    from click.testing import CliRunner

    from specvae.cli.console import verbosity

    @click.command()
    @verbosity
    def command() -> None:
        Console().log(HOSTILE)

    result = CliRunner().invoke(command, [])
    assert HARMLESS in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_other_locales_get_utf8(tmp_path: Path, settings: dict[str, str]) -> None:
    (tmp_path / "m.smi").write_text("CCO caf\u00e9\n", encoding="utf-8")
    environment = {
        **os.environ, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
        "SPECVAE_CACHE": str(tmp_path / "cache"), **settings,
    }  # fmt: skip
    done = subprocess.run(
        [
            sys.executable, "-m", "specvae.cli.main", "fingerprint", "m.smi",
            "--fingerprint", "morgan4096",
        ],
        capture_output=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "caf\u00e9,CCO" in done.stdout.decode("utf-8")
    assert b"output is UTF-8" in done.stderr
    refused = subprocess.run(
        [sys.executable, "-m", "specvae.cli.main", "info", "caf\u00e9\x1b[2J"],
        capture_output=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert b"\x1b" not in refused.stderr
    assert b"Traceback" not in refused.stderr


def test_a_closed_stdout_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    echo("nobody hears this")


class Clock:
    """A time that the test sets, in s."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_there_is_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level("INFO", "specvae")
    clock = Clock()
    console = Console(clock)
    console.progress("ranking\x1b[2J", 10, 1000)
    clock.now += LINE_EVERY / 2
    console.progress("ranking\x1b[2J", 20, 1000)
    assert caplog.messages == []  # short work says nothing
    clock.now += LINE_EVERY / 2
    console.progress("ranking\x1b[2J", 100, 1000)
    console.progress("ranking\x1b[2J", 101, 1000)
    clock.now += LINE_EVERY
    console.progress("ranking\x1b[2J", 1000, 1000)  # what comes next says that this is done
    console.progress("reading", 5)
    clock.now += 2 * LINE_EVERY
    console.progress("reading", 65)
    assert caplog.messages == [
        "ranking\\x1b[2J: 100 of 1,000 (10%), 3 a second, 5 min left",
        "reading: 65, 1 a second",
    ]


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "specvae")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    console = Console()
    console.progress("ranking\x1b[2J", 0, 200)
    console.progress("ranking\x1b[2J", 50, 200)
    console.log("a line")
    console.progress("ranking\x1b[2J", 200, 200)
    text = shown.getvalue()
    assert "ranking\\x1b[2J:   0%|" in text
    assert "0/200 [00:00<?" in text  # thousands are counted as 10.0k, less not as 0.00
    assert "0.00" not in text
    assert "\x1b[2J" not in text
    assert text.endswith("\r")  # the bar is gone
    assert caplog.messages == ["a line"]


def test_quiet_shows_no_progress(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR", "specvae")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    Console().progress("ranking", 1, 2)
    assert shown.getvalue() == ""


@pytest.mark.parametrize(
    ("done", "total", "seconds", "initial", "wanted"),
    [
        (0, 10, 5.0, 0, "0 of 10 (0%)"),
        (5, 10, 10.0, 0, "5 of 10 (50%), 0.5 a second, 10 s left"),
        (1500, None, 1.0, 0, "1,500, 1,500 a second"),
        (500, 1_000_000, 1.0, 0, "500 of 1,000,000 (0%), 500 a second, 33 min left"),
        (10, 100_010, 10.0, 0, "10 of 100,010 (0%), 1 a second, 27 h 46 min left"),
        (900, 1000, 10.0, 890, "900 of 1,000 (90%), 1 a second, 100 s left"),
        (10, 10, 2.0, 0, "10 of 10 (100%), 5 a second"),
    ],
)
def test_pace(done: int, total: int | None, seconds: float, initial: int, wanted: str) -> None:
    assert pace(done, total, seconds, initial) == wanted


@pytest.mark.skipif(os.name != "posix", reason="the shell of other systems closes no stream")
def test_closed_streams(tmp_path: Path) -> None:
    """A file that is opened must not become stderr, and a lost result is no success."""
    cands, out = tmp_path / "c.smi", tmp_path / "fp.csv"
    cands.write_text("CCO ethanol\n", encoding="utf-8")
    command = [sys.executable, "-m", "specvae.cli.main", "fingerprint", str(cands)]

    def code(redirections: str, *options: str) -> tuple[int, str]:
        line = f'"$@" {redirections}'
        done = subprocess.run(
            ["sh", "-c", line, "sh", *command, *options], capture_output=True, text=True
        )
        return done.returncode, done.stderr

    assert code(">&- 2>&- <&-", "-o", str(out)) == (0, "")
    assert out.read_text(encoding="utf-8").count("\n") == 2
    failed, said = code(">&-")
    assert failed == 1
    assert said == "specvae: stdout: Bad file descriptor\n"


def test_long_lines_are_broken_between_words_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    formatter = console._LineFormatter("%(message)s")
    record = logging.LogRecord("specvae", logging.INFO, "", 0, "one two --three-four 55", (), None)
    assert formatter.format(record) == "one two --three-four 55"
    monkeypatch.setattr(console, "_width_of", lambda _: 12)
    assert formatter.format(record) == "one two\n  --three-four\n  55"
