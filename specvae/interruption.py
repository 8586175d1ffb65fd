"""Ctrl-C in the middle of long work that can be continued."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from specvae.errors import Interrupted

STOPPING = "stopping after this epoch, so that it is kept; Ctrl-C again stops at once"
"""What is said where a training was asked to stop."""


@contextmanager
def interruptible(on_request: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Take the first Ctrl-C as a request to stop soon; the second one stops at once.

    Outside of the main thread, or where a caller handles Ctrl-C in its own way, nothing is changed.

    Parameters
    ----------
    on_request
        Called at the first Ctrl-C, to say that the work will stop soon.

    Yields
    ------
    A function that returns whether the work was asked to stop.
    """
    is_asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal is_asked
        is_asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(RuntimeError):  # the signal came while a line was being written
            on_request()

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: is_asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def telling(kept: Callable[[], str]) -> Iterator[None]:
    """Say at Ctrl-C what is kept of the work and how it goes on.

    Parameters
    ----------
    kept
        Asked then; what it returns follows the word "interrupted". Nothing where nothing is kept.

    Raises
    ------
    Interrupted
        In place of KeyboardInterrupt, if something is kept.
    """
    try:
        yield
    except KeyboardInterrupt:
        if said := kept():
            raise Interrupted(f"interrupted; {said}") from None
        raise
