"""Whether compiled code is kept, and whether to compile it is worth it, without importing numba."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import ClassVar


def places_of(function: str) -> list[Path]:
    """Return the folders in which numba may keep a function, each in a folder of its own.

    It is named by its module's path in this package, without ``.py``, and its own name:
    ``molecules/graph.classify``.
    """
    if folder := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(folder)]
    caches = (".cache/numba", "Library/Caches/numba", "AppData/Local/numba/Cache")
    module = Path(__file__).parents[1] / function
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in a container
        return [module.parent]
    return [module.parent, *(home / place for place in caches)]


def is_kept(function: str) -> bool:
    """Return whether numba has kept a function.

    What it has may be of other sources or another processor: then it is compiled where it is
    called, as in the first run after an upgrade. Dates of files do not tell: numba keeps what it
    has for a module that was installed anew and is the same.
    """
    name = Path(function).name
    for place in places_of(function):
        with suppress(OSError):  # a folder of another user's
            if any(place.glob(f"*/{name}-*.nbi")):
                return True
    return False


@contextmanager
def compiling(is_worth: bool) -> Iterator[None]:
    """Let each `WorthCompiling` of this process give one answer inside; no result depends on it."""
    before = WorthCompiling.answer
    WorthCompiling.answer = is_worth
    try:
        yield
    finally:
        WorthCompiling.answer = before


class WorthCompiling:
    """Says whether to compile a function is worth it, by how often this process needed it.

    Parameters
    ----------
    function
        As of `is_kept`.
    few
        For so many it is not.
    few_if_kept
        Nor for so many where compiled code is kept, which then is only loaded.

    Attributes
    ----------
    n_needed
        How many it was needed for so far.
    answer
        That of all, whatever they are needed for; None: each gives its own. See `compiling`.
    """

    answer: ClassVar[bool | None] = None

    def __init__(self, function: str, few: int, few_if_kept: int = 0) -> None:
        self._function = function
        self._few, self._few_if_kept = few, few_if_kept
        self.n_needed = 0

    def __call__(self, n: int) -> bool:
        """Return whether it is, given that the function is needed for `n` more."""
        self.n_needed += n
        return self.would_be(0)

    def would_be(self, n: int) -> bool:
        """Return the same, without counting these `n`."""
        if self.answer is not None:
            return self.answer
        n += self.n_needed
        return n > self._few or (n > self._few_if_kept and self._is_kept)

    @cached_property
    def _is_kept(self) -> bool:
        return is_kept(self._function)
