"""Errors whose message is one finished line for the user."""

from __future__ import annotations

import re
from collections.abc import Iterable

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor of a terminal, end a line or turn the direction of writing."""

_LONGEST_MESSAGE = 1000  # characters


def printable(text: str) -> str:
    """Return text on one line, its control characters as replacement characters."""
    if text.isascii() and text.isprintable():
        return text
    return CONTROLS.sub("\ufffd", text).replace("\n", " ").replace("\t", " ").strip()


def cut(text: str, longest: int = 60) -> str:
    """Return a text as messages show it: the end of one of more characters is left out."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


class SpecvaeError(Exception):
    """A failure that the user can act on; its message is one line, ready to print.

    What a file holds may stand in it: control characters are replaced, and a long one is cut.
    """

    def __str__(self) -> str:
        message = printable(super().__str__())
        if len(message) > _LONGEST_MESSAGE:
            half = _LONGEST_MESSAGE // 2 - 3
            message = f"{message[:half]} ... {message[-half:]}"
        return message


class InputError(SpecvaeError):
    """A file cannot be read, is of another kind than expected, or holds nothing usable."""


class ConfigError(SpecvaeError):
    """An option or configuration key is unknown or has a value that makes no sense."""


class CheckpointError(SpecvaeError):
    """A checkpoint is truncated, foreign, newer than this program, or does not fit its use."""


class TrainingError(SpecvaeError):
    """Training cannot go on, for instance because the loss is no longer a number."""


class Interrupted(SpecvaeError):  # noqa: N818 (nothing has failed)
    """Work was stopped by Ctrl-C where it can be continued; the message says how."""


class StructureError(SpecvaeError):
    """A molecular structure cannot be parsed or has no defined mass."""


def nearest(name: object, known: Iterable[str], likeness: float = 0.0) -> str:
    """Return the known name that is spelt most like `name`, for a message about an unknown one.

    Capitals make no difference. The result is empty if no known name has at least this `likeness`
    (from 0, nothing in common, to 1, the same).
    """
    import difflib  # Only failing commands need it; this module is loaded by all.

    by_lower = {known_name.lower(): known_name for known_name in known}
    alike = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=likeness)
    return by_lower[alike[0]] if alike else ""
