"""Ctrl-C in the middle of long work that can be continued, and signals that end the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import CodeType, FrameType
from typing import Any

from specvae.errors import Interrupted

STOPPING = "stopping after this epoch, so that it is kept; Ctrl-C again stops at once"
"""What is said where a training was asked to stop."""


_ENDING = ("SIGTERM", "SIGHUP", "SIGXCPU")
"""Of a batch system or container that stops, a terminal that is closed, time that is used up."""
_AT_ONCE = 1.0  # s within which a signal that comes again is the same request


class Ended(KeyboardInterrupt):
    """A signal asked this process to end: what holds for Ctrl-C holds for it."""


@contextmanager
def ending_by_signals() -> Iterator[list[int]]:
    """Let signals that end a process end it as Ctrl-C does: nothing unfinished is left.

    A signal that is ignored stays ignored, as under nohup. Outside of the main thread, nothing is
    changed.

    Yields
    ------
    list
        The numbers of the signals that came, other than Ctrl-C.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    process, raised_at = os.getpid(), -_AT_ONCE

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal raised_at
        if os.getpid() != process:  # a copy of it, which has nothing to clear away
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        received.append(number)
        # timeout(1) sends it to the process and once more to its group.
        if time.monotonic() - raised_at >= _AT_ONCE:
            raised_at = time.monotonic()
            raise Ended

    def again() -> None:
        nonlocal raised_at
        raised_at = -_AT_ONCE

    held = [number for number in _present(*_ENDING) if signal.getsignal(number) is signal.SIG_DFL]
    with _raised_until_heeded(received, again):
        try:
            for number in held:
                signal.signal(number, end)
            yield received
        finally:
            for number in held:
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def _raised_until_heeded(received: Sequence[int], on_lost: Callable[[], None]) -> Iterator[None]:
    """Send a signal again whose exception was lost where Python clears objects away.

    There, as in a function that is called when a weak reference ends, it is printed and forgotten.
    """
    before = sys.unraisablehook
    timers: list[threading.Timer] = []

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        number = received[-1] if issubclass(lost.exc_type, Ended) else signal.SIGINT
        on_lost()
        timers.append(threading.Timer(_SOON, _send, (number,)))
        timers[-1].daemon = True
        timers[-1].start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


_SOON = 0.01  # s


def _send(number: int) -> None:
    """Send a signal to the main thread, which another one's would not wake."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


@contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Let Ctrl-C, or the interrupt of a notebook, come out as KeyboardInterrupt, and not be lost.

    Compiled code makes a SystemError of it, and where Python clears objects away it is printed and
    forgotten. Outside of the main thread, where no signal is handled, nothing is changed.

    Raises
    ------
    KeyboardInterrupt
        In place of the SystemError.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        with _raised_until_heeded((), lambda: None):
            yield
    except SystemError as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise


def is_interrupt(error: BaseException) -> bool:
    """Return whether an exception is Ctrl-C, or what Python makes of it.

    Where compiled code returns to Python just then, as numba's functions do, it is a SystemError
    with the KeyboardInterrupt as its cause.
    """
    if isinstance(error, SystemError) and error.__cause__ is not None:
        return is_interrupt(error.__cause__)
    return isinstance(error, KeyboardInterrupt)


def _present(*names: str) -> list[int]:
    """Return the numbers of those signals that this system has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


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
    """Say at Ctrl-C, or a signal like it, what is kept of the work and how it goes on.

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
    except (KeyboardInterrupt, SystemError) as error:
        if is_interrupt(error) and (said := kept()):
            raise Interrupted(f"interrupted; {said}") from None
        raise


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let signals end the process by themselves, while a call of compiled code may wait long.

    Meanwhile no function in Python is called for a signal, so that it would not be heeded.
    """
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _present("SIGINT", *_ENDING):
            if callable(handler := signal.getsignal(number)):
                before[number] = handler
    try:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_wait(numbers: Collection[int]) -> Iterator[None]:
    """Let signals wait in this thread until leaving; on Windows nothing waits.

    One that is sent to the process, as Ctrl-C is, may be given to another thread meanwhile.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # Where a signal came just before, its exception is raised here, when others wait already.
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let what signals ask for wait until leaving, whichever thread the system gives them to."""
    held = HeldSignals()
    try:
        yield
    finally:
        held.release()
        held.deliver()


class HeldSignals:
    """Signals that come at a bad moment, kept until it is over.

    Such a moment is while a library in C calls Python functions: an exception that they raise may
    be lost in the library, which then goes on with half of the work, or ends the process. In other
    threads than the main one, where no signal comes, nothing is held.

    Parameters
    ----------
    called
        The code of the functions that the library calls. If None, every moment is a bad one.
    """

    def __init__(self, called: Collection[CodeType] | None = None) -> None:
        self._called = None if called is None else frozenset(called)
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._kept: list[int] = []
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in _present("SIGINT", *_ENDING):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._take)
        except BaseException:  # of a signal that came just before
            self.release()
            raise

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._called is None or _is_called_within(frame, self._called):
            self._kept.append(number)
        else:
            self._before[number](number, frame)

    def deliver(self) -> None:
        """Do what is to be done at each signal that was kept, such as raise KeyboardInterrupt."""
        while self._kept:
            number = self._kept.pop(0)
            self._before[number](number, None)

    def release(self) -> None:
        """Hold signals no longer; those that were kept can still be delivered."""
        self._called = frozenset()
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._take:
                signal.signal(number, handler)


def _is_called_within(frame: FrameType | None, functions: Collection[CodeType]) -> bool:
    while frame is not None:
        if frame.f_code in functions:
            return True
        frame = frame.f_back
    return False
