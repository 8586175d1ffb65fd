"""How long work tells its caller where it is; the library itself prints nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a caller may want to show."""

    def log(self, message: str) -> None:
        """Take a line that a user should read."""

    def detail(self, message: str) -> None:
        """Take a line that a user may want to read."""

    def progress(self, stage: str, done: int, total: int | None = None) -> None:
        """Take how far a stage is."""


class Silence:
    """A `Progress` that shows nothing."""

    def log(self, message: str) -> None:
        """Drop the line."""

    def detail(self, message: str) -> None:
        """Drop the line."""

    def progress(self, stage: str, done: int, total: int | None = None) -> None:
        """Drop the count."""
