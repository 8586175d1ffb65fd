"""RDKit without its log lines, and with Ctrl-C in Python's hands."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from rdkit import rdBase

from specvae.interruption import signals_wait

_T = TypeVar("_T")
_R = TypeVar("_R")

TOGETHER = 16
"""Molecules at a time: what RDKit keeps of more does not stay at hand, and Ctrl-C has to wait."""


class _Quiet(threading.local):
    """Whether this thread is within `quiet_rdkit`."""

    is_entered = False


_quiet = _Quiet()


@contextmanager
def quiet_rdkit() -> Iterator[None]:
    """Keep RDKit's log lines off stderr, and Ctrl-C in Python's hands (`take_interrupts`).

    What RDKit's handler gets is lost: Ctrl-C waits until leaving. Of several threads the system may
    choose another one for it, so that it is lost now and then.

    Entering and leaving takes a tenth of the time of parsing a small molecule, or of its InChIKey,
    so that callers with many molecules enter it once for several of them (`each_quietly`). Within
    another one it does nothing.
    """
    if _quiet.is_entered:
        yield
        return
    with signals_wait({signal.SIGINT}) if _is_main_thread() else nullcontext():
        _quiet.is_entered = True
        try:
            with rdBase.BlockLogs():
                yield
        finally:
            _quiet.is_entered = False
            take_interrupts()


def each_quietly(function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """Yield what a function returns for each item, computed for some at a time in `quiet_rdkit`."""
    for start in range(0, len(items), TOGETHER):
        with quiet_rdkit():
            found = [function(item) for item in items[start : start + TOGETHER]]
        yield from found


def take_interrupts() -> None:
    """Restore the handler of SIGINT that was there before RDKit replaced it.

    A substructure search of RDKit 2026.03, or an InChIKey, leaves RDKit's own handler of SIGINT
    behind, which swallows the first Ctrl-C for the rest of the process's life, whichever thread
    searched.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is None:  # not Python's, but that of the program that Python runs in
        return
    if not _python.is_known and _is_main_thread():
        signal.signal(signal.SIGINT, handler)
        _python.learn(handler)
    else:
        _python.restore(handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class _PythonsHandler:
    """The function in C by which Python takes signals.

    `signal.signal` is for the main thread alone, but a caller's threads rank, too. It is also slow,
    and where another signal has come it may raise that one's exception with nothing done.

    Attributes
    ----------
    is_known
        Whether the function is known for certain. It is guessed where the main thread has not been
        here yet, as RDKit may have been used before this package was imported.
    """

    is_known = False

    def __init__(self) -> None:
        python = getattr(ctypes, "pythonapi", None)  # of CPython
        self._get = getattr(python, "PyOS_getsig", None)
        self._set = getattr(python, "PyOS_setsig", None)
        self._address: int | None = None
        if self._get is None or self._set is None:
            return
        self._get.argtypes, self._get.restype = (ctypes.c_int,), ctypes.c_void_p
        self._set.argtypes = (ctypes.c_int, ctypes.c_void_p)
        self._set.restype = ctypes.c_void_p
        if callable(signal.getsignal(signal.SIGINT)):
            self._address = self._get(signal.SIGINT)

    def learn(self, handler: Callable[..., object] | int) -> None:
        """Keep the function's address, when the main thread has just given SIGINT to `handler`."""
        if self._get and self._set and callable(handler):
            self._address = self._get(signal.SIGINT)
            self.is_known = True

    def restore(self, handler: Callable[..., object] | int) -> None:
        """Let Python, the system or nobody handle SIGINT again, as `handler` has it."""
        address = self._address if callable(handler) else int(handler)
        if not self._get or not self._set or address is None:
            return
        if (self._get(signal.SIGINT) or 0) != address:
            self._set(signal.SIGINT, address)


_python = _PythonsHandler()
take_interrupts()
