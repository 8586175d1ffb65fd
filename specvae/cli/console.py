"""Output of a command on the terminal: log lines, progress, and text without control characters."""

from __future__ import annotations

import logging
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO, TypeVar, cast

import click

from specvae.progress import Bars, pace
from specvae.sources import with_sources

_LEAST_WIDTH = 20

LINE_EVERY = 30.0
"""Shortest time between two lines on a stage if no terminal shows a bar, in s."""

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

# Control characters but tab and line feed, separators of lines, and marks that reorder text: in a
# name from a file they could move the cursor, change colours or show another name.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def escaped(text: str) -> str:
    """Return text with control characters as escapes such as ``\\x1b``; tabs and lines stay."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def escaped_line(text: str) -> str:
    """Return text with tabs and line ends escaped too, so that it is one line."""
    return escaped(text).replace("\n", "\\n")


def open_closed_streams() -> None:
    """Replace standard streams that the caller has closed (``>&-``).

    Otherwise the next file that is opened would get the number of one of them, and text that a
    library writes to stderr would go into this file. A replaced stderr is discarded; writing to a
    replaced stdout fails, as it would without this.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def use_utf8() -> None:
    """Let stdout and stderr take every character, whatever the locale says.

    Output is data, which other programs read as UTF-8. Half of a surrogate pair, which has no
    UTF-8, is written as an escape.
    """
    for stream in (sys.stdout, sys.stderr):
        found = getattr(stream, "encoding", None)
        if not hasattr(stream, "reconfigure"):
            continue  # a stream that the caller has replaced
        is_other = (found or "").lower().replace("-", "") != "utf8"
        stream.reconfigure(errors="backslashreplace", **({"encoding": "utf-8"} if is_other else {}))
        if is_other and stream is sys.stdout:
            sys.stderr.write(f"specvae: output is UTF-8 (the locale's encoding is {found})\n")


class TerminalText:
    """A text stream to a terminal that escapes control characters.

    Parameters
    ----------
    stream
        Where the text goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; return how long it was."""
        self._stream.write(escaped(text.replace("\r\n", "\n")))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def echo(text: str) -> None:
    """Write a line to stdout, escaped if that is a terminal."""
    # There is no stdout if the caller has closed it.
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    click.echo(escaped(text) if is_terminal else text)


class _LineFormatter(logging.Formatter):
    """Escapes control characters, as log lines may hold names from files, and names pipes.

    On a terminal, long lines are broken between words and go on with an indent.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = escaped(with_sources(super().format(record)))
        width = _width_of(sys.stderr)
        if width is None or record.exc_info:
            return text
        return "\n".join(
            textwrap.fill(
                line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
            for line in text.split("\n")
        )


def _width_of(stream: TextIO) -> int | None:
    """Return the width of a terminal in characters, None if a stream is none."""
    try:
        width = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):  # no descriptor
        return None
    return max(width, _LEAST_WIDTH) if width else None


def verbosity(function: Decorated) -> Decorated:
    """Add ``-v`` and ``-q``; logging is set up before the command runs."""

    def configure(ctx: click.Context, param: click.Parameter, value: object) -> None:
        level = ctx.meta.setdefault("specvae.verbosity", [0])
        if param.name == "verbose":
            level[0] += cast("int", value)
        elif value:
            level[0] -= 1
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_LineFormatter("%(message)s"))
        logger = logging.getLogger("specvae")
        logger.handlers = [handler]
        logger.setLevel({-1: logging.ERROR, 0: logging.INFO}.get(level[0], logging.DEBUG))

    for option in (
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=configure,
            help="Print more on stderr.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=configure,
            help="Print only errors.",
        ),
    ):
        function = option(function)
    return function


class Console:
    """Progress and log lines on stderr: a bar on a terminal, an occasional line elsewhere.

    Parameters
    ----------
    clock
        Returns the time in s.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logging.getLogger("specvae")
        self._bars = Bars()
        self._clock = clock
        self._stage = ""
        self._begun = self._shown_at = 0.0  # by the clock
        self._initial = 0  # what was done when the stage began
        # An error, too, gets a line of its own.
        if (context := click.get_current_context(silent=True)) is not None:
            context.call_on_close(self._bars.close)

    def log(self, message: str) -> None:
        """Write one line at the normal level."""
        self._bars.clear()
        self._logger.info(message)

    @property
    def is_verbose(self) -> bool:
        """Whether the user asks for more."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def progress(self, stage: str, done: int, total: int | None = None) -> None:
        """Show the progress of a stage."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        if sys.stderr.isatty():
            self._bars.progress(escaped_line(stage), done, total)
            return
        now = self._clock()
        if stage != self._stage:
            self._stage, self._initial, self._begun, self._shown_at = stage, done, now, now
        elif now - self._shown_at >= LINE_EVERY and done != total:
            self._shown_at = now
            pace_so_far = pace(done, total, now - self._begun, self._initial)
            self._logger.info(f"{escaped_line(stage)}: {pace_so_far}")
