"""Errors whose message is one finished line for the user."""

from __future__ import annotations

from collections.abc import Iterable


class SpecvaeError(Exception):
    """A failure that the user can act on; its message is one line, ready to print."""


class InputError(SpecvaeError):
    """A file cannot be read, is of another kind than expected, or holds nothing usable."""


class ConfigError(SpecvaeError):
    """An option or configuration key is unknown or has a value that makes no sense."""


class CheckpointError(SpecvaeError):
    """A checkpoint is truncated, foreign, newer than this program, or does not fit its use."""


class TrainingError(SpecvaeError):
    """Training cannot go on, for instance because the loss is no longer a number."""


class StructureError(SpecvaeError):
    """A molecular structure cannot be parsed or has no defined mass."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the known name that is spelt most like `name`, for a message about an unknown one."""
    import difflib  # Only failing commands need it; this module is loaded by all.

    return difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.0)[0]
