from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from specvae.cli.console import Console, echo, one_line, printable
from specvae.cli.outputs import text_output

HOSTILE = "caf\u00e9\x1b[2J\x07\u202etxt\r\x9b1m\ttab"
HARMLESS = "caf\u00e9\\x1b[2J\\x07\\u202etxt\\r\\x9b1m\ttab"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_control_characters_are_escaped() -> None:
    assert printable(HOSTILE) == HARMLESS
    assert printable("two\nlines") == "two\nlines"
    assert one_line("two\nlines") == "two\\nlines"


def test_names_reach_a_terminal_escaped_and_a_pipe_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream, wanted in ((Terminal(), HARMLESS), (io.StringIO(), HOSTILE)):
        monkeypatch.setattr(sys, "stdout", stream)
        with text_output(None) as out:
            out.write(f"{HOSTILE}\n")
        assert stream.getvalue() == f"{wanted}\n"


def test_progress_and_log_lines_are_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
